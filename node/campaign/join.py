"""Nodes that come late: they have a genesis file and peers, and get the chain, or a snapshot."""

import asyncio
import time
from pathlib import Path

from node.campaign.comparison import compare
from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.log_check import read_logs
from node.campaign.member import SNAPSHOT_SURE_HEIGHT, Member, seat_in_space
from node.campaign.network import Network
from node.campaign.offences import find_evidence
from node.campaign.report import Join
from node.campaign.strike import BEHIND_MAX
from node.campaign.watcher import Watcher
from node.client import ClientError
from node.devnet.layout import node_home, take_seat
from node.home import GENESIS_FILE, HomeWishes, create_home

JOIN_SECONDS_MAX = 600.0
POLL_SECONDS = 0.1


ARCHIVE = "archive"
PROFILES = (ARCHIVE, "full")
"""One fetches every block; the other takes a snapshot where there is one."""


async def join_late(
    network: Network, watcher: Watcher, findings: Findings, ledger: Ledger
) -> list[Join]:
    """Start nodes one after the other, time each until it is with the others, and compare it.

    Who never is there is found wrong, and left out.
    """
    found = []
    for order, profile in enumerate(PROFILES):
        home = node_home(network.folder, len(network.members) + order)
        join = await _join(network, watcher, findings, ledger, home, profile)
        if join is not None:
            found.append(join)
    return found


async def _join(
    network: Network,
    watcher: Watcher,
    findings: Findings,
    ledger: Ledger,
    home: Path,
    profile: str,
) -> Join | None:
    index = len(network.members)
    genesis = network.members[0].seat.home / GENESIS_FILE
    time_ms = time.time_ns() // 1_000_000
    create_home(home, HomeWishes(profile=profile, time_ms=time_ms, genesis=genesis))
    seat = take_seat(index, home) if network.spare is None else seat_in_space(index, home)
    seats = [*(member.seat for member in network.members), seat]
    late = Member(seat, seats, network.settings, findings, network.spare)
    await late.open(network.genesis_hash)
    try:
        began = time.monotonic()
        await late.start()
        height, lowest = await _reached(late, watcher, began + JOIN_SECONDS_MAX)
        seconds = time.monotonic() - began
        if height < watcher.top - BEHIND_MAX:
            findings.add(
                "campaign.never_joined",
                f"{index}:{profile}",
                f"A late node, {profile} by profile, had height {height} of {watcher.top} after "
                f"{seconds:.0f} s.",
            )
            return None
        find_way(findings, index, profile, height, lowest)
        if profile != ARCHIVE:
            watcher.chain.forget(index)  # it has begun with nothing, and may hold less
        await compare(late, watcher, ledger, findings)
        await late.stop()
        find_evidence(late, findings)
        read_logs([late], findings)
        if lowest > 1:
            return Join("snapshot", height, round(seconds, 2))
        transactions = len(ledger.acknowledged)
        rates = (round(height / seconds, 1), round(transactions / seconds, 1))
        return Join("blocks", height, round(seconds, 2), *rates)
    finally:
        await late.close()


def find_way(findings: Findings, index: int, profile: str, height: int, lowest: int) -> None:
    """Find wrong that who may take a snapshot fetched every block, though others had one."""
    if profile != ARCHIVE and lowest == 1 and height >= SNAPSHOT_SURE_HEIGHT:
        findings.add(
            "campaign.no_snapshot",
            f"{index}:{profile}",
            f"A late node, {profile} by profile, fetched all {height} blocks, though its peers had "
            "snapshots.",
        )


async def _reached(late: Member, watcher: Watcher, deadline: float) -> tuple[int, int]:
    """Wait until a node is with the others, or until the deadline; return its heights."""
    height = lowest = 0
    while time.monotonic() < deadline and late.is_up:
        await asyncio.sleep(POLL_SECONDS)
        try:
            status = await late.client.status()
        except ClientError:
            continue
        height, lowest = status.finalized_height, status.lowest_height
        if height >= watcher.top - BEHIND_MAX:
            break
    return height, lowest
