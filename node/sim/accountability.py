"""Who caused a fork: the argument of the protocol, carried out on what honest validators hold.

Two conflicting finalizations, at views a <= b: with a = b both quorums voted Finalize twice (E2).
Else walk down from the later block to X, the lowest proposal with a view above a. Its parent lies
at a view p <= a. With p = a, the parent's certificate and the finalization at a name two blocks
(E1, E2 or E4); with p < a, X carries the nullification of a (E3). Either way two quorums of one set
signed what one honest validator never signs together, and their overlap is more than a third.
"""

from dataclasses import dataclass
from itertools import combinations

from node.sim.chronicle import Chronicle, Round, round_of
from state.finality import Finalization, Proposal
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a fork was possible: the round of the offence, and everyone who committed it."""

    height: int
    epoch: int
    view: int
    offenders: tuple[int, ...]


def blame_forks(chronicle: Chronicle) -> list[tuple[int, Blame | None]]:
    """Return for every fork who caused it, None where what is held does not tell.

    A finalization that contradicts a final block and whose links nobody shows makes no fork: no
    honest validator accepts its chain, and nothing that anybody accepted is replaced by it.
    """
    blames = [(height, _blame(chronicle, height)) for height in chronicle.contradictions()]
    return [
        (height, blame)
        for height, blame in blames
        if blame is not None or len(_accepted_at(chronicle, height)) > 1
    ]


def _accepted_at(chronicle: Chronicle, height: int) -> list[Hash]:
    """Return the blocks of a height that honest validators hold as final."""
    return [block_id for block_id, holders in chronicle.final.get(height, {}).items() if holders]


def _blame(chronicle: Chronicle, height: int) -> Blame | None:
    """Take the first two finalizations that contradict each other at this height."""
    for early, late in combinations(_final_at(chronicle, height), 2):
        at = round_of(early)
        against: set[int] | None = chronicle.signers(late)
        if round_of(late) != at:
            against = _contradicting(chronicle, late.subject, at)
        if against is not None:
            return Blame(height, *at, tuple(sorted(chronicle.signers(early) & against)))
    return None


def _final_at(chronicle: Chronicle, height: int) -> list[Finalization]:
    """Return for each block of a height the first finalization of it or a descendant, in order.

    A block whose header nobody has shown is taken for one of every height at which its view has
    another final block.
    """
    found: dict[Hash, Finalization] = {}
    for at in sorted(chronicle.finalizations):
        certificates = chronicle.finalizations[at].values()
        ancestors = [_ancestor(chronicle, one.subject.block_id, height) for one in certificates]
        for certificate, block_id in zip(certificates, ancestors, strict=True):
            if block_id is None and any(ancestors):
                block_id = certificate.subject.block_id
            if block_id is not None:
                found.setdefault(block_id, certificate)
    return list(found.values())


def _ancestor(chronicle: Chronicle, block_id: Hash, height: int) -> Hash | None:
    """Return the block of a height under a block, or None where the known headers end above it."""
    header = chronicle.headers.get(block_id)
    if header is None or header.height < height:
        return None
    at = header.height
    while at > height:
        if header is None:
            return None
        block_id, at = header.parent_id, at - 1
        header = chronicle.headers.get(block_id)
    return block_id


def _contradicting(chronicle: Chronicle, late: Proposal, at: Round) -> set[int] | None:
    """Walk down from `late` to the lowest proposal above `at`; return who signed against it."""
    proposal = late
    while (link := chronicle.justifies.get(proposal.justify_hash)) is not None:
        parent = link.parent
        if parent is not None and round_of(parent) >= _round_of_proposal(proposal):
            return None  # rounds only go down
        if parent is not None and round_of(parent) > at:
            proposal = parent.subject
            continue
        if parent is not None and round_of(parent) == at:
            return chronicle.signers(parent)
        for nullification in link.nullifications:
            if round_of(nullification) == at:
                return chronicle.signers(nullification)
        return None
    return None


def _round_of_proposal(proposal: Proposal) -> Round:
    """Return the epoch and view of a proposal."""
    return (proposal.epoch, proposal.view)
