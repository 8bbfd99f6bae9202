"""Frames: what a sealed frame holds, and how messages longer than a frame are put together again.

A frame is a MessagePack array of items. Messages travel in pieces, and the pieces of different
topics alternate, so that a long block never holds up a vote; within a topic one message ends before
the next begins. The length of a message is known and judged before a byte of it is kept, and what
is kept is only what has come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta

from p2p.codec import Count, Decoder, Struct, encode
from p2p.errors import Malformed, OutOfOrder, Oversize
from p2p.topics import LIMITS, Topic

FRAME_BYTES_MAX: Final = 2**16
"""No frame is longer before it is sealed."""
FRAME_ITEMS_MAX: Final = 1_024
PIECE_BYTES_MIN: Final = 1_024
"""A piece that does not end its message is at least so long: nobody sends one byte at a time."""
PIECE_OVERHEAD_BYTES: Final = 32
"""Room for everything in a piece but its data."""
ITEMS_OVERHEAD_BYTES: Final = 3
"""Room for the frame's own array header."""
MESSAGE_BYTES_MAX: Final = max(limits.message_bytes_max for limits in LIMITS.values())
REASON_CHARACTERS_MAX: Final = 64


class Kind(IntEnum):
    """What a message is to its topic."""

    NOTICE = 0
    REQUEST = 1
    RESPONSE = 2
    REFUSAL = 3
    """The answer to a request that was not served; its data is a short code."""


Data = Annotated[bytes, Meta(max_length=FRAME_BYTES_MAX)]
RequestId = Count


class Start(Struct, tag=0):
    """The first piece of a message, often its only one; `request_id` is 0 in a notice."""

    topic: Topic
    kind: Kind
    request_id: RequestId
    total_bytes: Annotated[int, Meta(ge=0, le=MESSAGE_BYTES_MAX)]
    data: Data


class More(Struct, tag=1):
    """The next piece of the topic's message."""

    topic: Topic
    data: Data


class Credit(Struct, tag=2):
    """Leave to send so much more of a topic."""

    topic: Topic
    add_bytes: Annotated[int, Meta(ge=0, le=2**32)]
    add_messages: Annotated[int, Meta(ge=0, le=2**32)]


class Ping(Struct, tag=3):
    """Are you there?"""

    nonce: Count


class Pong(Struct, tag=4):
    """Yes."""

    nonce: Count


class Goodbye(Struct, tag=5):
    """The last word: why the sender ends the connection, as a stable code."""

    reason: Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX, pattern=r"^[a-z0-9_.]*$")]


Item = Start | More | Credit | Ping | Pong | Goodbye

_frames: Decoder[tuple[Item, ...]] = Decoder(
    Annotated[tuple[Item, ...], Meta(min_length=1, max_length=FRAME_ITEMS_MAX)],
    "frame",
    FRAME_BYTES_MAX,
)


def encode_frame(items: list[Item]) -> bytes:
    """Return a frame's bytes; the caller keeps it within FRAME_BYTES_MAX."""
    data = encode(items)
    assert 0 < len(items) <= FRAME_ITEMS_MAX and len(data) <= FRAME_BYTES_MAX, "a frame too long"
    return data


def decode_frame(data: bytes) -> tuple[Item, ...]:
    """Return what a frame holds; raises Malformed or Oversize."""
    return _frames.decode(data)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message of a topic."""

    topic: Topic
    kind: Kind
    request_id: int
    data: bytes


def cut(message: Message, room: int, sent_bytes: int) -> tuple[Item | None, int]:
    """Return the message's next piece for so much room in a frame, and the bytes it carries.

    None means that the room is too small for a piece that the other side would take.
    """
    left = len(message.data) - sent_bytes
    room -= PIECE_OVERHEAD_BYTES
    if room < min(left, PIECE_BYTES_MIN):
        return None, 0
    size = min(left, room)
    data = message.data[sent_bytes : sent_bytes + size]
    if sent_bytes:
        return More(message.topic, data), size
    start = Start(message.topic, message.kind, message.request_id, len(message.data), data)
    return start, size


@dataclass(slots=True)
class _Partial:
    """A message that has begun: its first piece, what has come, and how much that is."""

    start: Start
    pieces: list[bytes]
    size: int


class Assembler:
    """Puts the pieces of each topic together, one message a topic at a time."""

    __slots__ = ("_limits", "_partial")

    def __init__(self) -> None:
        self._partial: dict[Topic, _Partial] = {}
        self._limits = {topic: limits.message_bytes_max for topic, limits in LIMITS.items()}

    def receive_data(self, piece: Start | More) -> Message | None:
        """Take a piece; return the message that it ends, if it does.

        Raises Oversize, OutOfOrder or Malformed.
        """
        if isinstance(piece, Start):
            return self._start(piece)
        partial = self._partial.get(piece.topic)
        if partial is None:
            raise OutOfOrder(f"A piece of {piece.topic.name} without a beginning.")
        start = partial.start
        _check_piece(len(piece.data), start.total_bytes - partial.size)
        partial.pieces.append(piece.data)
        partial.size += len(piece.data)
        if partial.size < start.total_bytes:
            return None
        del self._partial[piece.topic]
        return Message(start.topic, start.kind, start.request_id, b"".join(partial.pieces))

    def _start(self, piece: Start) -> Message | None:
        limit = self._limits[piece.topic]
        if piece.total_bytes > limit:
            raise Oversize(
                f"A {piece.topic.name} message of {piece.total_bytes} bytes was begun; at most "
                f"{limit} are allowed."
            )
        if piece.topic in self._partial:
            raise OutOfOrder(f"A {piece.topic.name} message began before the last one ended.")
        if (piece.kind == Kind.NOTICE) != (piece.request_id == 0):
            raise Malformed("Requests and answers have a number, notices have none.")
        _check_piece(len(piece.data), piece.total_bytes)
        if len(piece.data) == piece.total_bytes:
            return Message(piece.topic, piece.kind, piece.request_id, piece.data)
        self._partial[piece.topic] = _Partial(piece, [piece.data], len(piece.data))
        return None

    def partial(self) -> Iterator[tuple[Topic, int, int]]:
        """Topic, bytes kept and bytes promised of every message that has begun and not ended."""
        for topic, partial in self._partial.items():
            yield topic, partial.size, partial.start.total_bytes


def _check_piece(size: int, left: int) -> None:
    if size > left:
        raise Malformed(f"A piece of {size} bytes where only {left} were missing.")
    if size < left and size < PIECE_BYTES_MIN:
        raise Malformed(f"A piece of {size} bytes that ends nothing; {PIECE_BYTES_MIN} at least.")
