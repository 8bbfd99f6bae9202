"""Proofs of misbehaviour, E1 to E5, as they come to light; state/finality.py judges them.

This file only collects: the rules of what is an offence stand in one place, where the state machine
that slashes for them can see them too (consensus settled point 18).
"""

from collections.abc import Iterable, Sequence

from state.finality import (
    Certificate,
    Conflict,
    Finalization,
    Finalize,
    Header,
    Justify,
    Misfit,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    Proposal,
    SignedVote,
    clash,
    fits,
)


def found(earlier: SignedVote, later: SignedVote) -> Conflict | None:
    """Return the proof that two votes of one validator exclude each other (E1-E4), or None."""
    return Conflict(earlier, later) if clash(earlier, later) else None


def misfits(
    votes: Iterable[SignedVote], header: Header, block_id: bytes, epoch_blocks: int
) -> list[Misfit]:
    """Return a proof for each vote that contradicts the header of the block it names (E5)."""
    return [
        Misfit(vote, header)
        for vote in votes
        if isinstance(vote, Notarize | Finalize)
        and vote.subject.block_id == block_id
        and not fits(vote.subject, header, epoch_blocks)
    ]


def votes_in(certificate: Certificate) -> list[SignedVote]:
    """Return the single votes that a certificate holds: each is evidence by itself."""
    match certificate:
        case Notarization(subject, votes):
            return [Notarize(subject, vote) for vote in votes]
        case Nullification(nullified, votes):
            return [Nullify(nullified, vote) for vote in votes]
        case Finalization(subject, votes):
            return [Finalize(subject, vote) for vote in votes]


def between(one: Certificate, other: Certificate) -> list[Conflict]:
    """Return a proof against each validator whose votes in two certificates exclude each other."""
    signed = {vote.vote.validator: vote for vote in votes_in(one)}
    pairs = [(signed.get(vote.vote.validator), vote) for vote in votes_in(other)]
    conflicts = [found(first, second) for first, second in pairs if first is not None]
    return [conflict for conflict in conflicts if conflict is not None]


def of_fork(
    lower: Finalization, upper: Finalization, links: Sequence[tuple[Proposal, Justify]]
) -> list[Conflict]:
    """Return the proofs that two conflicting finalizations of one epoch contain (consensus 1).

    `links` are those under `upper`, down to below the view of `lower`, in any order. More than a
    third of the stake is among the accused.
    """
    view = lower.subject.view
    if upper.subject.view == view:
        return between(lower, upper)  # E2
    above = [link for link in links if link[0].view > view]
    if not above:
        return []
    proposal, justify = min(above, key=lambda link: link[0].view)
    if proposal.parent_view == view:  # the parent stands where the other block is final: E4 or E2
        return [] if justify.parent is None else between(lower, justify.parent)
    skipped = [one for one in justify.nullifications if one.subject.view == view]
    return between(lower, skipped[0]) if skipped else []  # E3
