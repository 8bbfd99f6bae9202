"""Transaction gossip: tell ids, pull what one lacks once, admit it, tell others.

Bytes of a transaction cross a link only because the other end asked for them. An honest node tells
of what it has admitted alone, so a transaction that no node could ever admit, asked for or not, is
its sender's fault; one that is refused by the state of the moment is nobody's. No honest node names
an id twice in one message, so that one word of many copies has no way in.

So much is heard in one turn of the event loop as takes a few milliseconds, of one peer after the
other, and what is due is asked for once a turn: no flood holds up what else the node has to do.
What strangers say of ids is bounded a second, too; who does not bring what it told loses score.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, Final, Protocol

from msgspec import Meta

from node.network.inbox import Rotation
from node.network.strangers import Strangers
from p2p.gossip import TELLERS_MAX, Puller, Seen
from p2p.interface import Delivery, Network
from p2p.limits import TokenBucket
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
STRANGERS_SECONDS: Final = 0.02
"""How often it is looked whether strangers that wait have tokens again."""
TURN_BYTES_MAX: Final = 2**17
"""Messages are heard until they were so long, then the event loop turns; the last may be longer."""
MESSAGE_BYTES: Final = 2**8
"""A message counts as so much longer than it is, for the shortest has its cost, too."""

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


_KINDS: Final = {Told: "told", Wanted: "wanted", Brought: "brought", Lacking: "lacking"}


def _by_kind() -> dict[str, int]:
    return dict.fromkeys(_KINDS.values(), 0)


@dataclass(slots=True)
class GossipCounts:
    """Transactions in messages by kind, since the start; they only grow."""

    received: dict[str, int] = field(default_factory=_by_kind)
    sent: dict[str, int] = field(default_factory=_by_kind)


_messages: Decoder[Told | Wanted | Brought | Lacking] = Decoder(Told | Wanted | Brought | Lacking)
_BRINGS: Final = encode(Brought((b"",)))[:2]
"""How a message begins that brings transactions: as an array of two, the tag first."""
_LIMITS: Final = LIMITS[Topic.TRANSACTIONS]
_BYTES_MAX: Final = _LIMITS.message_bytes_max


class Pool(Protocol):
    """The mempool behind its admission, as gossip sees it."""

    async def admit(self, transactions: Sequence[Transaction]) -> list[Rejected | None]:
        """Admit transactions together; return, for each, why it is refused, or None."""
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
        self.counts = GossipCounts()
        self._puller = Puller()
        self._seen = Seen()
        """Transactions that were admitted, whatever became of them: not soon asked for again."""
        self._entering: dict[Hash, dict[bytes, None]] = {}
        """What was brought and is being admitted, and who tells of it meanwhile."""
        self._waiting = Rotation(_LIMITS.window_messages)
        """What came beyond what may be heard in this turn of the event loop."""
        self._strangers = Strangers()
        self._turn_bytes = 0
        self._turn_handle: asyncio.Handle | None = None
        self._news: dict[Hash, None] = {}
        self._knowing: dict[Hash, set[bytes]] = {}
        """Who has told or brought what is about to be told."""
        self._serving: dict[bytes, TokenBucket] = {}
        """The bytes that each peer may still be brought."""
        self._news_timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._strangers_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def admitted(self, tx_id: Hash) -> None:
        """Tell peers of a transaction that was admitted here, soon and together with others."""
        self._seen.add(tx_id)
        self._news[tx_id] = None
        if self._news_timer is None:
            loop = asyncio.get_running_loop()
            self._news_timer = loop.call_later(NEWS_SECONDS, self._tell_news)

    def is_coming(self, tx_id: Hash) -> bool:
        """Tell whether a transaction was asked for, or is being admitted."""
        return tx_id in self._entering or self._puller.is_asked(tx_id)

    def is_untold(self, tx_id: Hash) -> bool:
        """Tell whether a transaction was admitted and no peer can know of it."""
        return tx_id in self._news and not self._knowing.get(tx_id)

    def bring(self, delivery: Delivery, wires: tuple[bytes, ...]) -> None:
        """Admit transactions that came with a proposal, then settle the message that held them."""
        self._spawn(self._admit(delivery, wires))

    @property
    def wanted(self) -> int:
        """How many transactions were told of and have not come."""
        return len(self._puller)

    def stop(self) -> None:
        """Tell and ask nothing any more."""
        timers = (self._news_timer, self._poll_timer, self._strangers_timer, self._turn_handle)
        for timer in timers:
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
        self._waiting.drop(peer_id)
        self._strangers.drop(peer_id)
        self._serving.pop(peer_id, None)
        for tellers in self._entering.values():
            tellers.pop(peer_id, None)
        self._puller.forget(peer_id)
        self._plan_turn()

    def on_message(self, delivery: Delivery) -> None:
        """Take in what a peer tells, asks or brings, at once while the turn has room."""
        if self._is_bounded(delivery):
            is_kept = self._strangers.add(delivery)
            self._hear_strangers(TURN_BYTES_MAX)
        elif not self._waiting and self._turn_bytes < TURN_BYTES_MAX:
            is_kept = True
            self._hear(delivery)
        else:
            is_kept = self._waiting.add(delivery)
        if not is_kept:
            delivery.settle(Verdict.USELESS)
        self._plan_turn()

    def _is_bounded(self, delivery: Delivery) -> bool:
        """Whether a message costs tokens: a stranger's does, but not what it was asked for."""
        return not (delivery.data.startswith(_BRINGS) or self._network.is_exempt(delivery.peer_id))

    # --- turns -----------------------------------------------------------------------------------

    def _plan_turn(self) -> None:
        if self._turn_handle is None:
            self._turn_handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Begin a turn of the event loop: hear what waits, and ask for what is due."""
        self._turn_handle = None
        self._turn_bytes = 0
        self._hear_strangers(TURN_BYTES_MAX // 2 if self._waiting else TURN_BYTES_MAX)
        while self._waiting and self._turn_bytes < TURN_BYTES_MAX:
            self._hear(self._waiting.pop())
        self._poll()
        if self._turn_bytes or self._puller.is_forgetting:
            self._plan_turn()
        elif self._strangers and self._strangers_timer is None:
            loop = asyncio.get_running_loop()
            self._strangers_timer = loop.call_later(STRANGERS_SECONDS, self._look_at_strangers)

    def _hear_strangers(self, bytes_max: int) -> None:
        """Hear strangers who have tokens, until the turn has come so far."""
        while self._turn_bytes < bytes_max:
            delivery = self._strangers.pop(self._now_ms())
            if delivery is None:
                break
            self._hear(delivery)

    def _look_at_strangers(self) -> None:
        self._strangers_timer = None
        self._plan_turn()

    # --- in --------------------------------------------------------------------------------------

    def _hear(self, delivery: Delivery) -> None:
        """Let a message have its effect, and settle it, now or once it was verified."""
        self._turn_bytes += MESSAGE_BYTES + len(delivery.data)
        try:
            message = _messages.decode(delivery.data, bytes_max=_BYTES_MAX)
        except Malformed:
            delivery.settle(Verdict.INVALID)
            return
        peer_id, is_bounded = delivery.peer_id, self._is_bounded(delivery)
        things = message.wires if isinstance(message, Brought) else message.ids
        if not isinstance(message, Brought) and len(set(things)) < len(things):
            delivery.settle(Verdict.INVALID)
            return
        self.counts.received[_KINDS[type(message)]] += len(things)
        unknown = 0
        match message:
            case Told(ids):
                unknown = self._told(peer_id, ids)
                delivery.settle(Verdict.DUPLICATE)  # telling is worth nothing, bringing is
            case Wanted(ids):
                unknown = self._answer(peer_id, ids)
                delivery.settle(Verdict.DUPLICATE)
            case Lacking(ids):
                self._puller.on_refused(peer_id, ids)
                delivery.settle(Verdict.DUPLICATE)
            case Brought(wires):
                self._spawn(self._admit(delivery, wires))
        if is_bounded:
            self._strangers.charge(peer_id, len(things), unknown, self._now_ms())

    def _told(self, peer_id: bytes, ids: tuple[Hash, ...]) -> int:
        """Note what a peer has, and return how much of it nobody has here.

        What is due of it is asked for when the turn ends.
        """
        lacking = []
        for tx_id in ids:
            if tx_id in self._news:
                self._knowing.setdefault(tx_id, set()).add(peer_id)
            tellers = self._entering.get(tx_id)
            if tellers is not None:
                if len(tellers) < TELLERS_MAX:
                    tellers[peer_id] = None
            elif tx_id not in self._seen and self._pool.pending(tx_id) is None:
                lacking.append(tx_id)
        self._puller.on_told(peer_id, lacking)
        self._plan_turn()
        return len(lacking)

    async def _admit(self, delivery: Delivery, wires: tuple[bytes, ...]) -> None:
        """Admit what was brought; verified together, as all that waits is."""
        delivery.settle(await self._admit_all(delivery.peer_id, wires))

    async def _admit_all(self, peer_id: bytes, wires: tuple[bytes, ...]) -> Verdict:
        """Admit what a peer brought, and say what it was worth."""
        verdict = Verdict.DUPLICATE
        found: dict[Hash, Transaction] = {}
        for wire in wires:
            try:
                transaction = self._pool.read(wire)
            except Rejected as error:
                log.warning("never valid", extra={"peer": peer_id.hex(), "code": error.code})
                verdict = Verdict.INVALID
                continue
            if transaction.id not in self._seen:
                found[transaction.id] = transaction
            self._puller.on_received([transaction.id])
        self._plan_turn()  # there is room to ask for more
        for tx_id in found:
            self._entering.setdefault(tx_id, {})
            self._knowing.setdefault(tx_id, set()).add(peer_id)
        refused = await self._pool.admit(list(found.values()))
        if verdict is not Verdict.INVALID and None in refused:
            verdict = Verdict.USEFUL
        again: dict[bytes, list[Hash]] = {}
        for tx_id, refusal in zip(found, refused, strict=True):
            tellers = self._entering.pop(tx_id, {})
            if tx_id not in self._news:
                self._knowing.pop(tx_id, None)
            if isinstance(refusal, BadSignature):
                log.warning("never valid", extra={"peer": peer_id.hex(), "code": refusal.code})
                verdict = Verdict.INVALID
                # others may have another whose signatures hold: ids do not cover them
                for teller in tellers:
                    again.setdefault(teller, []).append(tx_id)
        for teller, tx_ids in again.items():
            self._told(teller, tuple(tx_ids))
        return verdict

    # --- out -------------------------------------------------------------------------------------

    def _answer(self, peer_id: bytes, ids: tuple[Hash, ...]) -> int:
        """Bring what is pending of these, until the peer has its share or its queue is full.

        Returns how many nobody has here.

        A question is short and its answer long: what is left is asked for again, or of others.
        """
        found = [(tx_id, self._pool.pending(tx_id)) for tx_id in ids]
        lacking = [tx_id for tx_id, wire in found if wire is None]
        self._send_ids(peer_id, Lacking, lacking)
        now_ms = self._now_ms()
        share = self._serving.get(peer_id)
        if share is None:
            share = TokenBucket(_LIMITS.rate_bytes_s, _LIMITS.queue_bytes_max, now_ms)
            self._serving[peer_id] = share
        for part in _parts([wire for _, wire in found if wire is not None]):
            if share.available(now_ms) <= 0:
                break
            data = encode(Brought(tuple(part)))
            share.spend(len(data), now_ms)
            if not self._network.send(peer_id, Topic.TRANSACTIONS, data):
                break
            self.counts.sent[_KINDS[Brought]] += len(part)
        return len(lacking)

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
        for peer_id in self._puller.take_unreliable():
            self._network.judge(peer_id, Verdict.USELESS)
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
            self.counts.sent[_KINDS[kind]] += len(message.ids)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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


__all__ = ["Brought", "GossipCounts", "Lacking", "Told", "TransactionGossip", "Wanted"]
