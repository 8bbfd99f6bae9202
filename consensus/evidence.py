"""Proofs of misbehaviour, E1 to E5, as they come to light; state/finality.py judges them.

This file only collects: the rules of what is an offence stand in one place, where the state machine
that slashes for them can see them too (consensus settled point 18).
"""

from collections.abc import Iterable

from state.finality import (
    Certificate,
    Conflict,
    Finalization,
    Finalize,
    Header,
    Misfit,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
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
