"""Transaction gossip: tell ids, pull what one lacks once, admit it, tell others.

Bytes of a transaction cross a link only because the other end asked for them. An honest node tells
of what it has admitted alone, so a transaction that no node could ever admit, asked for or not, is
its sender's fault; one that is refused by the state of the moment is nobody's.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Final, Protocol

from msgspec import Meta

from p2p.gossip import Puller, Seen
from p2p.interface import Delivery, Network
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic
from state.codec import Decoder, Struct, encode
from state.errors import Malformed, Rejected
from state.transaction import BadSignature, Transaction
from state.types import Hash

IDS_MAX: Final = 1_024
"""Ids in one message; more of them take several."""
WIRES_BYTES_MAX: Final = 2**18
"""Transactions are added to an answer until it is so long; one alone may be longer."""
TOLD_AT_ONCE_MAX: Final = 16_384
"""Ids of what is pending that a new peer is told."""
NEWS_SECONDS: Final = 0.01
"""So long ids gather before they are told, so that a burst takes few messages."""
POLL_SECONDS: Final = 0.25

Ids = Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=IDS_MAX)]

log = logging.getLogger("sahara.network")


class Told(Struct, tag=0):
    """The sender has admitted these transactions."""

    ids: Ids


class Wanted(Struct, tag=1):
    """The sender lacks these transactions."""

    ids: Ids


class Brought(Struct, tag=2):
    """Transactions that were asked for, as they are signed."""

    wires: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=IDS_MAX)]


class Lacking(Struct, tag=3):
    """The sender has these transactions no more."""

    ids: Ids


_messages: Decoder[Told | Wanted | Brought | Lacking] = Decoder(Told | Wanted | Brought | Lacking)
_BYTES_MAX: Final = LIMITS[Topic.TRANSACTIONS].message_bytes_max


class Pool(Protocol):
    """The mempool behind its admission, as gossip sees it."""

    async def submit(self, wire: bytes) -> Hash:
        """Admit a transaction and return its id; raises Rejected."""
        ...

    def read(self, wire: bytes) -> Transaction:
        """Return a transaction decoded; raises Malformed or another Rejected for ever."""
        ...

    def pending(self, tx_id: Hash) -> bytes | None:
        """Return the wire bytes of a pending transaction."""
        ...

    def pending_ids(self) -> Iterable[Hash]:
        """Return the ids of everything pending."""
        ...


class TransactionGossip:
    """The transactions of one node, told to and pulled from its peers."""

    def __init__(self, pool: Pool, network: Network, now_ms: Callable[[], int]) -> None:
        self._pool = pool
        self._network = network
        self._now_ms = now_ms
        self._puller = Puller()
        self._seen = Seen()
        """Transactions that were admitted, whatever became of them: not asked for again."""
        self._news: dict[Hash, None] = {}
        self._knowing: dict[Hash, set[bytes]] = {}
        """Who has told or brought what is about to be told."""
        self._news_timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def admitted(self, tx_id: Hash) -> None:
        """Tell peers of a transaction that was admitted here, soon and together with others."""
        self._seen.add(tx_id)
        self._news[tx_id] = None
        if self._news_timer is None:
            loop = asyncio.get_running_loop()
            self._news_timer = loop.call_later(NEWS_SECONDS, self._tell_news)

    def stop(self) -> None:
        """Tell and ask nothing any more."""
        for timer in (self._news_timer, self._poll_timer):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()

    # --- see node.network.overlay.Gossip ---------------------------------------------------------

    def on_peer_up(self, peer_id: bytes) -> None:
        """Tell a new peer what is pending here."""
        self._send_ids(peer_id, Told, list(islice(self._pool.pending_ids(), TOLD_AT_ONCE_MAX)))

    def on_peer_down(self, peer_id: bytes) -> None:
        """Ask others for what this peer was asked for."""
        self._puller.forget(peer_id)
        self._poll()

    def on_message(self, delivery: Delivery) -> None:
        """Take in what a peer tells, asks or brings."""
        try:
            message = _messages.decode(delivery.data, bytes_max=_BYTES_MAX)
        except Malformed:
            delivery.settle(Verdict.INVALID)
            return
        peer_id = delivery.peer_id
        match message:
            case Told(ids):
                self._told(peer_id, ids)
                delivery.settle(Verdict.DUPLICATE)  # telling is worth nothing, bringing is
            case Wanted(ids):
                self._answer(peer_id, ids)
                delivery.settle(Verdict.DUPLICATE)
            case Lacking(ids):
                self._puller.on_refused(peer_id, ids)
                self._poll()
                delivery.settle(Verdict.DUPLICATE)
            case Brought(wires):
                self._spawn(self._admit(delivery, wires))

    # --- in --------------------------------------------------------------------------------------

    def _told(self, peer_id: bytes, ids: tuple[Hash, ...]) -> None:
        for tx_id in ids:
            if tx_id in self._news:
                self._knowing.setdefault(tx_id, set()).add(peer_id)
        self._puller.on_told(peer_id, [tx_id for tx_id in ids if tx_id not in self._seen])
        self._poll()

    async def _admit(self, delivery: Delivery, wires: tuple[bytes, ...]) -> None:
        """Admit what was brought; verified together, as all that waits is."""
        verdicts = await asyncio.gather(
            *[self._admit_one(delivery.peer_id, wire) for wire in wires]
        )
        worst = min(verdicts, key=lambda verdict: verdict.value)
        delivery.settle(worst if worst is Verdict.INVALID else max(verdicts, key=_worth))

    async def _admit_one(self, peer_id: bytes, wire: bytes) -> Verdict:
        try:
            tx_id = self._pool.read(wire).id
        except Rejected as error:
            log.warning("never valid", extra={"peer": peer_id.hex(), "code": error.code})
            return Verdict.INVALID
        self._puller.on_received([tx_id])
        if tx_id in self._seen:
            return Verdict.DUPLICATE
        self._knowing.setdefault(tx_id, set()).add(peer_id)
        try:
            await self._pool.submit(wire)
        except BadSignature as error:
            # under this id another may come whose signatures hold: ids do not cover them
            log.warning("never valid", extra={"peer": peer_id.hex(), "code": error.code})
            return Verdict.INVALID
        except Rejected:
            return Verdict.DUPLICATE
        finally:
            if tx_id not in self._news:
                self._knowing.pop(tx_id, None)
        return Verdict.USEFUL

    # --- out -------------------------------------------------------------------------------------

    def _answer(self, peer_id: bytes, ids: tuple[Hash, ...]) -> None:
        found = [(tx_id, self._pool.pending(tx_id)) for tx_id in ids]
        self._send_ids(peer_id, Lacking, [tx_id for tx_id, wire in found if wire is None])
        for part in _parts([wire for _, wire in found if wire is not None]):
            self._network.send(peer_id, Topic.TRANSACTIONS, encode(Brought(tuple(part))))

    def _tell_news(self) -> None:
        self._news_timer = None
        news, self._news = list(self._news), {}
        knowing, self._knowing = self._knowing, {}
        for peer in self._network.peers():
            lacks = [tx_id for tx_id in news if peer.peer_id not in knowing.get(tx_id, ())]
            self._send_ids(peer.peer_id, Told, lacks)

    def _poll(self) -> None:
        """Ask for what is due, and look again while anything is wanted."""
        for pull in self._puller.poll(self._now_ms()):
            self._send_ids(pull.peer, Wanted, list(pull.things))
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None
        if len(self._puller):
            loop = asyncio.get_running_loop()
            self._poll_timer = loop.call_later(POLL_SECONDS, self._poll)

    def _send_ids(
        self, peer_id: bytes, kind: type[Told | Wanted | Lacking], ids: list[Hash]
    ) -> None:
        for at in range(0, len(ids), IDS_MAX):
            message = kind(tuple(ids[at : at + IDS_MAX]))
            self._network.send(peer_id, Topic.TRANSACTIONS, encode(message))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _worth(verdict: Verdict) -> int:
    return verdict.value


def _parts(wires: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the wires in groups that are short enough for one message."""
    part: list[bytes] = []
    size = 0
    for wire in wires:
        if part and size + len(wire) > WIRES_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(wire)
        size += len(wire)
    if part:
        yield part


__all__ = ["Brought", "Lacking", "Told", "TransactionGossip", "Wanted"]
