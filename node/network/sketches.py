"""Proposals in outline, and the questions for what a peer lacks of them: what is on the wire.

Consensus knows proposals with their bodies alone; between nodes no body travels with its proposal.
The bodies' transactions have gone round before, so their ids in order are enough.
"""

from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from consensus.messages import Message
from state.block import EVIDENCE_MAX, TRANSACTIONS_MAX, Body
from state.codec import Decoder, Struct, encode
from state.errors import Malformed
from state.finality import Evidence, Finalization, Header, Justify, Proposal, Vote
from state.types import Hash

ID_BYTES: Final = 32
SENT_ALONG_MAX: Final = 64
"""Transactions that travel with a proposal, since nobody can have them."""
SENT_ALONG_BYTES_MAX: Final = 2**13
"""Where there are more, none is sent along: something would have to be asked for anyway."""

Index = Annotated[int, Meta(ge=0, lt=TRANSACTIONS_MAX)]
Indices = Annotated[tuple[Index, ...], Meta(max_length=TRANSACTIONS_MAX)]
Wires = Annotated[tuple[bytes, ...], Meta(max_length=TRANSACTIONS_MAX)]


class Outline(Struct):
    """A body whose transactions are named: their ids in order, one after the other.

    `wires` are the transactions at `indices`, of which peers were told nothing yet.
    """

    ids: Annotated[bytes, Meta(max_length=TRANSACTIONS_MAX * ID_BYTES)]
    indices: Annotated[tuple[Index, ...], Meta(max_length=SENT_ALONG_MAX)]
    wires: Annotated[tuple[bytes, ...], Meta(max_length=SENT_ALONG_MAX)]
    late: Finalization | None
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=EVIDENCE_MAX)]

    def names(self) -> list[Hash]:
        """Return the ids in their order."""
        ids = self.ids
        return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


class Sketch(Struct, tag=32):
    """A leader's proposal without its transactions; no outline where no body travels at all."""

    proposal: Proposal
    vote: Vote
    header: Header
    justify: Justify | None
    outline: Outline | None


class PartsWanted(Struct, tag=33):
    """Ask for the transactions at these places of a proposed block, in ascending order.

    Without any place it asks for all of them, as they stand in the body.
    """

    block_id: Hash
    indices: Indices


class Parts(Struct, tag=34):
    """The transactions that were asked for; none of them where the block is not known here."""

    block_id: Hash
    indices: Indices
    wires: Wires


Piece = Sketch | PartsWanted | Parts


class Contradictory(Malformed):
    """A message that no honest node makes: its parts contradict each other."""

    code = "network.contradictory"


_messages: Decoder[Message | Piece] = Decoder(Message | Piece)


def decode(data: bytes, bytes_max: int) -> Message | Piece:
    """Return what a validator's node said; raises Malformed."""
    return _messages.decode(data, bytes_max=bytes_max)


def check_sketch(sketch: Sketch) -> None:
    """Raise Contradictory unless a sketch has what its header commits to, and little beside."""
    if sketch.header.id != sketch.proposal.block_id:
        raise Contradictory("The header is not the one that was proposed.")
    outline = sketch.outline
    if outline is None:
        return
    if Body((), outline.late, outline.evidence).evidence_root != sketch.header.evidence_root:
        raise Contradictory("Votes and evidence are not those that the header commits to.")
    if len(outline.ids) % ID_BYTES:
        raise Contradictory("The ids do not end with an id.")
    names = outline.names()
    if len(set(names)) < len(names):
        raise Contradictory("One transaction is named twice.")
    if len(outline.indices) != len(outline.wires) or not is_ascending(outline.indices, len(names)):
        raise Contradictory("What is sent along has no place in the body.")
    if sum([len(wire) for wire in outline.wires]) > SENT_ALONG_BYTES_MAX:
        raise Contradictory("More is sent along than any leader sends.")


def is_ascending(indices: tuple[int, ...], count: int) -> bool:
    """Tell whether places are in strict order and all of them there."""
    in_order = all(one < other for one, other in pairwise(indices))
    return in_order and (not indices or indices[-1] < count)


__all__ = ["Outline", "Parts", "PartsWanted", "Piece", "Sketch", "decode", "encode"]
