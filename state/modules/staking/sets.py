"""Validator sets: who sits in each epoch, fixed two epochs ahead, and who of them earns."""

from state.codec import replace
from state.context import BlockContext
from state.finality import Validator as Member
from state.finality import ValidatorSet, boundary_height
from state.maths import floor_div
from state.modules import chain
from state.modules.staking.events import SetKept
from state.modules.staking.records import RANKS, SETS, VALIDATORS, WATCH, EpochSet, Standing, Watch
from state.modules.staking.shares import keep_validator, settled_validator
from state.params import StakingParams
from state.tables import State
from state.types import Address

PRUNED_MAX = 8
"""Sets dropped at one boundary; more than one falls due only after the window was shortened."""


def epoch_of(height: int, params: StakingParams) -> int:
    """Return the epoch of a block; genesis stands before epoch 0 and counts to it."""
    return floor_div(max(height, 1) - 1, params.epoch_blocks)


def fixed_height(epoch: int, params: StakingParams) -> int:
    """Return the height whose state fixed the set of an epoch (settled 8)."""
    return max(0, epoch - 1) * params.epoch_blocks


def evidence_end(epoch: int, params: StakingParams) -> int:
    """Return the last height at which evidence against the set of an epoch is taken.

    evidence_blocks + 2 x epoch_blocks <= unbonding_blocks puts it before any stake that the set
    had when it was fixed can have been paid out (consensus 2.8, rule 6).
    """
    return boundary_height(epoch, params.epoch_blocks) + params.evidence_blocks


def members_of(state: State, epoch: int) -> ValidatorSet:
    """Return the validators of an epoch; raises NotFound where they are not known, or no more."""
    return SETS.require(state, epoch).members


def validator_set(state: State) -> ValidatorSet:
    """Return the set that would be fixed now, by account: the largest stakes that may be elected.

    Ties go to the lower account. It may be too small to be one.
    """
    limit = chain.params_of(state).staking.validators_max
    accounts = sorted([account for (_, account), _ in RANKS.scan(state, limit=limit)])
    rows = [(account, VALIDATORS.require(state, account)) for account in accounts]
    return tuple([Member(row.public_key, account, row.stake) for account, row in rows])


def is_usable(members: ValidatorSet, params: StakingParams) -> bool:
    """Tell whether a set is neither empty of stake, nor too small, nor too large (settled 8)."""
    fits = params.validators_min <= len(members) <= params.validators_max
    return fits and sum([member.stake for member in members]) > 0


def turn_epoch(ctx: BlockContext) -> None:
    """After the boundary block of epoch e: fix the set of e+2, and let the set of e+1 earn."""
    params = ctx.params.staking
    if ctx.height % params.epoch_blocks:
        return
    epoch = epoch_of(ctx.height, params)
    _fix(ctx, epoch + 2)
    leaving = {member.account for member in members_of(ctx.state, epoch)}
    coming = {member.account for member in members_of(ctx.state, epoch + 1)}
    for account in sorted(leaving | coming):
        _let_earn(ctx.state, account, account in coming)
    _stop_watching(ctx.state, coming)
    _prune(ctx)


def _fix(ctx: BlockContext, epoch: int) -> None:
    """Write an epoch's set, or the one before it once more where too few stand for it."""
    before = members_of(ctx.state, epoch - 1)
    members = validator_set(ctx.state)
    if not is_usable(members, ctx.params.staking):
        ctx.emit(SetKept(epoch, len(members)))
        members = before
    # Thousands of sets rest in memory and mostly hold the same members: keep one object of each.
    same = {member: member for member in before}
    members = tuple([same.get(member, member) for member in members])
    SETS.put(ctx.state, epoch, EpochSet(members))


def _let_earn(state: State, account: Address, member: bool) -> None:
    row = VALIDATORS.require(state, account)
    earning = member and row.standing == Standing.ACTIVE
    if earning != row.earning:
        keep_validator(state, account, replace(settled_validator(state, account), earning=earning))


def _stop_watching(state: State, coming: set[Address]) -> None:
    """Whoever leaves the set in the middle of a window is not judged at its end."""
    watch = WATCH.get(state, chain.THE_ONE)
    if watch is not None and not coming.issuperset(watch.unseen):
        unseen = tuple([account for account in watch.unseen if account in coming])
        WATCH.put(state, chain.THE_ONE, Watch(unseen))


def _prune(ctx: BlockContext) -> None:
    """Drop the sets against which no evidence is taken any more."""
    old = [
        epoch
        for epoch, _ in SETS.scan(ctx.state, limit=PRUNED_MAX)
        if evidence_end(epoch, ctx.params.staking) < ctx.height
    ]
    for epoch in old:
        SETS.delete(ctx.state, epoch)
