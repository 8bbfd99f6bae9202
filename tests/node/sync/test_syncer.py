"""The syncer between network, engine and home: what it stops, starts, keeps and tells."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from consensus.messages import Message, Status
from node.application import Application
from node.client import Account
from node.clock import SystemClock
from node.evidence_pool import EvidencePool
from node.home import Home
from node.ledger import Ledger
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.network.overlay import Overlay
from node.signer import create_guard
from node.standing import take_stock
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore
from node.sync import core as cores
from node.sync.archive import chain_handlers
from node.sync.leg import CLOSE_HEIGHTS
from node.sync.messages import BlocksAnswer, BlocksRequest
from node.sync.metrics import SyncCollector
from node.sync.server import SyncServer
from node.sync.syncer import Syncer
from p2p.memory import Hub, MemoryNetwork
from p2p.topics import Topic
from state.codec import replace
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain, same

HEIGHTS = 4 * EPOCH_BLOCKS + 3
FOLLOWER = Account.from_seed(b"f" * 32)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(HEIGHTS)


class Host:
    """A host that tells where its chain ends, and that the syncer stops and starts."""

    def __init__(self, chain: Chain | None) -> None:
        self._chain = chain
        self.steps: list[str] = []

    def hello(self) -> Message | None:
        if self._chain is None:
            return None
        head = self._chain.application.head
        epoch, view = head.header.epoch, head.header.view
        return Status(epoch, view, epoch, view, head.header.height, head.block_id)

    def receive(self, peer: bytes, message: Message) -> None:
        self.steps.append("heard")

    def pause(self) -> None:
        self.steps.append("pause")

    def resume(self) -> None:
        self.steps.append("resume")


class Node:
    """A node that syncs into a home, and its peers, all of them in memory."""

    def __init__(self, folder: Path, key: Account = FOLLOWER) -> None:
        self.hub = Hub()
        self.home = Home(folder)
        self.key = key
        create_guard(self.home.guard_file, key.public_key, GENESIS.hash)
        self.rows = MemoryStore()
        self.open()
        clock = SystemClock()
        self.host = Host(None)
        overlay = Overlay()
        self.network = self._join(b"n" * 32, overlay)
        ledger = Ledger(
            self.application,
            Mempool(MempoolLimits(10, 2**20, 10)),
            EvidencePool(self.store.finality, GENESIS.hash),
            NodeMetrics(clock),
        )
        parts = (self.application, self.store, ledger, self.standing.keeper)
        self.syncer = Syncer(*parts, self.host, self.network, clock)
        self.server = SyncServer(chain_handlers(self.store), clock.now_ms)
        overlay.join(self.host, self.network, requests=self.server, hints=self.syncer)
        self.servers: list[SyncServer] = []
        self._pump: asyncio.Task[None] | None = None

    def open(self) -> None:
        self.store = ChainStore(self.rows, GENESIS)
        self.application = Application(
            self.store, GENESIS, invariants_every_blocks=1, timed=lambda _: nullcontext()
        )
        self.standing = take_stock(self.home, self.key, self.application, None)

    def _join(self, name: bytes, overlay: Overlay) -> MemoryNetwork:
        return MemoryNetwork(self.hub, name, GENESIS.hash, overlay, lambda _: False)

    async def meet(self, name: bytes, chain: Chain, handlers: Any = None) -> None:
        """Let a peer with this chain come up."""
        overlay = Overlay()
        network = self._join(name, overlay)
        found = {**chain_handlers(chain.store), **(handlers or {})}
        server = SyncServer(found, SystemClock().now_ms)
        overlay.join(Host(chain), network, requests=server)
        self.servers.append(server)
        await network.start()

    async def start(self) -> None:
        await self.network.start()
        self.syncer.start()
        self._pump = asyncio.create_task(self._carry())

    async def _carry(self) -> None:
        while True:
            self.hub.run()
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        self.syncer.stop()
        if self._pump is not None:
            self._pump.cancel()
            with suppress(asyncio.CancelledError):
                await self._pump
        for server in (*self.servers, self.server):
            await server.stop()
        self.standing.close()

    async def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert asyncio.get_running_loop().time() < end, self.host.steps
            await asyncio.sleep(0.005)

    @property
    def height(self) -> int:
        return self.application.head.header.height


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    yield made
    await made.stop()


async def test_the_engine_stands_still_while_blocks_come(node: Node, chain: Chain) -> None:
    await node.start()
    for name in (b"a" * 32, b"b" * 32):
        await node.meet(name, chain)
    await node.until(lambda: "pause" in node.host.steps)
    await node.until(lambda: "resume" in node.host.steps)
    assert HEIGHTS - node.height <= CLOSE_HEIGHTS
    same(node.store, chain.store)
    assert not node.syncer.is_syncing and node.syncer.blocks == node.height
    assert node.syncer.target_height >= node.height and node.syncer.blocks_per_second == 0
    assert [step for step in node.host.steps if step != "heard"] == ["pause", "resume"]


async def test_after_a_sync_journal_and_guard_are_those_of_the_head(
    node: Node, chain: Chain
) -> None:
    """Else the next start would take the journal for an old one, and the node would not vote."""
    await node.start()
    await node.meet(b"a" * 32, chain)
    await node.until(lambda: "resume" in node.host.steps)
    assert node.height > EPOCH_BLOCKS
    node.syncer.stop()
    node.standing.close()
    node.open()
    assert not node.standing.keeper.journal.is_lost
    assert node.standing.keeper.journal.round_highest >= (
        node.application.head.header.epoch,
        node.application.head.header.view,
    )


async def test_a_sync_that_was_interrupted_goes_on_after_the_next_start(
    tmp_path: Path, chain: Chain
) -> None:
    first = Node(tmp_path)
    await first.start()
    await first.meet(b"a" * 32, chain)
    await first.until(lambda: first.height >= EPOCH_BLOCKS + 2)
    first.syncer.stop()
    height = first.height
    await asyncio.sleep(0.05)
    assert first.height == height, "whoever is stopped commits nothing"
    await first.stop()
    first.open()
    assert not first.standing.keeper.journal.is_lost, "the journal's floor was there before"
    first.standing.close()


async def test_a_liar_is_cut_off(node: Node, chain: Chain) -> None:
    def changed(asked: BlocksRequest) -> BlocksAnswer | None:
        answer = chain_handlers(chain.store)[BlocksRequest](asked)
        if not isinstance(answer, BlocksAnswer):
            return None
        bad = [replace(block, body=block.body + b"\x00") for block in answer.blocks]
        return replace(answer, blocks=tuple(bad))

    await node.start()
    await node.meet(b"liar" * 8, chain, {BlocksRequest: changed})
    await node.until(lambda: not node.network.peers())
    assert "resume" not in node.host.steps and node.height == 0
    await node.meet(b"a" * 32, chain)
    await node.until(lambda: "resume" in node.host.steps)
    same(node.store, chain.store)


async def test_a_bug_in_a_check_is_heard(
    node: Node, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cores, "check_final", broken)
    await node.start()
    await node.meet(b"a" * 32, chain)
    await node.until(lambda: bool(heard))
    assert isinstance(heard[0], ZeroDivisionError)


async def test_what_is_asked_elsewhere_or_of_nobody_is_refused(node: Node, chain: Chain) -> None:
    await node.start()
    await node.meet(b"a" * 32, chain)
    for topic in (Topic.BLOCKS, Topic.CONSENSUS):
        with pytest.raises(Exception, match=r"node\.no_such_request"):
            await node.network.request(b"a" * 32, topic, b"?", 5_000)


async def test_what_metrics_tell(node: Node, chain: Chain) -> None:
    registry = CollectorRegistry()
    registry.register(SyncCollector(node.syncer, node.server))
    await node.start()
    await node.meet(b"a" * 32, chain)
    await node.until(lambda: "resume" in node.host.steps)
    lines = {*generate_latest(registry).decode().splitlines()}
    assert lines >= {
        "sahara_sync_active 0.0",
        f"sahara_sync_target_height {float(node.syncer.target_height)}",
        f"sahara_sync_blocks_total {float(node.height)}",
        "sahara_sync_served_bytes_total 0.0",
    }
