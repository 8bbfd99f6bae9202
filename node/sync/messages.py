"""What nodes ask each other for on the topic SYNC, and the answers.

Each kind of request has one kind of answer, under the same number. No answer is simply believed:
a finalization is verified by a set that the asker knows, and everything else is held against it,
hash by hash. What is said here about heights says only whom to ask.
"""

from typing import Annotated, Final

from msgspec import Meta

from consensus.messages import BODY_BYTES_MAX, Block
from p2p.topics import LIMITS, MIB, Topic
from state.codec import Decoder, Struct, encode
from state.finality import Epoch, Finalization, Header, Justify
from state.types import Hash, Height

HEADERS_MAX: Final = 512
"""Headers in one answer."""
BLOCKS_MAX: Final = 128
"""Blocks in one answer."""
RANGE_BYTES_MAX: Final = 2 * MIB
"""Blocks are added to an answer until they are so long; one alone may be longer."""
REQUEST_BYTES_MAX: Final = 256
ANSWER_BYTES_MAX: Final = LIMITS[Topic.SYNC].message_bytes_max

assert BODY_BYTES_MAX < ANSWER_BYTES_MAX, "the longest block fits into an answer"


class FinalRequest(Struct, tag=0):
    """Ask for the finalization of an epoch's last block or, while it goes on, the highest there is.

    Whoever is in an earlier epoch has none; whoever is in it answers as well as it can.
    """

    epoch: Epoch


class FinalAnswer(Struct, tag=0):
    """A finalization and the header that it is of."""

    header: Header
    finalization: Finalization


class HeadersRequest(Struct, tag=1):
    """Ask for a final header by its id and for up to `count` - 1 of its ancestors."""

    block_id: Hash
    count: Annotated[int, Meta(ge=1, le=HEADERS_MAX)]


class HeadersAnswer(Struct, tag=1):
    """Headers that were asked for, each followed by its parent; never genesis."""

    headers: Annotated[tuple[Header, ...], Meta(min_length=1, max_length=HEADERS_MAX)]


class BlocksRequest(Struct, tag=2):
    """Ask for up to `count` final blocks from a height upwards, of one epoch."""

    height: Height
    count: Annotated[int, Meta(ge=1, le=BLOCKS_MAX)]


class BlocksAnswer(Struct, tag=2):
    """Blocks that were asked for, or the first of them, and the highest finalization among them."""

    blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=BLOCKS_MAX)]
    finalization: Finalization | None


class LinkRequest(Struct, tag=3):
    """Ask for a justification by its hash: why a boundary was proposed again (settled point 4)."""

    justify_hash: Hash


class LinkAnswer(Struct, tag=3):
    """The justification that was asked for."""

    justify: Justify


SyncRequest = FinalRequest | HeadersRequest | BlocksRequest | LinkRequest
SyncAnswer = FinalAnswer | HeadersAnswer | BlocksAnswer | LinkAnswer

_requests: Decoder[SyncRequest] = Decoder(SyncRequest)
_answers: Decoder[SyncAnswer] = Decoder(SyncAnswer)


def decode_request(data: bytes) -> SyncRequest:
    """Return the request of these bytes; raises Malformed."""
    return _requests.decode(data, bytes_max=REQUEST_BYTES_MAX)


def decode_answer(data: bytes) -> SyncAnswer:
    """Return the answer of these bytes; raises Malformed."""
    return _answers.decode(data, bytes_max=ANSWER_BYTES_MAX)


__all__ = ["SyncAnswer", "SyncRequest", "decode_answer", "decode_request", "encode"]
