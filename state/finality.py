"""What finality is: headers, proposals, votes, certificates, and what their signers sign.

Consensus produces these values and state verifies them, so they stand here, where both may look
(consensus 2.1 and settled points 4, 17, 18).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from state import crypto
from state.codec import Struct, encode
from state.crypto import Tag
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

    validator: Annotated[int, Meta(ge=0, lt=VALIDATORS_MAX)]
    signature: Signature


class Certificate(Struct):
    """Votes of more than two thirds of the stake for one subject, in ascending validator order."""

    subject: Proposal
    votes: Annotated[tuple[Vote, ...], Meta(min_length=1, max_length=VALIDATORS_MAX)]


class Nullification(Struct):
    """Votes of a quorum to abandon a view."""

    subject: Nullified
    votes: Annotated[tuple[Vote, ...], Meta(min_length=1, max_length=VALIDATORS_MAX)]


class Justify(Struct):
    """Why a proposal may stand on its parent: the parent's certificate and the skipped views.

    The certificate is absent only over genesis (consensus settled point 5).
    """

    parent: Certificate | None
    nullifications: tuple[Nullification, ...]


ValidatorSet = tuple[Validator, ...]


def justify_hash(justify: Justify) -> Hash:
    """Return the hash by which headers and proposals commit to a justification."""
    return crypto.hash_bytes(Tag.JUSTIFY, encode(justify))


def evidence_root(evidence: Sequence[bytes]) -> Hash:
    """Return the root of a block's evidence, in order."""
    return crypto.merkle_root(Tag.EVIDENCE_ROOT, evidence)


def set_hash(validators: ValidatorSet) -> Hash:
    """Return the hash of a validator set in its order."""
    return crypto.hash_bytes(Tag.VALIDATORS, encode(validators))


def is_quorum(stake: int, total: int) -> bool:
    """Tell whether `stake` is more than two thirds of `total` (consensus 2.1)."""
    return 3 * stake > 2 * total


def vote_digest(tag: Tag, genesis_hash: Hash, subject: Proposal | Nullified) -> Hash:
    """Return the digest that a vote of kind `tag` (NOTARIZE, NULLIFY, FINALIZE) signs."""
    return crypto.sign_hash(tag, genesis_hash, encode(subject))


def verify_certificate(
    tag: Tag, genesis_hash: Hash, certificate: Certificate, validators: ValidatorSet
) -> bool:
    """Tell whether ascending, distinct, valid votes of a quorum of `validators` stand in it."""
    digest = vote_digest(tag, genesis_hash, certificate.subject)
    claims: list[Any] = []
    stake = 0
    last = -1
    for vote in certificate.votes:
        if vote.validator <= last or vote.validator >= len(validators):
            return False
        last = vote.validator
        member = validators[vote.validator]
        claims.append((member.public_key, digest, vote.signature))
        stake += member.stake
    total = sum(member.stake for member in validators)
    return is_quorum(stake, total) and all(crypto.verify_many(claims))
