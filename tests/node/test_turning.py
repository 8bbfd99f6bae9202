"""A node whose peers have all pruned what it needs: it takes a snapshot, or says what to do."""

import asyncio
import logging
import os
import random
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus.messages import Message, Status
from node import service, turning
from node.clock import SystemClock
from node.config import NodeConfig
from node.network.overlay import Overlay
from node.snapshot import restore as restoring
from node.snapshot.folder import snapshots_in
from node.snapshot.serving import snapshot_handlers
from node.storage.finality_store import FinalityView
from node.storage.kv import LevelDb
from node.sync import core
from node.sync.archive import chain_handlers
from node.sync.server import SyncServer
from node.turning import finish, take_over
from p2p import NetworkSettings, NodeKey, PeerBook, SocketNetwork
from state.types import Hash
from tests.node.snapshot.test_restore import taken
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

CLOCK = SystemClock()
HOST = "127.0.0.1"
HEIGHT = 3 * EPOCH_BLOCKS + 3
BEHIND = 3
SECONDS_MAX = 10.0


class Told:
    """A host that tells where its chain ends."""

    def __init__(self, chain: Chain) -> None:
        head = chain.application.head
        at = (head.header.epoch, head.header.view)
        self._status = Status(*at, *at, head.header.height, head.block_id)

    def hello(self) -> Message | None:
        return self._status

    def receive(self, peer: bytes, message: Message) -> None:
        pass


def pruned_chain(shelf: Path) -> Chain:
    """A chain with a snapshot whose lower blocks are gone, but for the last ones of epochs."""
    chain = Chain().grow(HEIGHT)
    taken(chain.rows, shelf)
    gone = [height for height in range(1, HEIGHT - 2) if height % EPOCH_BLOCKS]
    for kind in (b"b", b"h"):
        chain.rows.write([], [kind + height.to_bytes(8, "big") for height in gone], sync=True)
    return chain


@contextmanager
def serving(chain: Chain, shelf: Path) -> Iterator[str]:
    """Serve a chain and its snapshots on loopback, in a thread; give the address."""
    loop = asyncio.new_event_loop()
    handlers = {
        **chain_handlers(chain.store),
        **snapshot_handlers(FinalityView(chain.rows), shelf, GENESIS.hash),
    }
    server, overlay = SyncServer(handlers, CLOCK.now_ms), Overlay()
    sockets = SocketNetwork(
        NetworkSettings(HOST),
        NodeKey(b"\x07" * 32),
        GENESIS.hash,
        overlay,
        PeerBook(bytes(32)),
        clock=CLOCK.now_ms,
        chance=random.Random(7),
        randomness=os.urandom,
        is_validator=lambda _: False,
    )
    overlay.join(Told(chain), sockets, requests=server)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sockets.start(), loop).result(30)
        yield f"{sockets.node_id.hex()}@{HOST}:{sockets.port}"
    finally:
        try:
            for stop in (sockets.stop, server.stop):
                asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        finally:  # a thread whose loop runs on keeps the interpreter from ending
            loop.call_soon_threadsafe(loop.stop)
            thread.join(SECONDS_MAX)
        assert not thread.is_alive()
        loop.close()


def behind(folder: Path, **settings: Any) -> NodeConfig:
    """A follower's home that has some blocks, of those that nobody keeps any more."""
    folder.mkdir()
    store = LevelDb(folder / "data", create=True)
    Chain(store).grow(BEHIND)
    store.close()
    made = NodeConfig(home=folder, key_name="", p2p_host=HOST, p2p_port=0, rpc_port=0)
    return replace(made, state_sync_wait_ms=1_000, **settings)


def head_of(config: NodeConfig) -> Hash:
    store = LevelDb(config.home / "data", create=False)
    found: Hash = Chain(store).application.head.block_id
    store.close()
    return found


@contextmanager
def stopped_once(is_so: Callable[[], Any]) -> Iterator[None]:
    """Tell the node in this process to stop once something is so, or after a minute, until it has.

    A signal that comes where no node hears it ends nothing but the wait for the next one.
    """
    over = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    def watch() -> None:
        try:
            for _ in range(600):
                if is_so() or over.wait(0.1):
                    break
        finally:  # whatever came of it, for the node runs until it is told
            while not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
                over.wait(SECONDS_MAX)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS_MAX)
        signal.signal(signal.SIGTERM, before)
    assert not thread.is_alive()


def run(config: NodeConfig) -> int:
    """Run the node as `sahara run` does."""
    return service.run(config, GENESIS, None, NodeKey(b"\x09" * 32))


def said(caplog: pytest.LogCaptureFixture, message: str) -> list[Any]:
    return [one for one in list(caplog.records) if one.getMessage() == message]


def test_it_goes_on_with_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Within one process, and guard and journal are those that it had."""
    monkeypatch.setattr(core, "STALLED_MS", 500)
    caplog.set_level(logging.INFO)
    chain = pruned_chain(tmp_path / "shelf")
    with serving(chain, tmp_path / "shelf") as address:
        config = behind(tmp_path / "home", state_sync=True, p2p_persistent_peers=address)
        with stopped_once(lambda: len(said(caplog, "serving")) > 1):
            assert run(config) == 0
    assert head_of(config) == chain.application.head.block_id
    assert said(caplog, "turned to a snapshot")
    assert not said(caplog, "follows without a vote"), "no vote was lost"
    assert {path.name for path in config.home.iterdir()} & {"data.old", "data.fresh"} == set()


@pytest.mark.parametrize("moment", ["turns", "stops", "restores"])
def test_one_that_is_told_to_stop_while_it_turns_stops(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It turned by itself, and that takes nothing from the word of whoever stops it."""
    monkeypatch.setattr(core, "STALLED_MS", 500)
    caplog.set_level(logging.INFO)
    told: list[float] = []

    def tell(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            found = function(*given, **named)
            if not told:
                told.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGTERM)
            return found

        return wrapped

    place, name = {
        "turns": (service.Service, "_turn"),
        "stops": (service.Service, "close"),
        "restores": (restoring, "_genesis_rows"),
    }[moment]
    monkeypatch.setattr(place, name, tell(getattr(place, name)))
    with serving(pruned_chain(tmp_path / "shelf"), tmp_path / "shelf") as address:
        config = behind(tmp_path / "home", state_sync=True, p2p_persistent_peers=address)
        before = head_of(config)
        with stopped_once(lambda: told and time.monotonic() > told[0] + SECONDS_MAX):
            assert run(config) == 0
            assert time.monotonic() - told[0] < 3.0
    assert len(said(caplog, "serving")) == 1
    assert not said(caplog, "turned to a snapshot")
    finish(config)
    assert head_of(config) == before
    assert list((config.home / "snapshots").iterdir()), "the next start goes on with it"


def test_one_that_is_told_to_stop_once_it_has_begun_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has its snapshot, and is about to be a node."""
    caplog.set_level(logging.INFO)
    told: list[float] = []
    stop = service.WaitingRoom.stop

    async def stopped(room: service.WaitingRoom) -> None:
        await stop(room)
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(service, "is_needed", lambda *_: True)
    monkeypatch.setattr(service.WaitingRoom, "stop", stopped)
    chain = pruned_chain(tmp_path / "shelf")
    with serving(chain, tmp_path / "shelf") as address:
        config = replace(
            behind(tmp_path / "other", state_sync=True, p2p_persistent_peers=address),
            home=tmp_path / "home",
        )
        config.home.mkdir()
        with stopped_once(lambda: told and time.monotonic() > told[0] + SECONDS_MAX):
            assert run(config) == 0
            assert time.monotonic() - told[0] < 3.0
    assert not said(caplog, "serving")
    assert head_of(config) == chain.application.head.block_id


def test_nothing_is_left_of_what_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows, trees, mempool and peers of a stopped node are gone before the next one begins."""
    monkeypatch.setattr(core, "STALLED_MS", 500)
    caplog.set_level(logging.INFO)
    before: list[list[bool]] = []
    signals: list[Any] = []
    made: list[weakref.ref[Any]] = []

    class Watched(service.Service):
        def __init__(self, *given: Any) -> None:
            before.append([one() is None for one in made])
            signals.append(signal.getsignal(signal.SIGTERM))
            super().__init__(*given)
            made.extend(map(weakref.ref, (self, self._application, self._host, self._store)))

    monkeypatch.setattr(service, "Service", Watched)
    with serving(pruned_chain(tmp_path / "shelf"), tmp_path / "shelf") as address:
        config = behind(tmp_path / "home", state_sync=True, p2p_persistent_peers=address)
        with stopped_once(lambda: len(said(caplog, "serving")) > 1):
            assert run(config) == 0
    assert before == [[], [True] * 4]
    assert signals[0] == signals[1], "a stop that comes in between is heard"


def test_without_leave_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(core, "STALLED_MS", 500)
    caplog.set_level(logging.INFO)
    chain = pruned_chain(tmp_path / "shelf")
    with serving(chain, tmp_path / "shelf") as address:
        config = behind(tmp_path / "home", p2p_persistent_peers=address)
        before = head_of(config)
        with stopped_once(lambda: said(caplog, "blocks pruned")):
            assert run(config) == 0
    (first, *_) = said(caplog, "blocks pruned")
    assert first.code == "sync.pruned"
    assert f"block {BEHIND + 1}" in first.reason and "--state-sync" in first.reason
    assert head_of(config) == before


def test_a_database_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = pruned_chain(tmp_path / "shelf")
    config = behind(tmp_path / "home", state_sync=True)
    before = head_of(config)
    folder = next(iter(snapshots_in(tmp_path / "shelf")))

    def fails(_: NodeConfig) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # the power fails between the two steps
        patch.setattr(turning, "finish", fails)
        with pytest.raises(KeyboardInterrupt):
            take_over(config, GENESIS, folder)
    assert not (config.home / "data").exists()
    finish(config)
    assert head_of(config) == chain.application.head.block_id != before
    assert {path.name for path in config.home.iterdir()} == {"data"}
    for name in ("data.restoring", "data.fresh.restoring"):
        (config.home / name).mkdir()
    finish(config)
    assert head_of(config) == chain.application.head.block_id
    assert {path.name for path in config.home.iterdir()} == {"data"}


def test_a_snapshot_that_cannot_be_restored_leaves_the_database(tmp_path: Path) -> None:
    pruned_chain(tmp_path / "shelf")
    config = behind(tmp_path / "home", state_sync=True)
    before = head_of(config)
    folder = next(iter(snapshots_in(tmp_path / "shelf")))
    (folder.path / "block").write_bytes(b"")
    take_over(config, GENESIS, folder)
    assert head_of(config) == before
