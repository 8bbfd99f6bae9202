"""The beginning of a node whose home is empty: with a snapshot of its peers, or with genesis.

A young network has no snapshots yet, and nobody to wait for: its nodes begin with genesis at once,
or when the time comes that its genesis names.
"""

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from node.clock import Clock
from node.config import NodeConfig
from node.home import Home
from node.network.node_network import BOOK_FILE, open_book, start_sockets, write_book
from node.snapshot.errors import SnapshotError, SnapshotMissing, SnapshotNotNow, SnapshotRefused
from node.snapshot.progress import StateSync
from node.snapshot.restore import restore
from node.snapshot.state_sync import Silent, fetch_newest
from node.snapshot.walk import read_checkpoint
from p2p.handshake import NodeKey
from p2p.network import SocketNetwork
from state.genesis import Genesis

YOUNG_MS: Final = 60_000

WAIT_SECONDS: Final = 600.0
"""How often a node that is early looks at the clock again, and says that it waits."""

log = logging.getLogger("sahara.statesync")


def is_needed(config: NodeConfig, genesis: Genesis, clock: Clock) -> bool:
    """Tell whether a home holds no blocks, and may begin with a snapshot."""
    home = Home(config.home)
    if not config.state_sync or home.data.exists():
        return False
    knows_peers = bool(config.persistent_peers) or (config.home / BOOK_FILE).exists()
    return knows_peers and clock.wall_ms() - genesis.time_ms > YOUNG_MS


async def until_genesis(
    genesis: Genesis, clock: Clock, told: "asyncio.Future[BaseException | None]"
) -> None:
    """Wait for the time of the genesis by this machine's clock, or until `told` is done.

    Blocks that were made before would lie one millisecond apart until then.
    """
    while not told.done() and (ahead_ms := genesis.time_ms - clock.wall_ms()) > 0:
        log.info("awaits genesis", extra={"time_ms": genesis.time_ms, "ahead_ms": ahead_ms})
        await asyncio.wait([told], timeout=min(ahead_ms / 1_000, WAIT_SECONDS))


async def begin_with_snapshot(
    config: NodeConfig,
    genesis: Genesis,
    node_key: NodeKey,
    clock: Clock,
    told: "asyncio.Future[BaseException | None]",
    state_sync: StateSync,
) -> bool:
    """Fill an empty home from its peers, if they can; tell whether the node is to go on.

    `told` is done when the node is told to stop; `state_sync` says meanwhile where it is. Raises
    AddressUnusable.
    """
    state_sync.enter("asks")
    stopping = threading.Event()
    work = asyncio.create_task(_begin(config, genesis, node_key, clock, stopping, state_sync))
    await asyncio.wait((work, told), return_when=asyncio.FIRST_COMPLETED)
    if not told.done():
        await work
        return True
    stopping.set()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return False


async def _begin(
    config: NodeConfig,
    genesis: Genesis,
    node_key: NodeKey,
    clock: Clock,
    stopping: threading.Event,
    state_sync: StateSync,
) -> None:
    home = Home(config.home)
    validators = {validator.public_key for validator in genesis.validators}
    path = config.home / BOOK_FILE
    sockets = SocketNetwork(
        config.network_settings(joins_mesh=False),
        node_key,
        genesis.hash,
        Silent(),
        open_book(path),
        clock=clock.now_ms,
        chance=random.Random(),
        randomness=os.urandom,
        is_validator=validators.__contains__,
    )
    await start_sockets(sockets, config)
    log.info("asking peers for a snapshot", extra={"wait_ms": config.state_sync_wait_ms})
    try:
        folder = await fetch_newest(sockets, genesis, config, home.snapshots, clock, state_sync)
    finally:
        await sockets.stop()
        write_book(path, sockets.book)
    if folder is None:
        state_sync.enter("failed")
        return
    state_sync.enter("restores")
    try:
        checkpoint = read_checkpoint(config.state_sync_trust)
        progress = partial(go_on, stopping.is_set)
        head = await asyncio.to_thread(restore, folder, home.data, genesis, checkpoint, progress)
    except SnapshotError as error:
        if isinstance(error, SnapshotRefused | SnapshotMissing):
            folder.remove()
        state_sync.enter("failed")
        log.error("snapshot not restored", extra={"code": error.code, "reason": error.sentence})
        return
    state_sync.enter("done")
    log.info(
        "began with a snapshot",
        extra={"height": head.header.height, "state_root": head.state_root.hex()},
    )


def go_on(is_told: Callable[[], bool], _done: int, _of: int) -> None:
    """Give up a restore that nobody waits for any more."""
    if is_told():
        raise SnapshotNotNow("The node was told to stop; it begins again when it is started.")
