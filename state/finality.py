"""What finality is: headers, proposals, votes, certificates, and what their signers sign.

Consensus produces these values and state verifies them, so they stand here, where both may look
(consensus 2.1 and settled points 4, 17, 18).
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from state import crypto
from state.codec import Struct, encode
from state.crypto import SignatureClaim, Tag
from state.types import Address, Amount, Hash, Height, PublicKey, Signature, TimestampMs

VALIDATORS_MAX = 200
Epoch = Height
View = Height


class Header(Struct):
    """A block's header; state_root and outcomes_root are those after the parent was executed."""

    height: Height
    epoch: Epoch
    view: View
    parent_view: View
    parent_id: Hash
    time_ms: TimestampMs
    proposer: Address
    tx_root: Hash
    evidence_root: Hash
    justify_hash: Hash
    state_root: Hash
    outcomes_root: Hash
    validators_hash: Hash
    next_validators_hash: Hash
    params_hash: Hash

    @property
    def id(self) -> Hash:
        """The block's id: H(header)."""
        return crypto.hash_bytes(Tag.HEADER, encode(self))


class Proposal(Struct):
    """What votes sign: one block in one view over one parent view."""

    epoch: Epoch
    view: View
    parent_view: View
    block_id: Hash
    justify_hash: Hash


class Nullified(Struct):
    """What a Nullify signs: that a view is abandoned."""

    epoch: Epoch
    view: View


class Validator(Struct):
    """A member of a validator set; the set is ordered, and its index names it in certificates."""

    public_key: PublicKey
    account: Address
    stake: Amount


class Vote(Struct):
    """One validator's signature over a subject."""

    validator: Annotated[int, Meta(ge=0, le=VALIDATORS_MAX - 1)]
    signature: Signature


Votes = Annotated[tuple[Vote, ...], Meta(min_length=1, max_length=VALIDATORS_MAX)]
"""Votes for one subject in strictly ascending order of their indices.

Index and signature together are the bitmap and the list beside it: no bit without a signature, no
signature twice, and none of a validator that the set does not have.
"""


class Notarize(Struct, tag=4):
    """A validator's vote that a proposal may stand in its view."""

    subject: Proposal
    vote: Vote


class Nullify(Struct, tag=5):
    """A validator's vote to abandon a view."""

    subject: Nullified
    vote: Vote


class Finalize(Struct, tag=6):
    """A validator's vote that a notarized proposal is final."""

    subject: Proposal
    vote: Vote


class Notarization(Struct, tag=1):
    """Votes of a quorum that a proposal may stand in its view: others may build on it."""

    subject: Proposal
    votes: Votes


class Nullification(Struct, tag=2):
    """Votes of a quorum to abandon a view: others may build past it."""

    subject: Nullified
    votes: Votes


class Finalization(Struct, tag=3):
    """Votes of a quorum that a proposal, and all that it stands on, is final."""

    subject: Proposal
    votes: Votes


SignedVote = Notarize | Nullify | Finalize
Certificate = Notarization | Nullification | Finalization

NULLIFICATIONS_MAX = 1_024
"""Views in a row that a justification can skip, and that validators therefore nullify at most.

Of the largest set, with every vote, so many fit into a message beside the longest body.
"""


class Justify(Struct):
    """Why a proposal may stand on its parent: the parent's certificate and the skipped views.

    The certificate is absent only over genesis; over the boundary block of the epoch before it is
    that block's finalization (consensus settled point 5).
    """

    parent: Notarization | Finalization | None
    nullifications: Annotated[tuple[Nullification, ...], Meta(max_length=NULLIFICATIONS_MAX)]


class Conflict(Struct, tag=0):
    """Two votes of one validator in one view of which an honest one signs at most one (E1-E4)."""

    first: SignedVote
    second: SignedVote


class Misfit(Struct, tag=1):
    """A vote for a proposal that its own header contradicts (E5)."""

    vote: Notarize | Finalize
    header: Header


Evidence = Conflict | Misfit


ValidatorSet = tuple[Validator, ...]


def justify_hash(justify: Justify) -> Hash:
    """Return the hash by which headers and proposals commit to a justification."""
    return crypto.hash_bytes(Tag.JUSTIFY, encode(justify))


def evidence_root(leaves: Sequence[bytes]) -> Hash:
    """Return the root of the leaves: a block's late votes, and its evidence in order."""
    return crypto.merkle_root(Tag.EVIDENCE_ROOT, leaves)


def set_hash(validators: ValidatorSet) -> Hash:
    """Return the hash of a validator set in its order."""
    return crypto.hash_bytes(Tag.VALIDATORS, encode(validators))


def is_quorum(stake: int, total: int) -> bool:
    """Tell whether `stake` is more than two thirds of `total` (consensus 2.1)."""
    return 3 * stake > 2 * total


def vote_digest(tag: Tag, genesis_hash: Hash, subject: Proposal | Nullified) -> Hash:
    """Return the digest that a vote of kind `tag` (NOTARIZE, NULLIFY, FINALIZE) signs."""
    return crypto.sign_hash(tag, genesis_hash, encode(subject))


def kind_of(value: SignedVote | Certificate) -> Tag:
    """Return the tag under which a vote, or the votes of a certificate, were signed."""
    match value:
        case Notarize() | Notarization():
            return Tag.NOTARIZE
        case Nullify() | Nullification():
            return Tag.NULLIFY
        case Finalize() | Finalization():
            return Tag.FINALIZE


def certificate_claims(
    genesis_hash: Hash, certificate: Certificate, validators: ValidatorSet
) -> list[SignatureClaim]:
    """Return the signatures that a well-formed certificate of a quorum claims, else an empty list.

    Its votes must ascend strictly, and all be of members (consensus 2.1).
    """
    digest = vote_digest(kind_of(certificate), genesis_hash, certificate.subject)
    claims: list[SignatureClaim] = []
    stake = 0
    last = -1
    for vote in certificate.votes:
        if vote.validator <= last or vote.validator >= len(validators):
            return []
        last = vote.validator
        member = validators[vote.validator]
        claims.append((member.public_key, digest, vote.signature))
        stake += member.stake
    total = sum([member.stake for member in validators])
    return claims if is_quorum(stake, total) else []


def verify_certificate(
    genesis_hash: Hash, certificate: Certificate, validators: ValidatorSet
) -> bool:
    """Tell whether ascending, distinct, valid votes of a quorum of `validators` stand in it."""
    claims = certificate_claims(genesis_hash, certificate, validators)
    return bool(claims) and all(crypto.verify_many(claims))


def boundary_height(epoch: int, epoch_blocks: int) -> int:
    """Return the height of an epoch's last block; genesis is the one before epoch 0."""
    return (epoch + 1) * epoch_blocks


def fits(proposal: Proposal, header: Header, epoch_blocks: int) -> bool:
    """Tell whether a proposal is one that honest validators may sign for this header (R2, E5).

    A re-proposal of the boundary block keeps the header of its first view, so there only the
    order of views is bound (consensus settled points 6 and 9).
    """
    boundary = boundary_height(header.epoch, epoch_blocks)
    if proposal.epoch != header.epoch or not boundary - epoch_blocks < header.height <= boundary:
        return False
    if proposal.view == header.view:
        return (
            proposal.parent_view == header.parent_view < header.view
            and proposal.justify_hash == header.justify_hash
        )
    again = header.view <= proposal.parent_view < proposal.view
    return header.height == boundary and again


def clash(first: SignedVote, second: SignedVote) -> str:
    """Return which offence two votes of one validator prove: E1 to E4, or nothing.

    Nullify beside Notarize is legal. Subjects are compared whole, parent view included.
    """
    one, two = first.subject, second.subject
    if first.vote.validator != second.vote.validator:
        return ""
    if (one.epoch, one.view) != (two.epoch, two.view):
        return ""
    match first, second:
        case (Notarize(), Notarize()):
            return "E1" if one != two else ""
        case (Finalize(), Finalize()):
            return "E2" if one != two else ""
        case (Nullify(), Finalize()) | (Finalize(), Nullify()):
            return "E3"
        case (Notarize(), Finalize()) | (Finalize(), Notarize()):
            return "E4" if one != two else ""
    return ""


def vote_claim(
    genesis_hash: Hash, signed: SignedVote, validators: ValidatorSet
) -> SignatureClaim | None:
    """Return the signature that a vote claims, None if the set has no such member."""
    if signed.vote.validator >= len(validators):
        return None
    digest = vote_digest(kind_of(signed), genesis_hash, signed.subject)
    return validators[signed.vote.validator].public_key, digest, signed.vote.signature


def votes_of(evidence: Evidence) -> tuple[SignedVote, ...]:
    """Return the signed votes that evidence rests on: two, or one for E5."""
    return (evidence.vote,) if isinstance(evidence, Misfit) else (evidence.first, evidence.second)


def offender(evidence: Evidence) -> int:
    """Return the index of the validator whom evidence accuses."""
    return votes_of(evidence)[0].vote.validator


def offence_of(evidence: Evidence, epoch_blocks: int) -> str:
    """Return the offence that evidence proves if its votes were signed: E1 to E5, or nothing."""
    if isinstance(evidence, Conflict):
        return clash(evidence.first, evidence.second)
    subject = evidence.vote.subject
    about = evidence.header.id == subject.block_id
    return "E5" if about and not fits(subject, evidence.header, epoch_blocks) else ""


def evidence_claims(
    evidence: Evidence, genesis_hash: Hash, validators: ValidatorSet
) -> list[SignatureClaim]:
    """Return the signatures that evidence claims; none if the set has no such member.

    `validators` is the set of the votes' epoch.
    """
    claims = [vote_claim(genesis_hash, vote, validators) for vote in votes_of(evidence)]
    return [] if None in claims else [claim for claim in claims if claim is not None]


def verify_evidence(
    evidence: Evidence, genesis_hash: Hash, validators: ValidatorSet, epoch_blocks: int
) -> str:
    """Return the offence that is proven, E1 to E5, or nothing.

    `validators` is the set of the votes' epoch. Age, and whether the offender was punished before,
    are for the caller to judge (consensus 2.10, settled points 6 and 20).
    """
    offence = offence_of(evidence, epoch_blocks)
    claims = evidence_claims(evidence, genesis_hash, validators) if offence else []
    return offence if claims and all(crypto.verify_many(claims)) else ""
