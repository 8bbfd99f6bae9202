"""Slashing: what proof of an offence costs a validator and everybody whose stake stood behind it.

One function judges evidence and one carries the punishment out, whether the proof comes in a
block's body or in a transaction. A validator is slashed once, for the first offence that is proven,
and is out for ever (consensus 2.10, settled 20). Further proofs are recorded; one of an older epoch
also makes stake pay that had left before the set of the first one's: otherwise an offender could
save it by being proven, by itself, of a later offence in time.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from state import crypto
from state.block import EVIDENCE_MAX
from state.codec import replace
from state.context import BlockContext, TxContext
from state.crypto import SignatureClaim
from state.errors import InvalidBlock, Malformed, Rejected
from state.finality import (
    Evidence,
    Finalization,
    evidence_claims,
    offence_of,
    offender,
    votes_of,
)
from state.finality import Validator as Member
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import bank, chain
from state.modules.staking.errors import EvidenceInvalid, EvidenceKnown, EvidenceTooOld
from state.modules.staking.events import OffenceRecorded, Slashed
from state.modules.staking.presence import claims_of_late
from state.modules.staking.records import (
    BONDED,
    MODULE,
    OFFENCES,
    SETS,
    SLASHES,
    Offence,
    Slash,
    Standing,
)
from state.modules.staking.sets import evidence_end, fixed_height
from state.modules.staking.shares import keep_validator, self_bond, settled_validator
from state.params import StakingParams
from state.registry import Message
from state.tables import State
from state.types import BPS, Address, Hash, Height, PublicKey

OFFENCES_MAX = 16
"""Offences on record for one validator; further proofs are refused, so that they fill no blocks.

One that reaches back further than all of them is not: there is one such at most for each epoch of
the evidence window.
"""


@dataclass(frozen=True, slots=True)
class Accused:
    """Whom evidence accuses of what, its signatures apart."""

    member: Member
    epoch: int
    view: int
    kind: str


def accused_by(state: State, params: StakingParams, height: int, evidence: Evidence) -> Accused:
    """Return whom the evidence accuses, if a block at `height` may still take it.

    Signatures are the caller's to verify. Raises EvidenceTooOld, EvidenceInvalid, EvidenceKnown.
    """
    subject = votes_of(evidence)[0].subject
    row = SETS.get(state, subject.epoch)
    if row is None or height > evidence_end(subject.epoch, params):
        raise EvidenceTooOld(
            f"Evidence against epoch {subject.epoch} is taken while its set is kept, until height "
            f"{evidence_end(subject.epoch, params)}; nothing can be done about it here."
        )
    kind = offence_of(evidence, params.epoch_blocks)
    index = offender(evidence)
    if not kind or index >= len(row.members):
        raise EvidenceInvalid(
            "The votes contradict no rule, or are not of one member of that epoch; see E1 to E5."
        )
    accused = Accused(row.members[index], subject.epoch, subject.view, kind)
    account = accused.member.account
    slash = SLASHES.get(state, account)
    full = slash is not None and slash.offences >= OFFENCES_MAX
    if slash is not None and fixed_height(subject.epoch, params) < slash.from_height:
        full = False
    if full or OFFENCES.get(state, (account, subject.epoch, subject.view)) is not None:
        raise EvidenceKnown(
            "An offence of this validator in this view, or enough of its offences, are on record; "
            "there is nothing to do."
        )
    return accused


def is_punishable(
    state: State,
    evidence: Evidence,
    genesis_hash: Hash,
    height: Height,
    known: Container[SignatureClaim] = (),
) -> bool:
    """Tell whether the body of a block at `height`, over its parent's state, may hold the evidence.

    A body holds at most one such proof of each offender; `choose_evidence` picks them.
    """
    claims = _claims_of(state, evidence, genesis_hash, height)
    unknown = [claim for claim in claims if claim not in known]
    return bool(claims) and all(crypto.verify_many(unknown))


def _claims_of(
    state: State, evidence: Evidence, genesis_hash: Hash, height: Height
) -> list[SignatureClaim]:
    """Return the signatures that evidence claims, none if no block at `height` may take it."""
    try:
        accused_by(state, chain.params_of(state).staking, height, evidence)
    except Rejected:
        return []
    row = SETS.require(state, votes_of(evidence)[0].subject.epoch)
    return evidence_claims(evidence, genesis_hash, row.members)


def choose_evidence(
    state: State,
    evidence: Iterable[Evidence],
    genesis_hash: Hash,
    height: Height,
    known: Container[SignatureClaim] = (),
) -> tuple[Evidence, ...]:
    """Return what of the evidence a leader may put into the body of a block at `height`."""
    chosen: dict[Address, Evidence] = {}
    for each in evidence:
        if len(chosen) == EVIDENCE_MAX:
            break
        if is_punishable(state, each, genesis_hash, height, known):
            chosen.setdefault(_account(state, each), each)
    return tuple(chosen.values())


def _account(state: State, evidence: Evidence) -> Address:
    members = SETS.require(state, votes_of(evidence)[0].subject.epoch).members
    return members[offender(evidence)].account


def check_votes(
    state: State,
    height: Height,
    genesis_hash: Hash,
    late: Finalization | None,
    evidence: Sequence[Evidence],
    known: Container[SignatureClaim] = (),
) -> list[SignatureClaim]:
    """Return what late votes and evidence of a body at `height` claim to be signed, and is.

    Raises InvalidBlock unless they may stand there. `state` is the one after the parent, so that
    every replica judges alike. Signatures whose claims are `known` were verified by this node
    before, and are not verified again; the others are only after everything else holds.
    """
    claims = [] if late is None else claims_of_late(state, height, genesis_hash, late)
    accused: set[Address] = set()
    for each in evidence:
        found = _claims_of(state, each, genesis_hash, height)
        if not found:
            raise InvalidBlock(
                "The body holds evidence that proves nothing, is too old, or is on record; "
                "refuse it."
            )
        account = _account(state, each)
        if account in accused:
            raise InvalidBlock("The body holds two proofs against one validator; refuse it.")
        accused.add(account)
        claims += found
    if not all(crypto.verify_many([claim for claim in claims if claim not in known])):
        raise InvalidBlock("A signature of the late votes or the evidence is not valid; refuse it.")
    return claims


@MODULE.begin_block
def take_evidence(ctx: BlockContext) -> None:
    """Punish those whom the body's evidence accuses, before anybody can move stake away.

    `check_votes` has judged it against this very state; the proposer is the reporter.
    """
    for evidence in ctx.evidence:
        punish(ctx, accused_by(ctx.state, ctx.params.staking, ctx.height, evidence), ctx.proposer)


def punish(ctx: BlockContext, accused: Accused, reporter: Address) -> None:
    """Record a proven offence; the first slashes the validator, an older one reaches further back.

    What a lower `from_height` adds had left before and has paid nothing yet, so none pays twice.
    """
    state, account = ctx.state, accused.member.account
    row = Offence(accused.kind, ctx.height, reporter)
    OFFENCES.put(state, (account, accused.epoch, accused.view), row)
    slash = SLASHES.get(state, account)
    if slash is None:
        _slash(ctx, accused, reporter)
    else:
        reach = min(slash.from_height, fixed_height(accused.epoch, ctx.params.staking))
        grown = replace(slash, offences=slash.offences + 1, from_height=reach)
        SLASHES.put(state, account, grown)
        ctx.emit(OffenceRecorded(account, accused.kind, accused.epoch, accused.view))


def _slash(ctx: BlockContext, accused: Accused, reporter: Address) -> None:
    """Take the offence's fraction of all the validator's stake; what has left pays when it is due.

    The reporter's reward is a part of what the offender's own stake loses, so that reporting
    oneself, under whatever name, costs more than it brings.
    """
    state, params, account = ctx.state, ctx.params.staking, accused.member.account
    bps = params.slash_bps[int(accused.kind[1:]) - 1]
    validator = settled_validator(state, account)
    cut = mul_div_ceil(validator.stake, bps, BPS)
    own = mul_div_floor(self_bond(state, account, validator), bps, BPS)
    reward = min(mul_div_floor(own, params.reporter_bps, BPS), params.reporter_reward_max, cut)
    if reporter == account:
        reward = 0
    bank.move(state, BONDED, reporter, reward)
    bank.burn(state, BONDED, cut - reward)
    slashed = replace(
        validator,
        stake=validator.stake - cut,
        standing=Standing.TOMBSTONED,
        release_height=0,
        earning=False,
    )
    keep_validator(state, account, slashed)
    epoch, view = accused.epoch, accused.view
    row = Slash(
        epoch=epoch,
        offence=accused.kind,
        bps=bps,
        from_height=fixed_height(epoch, params),
        height=ctx.height,
        burned=cut - reward,
        reward=reward,
        reporter=reporter,
        offences=1,
    )
    SLASHES.put(state, account, row)
    ctx.emit(Slashed(account, accused.kind, epoch, view, cut - reward, reward, reporter))


@MODULE.tx
class SubmitEvidence(Message, tag=0x0208):
    """Prove that a validator broke the protocol, for a part of what its own stake loses by it.

    `public_key` is the accused's in the set of that epoch (staking.epoch_set).
    """

    epoch: Height
    public_key: PublicKey
    evidence: Evidence

    WEIGHT = 1_000

    def check(self) -> None:
        """Refuse evidence of an epoch other than the one it is filed under."""
        if votes_of(self.evidence)[0].subject.epoch != self.epoch:
            raise Malformed("The votes are of another epoch than the evidence says; name theirs.")

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """Return the signatures of the votes."""
        accused = Member(self.public_key, bytes(20), 0)
        members = (accused,) * (offender(self.evidence) + 1)
        return evidence_claims(self.evidence, genesis_hash, members)

    def apply(self, ctx: TxContext) -> None:
        """Punish the accused; the signer is the reporter."""
        params = ctx.params.staking
        self.check()
        accused = accused_by(ctx.state, params, ctx.height, self.evidence)
        if accused.member.public_key != self.public_key:
            raise EvidenceInvalid(
                "The key is not the accused's in that epoch; see staking.epoch_set for theirs."
            )
        punish(ctx, accused, ctx.account)
