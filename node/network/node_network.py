"""A node's network as one thing: its address book, its sockets, its announcement, start and stop.

The book lies in HOME/peers and is written now and then and at the end; a damaged one is replaced,
for it holds hints only.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from node.application import Application
from node.clock import Clock
from node.config import NodeConfig
from node.errors import NodeError
from node.network.identity import addresses_of, announcement
from node.network.overlay import Overlay
from p2p.announce import RENEWALS_PER_1000_S, Announce, Sign
from p2p.errors import LocalError
from p2p.handshake import NodeKey
from p2p.network import SocketNetwork
from p2p.peerbook import CorruptBook, PeerBook

BOOK_FILE: Final = "peers"
UPKEEP_SECONDS: Final = 1.0
BOOK_SECONDS: Final = 60
"""How often the address book is written."""
RENEWAL_MS: Final = 1_000_000 // RENEWALS_PER_1000_S
"""How often a record is made anew: so often peers take one."""
SEQUENCE_MAX: Final = 2**63 - 1
"""Peers read no higher one."""

log = logging.getLogger("sahara.network")


class AddressUnusable(NodeError):
    """The node cannot listen for others where its settings say."""

    code: ClassVar[str] = "p2p.address_unusable"


class NodeNetwork:
    """The sockets of one node; `validator` is its key and how it signs, None if it only follows."""

    def __init__(
        self,
        config: NodeConfig,
        node_key: NodeKey,
        application: Application,
        overlay: Overlay,
        clock: Clock,
        validator: tuple[bytes, Sign] | None,
    ) -> None:
        self._config = config
        self._node_key = node_key
        self._application = application
        self._clock = clock
        self._validator = validator
        self._book_path = config.home / BOOK_FILE
        self._epoch = -1
        self._keys: frozenset[bytes] = frozenset()
        self._record: Announce | None = None
        """What was announced last."""
        self._announced_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.sockets = SocketNetwork(
            config.network_settings(joins_mesh=validator is not None),
            node_key,
            application.genesis_hash,
            overlay,
            open_book(self._book_path),
            clock=clock.now_ms,
            chance=random.Random(),
            randomness=os.urandom,
            is_validator=self._is_validator,
        )

    async def start(self, failed: Callable[[BaseException], None]) -> None:
        """Listen and dial; raises AddressUnusable. `failed` hears of a bug in one of its tasks."""
        config = self._config
        await start_sockets(self.sockets, config)
        for work in (self.sockets.failed(), self._upkeep()):
            task = asyncio.create_task(work)
            task.add_done_callback(lambda done: _report(done, failed))
            self._tasks.append(task)
        log.info(
            "listening",
            extra={
                "node_id": self.sockets.node_id.hex(),
                "address": f"{config.p2p_host}:{self.sockets.port}",
            },
        )

    async def stop(self) -> None:
        """Say goodbye to everybody, and keep the book; takes less than two seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.sockets.stop()
        finally:
            self._write_book()

    def _is_validator(self, key: bytes) -> bool:
        """Tell whether a key is one of this epoch's or the next."""
        info = self._application.epoch_info()
        if info.epoch != self._epoch:
            self._epoch = info.epoch
            members = (*info.validators, *info.next_validators)
            self._keys = frozenset(member.public_key for member in members)
        return key in self._keys

    async def _upkeep(self) -> None:
        """Announce the validator once it is one, and write the book now and then."""
        rounds = 0
        while True:
            self._announce()
            await asyncio.sleep(UPKEEP_SECONDS)
            rounds += 1
            if rounds % BOOK_SECONDS == 0:
                self._write_book()

    def _announce(self) -> None:
        """Announce the validator unless its newest record is the one that was made here.

        Another one may come back from peers: of another node, or of other addresses, that was made
        while the clock was ahead. What is made now goes beyond it, or it would win for as long.
        """
        if self._validator is None:
            return
        key, sign = self._validator
        if not self._is_validator(key):
            self._record = None
            return
        held, now_ms = self.sockets.record_of(key), self._clock.now_ms()
        if self._record is not None and (
            held == self._record or now_ms - self._announced_ms < RENEWAL_MS
        ):
            return
        if held is not None:
            log.warning("announced anew", extra={"instead": held.announcement.node_id.hex()})
        port = self.sockets.port
        assert port is not None, "started"
        beyond = 0 if held is None else held.announcement.sequence + 1
        self._announced_ms = now_ms
        self._record = announcement(
            key,
            sign,
            self._node_key,
            self._application.genesis_hash,
            addresses_of(self._config, port),
            min(max(self._clock.wall_ms(), beyond), SEQUENCE_MAX),
        )
        try:
            self.sockets.announce(self._record)
        except LocalError as error:  # a newer one came so often that none is taken now
            log.warning("not announced", extra={"reason": error.sentence})

    def _write_book(self) -> None:
        write_book(self._book_path, self.sockets.book)


async def start_sockets(sockets: SocketNetwork, config: NodeConfig) -> None:
    """Listen and dial; raises AddressUnusable."""
    try:
        await sockets.start()
    except OSError as error:
        raise AddressUnusable(
            f"{config.p2p_host}:{config.p2p_port} cannot be listened on ({error.strerror}); "
            "choose another p2p_host or p2p_port, or stop what uses it."
        ) from error


def write_book(path: Path, book: PeerBook) -> None:
    """Keep an address book, if the disk lets us: it holds hints only."""
    draft = path.with_suffix(".draft")
    try:
        draft.write_bytes(book.to_bytes())
        draft.replace(path)
    except OSError as error:
        log.warning("address book not kept", extra={"reason": str(error.strerror)})


def open_book(path: Path) -> PeerBook:
    """Return the stored address book, or a new one where there is none that can be read."""
    try:
        return PeerBook.from_bytes(path.read_bytes(), str(path))
    except FileNotFoundError:
        return PeerBook(os.urandom(32))
    except CorruptBook as error:
        log.warning("address book replaced", extra={"reason": error.sentence})
        return PeerBook(os.urandom(32))


def _report(task: "asyncio.Task[None]", failed: Callable[[BaseException], None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        failed(error)
