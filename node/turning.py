"""Turning to a snapshot: what a node does whose peers have all pruned the blocks it needs next.

The snapshot is fetched while the node runs, over its own network, for until it is whole and checked
nothing is lost by waiting. Then the node stops, the database that nobody can continue is replaced,
and the node starts on the new one. It keeps guard and journal, so it has lost no votes.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable
from typing import ClassVar, Final

from node.application import Application
from node.clock import Clock
from node.config import NodeConfig
from node.home import Home
from node.keeper import Keeper
from node.keystore import sync_folder
from node.snapshot.errors import SnapshotError, SnapshotMissing, SnapshotRefused
from node.snapshot.folder import SnapshotFolder
from node.snapshot.progress import StateSync
from node.snapshot.restore import DRAFT_SUFFIX, Progress, restore
from node.snapshot.state_sync import fetch_newest
from node.snapshot.walk import read_checkpoint
from node.sync.errors import SyncError
from p2p.interface import Network
from state.genesis import Genesis

REST_MS: Final = 60_000
"""After a search for snapshots that found none."""
FRESH_SUFFIX: Final = ".fresh"
OLD_SUFFIX: Final = ".old"

log = logging.getLogger("sahara.statesync")


class BlocksPruned(SyncError):
    """Nobody who is connected has kept the block that this node needs next."""

    code: ClassVar[str] = "sync.pruned"


class Turning:
    """Watches for blocks that nobody has, and fetches a snapshot instead where that is allowed."""

    def __init__(
        self,
        config: NodeConfig,
        genesis: Genesis,
        application: Application,
        keeper: Keeper,
        network: Network,
        clock: Clock,
    ) -> None:
        self._config = config
        self._genesis = genesis
        self._application = application
        self._keeper = keeper
        self._network = network
        self._clock = clock
        self._task: asyncio.Task[SnapshotFolder | None] | None = None
        self._next_ms = 0
        self.end: Callable[[], None] = lambda: None
        """Ends the node in order, so that it starts again on the snapshot."""
        self.folder: SnapshotFolder | None = None
        """The snapshot to go on with, once it is whole and checked."""

    def pruned(self, height: int) -> None:
        """Every peer has pruned the block of this height, or none gives it: say so, or turn."""
        error = _pruned(height, turns=self._config.state_sync)
        log.warning("blocks pruned", extra={"code": error.code, "reason": error.sentence})
        is_idle = self._task is None and self._clock.now_ms() >= self._next_ms
        if self._config.state_sync and is_idle:
            self._task = asyncio.ensure_future(self._fetch())
            self._task.add_done_callback(self._fetched)

    def stop(self) -> None:
        """Fetch nothing any more."""
        if self._task is not None:
            self._task.cancel()

    async def _fetch(self) -> SnapshotFolder | None:
        return await fetch_newest(
            self._network,
            self._genesis,
            self._config,
            Home(self._config.home).snapshots,
            self._clock,
            StateSync(),
            above=self._application.head.header.height,
        )

    def _fetched(self, task: "asyncio.Task[SnapshotFolder | None]") -> None:
        self._task = None
        if task.cancelled():
            return
        folder = task.result()  # a bug ends the node
        if folder is None:
            self._next_ms = self._clock.now_ms() + REST_MS
            return
        crown = folder.manifest(self._genesis.hash).crown
        if crown.height <= self._application.head.header.height:
            return  # somebody had the blocks after all
        # as before every sync: others finalized these rounds, and the guard knows every vote
        self._keeper.pass_over(crown.epoch, crown.view)
        self.folder = folder
        self.end()


def _pruned(height: int, *, turns: bool) -> BlocksPruned:
    what = f"No peer has block {height} any more, which this node needs next."
    if turns:
        return BlocksPruned(f"{what} It looks for a snapshot instead.")
    return BlocksPruned(
        f"{what} Let it connect to a node that keeps all blocks (profile `archive`); or let it go "
        "on with a snapshot: restart it with --state-sync."
    )


def take_over(
    config: NodeConfig,
    genesis: Genesis,
    folder: SnapshotFolder,
    progress: Progress = lambda _done, _of: None,
) -> None:
    """Replace a stopped node's database by that of a snapshot, whole or not at all.

    What `progress` raises of SnapshotError gives it up.
    """
    data = Home(config.home).data
    fresh = data.with_name(data.name + FRESH_SUFFIX)
    shutil.rmtree(fresh, ignore_errors=True)
    checkpoint = read_checkpoint(config.state_sync_trust)
    try:
        head = restore(folder, fresh, genesis, checkpoint, progress)
    except SnapshotError as error:
        if isinstance(error, SnapshotRefused | SnapshotMissing):
            folder.remove()
        log.error("snapshot not restored", extra={"code": error.code, "reason": error.sentence})
        return
    old = data.with_name(data.name + OLD_SUFFIX)
    shutil.rmtree(old, ignore_errors=True)
    data.rename(old)
    finish(config)
    log.info(
        "turned to a snapshot",
        extra={"height": head.header.height, "state_root": head.state_root.hex()},
    )


def finish(config: NodeConfig) -> None:
    """Put a database in its place that was whole when the node, or its machine, went down.

    Whatever was not whole is removed.
    """
    data = Home(config.home).data
    for draft in data.parent.glob(f"{data.name}*{DRAFT_SUFFIX}"):
        shutil.rmtree(draft, ignore_errors=True)
    fresh = data.with_name(data.name + FRESH_SUFFIX)
    if fresh.is_dir() and not data.exists():
        fresh.rename(data)
        sync_folder(data.parent)
    shutil.rmtree(fresh, ignore_errors=True)
    if data.exists():
        shutil.rmtree(data.with_name(data.name + OLD_SUFFIX), ignore_errors=True)
