"""Who caused a fork: the argument of the protocol, carried out on what honest validators hold.

Two conflicting finalizations, at views a <= b: with a = b both quorums voted Finalize twice (E2).
Else walk down from the later block to X, the lowest proposal with a view above a. Its parent lies
at a view p <= a. With p = a, the parent's certificate and the finalization at a name two blocks
(E1, E2 or E4); with p < a, X carries the nullification of a (E3). Either way two quorums of one set
signed what one honest validator never signs together, and their overlap is more than a third.
"""

from dataclasses import dataclass

from node.sim.chronicle import Chronicle
from state.finality import Finalization, Justify, Proposal
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a fork was possible: the round of the offence, and everyone who committed it."""

    height: int
    epoch: int
    view: int
    offenders: tuple[int, ...]


def blame_forks(chronicle: Chronicle) -> list[tuple[int, Blame | None]]:
    """Return for every fork who caused it, None where what is held does not tell."""
    tips = _directly_final(chronicle)
    found: list[tuple[int, Blame | None]] = []
    for height in chronicle.forks():
        lines = [_tip_of(chronicle, tips, block_id) for block_id in chronicle.final[height]]
        found.append((height, _blame(chronicle, height, lines)))
    return found


def _directly_final(chronicle: Chronicle) -> list[Finalization]:
    return [
        certificate
        for at in sorted(chronicle.finalizations)
        for certificate in chronicle.finalizations[at].values()
    ]


def _tip_of(chronicle: Chronicle, tips: list[Finalization], block_id: Hash) -> Finalization | None:
    """Return the first finalization of the block or of a descendant of it."""
    header = chronicle.headers.get(block_id)
    if header is None:
        return None
    for certificate in tips:
        walked: Hash = certificate.subject.block_id
        while (found := chronicle.headers.get(walked)) and found.height > header.height:
            walked = found.parent_id
        if walked == block_id:
            return certificate
    return None


def _blame(chronicle: Chronicle, height: int, tips: list[Finalization | None]) -> Blame | None:
    held = [tip for tip in tips if tip is not None]
    if len(held) < 2:
        return None
    early, late = sorted(held, key=lambda tip: (tip.subject.epoch, tip.subject.view))[:2]
    at = (early.subject.epoch, early.subject.view)
    against: set[int] | None
    if at == (late.subject.epoch, late.subject.view):
        against = chronicle.signers(late)
    else:
        against = _contradicting(chronicle, late.subject, at)
    if against is None:
        return None
    offenders = tuple(sorted(chronicle.signers(early) & against))
    return Blame(height, at[0], at[1], offenders)


def _contradicting(chronicle: Chronicle, late: Proposal, at: tuple[int, int]) -> set[int] | None:
    """Walk down from `late` to the lowest proposal above `at`; return who signed against it."""
    proposal = late
    for _ in range(len(chronicle.headers) + len(chronicle.links) + 1):
        link = _link(chronicle, proposal)
        if link is None:
            return None
        parent = link.parent
        if parent is not None and (parent.subject.epoch, parent.subject.view) > at:
            proposal = parent.subject
            continue
        if parent is not None and (parent.subject.epoch, parent.subject.view) == at:
            return chronicle.signers(parent)
        for nullification in link.nullifications:
            if (nullification.subject.epoch, nullification.subject.view) == at:
                return chronicle.signers(nullification)
        return None
    return None


def _link(chronicle: Chronicle, proposal: Proposal) -> Justify | None:
    for known, justify in chronicle.links.get(proposal.block_id, []):
        if known == proposal:
            return justify
    return None
