"""What is known of the current epoch: its validators, its views, and its best certificates.

An epoch begins with the finalization of the boundary block before it and ends with that of its own
(consensus 2.8). Votes and certificates of any other epoch do not enter here (settled point 7).
"""

from consensus.activity import Activity
from consensus.evidence import votes_in
from consensus.inputs import EpochInfo
from consensus.validators import Validators
from consensus.view import View
from state.crypto import SignatureClaim
from state.finality import (
    Certificate,
    Finalization,
    Notarization,
    SignedVote,
    ValidatorSet,
    boundary_height,
    certificate_claims,
    kind_of,
    set_hash,
    vote_claim,
)
from state.types import Hash, PublicKey

VIEWS_AHEAD_MAX = 16
"""Votes so far above the current view are counted; any certificate is (consensus 2.7)."""
VIEWS_BEHIND_MAX = 16
"""Views so far below the last final one are kept, for late votes and evidence."""


class Epoch:
    """One epoch as this node sees it."""

    def __init__(
        self, info: EpochInfo, key: PublicKey | None, genesis_hash: Hash, epoch_blocks: int
    ) -> None:
        self.number = info.epoch
        self.boundary = info.boundary
        self.boundary_height = boundary_height(info.epoch, epoch_blocks)
        self.validators = Validators(info.validators, info.boundary.block_id)
        self.next_hash = set_hash(info.next_validators)
        self.me = self.validators.index_of(key)
        self._previous: ValidatorSet = info.previous_validators
        self._genesis_hash = genesis_hash
        self.activity = Activity(len(self.validators))
        self.views: dict[int, View] = {}
        self.view = 1
        self.final_view = 0
        self.final: Finalization | None = None
        self.nullified_highest = 0
        self.notarized: dict[int, Notarization] = {}
        """Notarizations from the current view up: each unlocks the next view once executed."""
        self.undecided: list[int] = []
        """Views with a notarization for which a Finalize may still be due."""
        self.entry: Certificate | None = info.boundary.finalization  # settled 7

    def at(self, number: int) -> View:
        """Return a view, new if nothing was known of it."""
        view = self.views.get(number)
        if view is None:
            view = self.views[number] = View(number, self.validators)
        return view

    @property
    def current(self) -> View:
        """The view this node is in."""
        return self.at(self.view)

    @property
    def floor(self) -> int:
        """The lowest view that is still looked at."""
        return max(1, self.final_view - VIEWS_BEHIND_MAX)

    def counts(self, number: int) -> bool:
        """Tell whether single votes of this view are counted (consensus 2.7)."""
        return self.floor <= number <= self.view + VIEWS_AHEAD_MAX

    def prune(self) -> None:
        """Forget what lies below the floor; the floor follows finality, so memory is bounded."""
        floor = self.floor
        for number in [number for number in self.views if number < floor]:
            del self.views[number]
        self.undecided = [number for number in self.undecided if number > self.final_view]

    # --- signatures -------------------------------------------------------------------------------

    def claim_of(self, vote: SignedVote) -> SignatureClaim | None:
        """Return what a vote claims, None if it is of another epoch or of no member of the set."""
        if vote.subject.epoch != self.number:
            return None
        return vote_claim(self._genesis_hash, vote, self.validators.members)

    def claims_of(self, certificate: Certificate) -> list[SignatureClaim] | None:
        """Return what is still to be verified of a certificate, None if it cannot hold.

        Membership is that of the certificate's own epoch (consensus 2.8.4): this one's set, or for
        the boundary before it the set of the epoch before. Votes are passed over only when exactly
        the same signed bytes were verified here before.
        """
        subject = certificate.subject
        if subject.epoch == self.number:
            claims = certificate_claims(self._genesis_hash, certificate, self.validators.members)
            view = self.views.get(subject.view)
            if not claims or view is None:
                return claims or None
            knows = view.tally.knows
            return [
                claim
                for claim, vote in zip(claims, votes_in(certificate), strict=True)
                if not knows(vote)
            ]
        if certificate == self.boundary.finalization:
            return []
        if subject.epoch == self.number - 1 and isinstance(certificate, Finalization):
            return certificate_claims(self._genesis_hash, certificate, self._previous) or None
        return None

    # --- certificates -----------------------------------------------------------------------------

    def holds(self, certificate: Certificate) -> bool:
        """Tell whether a certificate of its kind for its view is held already."""
        view = self.views.get(certificate.subject.view)
        if view is None:
            return False
        return view.is_certified(kind_of(certificate), certificate.subject)

    def certificate_for(self, number: int) -> Certificate | None:
        """Return what settles a view best: finality above it, its notarization, its nullification.

        The order is that of consensus 2.6 a and 2.7.
        """
        if self.final is not None and self.final_view >= number:
            return self.final
        view = self.views.get(number)
        if view is None:
            return None
        return view.finalization or view.notarization or view.nullification
