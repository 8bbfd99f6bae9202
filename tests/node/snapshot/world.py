"""A network in memory with peers that serve snapshots, honest or not, and a node that begins."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from node.clock import SystemClock
from node.history_settings import HistorySettings
from node.snapshot.folder import (
    SnapshotFolder,
    snapshots_in,
)
from node.snapshot.form import Manifest
from node.snapshot.progress import StateSync
from node.snapshot.restore import restore_into
from node.snapshot.serving import snapshot_handlers
from node.snapshot.state_sync import Silent, fetch_newest
from node.snapshot.wire import OffersRequest
from node.storage.finality_store import FinalityView
from node.storage.kv import MemoryStore
from node.sync.archive import chain_handlers
from node.sync.server import SyncServer
from p2p.interface import Request
from p2p.memory import Hub, MemoryNetwork
from state.codec import encode
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

HEIGHT = 3 * EPOCH_BLOCKS + 3
Handlers = Mapping[type[Any], Callable[[Any], Any]]
CLOCK = SystemClock()


class Peer(Silent):
    """A node that serves snapshots; a hostile one has other answers to some kinds of request."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.server = SyncServer(handlers, CLOCK.now_ms)
        self.is_deaf = False
        self.is_terse = False
        """Whether it tells what it offers, and answers nothing else."""

    def on_request(self, request: Request) -> None:
        is_answered = not self.is_terse or request.data == encode(OffersRequest())
        if is_answered and not self.is_deaf:
            self.server.on_request(request)


class World:
    """A hub with peers, and an empty node that wants to begin."""

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.chain = chain
        self.shelf = folder / "shelf"
        self.home = folder / "home"
        self.hub = Hub()
        self.peers: dict[bytes, Peer] = {}
        self.asked: list[tuple[bytes, Any]] = []
        self.network = self._network(b"\x00" * 32, Silent())

    def _network(self, name: bytes, handler: Any) -> MemoryNetwork:
        return MemoryNetwork(self.hub, name, GENESIS.hash, handler, lambda _: False)

    def honest(self) -> dict[type[Any], Callable[[Any], Any]]:
        return {
            **chain_handlers(self.chain.store),
            **snapshot_handlers(FinalityView(self.chain.rows), self.shelf, GENESIS.hash),
        }

    def add(self, **lies: Callable[[Any], Any]) -> bytes:
        """Add a peer; a lie is named by the kind of request that it answers."""
        name = bytes([len(self.peers) + 1]) * 32
        kinds = {kind.__name__: kind for kind in self.honest()}
        answers = {**self.honest(), **{kinds[kind]: lie for kind, lie in lies.items()}}

        def noted(kind: type[Any]) -> Callable[[Any], Any]:
            def answer(asked: Any) -> Any:
                self.asked.append((name, asked))
                return answers[kind](asked)

            return answer

        self.peers[name] = Peer({kind: noted(kind) for kind in answers})
        return name

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.hub = Hub()
        self.network = self._network(b"\x00" * 32, Silent())
        networks = []
        for name, peer in self.peers.items():
            peer.server = SyncServer(peer.handlers, CLOCK.now_ms)
            networks.append(self._network(name, peer))
        for network in (*networks, self.network):
            await network.start()
        pump = asyncio.create_task(self._pump())
        try:
            yield
        finally:
            pump.cancel()
            for peer in self.peers.values():
                await peer.server.stop()

    async def _pump(self) -> None:
        while True:
            self.hub.run()
            await asyncio.sleep(0.001)

    async def begin(self, **settings: Any) -> SnapshotFolder | None:
        config = changed(HistorySettings(state_sync_wait_ms=400), **settings)
        async with asyncio.timeout(30), self.running():
            return await fetch_newest(self.network, GENESIS, config, self.home, CLOCK, StateSync())

    async def until(self, condition: Callable[[], bool]) -> None:
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)

    def asked_of(self, name: bytes, kind: type[Any]) -> int:
        return len([1 for peer, asked in self.asked if peer == name and type(asked) is kind])

    def is_banned(self, name: bytes) -> bool:
        return name in self.network._banned

    def holds(self, folder: SnapshotFolder | None) -> None:
        """The snapshot is whole, and what it restores is the chain where it was taken."""
        assert folder is not None
        head = restore_into(folder, MemoryStore(), GENESIS)
        assert head.block_id == self.chain.store.header(head.header.height).block_id
        assert not [path for path in self.home.iterdir() if path.suffix]


def crown(world: World) -> Manifest:
    return snapshots_in(world.shelf)[0].manifest(GENESIS.hash)
