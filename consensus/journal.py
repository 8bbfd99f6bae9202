"""What a node must remember of its own doing: the records of the journal, and what they bring back.

Recorded are the node's own votes with their signatures, its own proposals, and every certificate it
has seen; other validators' votes are not (consensus 2.5). A record is durable before anything that
rests on it is sent: the effects that carry records come before the sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.messages import MESSAGE_BYTES_MAX, Propose
from state.codec import Decoder, encode
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    SignedVote,
)

Record = Propose | Notarization | Nullification | Finalization | Notarize | Nullify | Finalize

_records: Decoder[Record] = Decoder(Record)


def decode_record(data: bytes) -> Record:
    """Return the record of these bytes; raises Malformed."""
    return _records.decode(data, bytes_max=MESSAGE_BYTES_MAX)


def encode_record(record: Record) -> bytes:
    """Return the canonical bytes of a record."""
    return encode(record)


@dataclass(slots=True)
class Replay:
    """What a journal says about one epoch, in the order in which it was written."""

    proposals: list[Propose] = field(default_factory=list)
    votes: list[SignedVote] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)


def replay(records: Sequence[Record], guarded: Sequence[SignedVote], epoch: int) -> Replay:
    """Sort the records of `epoch`; votes that only the guard remembers follow (settled 11).

    Records of other epochs are passed over: which epoch it is, the final boundary block says and
    never the journal (settled 7).
    """
    found = Replay()
    for record in records:
        match record:
            case Propose():
                if record.proposal.epoch == epoch:
                    found.proposals.append(record)
            case Notarization() | Nullification() | Finalization():
                if record.subject.epoch == epoch:
                    found.certificates.append(record)
            case Notarize() | Nullify() | Finalize():
                if record.subject.epoch == epoch:
                    found.votes.append(record)
    known = {encode(vote) for vote in found.votes}
    found.votes.extend(
        [vote for vote in guarded if vote.subject.epoch == epoch and encode(vote) not in known]
    )
    return found
