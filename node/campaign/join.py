"""A node that comes late: it has a genesis file and peers, and has to get the whole chain."""

import asyncio
import time

from node.campaign.findings import Findings
from node.campaign.member import Member, seat_in_space
from node.campaign.network import Network
from node.campaign.report import Join
from node.campaign.strike import BEHIND_MAX
from node.campaign.watcher import Watcher
from node.client import ClientError
from node.devnet.layout import node_home, take_seat
from node.home import GENESIS_FILE, HomeWishes, create_home

JOIN_SECONDS_MAX = 600.0
POLL_SECONDS = 0.1


async def join_late(
    network: Network, watcher: Watcher, findings: Findings, transactions: int
) -> Join | None:
    """Start one more node and time it until it is with the others; None when it never is.

    `transactions` is how many the chain holds.
    """
    index = len(network.members)
    home = node_home(network.folder, index)
    genesis = network.members[0].seat.home / GENESIS_FILE
    create_home(
        home, HomeWishes(profile="full", time_ms=time.time_ns() // 1_000_000, genesis=genesis)
    )
    seat = take_seat(index, home) if network.spare is None else seat_in_space(index, home)
    seats = [*(member.seat for member in network.members), seat]
    late = Member(seat, seats, network.settings, findings, network.spare)
    await late.open(network.genesis_hash)
    try:
        began = time.monotonic()
        await late.start()
        height = await _reached(late, watcher, began + JOIN_SECONDS_MAX)
        seconds = time.monotonic() - began
        if height < watcher.top - BEHIND_MAX:
            findings.add(
                "campaign.never_joined",
                str(index),
                f"A late node had height {height} of {watcher.top} after {seconds:.0f} s.",
            )
            return None
        rates = (round(height / seconds, 1), round(transactions / seconds, 1))
        return Join(height, round(seconds, 2), *rates)
    finally:
        await late.close()


async def _reached(late: Member, watcher: Watcher, deadline: float) -> int:
    """Wait until a node is with the others, or until the deadline; return its height."""
    height = 0
    while time.monotonic() < deadline and late.is_up:
        await asyncio.sleep(POLL_SECONDS)
        try:
            height = (await late.client.status()).finalized_height
        except ClientError:
            continue
        if height >= watcher.top - BEHIND_MAX:
            break
    return height
