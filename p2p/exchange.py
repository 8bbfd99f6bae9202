"""What the network says on its own topic: where nodes listen, whom they know, announcements.

A node tells the port it listens on, and the other side takes the host it sees: nobody puts a third
party's address into a book by claiming to be there. Addresses are told only to who asks, few at a
time and rarely. Sans-I/O.
"""

import random
from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta

from p2p.addresses import Address, PeerAddress, Port, is_tellable
from p2p.announce import ANNOUNCED_MAX, RECORD_BYTES_MAX, Announce, Announcements
from p2p.codec import Decoder, Struct, encode
from p2p.peerbook import Entry, PeerBook
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

TOLD_MAX: Final = 64
"""Addresses in one answer."""
RECORDS_MAX: Final = 64
"""Announcements in one message."""
ASK_MS: Final = 30_000
"""A peer asks no more often, and is served no more often."""
ENVELOPE_BYTES: Final = 8
"""Room for everything in a message of announcements but the records, and for a port."""

# A greeting that is too long would be a bug of ours, and a bug ends the node: whoever announces
# must not be able to make one.
_LIMITS: Final = LIMITS[Topic.PEERS]
assert _LIMITS.message_bytes_max >= RECORDS_MAX * RECORD_BYTES_MAX + ENVELOPE_BYTES
assert _LIMITS.queue_bytes_max >= ANNOUNCED_MAX * (RECORD_BYTES_MAX + ENVELOPE_BYTES)


class Listening(Struct, tag=0):
    """The port on which the sender takes connections."""

    port: Port


class Records(Struct, tag=1):
    """Announcements of validators."""

    records: Annotated[tuple[Announce, ...], Meta(min_length=1, max_length=RECORDS_MAX)]


class AskAddresses(Struct, tag=2):
    """A request: whom do you know?"""


class TellAddresses(Struct, tag=3):
    """The answer: peers that the sender has met where it says."""

    peers: Annotated[tuple[PeerAddress, ...], Meta(max_length=TOLD_MAX)]


_notices: Decoder[Listening | Records] = Decoder(
    Listening | Records, "notice", LIMITS[Topic.PEERS].message_bytes_max
)
_questions: Decoder[AskAddresses] = Decoder(AskAddresses, "question", 16)
_answers: Decoder[TellAddresses] = Decoder(
    TellAddresses, "answer", LIMITS[Topic.PEERS].message_bytes_max
)
QUESTION: Final = encode(AskAddresses())


class Exchange:
    """Handles the network's own topic; `is_private` names peers of whom nobody is told."""

    def __init__(
        self,
        book: PeerBook,
        announcements: Announcements,
        chance: random.Random,
        is_private: Callable[[bytes], bool],
        *,
        allow_private_hosts: bool,
    ) -> None:
        self._book = book
        self._announcements = announcements
        self._chance = chance
        self._is_private = is_private
        self._allow_private_hosts = allow_private_hosts
        self._asked_ms: dict[bytes, int] = {}
        self._served_ms: dict[bytes, int] = {}

    def receive_notice(
        self, peer_id: bytes, host: str, data: bytes, now_ms: int
    ) -> tuple[Verdict, bytes | None]:
        """Judge a notice; return the verdict, and what to pass on to everybody else, if anything.

        Raises Malformed.
        """
        notice = _notices.decode(data)
        if isinstance(notice, Listening):
            self._hear(PeerAddress(peer_id, Address(host, notice.port)), host)
            return Verdict.DUPLICATE, None
        useful: list[Announce] = []
        worst = Verdict.DUPLICATE
        for record in notice.records:
            verdict = self._announcements.receive(record, now_ms)
            if verdict is Verdict.USEFUL:
                useful.append(record)
            worst = min(worst, verdict, key=lambda one: one.value)
        passed_on = encode(Records(tuple(useful))) if useful else None
        return Verdict.USEFUL if useful and worst is Verdict.DUPLICATE else worst, passed_on

    def receive_question(self, peer_id: bytes, data: bytes, now_ms: int) -> bytes | None:
        """Return the answer to who asks for addresses, or None when it asks too often."""
        _questions.decode(data)
        served_ms = self._served_ms.get(peer_id)
        if served_ms is not None and now_ms - served_ms < ASK_MS:
            return None
        self._served_ms[peer_id] = now_ms

        def is_told(entry: Entry) -> bool:
            node_id = entry.peer.node_id
            may = is_tellable(entry.peer.address, allow_private=self._allow_private_hosts)
            return may and node_id != peer_id and not self._is_private(node_id)

        return encode(TellAddresses(self._book.tell(self._chance, is_told, TOLD_MAX)))

    def receive_answer(self, host: str, data: bytes) -> int:
        """Take the addresses that were asked for; return how many are new; raises Malformed."""
        return sum(self._hear(peer, host) for peer in _answers.decode(data).peers)

    def asks(self, peer_id: bytes, now_ms: int) -> bool:
        """Whether to ask this peer for addresses now; to be followed by the question."""
        asked_ms = self._asked_ms.get(peer_id)
        if asked_ms is not None and now_ms - asked_ms < ASK_MS + ASK_MS // 10:
            return False
        self._asked_ms[peer_id] = now_ms
        return True

    def greeting(self, port: int | None) -> list[bytes]:
        """What to tell a new peer: our port if we listen, and the announcements we hold."""
        records = self._announcements.records()
        batches = [records[at : at + RECORDS_MAX] for at in range(0, len(records), RECORDS_MAX)]
        first = [] if port is None else [encode(Listening(port))]
        return [*first, *(encode(Records(batch)) for batch in batches)]

    def forget(self, peer_id: bytes, now_ms: int) -> None:
        """A peer is gone; how often it asked is remembered a while, so that it gains nothing."""
        self._asked_ms.pop(peer_id, None)
        for other in [one for one, at in self._served_ms.items() if now_ms - at >= ASK_MS]:
            del self._served_ms[other]

    def _hear(self, peer: PeerAddress, host: str) -> bool:
        may = is_tellable(peer.address, allow_private=self._allow_private_hosts)
        return may and self._book.hear(peer, host)
