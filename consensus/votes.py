"""The votes of one view: who voted what, which quorum stands, and who contradicted himself.

Only votes whose signatures were verified come here, whether they travelled alone or inside a
certificate: an equivocator may show each node one vote, and the second only in a certificate.
"""

from consensus.validators import Validators
from state.crypto import Tag
from state.finality import (
    Certificate,
    Conflict,
    Finalization,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    SignedVote,
    Vote,
    clash,
    kind_of,
)
from state.types import Hash

Subject = Proposal | Nullified

VOTE_KINDS = (Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE)
VOTES_MAX = 2
"""Of one kind a validator's first vote is kept and one that contradicts it: enough to prove it."""


class Tally:
    """Verified votes of one view; at most two of a kind and validator, so memory is bounded."""

    __slots__ = ("_accused", "_stakes", "_validators", "_votes")

    def __init__(self, validators: Validators) -> None:
        self._validators = validators
        self._votes: dict[tuple[Tag, int], list[SignedVote]] = {}
        self._stakes: dict[tuple[Tag, Subject], int] = {}
        self._accused: set[tuple[int, str]] = set()
        """Validators with the offences, E1 to E5, that were reported of them in this view."""

    def knows(self, vote: SignedVote) -> bool:
        """Tell whether exactly this vote, signature included, was verified before."""
        return vote in self._votes.get((kind_of(vote), vote.vote.validator), ())

    def votes_of(self, validator: int, kind: Tag) -> list[SignedVote]:
        """Return the votes of one kind that a validator has cast, the first one first."""
        return self._votes.get((kind, validator), [])

    def has_voted(self, validator: int) -> bool:
        """Tell whether any vote of this validator is known."""
        return any((kind, validator) in self._votes for kind in VOTE_KINDS)

    def about(self, block_id: Hash) -> list[SignedVote]:
        """Return the votes that name a block."""
        return [
            vote
            for votes in self._votes.values()
            for vote in votes
            if isinstance(vote.subject, Proposal) and vote.subject.block_id == block_id
        ]

    def is_full(self, validator: int, kind: Tag) -> bool:
        """Tell whether no further vote of this validator and kind would be kept."""
        return len(self.votes_of(validator, kind)) >= VOTES_MAX

    def add(self, vote: SignedVote) -> list[Conflict]:
        """Count a verified vote; return a proof for each offence that it shows for the first time.

        Two votes of a kind show every offence that a third one could: of two different proposals
        at least one differs from whatever else was signed.
        """
        kind, validator = kind_of(vote), vote.vote.validator
        mine = self._votes.setdefault((kind, validator), [])
        if len(mine) >= VOTES_MAX or any(one.subject == vote.subject for one in mine):
            return []
        conflicts = self._conflicts(vote)
        mine.append(vote)
        key = (kind, vote.subject)
        self._stakes[key] = self._stakes.get(key, 0) + self._validators.stakes[validator]
        return conflicts

    def _conflicts(self, vote: SignedVote) -> list[Conflict]:
        """Compare with everything that this validator voted before in this view (E1-E4)."""
        validator = vote.vote.validator
        return [
            Conflict(earlier, vote)
            for kind in VOTE_KINDS
            for earlier in self.votes_of(validator, kind)
            if (offence := clash(earlier, vote)) and self.accuse(validator, offence)
        ]

    def accuse(self, validator: int, offence: str) -> bool:
        """Tell whether this offence of the validator is new in this view, and remember it."""
        is_new = (validator, offence) not in self._accused
        self._accused.add((validator, offence))
        return is_new

    def has_quorum(self, kind: Tag, subject: Subject) -> bool:
        """Tell whether more than two thirds of the stake voted so (consensus 2.1)."""
        return self._validators.is_quorum(self._stakes.get((kind, subject), 0))

    def certificate(self, kind: Tag, subject: Subject) -> Certificate:
        """Return a certificate of every such vote that is held (settled 12)."""
        votes: list[Vote] = []
        for validator in range(len(self._validators)):
            for one in self.votes_of(validator, kind):
                if one.subject == subject:
                    votes.append(one.vote)
        match subject:
            case Nullified():
                return Nullification(subject, tuple(votes))
            case Proposal() if kind is Tag.NOTARIZE:
                return Notarization(subject, tuple(votes))
            case Proposal():
                return Finalization(subject, tuple(votes))
