"""Traffic as a whole: rounds and transfers on a running devnet until somebody ends it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from node import heap
from node.client import Account, ClientError, RoamingClient
from node.demo.errors import DemoError
from node.devnet.layout import faucet_of
from node.devnet.state_file import DevnetState, read_state
from node.traffic.following import following
from node.traffic.rounds import Company, Played
from node.traffic.transfers import Transfers, senders_of

SEED_BITS = 62
PAUSE_SECONDS = 1.0
"""Between two attempts at what did not work out."""

REPORT_SECONDS = 10.0
TRIM_SECONDS = 30.0

Say = Callable[[str], None]


def urls_of(state: DevnetState) -> list[str]:
    """Return where the nodes of a devnet answer clients, if they do."""
    return [node.rpc for node in state.nodes]


async def make_traffic(folder: Path, transfers_per_s: float, say: Say) -> None:
    """Make demand, trading and transfers until cancelled, whatever becomes of single nodes."""
    heap.settle()  # before calls are signed in threads, each of which would have a heap of its own
    genesis_hash = bytes.fromhex(read_state(folder).genesis_hash)
    faucet = faucet_of(folder)
    seed = secrets.randbits(SEED_BITS)
    played = Played()
    async with RoamingClient(
        lambda: urls_of(read_state(folder)), genesis_hash=genesis_hash
    ) as client:
        transfers = Transfers(client, senders_of(seed), transfers_per_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(for_ever("rounds", lambda: rounds(client, faucet, played, say), say))
            group.create_task(for_ever("transfers", lambda: sending(transfers, faucet), say))
            group.create_task(reporting(transfers, played, say))
            group.create_task(trimming())


async def for_ever(name: str, work: Callable[[], Awaitable[None]], say: Say) -> None:
    """Do something again and again; what a network without its nodes refuses is told, no more."""
    while True:
        try:
            await work()
        except* (ClientError, DemoError) as group:
            for error in causes(group):
                say(f"{name}: {error}")
        await asyncio.sleep(PAUSE_SECONDS)


def causes(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    """Return the errors in a group, in groups of groups as well."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += causes(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def rounds(client: RoamingClient, faucet: Account, played: Played, say: Say) -> None:
    """Play round after round with a new cast, until it cannot go on."""
    await client.choose()
    company = Company(client, faucet, secrets.randbits(SEED_BITS), played, say)
    async with following(client) as heights:
        await company.play(heights)


async def sending(transfers: Transfers, faucet: Account) -> None:
    """Fund the senders and let them send."""
    await transfers.fund(faucet)
    await transfers.run()


async def reporting(transfers: Transfers, played: Played, say: Say) -> None:
    """Say now and then what has been done."""
    sent = 0
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        rate = (transfers.sent - sent) / REPORT_SECONDS
        sent = transfers.sent
        say(
            f"{transfers.sent} transfers sent, {rate:.1f} a second, {transfers.refused} refused; "
            f"{played.rounds} rounds with {played.calls} paid calls"
        )


async def trimming() -> None:
    """Give back now and then what signed calls and answers leave unused between what stays."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(heap.trim)
