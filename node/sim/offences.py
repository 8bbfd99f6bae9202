"""Offences E1 to E5, found in what honest validators hold between them (consensus 2.10).

Written apart from the node's own verifier, so that the two can be held against each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from node.sim.chronicle import Chronicle, Round
from state.crypto import Tag
from state.finality import Header, Proposal, SignedVote, kind_of

_PAIRS = {
    frozenset((Tag.NOTARIZE,)): "E1",
    frozenset((Tag.FINALIZE,)): "E2",
    frozenset((Tag.NULLIFY, Tag.FINALIZE)): "E3",
    frozenset((Tag.NOTARIZE, Tag.FINALIZE)): "E4",
}


@dataclass(frozen=True, slots=True, order=True)
class Offence:
    """One validator's breach of the rules, in one view."""

    offender: int
    kind: str
    epoch: int
    view: int


def offence_of_pair(first: SignedVote, second: SignedVote) -> str | None:
    """Return which of E1 to E4 two statements of one validator in one view are, if any."""
    kind = _PAIRS.get(frozenset((kind_of(first), kind_of(second))))
    if kind is None or (kind != "E3" and first.subject == second.subject):
        return None
    return kind


def offence_of_header(statement: SignedVote, header: Header, epoch_length: int) -> bool:
    """Tell whether a vote for a block contradicts that block's own header: E5."""
    subject = statement.subject
    if not isinstance(subject, Proposal):
        return False
    boundary = (header.epoch + 1) * epoch_length
    if header.epoch != subject.epoch or header.view > subject.view:
        return True
    if not boundary - epoch_length < header.height <= boundary:
        return True
    if header.view < subject.view:
        return header.height != boundary
    return header.parent_view != subject.parent_view


def find_offences(chronicle: Chronicle, epoch_length: int) -> list[Offence]:
    """Return every offence that the held statements prove, each kind once a view."""
    found = {
        offence
        for at in chronicle.rounds()
        for validator, statements in chronicle.statements[at].items()
        for offence in _offences_in(chronicle, at, validator, statements, epoch_length)
    }
    return sorted(found)


def _offences_in(
    chronicle: Chronicle,
    at: Round,
    validator: int,
    statements: list[SignedVote],
    epoch_length: int,
) -> Iterator[Offence]:
    epoch, view = at
    for first, second in combinations(statements, 2):
        kind = offence_of_pair(first, second)
        if kind is not None:
            yield Offence(validator, kind, epoch, view)
    for statement in statements:
        if isinstance(statement.subject, Proposal):
            header = chronicle.headers.get(statement.subject.block_id)
            if header is not None and offence_of_header(statement, header, epoch_length):
                yield Offence(validator, "E5", epoch, view)
