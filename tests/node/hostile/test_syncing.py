"""A newcomer among liars: whatever they say of blocks and snapshots, it ends on the honest chain.

Four validators go on meanwhile. Every liar that is found out is dropped, and the newcomer's memory
stays within the same bound as that of a node under any other attack.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from consensus.messages import Status
from node.client import SaharaClient, Unreachable
from node.devnet import process as devnet
from node.devnet.layout import Seat, free_port, p2p_host
from node.devnet.process import NodeProcess, command, spawn
from node.home import Home, HomeWishes, create_home
from node.run_file import read_run_file
from node.sync.leg import CLOSE_HEIGHTS
from p2p import Target
from tests.node.hostile import between
from tests.node.hostile.between import BLOCK_LIES, SNAPSHOT_LIES, Between, Lie
from tests.node.hostile.victim import RSS_MB_MAX, Victim, network

SEAT = 40
FAR = 10**9
HEIGHTS = 45
PATIENCE_S = 60.0
SNAPSHOT_EVERY = 20
SNAPSHOTS_KEPT = 100
"""Blocks come so fast here that fewer would be gone before they are asked for."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    """A network that is old enough to have snapshots, and high enough to be synced to."""
    folder = tmp_path_factory.mktemp("syncing")
    past = SimpleNamespace(time_ns=lambda: time.time_ns() - 300 * 10**9, monotonic=time.monotonic)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devnet, "time", past)
        flags = {"--snapshot-every-blocks": SNAPSHOT_EVERY, "--snapshots-kept": SNAPSHOTS_KEPT}
        homes = [folder / f"n{at}" for at in range(4)]
        async with network(homes, flags) as group:
            for node in group.nodes:
                async with SaharaClient(node.url, genesis_hash=group.genesis_hash) as client:
                    await client.call(
                        "node.set_pacing", block_interval_ms_min=5, idle_interval_ms=20
                    )
            found = Victim(group)
            await found.at_ease()
            await until(lambda: is_at(found, HEIGHTS), "it makes no blocks")
            yield found


async def is_at(victim: Victim, height: int) -> bool:
    return await victim.height() >= height


async def until(is_so: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not await is_so():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.1)


class Newcomer:
    """A node that has nothing yet, and knows these peers alone."""

    def __init__(self, home: Path, running: Any, genesis_hash: bytes) -> None:
        self.home = home
        self.process = running
        self._genesis_hash = genesis_hash

    @property
    def log(self) -> str:
        return (self.home / "node.log").read_text()

    @property
    def rss_mb_max(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1_024

    async def height(self) -> int:
        """Its final height; 0 while it does not answer."""
        found = read_run_file(self.home)
        if found is None:
            return 0
        try:
            async with SaharaClient(found["rpc"], genesis_hash=self._genesis_hash) as client:
                return int((await client.call("chain.status"))["finalized_height"])
        except Unreachable:
            return 0


@asynccontextmanager
async def newcomer(
    victim: Victim, home: Path, peers: Sequence[Between], *, state_sync: bool = False
) -> AsyncIterator[Newcomer]:
    """Start it, and end it by its own process."""
    genesis = Home(victim.node.home).genesis_file
    create_home(home, HomeWishes(time_ms=time.time_ns() // 10**6, genesis=genesis))
    seat = Seat(SEAT, home, 0, free_port(p2p_host(SEAT), []))
    flags = {"--p2p-persistent-peers": ",".join(one.address for one in peers)}
    line = [*command(seat, [seat], flags), "--state-sync" if state_sync else "--no-state-sync"]
    running = await spawn(line, home / "node.log")
    try:
        yield Newcomer(home, running, victim.genesis_hash)
    finally:
        await NodeProcess(home, victim.genesis_hash, running, "").stop()


def _honest(victim: Victim, at: int) -> Target:
    """One validator after the other: each has few seats for one address."""
    one = Victim(victim.group)
    one.node = victim.group.nodes[at % len(victim.group.nodes)]
    return Target(one.node_id, one.p2p)


@asynccontextmanager
async def peers_between(victim: Victim, lies: Sequence[Lie]) -> AsyncIterator[list[Between]]:
    """Peers with these lies, between an honest validator and whoever connects."""
    made = [
        Between(f"127.0.5.{1 + at}", _honest(victim, at), victim.genesis_hash, lie)
        for at, lie in enumerate(lies)
    ]
    status = await victim.status()
    head = bytes.fromhex(status["block_id"])
    for at, one in enumerate(made):
        height = FAR if at % 2 else int(status["finalized_height"])
        epoch, view = int(status["epoch"]), int(status["view"])
        one.claim = Status(epoch, view, epoch, view, height, head)
        await one.sockets.start()
    try:
        yield made
    finally:
        for one in made:
            await one.stop()


async def goes_on(victim: Victim, height: int) -> None:
    await until(lambda: is_at(victim, height + 3), "the network stopped finalizing")


async def test_blocks_come_from_the_honest_one_in_the_end(victim: Any, tmp_path: Path) -> None:
    """At first only liars are there, and one that never answers: each is found out by itself."""
    late = between.truth
    lies = [*BLOCK_LIES, between.silence]
    before = await victim.height()
    async with peers_between(victim, [*lies, late]) as peers:
        *liars, honest = peers
        honest.lie = between.silence
        async with newcomer(victim, tmp_path / "home", peers) as node:

            async def are_found_out() -> bool:
                return all(one.dropped.is_set() for one in liars[: len(BLOCK_LIES)])

            await until(are_found_out, "liars are not dropped")
            assert all(one.lied.is_set() for one in liars[: len(BLOCK_LIES)])
            assert await node.height() < before
            honest.lie = late

            async def has_come() -> bool:
                return await node.height() >= before - CLOSE_HEIGHTS

            await until(has_come, "it does not sync from the honest one")
            assert node.rss_mb_max <= RSS_MB_MAX
            assert "Traceback" not in node.log and "halted" not in node.log
        await goes_on(victim, before)


async def test_snapshots_come_from_the_honest_one_or_blocks_do(victim: Any, tmp_path: Path) -> None:
    lies = [*SNAPSHOT_LIES, between.crowns_of_nothing, between.false_steps, between.truth]
    before = await victim.height()
    async with peers_between(victim, lies) as peers:
        for attempt in range(4):
            home = tmp_path / f"home{attempt}"
            async with newcomer(victim, home, peers, state_sync=True) as node:

                async def has_come(node: Newcomer = node) -> bool:
                    return await node.height() >= before - CLOSE_HEIGHTS

                await until(has_come, "it neither takes a snapshot nor fetches blocks")
                assert node.rss_mb_max <= RSS_MB_MAX
                assert "Traceback" not in node.log and "halted" not in node.log
                found_out = node.log.count("peer lied")
            if found_out:
                break
        assert found_out, "nobody was asked for what it lies about"
        assert [one for one in peers if one.lied.is_set()]
    await goes_on(victim, before)
