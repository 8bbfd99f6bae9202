"""One view of Simplex: what is known in it, and which vote each occurrence asks for.

`View.wanted` is the whole of the voting rules R3, R4 and R6 as one match. It knows nothing of
blocks, timers or peers: the driver tells it what has occurred, and checks beforehand what needs
more than the view itself. The flags are set when a vote is asked for, not when it is signed, so
that nothing is asked for twice; a refused vote leaves its flag set: it was cast in another life.
"""

from enum import Enum

from consensus.validators import Validators
from consensus.votes import Tally
from state.crypto import Tag
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
)


class Occurrence(Enum):
    """What may ask for a vote."""

    PROPOSAL_VALID = "the leader's proposal passed every check of R3"
    PROPOSAL_INVALID = "the leader's proposal breaks a rule"
    PROPOSAL_LATE = "no proposal came in time"
    LEADER_SILENT = "the leader was silent for long while a quorum was active"
    VIEW_LATE = "the view was not left in time"
    LEADER_GAVE_UP = "the leader nullified its own view"
    BUILD_FAILED = "this node leads the view and has no block"
    CERTIFIED_INVALID = "a quorum notarized what this node finds invalid"
    CERTIFIED_VALID = "the notarized block and its ancestors were executed and are valid"


class View:
    """Everything that is known of one view."""

    __slots__ = (
        "equivocated",
        "finalization",
        "leader",
        "link_is_stored",
        "my_finalize",
        "my_notarize",
        "my_nullify",
        "notarization",
        "nullification",
        "number",
        "other_notarization",
        "proposal",
        "refused",
        "tally",
    )

    def __init__(self, number: int, validators: Validators) -> None:
        self.number = number
        self.leader = validators.leader(number)
        self.tally = Tally(validators)
        self.proposal: Proposal | None = None
        self.refused: set[Proposal] = set()
        """Proposals of the leader, two at most, that were verified and can never hold."""
        self.equivocated = False
        self.link_is_stored = False
        self.my_notarize: Proposal | None = None
        self.my_nullify = False
        self.my_finalize: Proposal | None = None
        self.notarization: Notarization | None = None
        self.other_notarization: Notarization | None = None
        """A second one, of another proposal: more than a third of the stake has signed both."""
        self.nullification: Nullification | None = None
        self.finalization: Finalization | None = None

    def wanted(self, occurrence: Occurrence, *, is_current: bool) -> Tag | None:
        """Return the vote that this occurrence asks of the node, or None."""
        match occurrence:
            case Occurrence.PROPOSAL_VALID:
                # R3, settled 3: current view, none of the three votes cast, no equivocation seen
                if is_current and not self._has_voted and not self.equivocated:
                    return Tag.NOTARIZE
            case Occurrence.CERTIFIED_VALID:
                # R6, settled 3: never after Nullify, never twice, never beside another Notarize
                if self.my_nullify or self.my_finalize is not None or self.equivocated:
                    return None
                if self.nullification is not None or self.notarization is None:
                    return None  # R6: notarization held, nullification not held
                if self.my_notarize in (None, self.notarization.subject):
                    return Tag.FINALIZE
            case Occurrence.PROPOSAL_LATE | Occurrence.LEADER_SILENT:
                # R4: t_l without proposal; the hint is ignored if a proposal is here
                if self.proposal is None and self._may_nullify(is_current=is_current):
                    return Tag.NULLIFY
            case (
                Occurrence.VIEW_LATE
                | Occurrence.PROPOSAL_INVALID
                | Occurrence.LEADER_GAVE_UP
                | Occurrence.BUILD_FAILED
                | Occurrence.CERTIFIED_INVALID
            ):
                # R4: t_a without leaving, or nothing left to wait for
                if self._may_nullify(is_current=is_current):
                    return Tag.NULLIFY
        return None

    def is_certified(self, kind: Tag, subject: Proposal | Nullified) -> bool:
        """Tell whether a certificate of this kind for this subject is held."""
        held: Certificate | None
        match kind:
            case Tag.NOTARIZE:
                other = self.other_notarization
                held = other if other and other.subject == subject else self.notarization
            case Tag.FINALIZE:
                held = self.finalization
            case _:
                held = self.nullification
        return held is not None and held.subject == subject

    @property
    def _has_voted(self) -> bool:
        return self.my_nullify or self.my_notarize is not None or self.my_finalize is not None

    def _may_nullify(self, *, is_current: bool) -> bool:
        # R4: only the current view, and never after Finalize; after Notarize it is legal
        return is_current and self.my_finalize is None and not self.my_nullify

    def cast(self, kind: Tag, proposal: Proposal | None) -> None:
        """Remember that a vote was asked for, or was cast before a restart."""
        match kind:
            case Tag.NOTARIZE:
                self.my_notarize = proposal
            case Tag.FINALIZE:
                self.my_finalize = proposal
            case _:
                self.my_nullify = True

    def recall(self, vote: SignedVote) -> None:
        """Set the flag of an own vote that journal or guard remembers (settled 2 and 3)."""
        match vote:
            case Notarize(subject):
                self.my_notarize = subject
            case Nullify():
                self.my_nullify = True
            case Finalize(subject):
                self.my_finalize = subject

    def propose(self, proposal: Proposal) -> None:
        """Note what the leader's first Notarize names; a second one is an equivocation."""
        if self.proposal is None:
            self.proposal = proposal
        elif self.proposal != proposal:
            self.equivocated = True  # the first proposal is kept; neither vote is cast any more

    def certify(self, notarization: Notarization) -> None:
        """Take in a notarization: it decides what the view's proposal is, whatever came first."""
        if self.notarization is not None and self.notarization.subject != notarization.subject:
            self.equivocated = True  # settled 3: a second notarization of the view is held
            self.other_notarization = self.other_notarization or notarization
            return
        self.notarization = notarization
        if self.proposal not in (None, notarization.subject):
            self.equivocated = True
        if self.my_notarize not in (None, notarization.subject):
            self.equivocated = True  # settled 3: rebuilt from what is logged
        self.proposal = notarization.subject
