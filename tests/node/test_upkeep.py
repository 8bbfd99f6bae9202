"""Upkeep: snapshots at the same heights on every node, pruning down to the window, and a stop."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from node import upkeep
from node.history_settings import HistorySettings
from node.snapshot import cutting
from node.snapshot.errors import SnapshotNotNow
from node.snapshot.folder import SnapshotFolder, snapshots_in
from node.snapshot.restore import restore_into
from node.storage import pruning
from node.storage.kv import KeyValueStore, LevelDb, MemoryStore
from node.upkeep import Upkeep
from node.upkeep_metrics import PruningCollector
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

WINDOW = GENESIS.params.staking.evidence_blocks + EPOCH_BLOCKS


class Node:
    """A chain that tells its upkeep of every block, over a database on disk."""

    def __init__(
        self,
        folder: Path,
        blocks: int = 0,
        store: KeyValueStore | None = None,
        **settings: Any,
    ) -> None:
        self.store = LevelDb(folder / "data", create=True) if store is None else store
        self.chain = Chain(self.store).grow(blocks)
        self.snapshots = folder / "snapshots"
        self.is_syncing = False
        self.errors: list[BaseException] = []
        config = HistorySettings(**settings)
        self.upkeep = Upkeep(self.store, self.chain.application, config, self.snapshots, self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        self.upkeep.start(self.errors.append)
        try:
            yield self
        finally:
            await self.upkeep.stop()
            assert not self.errors
            self.store.close()

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.chain.grow(1)
            self.upkeep.committed(self.chain.application.head.header)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    @property
    def is_idle(self) -> bool:
        """Whether no snapshot is under way."""
        return self.upkeep._begun is None and not self.upkeep._lock.locked()

    def heights(self) -> list[int]:
        return [int(folder.path.name) for folder in snapshots_in(self.snapshots)]


@pytest.fixture(scope="module")
def long() -> Chain:
    """Twelve blocks more than any node has to keep."""
    return Chain().grow(WINDOW + 12)


def copy_of(chain: Chain) -> MemoryStore:
    return MemoryStore(chain.rows.scan(b"", None))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROUND_SECONDS", 0.005)
    monkeypatch.setattr(cutting, "CHUNK_BYTES", 600)


async def made_at_pace(folder: Path, pace: int) -> list[SnapshotFolder]:
    """Make 35 blocks, so many at once, and return the snapshots that are left."""
    node = Node(folder, snapshot_every_blocks=10)
    async with node.running():
        for _ in range(35 // pace):
            node.grow(pace)
            await node.until(lambda: node.is_idle)
    return snapshots_in(node.snapshots)


async def test_snapshots_are_of_the_same_heights_everywhere(tmp_path: Path) -> None:
    """Whenever a node gets round to writing one, its state is that of the height that was due."""
    ones = await made_at_pace(tmp_path / "one", 1)
    others = await made_at_pace(tmp_path / "other", 5)
    assert [folder.path.name for folder in ones] == ["30", "20"]
    for one, other in zip(ones, others, strict=True):
        assert one.manifest(GENESIS.hash) == other.manifest(GENESIS.hash)
        head = restore_into(one, MemoryStore(), GENESIS)
        assert head.header.height == int(one.path.name) + 1


def test_what_a_killed_process_left_is_removed_at_the_start(tmp_path: Path) -> None:
    for name in ("10.draft", "20.draft", "5.fetching"):
        (tmp_path / "snapshots" / name).mkdir(parents=True)
    node = Node(tmp_path)
    assert [path.name for path in node.snapshots.iterdir()] == ["5.fetching"]
    node.store.close()


async def test_snapshots_above_a_chain_that_was_rolled_back_count_for_nothing(
    tmp_path: Path,
) -> None:
    """Else each new one, which is below them, would be removed in the same breath."""
    for height in (1_000, 1_001):
        old = tmp_path / "snapshots" / str(height)
        old.mkdir(parents=True)
        (old / "manifest").write_bytes(b"of blocks that are no more")
    node = Node(tmp_path, snapshot_every_blocks=5)
    async with node.running():
        for _ in range(5):
            node.grow(4)
            await node.until(lambda: node.is_idle)
        assert node.heights() == [1_001, 1_000, 15, 10]


async def test_the_event_loop_is_not_kept_by_removing_or_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validator with thousands of chunks would stand still meanwhile."""
    threads: list[int] = []
    for name in ("keep_newest", "view_of"):
        real = getattr(upkeep, name)

        def noted(*given: Any, real: Any = real) -> Any:
            threads.append(threading.get_ident())
            return real(*given)

        monkeypatch.setattr(upkeep, name, noted)
    node = Node(tmp_path, snapshot_every_blocks=5)
    async with node.running():
        node.grow(8)
        await node.until(lambda: len(threads) == 2)
    assert threading.get_ident() not in threads


async def test_one_that_takes_too_long_costs_the_next_and_not_its_height(tmp_path: Path) -> None:
    node = Node(tmp_path, snapshot_every_blocks=5)
    node.grow(13)  # that of 10 falls due while nobody finishes that of 5
    async with node.running():
        await node.until(lambda: node.is_idle and node.heights() == [5])
        node.grow(4)
        await node.until(lambda: node.is_idle and node.heights() == [15, 5])


async def test_a_head_without_a_certificate_waits_for_the_next(tmp_path: Path) -> None:
    node = Node(tmp_path, snapshot_every_blocks=7)  # every fourth block is final with a descendant
    async with node.running():
        node.grow(8)
        node.grow(4)
        await node.until(lambda: node.heights() == [7])
    node = Node(tmp_path / "other", snapshot_every_blocks=11)
    async with node.running():
        node.grow(12)
        assert node.upkeep._begun is None
        node.grow(1)
        await node.until(lambda: node.heights() == [12])


async def test_none_is_made_without_the_setting_or_while_others_are_far_ahead(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path / "never", snapshot_every_blocks=0)
    async with node.running():
        node.grow(30)
        assert node.upkeep._begun is None
    node = Node(tmp_path / "behind", snapshot_every_blocks=5)
    node.is_syncing = True
    async with node.running():
        node.grow(22)
        assert node.upkeep._begun is None
        node.is_syncing = False
        node.grow(1)
        await node.until(lambda: node.heights() == [22])


async def test_a_snapshot_that_cannot_be_begun_is_missing_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(tmp_path, snapshot_every_blocks=5)
    node.snapshots.write_text("a file where the folder should be")
    async with node.running():
        node.grow(8)
        assert node.chain.application.head.header.height == 8
        assert caplog.messages == ["no snapshot made"], "once for each height that is due"
        node.snapshots.unlink()
        node.grow(3)
        await node.until(lambda: node.heights() == [10])


async def test_old_ones_that_cannot_be_removed_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(tmp_path, snapshot_every_blocks=5, snapshots_kept=1)
    async with node.running():
        node.grow(6)
        await node.until(lambda: node.is_idle and node.heights() == [5])
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink_but_of("5"))
            node.grow(5)
            await node.until(lambda: node.is_idle)
        assert "old snapshots not removed" in caplog.messages
        assert "no snapshot made" not in caplog.messages
        node.grow(5)
        await node.until(lambda: node.heights() == [15])


def unlink_but_of(folder: str) -> Callable[..., None]:
    """The system's own, but that what lies in a folder may not be removed."""
    plain = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.parent.name == folder:
            raise PermissionError(errno.EACCES, "Permission denied")
        plain(path, missing_ok=missing_ok)

    return unlink


async def test_one_is_made_when_asked_for(tmp_path: Path) -> None:
    node = Node(tmp_path, blocks=9)
    async with node.running():
        view = await node.upkeep.make_snapshot()
        assert (view.height, node.heights()) == (8, [8])
        assert view.crown_id == node.chain.application.head.block_id
        node.grow(3)  # the last one is final with a descendant only
        asked = asyncio.create_task(node.upkeep.make_snapshot())
        await asyncio.sleep(0)
        node.grow(1)
        assert (await asked).height == 12


async def test_one_that_was_begun_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    node = Node(tmp_path, snapshot_every_blocks=5)
    node.grow(6)
    view = await node.upkeep.make_snapshot()
    assert view.height == 5 and node.upkeep._begun is None
    await node.upkeep.stop()
    node.store.close()


async def test_a_stop_leaves_no_draft_and_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, snapshot_every_blocks=5)
    node.grow(6)  # begun, and nobody is there to finish it
    assert [path.name for path in node.snapshots.iterdir()] == ["5.draft"]
    await node.upkeep.stop()
    assert not any(node.snapshots.iterdir())
    node.store.close()

    node = Node(tmp_path / "other", snapshot_every_blocks=5)
    monkeypatch.setattr(upkeep, "_rest", lambda _: node.upkeep._stopping.set())
    async with node.running():
        node.grow(6)
        await node.until(lambda: node.upkeep._begun is None)
    assert not any(node.snapshots.iterdir())
    with pytest.raises(SnapshotNotNow, match="stops"):
        node.upkeep._make(iter_of_nothing())


def iter_of_nothing() -> Any:
    yield None


async def test_blocks_go_down_to_the_window_and_no_further(
    tmp_path: Path, long: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEP_BLOCKS", 3)
    monkeypatch.setattr(pruning, "COMPACT_BYTES_MIN", 1)
    monkeypatch.setattr(pruning, "COMPACT_BYTES", 1)
    node = Node(tmp_path, store=copy_of(long), blocks_kept=1)
    async with node.running():
        await node.until(lambda: node.chain.store.floor == 12)
        node.chain.parent, node.chain.view = long.parent, long.view
        node.chain.nonce = long.nonce
        node.grow(5)
        await node.until(lambda: node.chain.store.floor == 17)
        await node.until(lambda: not node.upkeep.pruner.compaction_due)
        assert node.chain.store.floor == 17
    registry = CollectorRegistry()
    registry.register(PruningCollector(node.upkeep))
    value = registry.get_sample_value
    assert value("sahara_pruning_height") == 17 and value("sahara_pruning_blocks_total") == 16
    for name in ("bytes", "seconds", "compaction_seconds"):
        assert (value(f"sahara_pruning_{name}_total") or 0) > 0, name


async def test_an_archive_keeps_everything(tmp_path: Path, long: Chain) -> None:
    node = Node(tmp_path, store=copy_of(long), blocks_kept=0)
    async with node.running():
        await asyncio.sleep(0.05)
        assert node.chain.store.floor == 1
    node = Node(tmp_path / "other", store=copy_of(long), blocks_kept=WINDOW + 9)
    async with node.running():
        await node.until(lambda: node.chain.store.floor == 3)


async def test_a_damaged_database_is_told(tmp_path: Path, long: Chain) -> None:
    node = Node(tmp_path, store=copy_of(long), blocks_kept=1)
    node.store.write([(b"h" + (3).to_bytes(8, "big"), b"")], [], sync=True)
    node.upkeep.start(node.errors.append)
    await node.until(lambda: bool(node.errors))
    await node.upkeep.stop()
    node.store.close()


async def test_a_stop_between_two_rounds_does_not_wait_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.upkeep.ROUND_SECONDS", 60.0)
    node = Node(tmp_path, blocks=2)
    async with node.running():
        await asyncio.sleep(0.05)  # the first round is over
        async with asyncio.timeout(30):
            await node.upkeep.stop()
