"""The beginning of an empty home over loopback: with a snapshot, with genesis, or with a stop."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import beginning
from node.beginning import begin_with_snapshot, is_needed, until_genesis
from node.clock import SystemClock
from node.config import NodeConfig
from node.network.node_network import BOOK_FILE, AddressUnusable
from node.snapshot.errors import SnapshotNotNow, SnapshotRefused
from node.snapshot.folder import snapshots_in
from node.snapshot.progress import StateSync
from node.snapshot.serving import snapshot_handlers
from node.snapshot.state_sync import Silent
from node.storage.finality_store import FinalityView
from node.storage.kv import LevelDb
from node.sync.archive import chain_handlers
from node.sync.server import SyncServer
from p2p import NetworkSettings, NodeKey, PeerBook, SocketNetwork
from p2p.interface import Request
from tests.node.snapshot.test_restore import taken
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

CLOCK = SystemClock()
HOST = "127.0.0.1"


class Peer(Silent):
    """A node on loopback that serves a chain and its snapshot."""

    def __init__(self, shelf: Path) -> None:
        self.chain = Chain().grow(2 * EPOCH_BLOCKS + 2)
        handlers = {
            **chain_handlers(self.chain.store),
            **snapshot_handlers(FinalityView(self.chain.rows), shelf, GENESIS.hash),
        }
        self.server = SyncServer(handlers, CLOCK.now_ms)
        self.sockets = SocketNetwork(
            NetworkSettings(HOST),
            NodeKey(b"\x07" * 32),
            GENESIS.hash,
            self,
            PeerBook(bytes(32)),
            clock=CLOCK.now_ms,
            chance=random.Random(7),
            randomness=os.urandom,
            is_validator=lambda _: False,
        )

    def on_request(self, request: Request) -> None:
        self.server.on_request(request)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Give its address in the words of the setting."""
        await self.sockets.start()
        try:
            yield f"{self.sockets.node_id.hex()}@{HOST}:{self.sockets.port}"
        finally:
            await self.sockets.stop()
            await self.server.stop()


def config(home: Path, **settings: Any) -> NodeConfig:
    home.mkdir(exist_ok=True)
    made = NodeConfig(home=home, state_sync=True, p2p_host=HOST, p2p_port=0)
    return replace(made, **settings)


async def begun(
    found: NodeConfig,
    told: "asyncio.Future[Any] | None" = None,
    state_sync: StateSync | None = None,
) -> bool:
    """Begin, within a deadline; nobody tells the node to stop unless `told` says so."""
    told = asyncio.get_running_loop().create_future() if told is None else told
    async with asyncio.timeout(60):
        key = NodeKey(b"\x09" * 32)
        return await begin_with_snapshot(
            found, GENESIS, key, CLOCK, told, state_sync or StateSync()
        )


def test_who_has_blocks_or_nobody_to_ask_does_not_ask(tmp_path: Path) -> None:
    peers = f"{'ab' * 32}@{HOST}:1"
    asking = config(tmp_path, p2p_persistent_peers=peers)
    assert is_needed(asking, GENESIS, CLOCK)
    assert not is_needed(replace(asking, state_sync=False), GENESIS, CLOCK)
    assert not is_needed(replace(asking, p2p_persistent_peers=""), GENESIS, CLOCK)
    (tmp_path / BOOK_FILE).write_bytes(b"")
    assert is_needed(replace(asking, p2p_persistent_peers=""), GENESIS, CLOCK)

    class Young(SystemClock):
        def wall_ms(self) -> int:
            return GENESIS.time_ms + beginning.YOUNG_MS

    assert not is_needed(asking, GENESIS, Young())
    (tmp_path / "data").mkdir()
    assert not is_needed(asking, GENESIS, CLOCK)


async def test_a_home_begins_with_the_snapshot_of_a_peer(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "shelf")
    taken(peer.chain.rows, tmp_path / "shelf")
    async with peer.running() as address:
        found = config(tmp_path / "home", p2p_persistent_peers=address)
        state_sync = StateSync()
        assert await begun(found, None, state_sync)
    assert (state_sync.stage, state_sync.height) == ("done", 2 * EPOCH_BLOCKS + 1)
    assert state_sync.chunks_here == state_sync.chunks > 0 < state_sync.chunk_bytes
    store = LevelDb(tmp_path / "home" / "data", create=False)
    assert Chain(store).application.head == peer.chain.application.head
    store.close()
    assert len(snapshots_in(tmp_path / "home" / "snapshots")) == 1
    assert (tmp_path / "home" / BOOK_FILE).exists()


async def test_without_a_snapshot_the_home_stays_empty(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "shelf")
    async with peer.running() as address:
        found = config(tmp_path / "home", p2p_persistent_peers=address, state_sync_wait_ms=500)
        state_sync = StateSync()
        assert await begun(found, None, state_sync)
    assert (state_sync.stage, state_sync.is_active) == ("failed", False)
    assert not (tmp_path / "home" / "data").exists()


async def test_a_node_that_is_told_to_stop_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it asks, and while it restores: neither leaves half a database."""
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.2, told.set_result, None)
    found = config(tmp_path / "home", p2p_persistent_peers=f"{'ab' * 32}@{HOST}:1")
    assert not await begun(found, told)

    peer = Peer(tmp_path / "shelf")
    taken(peer.chain.rows, tmp_path / "shelf")
    loop, told = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    real = beginning.go_on

    given_up: list[str] = []

    def told_now(is_told: Callable[[], bool], done: int, of: int) -> None:
        loop.call_soon_threadsafe(told.set_result, None)
        deadline = time.monotonic() + 30
        while not is_told() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            real(is_told, done, of)
        except SnapshotNotNow as error:
            given_up.append(error.code)
            raise

    monkeypatch.setattr(beginning, "go_on", told_now)
    async with peer.running() as address:
        assert not await begun(replace(found, p2p_persistent_peers=address), told)
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread has cleaned up
    assert given_up == [SnapshotNotNow.code]
    assert not list((tmp_path / "home").glob("data*"))


async def test_what_cannot_be_restored_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SnapshotRefused("The block cannot stand.")

    peer = Peer(tmp_path / "shelf")
    taken(peer.chain.rows, tmp_path / "shelf")
    monkeypatch.setattr(beginning, "restore", refuse)
    async with peer.running() as address:
        found = config(tmp_path / "home", p2p_persistent_peers=address)
        assert await begun(found)
        with pytest.raises(AddressUnusable):
            await begun(replace(found, p2p_port=int(address.rpartition(":")[2])))
    assert not (tmp_path / "home" / "data").exists()
    assert not snapshots_in(tmp_path / "home" / "snapshots")


class Hands:
    """A clock that is moved by hand."""

    def __init__(self, wall_ms: int) -> None:
        self.now = wall_ms

    def now_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return self.now


async def test_nobody_begins_before_the_time_of_the_genesis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beginning, "WAIT_SECONDS", 0.01)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    clock = Hands(GENESIS.time_ms - 60_000)
    waiting = asyncio.create_task(until_genesis(GENESIS, clock, told))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    clock.now = GENESIS.time_ms
    await asyncio.wait_for(waiting, 30)

    clock.now = GENESIS.time_ms - 60_000
    waiting = asyncio.create_task(until_genesis(GENESIS, clock, told))
    await asyncio.sleep(0.05)
    told.set_result(None)
    await asyncio.wait_for(waiting, 30)
