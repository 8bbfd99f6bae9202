"""What validators say to each other: proposals, votes, certificates, status, requests and replies.

Votes and certificates are those of state/finality.py and travel as they are; each kind of message
has a number of its own, so that one decoder reads them all. Whatever comes from a peer goes through
`decode`, which holds the message to its size.
"""

from typing import Annotated, Final

from msgspec import Meta

from state.codec import Decoder, Struct, encode
from state.finality import (
    Epoch,
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    Proposal,
    View,
    Vote,
)
from state.types import Hash, Height

BODY_BYTES_MAX: Final = 2**24
"""No body is longer; the chain's parameters hold bodies to far less."""
MESSAGE_BYTES_MAX: Final = 2**25
"""Room for the longest body and a proposal's justification beside it."""
NULLIFICATIONS_SENT_MAX: Final = 64
"""A justification with more travels by request only (consensus settled point 17)."""
BLOCKS_SENT_MAX: Final = 32
"""Blocks in one reply; its bytes are bounded as well."""

Body = Annotated[bytes, Meta(max_length=BODY_BYTES_MAX)]


class Propose(Struct, tag=0):
    """A leader's proposal; its signature is the leader's Notarize (consensus 2.1).

    `justify` is absent when it is too long to travel along. A re-proposal of a boundary block
    carries that block's header and an empty body; whoever lacks the block asks for it.
    """

    proposal: Proposal
    vote: Vote
    header: Header
    justify: Justify | None
    body: Body


class Status(Struct, tag=7):
    """Where a node stands: its round and the last final block it holds (consensus 2.6 d)."""

    epoch: Epoch
    view: View
    final_epoch: Epoch
    final_view: View
    final_height: Height
    final_id: Hash


class CertificateRequest(Struct, tag=8):
    """Ask what settles a view (consensus 2.7)."""

    epoch: Epoch
    view: View


class BlockRequest(Struct, tag=9):
    """Ask for a block and up to `count` - 1 of its ancestors, newest first."""

    block_id: Hash
    count: Annotated[int, Meta(ge=1, le=BLOCKS_SENT_MAX)]


class Block(Struct):
    """A block as it is stored and sent: its header, why it may stand there, and its body."""

    header: Header
    justify: Justify
    body: Body


class BlockReply(Struct, tag=10):
    """Blocks that were asked for, each followed by its parent."""

    blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=BLOCKS_SENT_MAX)]


class JustifyRequest(Struct, tag=11):
    """Ask for a justification that was too long for its proposal."""

    justify_hash: Hash


class JustifyReply(Struct, tag=12):
    """A justification that was asked for."""

    justify: Justify


class BoundaryRequest(Struct, tag=13):
    """Ask for the finalization of an epoch's last block (consensus settled point 7)."""

    epoch: Epoch


Message = (
    Propose
    | Notarization
    | Nullification
    | Finalization
    | Notarize
    | Nullify
    | Finalize
    | Status
    | CertificateRequest
    | BlockRequest
    | BlockReply
    | JustifyRequest
    | JustifyReply
    | BoundaryRequest
)

_messages: Decoder[Message] = Decoder(Message)


def decode(data: bytes) -> Message:
    """Return the message of these bytes; raises Malformed unless they are canonical and bounded."""
    return _messages.decode(data, bytes_max=MESSAGE_BYTES_MAX)


__all__ = ["Message", "decode", "encode"]
