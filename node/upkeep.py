"""Upkeep: pruning, snapshots and memory beside a running node, in threads that yield to it.

The work goes piece by piece, and rests after each one for as long as it took: so blocks find at
least half of a core free, and a stop is obeyed within a piece.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from node import heap
from node.application import Application
from node.history_settings import HistorySettings
from node.rpc.catalogue import method_of
from node.snapshot.errors import SnapshotError, SnapshotNotNow
from node.snapshot.folder import SnapshotFolder, keep_newest, remove_leftovers
from node.snapshot.make import Making, make_snapshot
from node.snapshot.view import SnapshotView, view_of
from node.storage.kv import KeyValueStore
from node.storage.pruning import Pruner, window_blocks
from state.finality import Header

ROUND_SECONDS: Final = 1.0
TRIM_ROUNDS: Final = 30
REST_SECONDS_MAX: Final = 0.25
NOT_NOW_SECONDS: Final = 0.05
NOT_NOW_TRIES: Final = 100
"""So often a snapshot is tried while the newest block is final through a descendant."""


log = logging.getLogger("sahara.upkeep")


class Syncing(Protocol):
    """Whoever fetches blocks that others have: there is no time for snapshots meanwhile."""

    @property
    def is_syncing(self) -> bool:
        """Whether this node is far behind."""
        ...


@dataclass(slots=True)
class Spent:
    """Seconds that pruning has taken since the start."""

    pruning: float = 0.0
    compacting: float = 0.0


class Upkeep:
    """Keeps one node's disk as its settings say."""

    def __init__(
        self,
        store: KeyValueStore,
        application: Application,
        config: HistorySettings,
        folder: Path,
        syncing: Syncing,
    ) -> None:
        self._store = store
        self._application = application
        self._config = config
        self._folder = folder
        self._syncing = syncing
        self.pruner = Pruner(store, application.genesis)
        self.spent = Spent()
        self._lock = asyncio.Lock()
        self._begun: Making | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._due = self._due_after(application.head.header.height)
        remove_leftovers(folder)

    def committed(self, header: Header) -> None:
        """Take hold of the state when a snapshot of it is due.

        Whoever makes snapshots of the same heights is of more use: others fetch from all at once.
        """
        if header.height <= self._due or self._syncing.is_syncing:
            return
        if self._begun is not None or self._lock.locked():
            self._due = self._due_after(header.height - 1)  # it takes longer than it should last
            return
        making = make_snapshot(self._store, self._application.genesis, self._folder)
        try:
            next(making)
            self._begun = making
        except SnapshotNotNow:
            return  # the next block will do
        except SnapshotError as error:  # the block is committed, whatever the disk says to this
            _warn_missing(error)
        self._due = self._due_after(header.height - 1)

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin; `failed` hears of what no retry would mend."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda task: _report(task, failed))

    async def stop(self) -> None:
        """Finish the piece of work under way; the database is not touched once this returns."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        async with self._lock:
            if self._begun is not None:
                self._begun.close()
                self._begun = None

    async def make_snapshot(self) -> SnapshotView:
        """Make a snapshot now; raises SnapshotError."""
        async with self._lock:
            begun, self._begun = self._begun, None
            return await self._finish(begun)

    async def _run(self) -> None:
        for number in count(1):
            if self._stopping.is_set():
                return
            if number % TRIM_ROUNDS == 0:
                await asyncio.to_thread(heap.trim)
            if self._config.blocks_kept:
                await asyncio.to_thread(self._prune)
            if self._begun is not None:
                await self._make_due()
            with suppress(TimeoutError):  # a node that is told to stop does not wait for the round
                await asyncio.wait_for(self._stopping.wait(), ROUND_SECONDS)

    async def _make_due(self) -> None:
        """Make the snapshot that was begun; one that fails is missing, and nothing else."""
        async with self._lock:
            begun, self._begun = self._begun, None
            try:
                await self._finish(begun)
            except SnapshotError as error:
                _warn_missing(error)

    async def _finish(self, begun: Making | None) -> SnapshotView:
        view = await asyncio.to_thread(self._made, begun)
        log.info("snapshot made", extra={"path": view.path, "bytes": view.size_bytes})
        return view

    def _prune(self) -> None:
        """Prune down to the window and, now and then, give back the room."""
        window = window_blocks(self._config.blocks_kept, self._application.params.staking)
        floor = self._application.head.header.height - window
        is_more = floor > self.pruner.floor
        while is_more and not self._stopping.is_set():
            start = time.monotonic()
            is_more = self.pruner.step(floor)
            _rest(start)
            self.spent.pruning += time.monotonic() - start
        if self.pruner.compaction_due:
            start = time.monotonic()
            for _ in self.pruner.compact():
                if self._stopping.is_set():
                    break
            self.spent.compacting += time.monotonic() - start

    def _made(self, begun: Making | None) -> SnapshotView:
        """Make a snapshot, and remove those that are too old beside it."""
        found = self._make(begun)
        view = view_of(found, self._application.genesis)
        try:
            keep_newest(self._folder, self._config.snapshots_kept, view.height)
        except SnapshotError as error:  # the new one is there all the same
            log.warning("old snapshots not removed", extra={"reason": error.sentence})
        return view

    def _make(self, begun: Making | None) -> SnapshotFolder:
        """Finish a snapshot, or make one of the next moment that allows it."""
        tries = 0
        while begun is None:
            begun = make_snapshot(self._store, self._application.genesis, self._folder)
            try:
                next(begun)
            except SnapshotNotNow:
                tries += 1
                if tries == NOT_NOW_TRIES or self._stopping.is_set():
                    raise
                time.sleep(NOT_NOW_SECONDS)
                begun = None
        start = time.monotonic()
        for piece in begun:
            if piece is not None:
                return piece
            if self._stopping.is_set():
                begun.close()
                break
            _rest(start)
            start = time.monotonic()
        raise SnapshotNotNow("The node stops; make the snapshot once it runs again.")

    def _due_after(self, height: int) -> int:
        """Return the height after which the next snapshot is taken."""
        every = self._config.snapshot_every_blocks
        return (height // every + 1) * every if every else 2**63


async def make_snapshot_now(upkeep: Upkeep) -> SnapshotView:
    """Make a snapshot of the state before the newest block; takes as long as the state is large."""
    return await upkeep.make_snapshot()


MAKE_SNAPSHOT: Final = method_of("node.make_snapshot", make_snapshot_now, unsafe=True)


def _warn_missing(error: SnapshotError) -> None:
    log.warning("no snapshot made", extra={"reason": error.sentence})


def _rest(start: float) -> None:
    time.sleep(min(REST_SECONDS_MAX, time.monotonic() - start))


def _report(task: "asyncio.Task[None]", failed: Callable[[BaseException], None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        failed(error)
