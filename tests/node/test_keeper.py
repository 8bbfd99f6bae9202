"""The keeper under a host: journal, then guard, then database and peers; at every crash."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from consensus.driver import Driver
from consensus.messages import Message
from consensus.settings import Settings
from consensus.timeouts import DEVNET, Pacing
from node.application import Application
from node.clock import SystemClock
from node.home import Home
from node.host import Host
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.signer import create_guard
from node.standing import take_stock
from node.storage import record_file
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore, Row
from state import crypto
from state.params import Params, StakingParams

EPOCH_BLOCKS = 3
HEIGHTS = 7
"""Two ends of epochs are among them."""
POLLS_MAX = 10_000


class PowerFailed(Exception):
    """The machine lost power."""


class Disk:
    """Counts and names what becomes durable, and loses power where it is told to."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.order: list[str] = []
        self.fails_at = fails_at
        self.is_off = False

    def strike(self, what: str) -> None:
        if self.is_off or len(self.order) == self.fails_at:
            self.is_off = True
            raise PowerFailed
        self.order.append(what)


class Database(MemoryStore):
    """Rows that survive; a batch is whole or absent."""

    disk = Disk()

    def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
        self.disk.strike("database" if sync else "rows")
        super().write(puts, deletes, sync=sync)


class Everybody:
    """Peers that note when something is sent."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def send(self, to: bytes, message: Message) -> None:
        raise AssertionError("nobody else is there")

    def broadcast(self, message: Message) -> None:
        assert not self.disk.is_off
        self.disk.order.append(f"send {type(message).__name__}")

    def blame(self, peer: bytes) -> None:
        raise AssertionError("nobody else is there")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], Disk]]:
    """Put a disk under everything; half of what was being written when it failed is there."""
    real_sync, real_write = os.fdatasync, record_file._write_all
    held: list[Disk] = [Disk()]

    def write(file: Any, data: bytes) -> None:
        name = Path(file.name).name
        try:
            held[0].strike(name)
        except PowerFailed:
            real_write(file, data[: len(data) // 2])
            raise
        real_write(file, data)

    monkeypatch.setattr(record_file, "_write_all", write)
    monkeypatch.setattr(os, "fdatasync", lambda number: real_sync(number))

    def make(fails_at: int | None) -> Disk:
        held[0] = Database.disk = Disk(fails_at)
        return held[0]

    yield make
    Database.disk = Disk()


def network(make_local_chain: Any) -> Any:
    staking = StakingParams(epoch_blocks=EPOCH_BLOCKS, unbonding_blocks=100, evidence_blocks=80)
    return make_local_chain(params=Params(staking=staking))


async def live(
    chain: Any, home: Home, rows: Database, height: int, *, peers: Any = None
) -> list[Any]:
    """Run a node until the height, or until the power fails; return its final header rows."""
    key = chain.accounts[0]
    failed: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failed.append(context["exception"])
    )
    standing = host = None
    try:
        store = ChainStore(rows, chain.genesis)
        application = Application(
            store, chain.genesis, invariants_every_blocks=1, timed=lambda _: nullcontext()
        )
        standing = take_stock(home, key, application, None)
        driver = Driver(
            Settings(
                chain.genesis.hash,
                EPOCH_BLOCKS,
                key.public_key,
                crypto.verify_many,
                application.bodies.judge,
                application.judge_over_parent,
                DEVNET,
                Pacing(0, 1),
            )
        )
        clock = SystemClock()
        mempool = Mempool(MempoolLimits(1_000, 2**24, 256))
        host = Host(
            driver,
            application,
            store,
            mempool,
            standing.keeper,
            clock,
            NodeMetrics(clock),
            peers=peers,
        )
        host.start()
        for _ in range(POLLS_MAX):
            if failed or application.head.header.height >= height:
                break
            await asyncio.sleep(0.001)
        assert failed or application.head.header.height >= height, "the chain stands still"
    except PowerFailed as error:
        failed.append(error)
    finally:
        if host is not None:
            host.stop()
        if standing is not None:
            standing.close()
    assert all(isinstance(error, PowerFailed) for error in failed), failed
    if failed:
        raise PowerFailed
    return [store.header(at) for at in range(application.head.header.height + 1)]


def new_home(chain: Any, path: Path) -> Home:
    path.mkdir()
    home = Home(path)
    create_guard(home.guard_file, chain.accounts[0].public_key, chain.genesis.hash)
    return home


async def test_a_block_waits_for_journal_guard_and_database_in_this_order(
    tmp_path: Path, make_local_chain: Any, disk: Any
) -> None:
    chain = network(make_local_chain)
    made = disk(None)
    await live(chain, new_home(chain, tmp_path / "home"), Database(), HEIGHTS)
    order = made.order[made.order.index("journal") :]
    blocks = [order[at : at + 3] for at in range(0, 3 * HEIGHTS, 3)]
    assert blocks == [["journal", "guard", "database"]] * HEIGHTS


async def test_nothing_is_sent_before_both_files_are_synced(
    tmp_path: Path, make_local_chain: Any, disk: Any
) -> None:
    """What a step told others was in the journal and the guard when it left."""
    chain = network(make_local_chain)
    made = disk(None)
    peers = Everybody(made)
    await live(chain, new_home(chain, tmp_path / "home"), Database(), HEIGHTS, peers=peers)
    told = {"send Propose": 0, "send Finalize": 0}
    synced = 0
    for at, what in enumerate(made.order):
        if what == "guard":
            assert made.order[at - 1] == "journal"
            synced += 1
        if what in told:
            told[what] += 1
            assert synced >= told["send Propose"] or synced >= told["send Finalize"]
            before = [one for one in made.order[:at] if one in ("journal", "guard")]
            assert before[-2:] == ["journal", "guard"]
        if what == "database" and synced:
            assert "guard" in made.order[:at]
    assert min(told.values()) >= HEIGHTS


async def test_the_power_may_fail_at_every_write(
    tmp_path: Path, make_local_chain: Any, disk: Any
) -> None:
    """It comes back with what was final, votes as it did, and the chain goes on."""
    chain = network(make_local_chain)
    made = disk(None)
    await live(chain, new_home(chain, tmp_path / "whole"), Database(), HEIGHTS)
    writes = 3 * HEIGHTS + made.order.index("journal")
    survived = 0
    for fails_at in range(writes):
        rows, home = Database(), new_home(chain, tmp_path / str(fails_at))
        disk(fails_at)
        with pytest.raises(PowerFailed):
            await live(chain, home, rows, HEIGHTS + 1)
        disk(None)
        before = list(rows.scan(b"h", b"i"))
        found = await live(chain, home, rows, HEIGHTS + 2)
        assert list(rows.scan(b"h", b"i"))[: len(before)] == before
        assert [row.header.height for row in found] == [*range(len(found))]
        rounds = [(row.header.epoch, row.header.view) for row in found[1:]]
        assert rounds == sorted(set(rounds))
        survived += len(before) > 1
        shutil.rmtree(home.path)
    assert survived > writes // 2
