"""Bodies, outcomes, and the roots by which a header commits to them."""

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from state import crypto
from state.codec import Decoder, Struct, encode
from state.context import Event
from state.crypto import Tag
from state.errors import InvalidBlock
from state.finality import Evidence, Finalization, Header, evidence_root
from state.types import Amount, Hash, Weight

TRANSACTIONS_MAX = 20_000
EVENTS_MAX = 100_000
EVIDENCE_MAX = 8
"""Proofs of misbehaviour in one block; more wait for the next."""


class Status(IntEnum):
    """How a transaction in a block ended."""

    OK = 0
    FAILED = 1
    REFUSED = 2


class Outcome(Struct):
    """What executing a transaction returned; FAILED paid its fee, REFUSED changed nothing."""

    tx_id: Hash
    status: Status
    code: str
    sentence: str
    fee: Amount
    weight: Weight
    events: tuple[msgspec.Raw, ...]


class Body(Struct):
    """What a block holds beside its header: transactions as they came over the wire, and votes.

    `late` shows who else voted to finalize the last ancestor that is directly final (consensus
    settled point 12); `evidence` proves misbehaviour to the state machine.
    """

    transactions: Annotated[tuple[bytes, ...], Meta(max_length=TRANSACTIONS_MAX)]
    late: Finalization | None = None
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=EVIDENCE_MAX)] = ()

    @property
    def root(self) -> Hash:
        """The root that the header's tx_root must equal."""
        return crypto.merkle_root(Tag.TX_ROOT, self.transactions)

    @property
    def evidence_root(self) -> Hash:
        """The root that the header's evidence_root must equal: late votes, then the evidence."""
        return evidence_root([encode(self.late), *[encode(each) for each in self.evidence]])


class Result(Struct):
    """Everything that executing a block returned, in the order of the outcomes root's leaves."""

    outcomes: tuple[Outcome, ...]
    events: tuple[msgspec.Raw, ...]

    def leaves(self) -> list[bytes]:
        """Return the outcomes, then the block's own events, as the leaves of the root."""
        return [encode(outcome) for outcome in self.outcomes] + [bytes(e) for e in self.events]

    @property
    def root(self) -> Hash:
        """The root that the next header's outcomes_root must equal."""
        return crypto.merkle_root(Tag.OUTCOME_ROOT, self.leaves())


bodies: Decoder[Body] = Decoder(Body)
results: Decoder[Result] = Decoder(Result)


def pack_events(events: list[Event]) -> tuple[msgspec.Raw, ...]:
    """Return the events as canonical bytes."""
    return tuple([msgspec.Raw(encode(event)) for event in events])


def check_body(body: Body, header: Header) -> None:
    """Raise InvalidBlock unless the header commits to this body."""
    if (body.root, body.evidence_root) != (header.tx_root, header.evidence_root):
        raise InvalidBlock("The body is not the one that the header commits to; ask another peer.")
