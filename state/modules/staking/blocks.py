"""What staking does in every block: share fees out, pay what is due, and turn the epoch."""

from state import accumulator
from state.accumulator import EMPTY
from state.context import BlockContext
from state.errors import Malformed
from state.finality import Validator as Member
from state.genesis import Genesis
from state.maths import mul_div_floor
from state.modules import bank, chain
from state.modules.staking.events import Unbonded
from state.modules.staking.leaving import forget, left_over, settle
from state.modules.staking.presence import watch
from state.modules.staking.records import (
    BONDED,
    DUE,
    MODULE,
    REDELEGATIONS,
    REDELEGATIONS_DUE,
    REWARDS,
    SETS,
    TOTALS,
    UNBONDING,
    UNBONDINGS,
    VALIDATORS,
    EpochSet,
    Standing,
    Totals,
)
from state.modules.staking.sets import turn_epoch
from state.modules.staking.shares import bond
from state.modules.staking.validating import enrol
from state.types import BPS

MATURED_PER_BLOCK_MAX = 40_000
"""More than the entries of a block full of Undelegate, so that no flood delays others (ADR 13)."""
GENESIS_COMMISSION_CHANGE_BPS_MAX = 100
"""What the validators of genesis promise: no more than a hundredth in commission_blocks."""


@MODULE.genesis
def write_validators(ctx: BlockContext, genesis: Genesis) -> None:
    """Bond the first validators with coins of their own; they sit in the first two epochs."""
    state = ctx.state
    TOTALS.put(state, chain.THE_ONE, Totals(0, 0, EMPTY))
    for entry in genesis.validators:
        if bank.balance_of(state, entry.account) < entry.stake:
            raise Malformed("A genesis validator's account does not hold its stake; allocate it.")
        commission = (entry.commission_bps, GENESIS_COMMISSION_CHANGE_BPS_MAX)
        key = entry.public_key
        enrol(state, entry.account, key, commission, "", height=0, earning=True)
        bank.move(state, entry.account, BONDED, entry.stake)
        bond(state, entry.account, entry.account, entry.stake, 0)
    rows = sorted(genesis.validators, key=lambda entry: entry.account)
    members = tuple([Member(row.public_key, row.account, row.stake) for row in rows])
    for epoch in (0, 1):
        SETS.put(state, epoch, EpochSet(members))


@MODULE.end_block
def share_fees(ctx: BlockContext) -> None:
    """Pay the proposer its share of the block's fees and all stake that earns the rest.

    While nobody earns, because all are jailed or out, the fees wait.
    """
    state = ctx.state
    fees = bank.balance_of(state, chain.FEES)
    totals = TOTALS.require(state, chain.THE_ONE)
    if fees == 0 or totals.earning == 0:
        return
    proposer = VALIDATORS.get(state, ctx.proposer)
    bonus = mul_div_floor(fees, ctx.params.staking.proposer_bps, BPS)
    if proposer is None or proposer.standing != Standing.ACTIVE:
        bonus = 0
    bank.move(state, chain.FEES, ctx.proposer, bonus)
    bank.move(state, chain.FEES, REWARDS, fees - bonus)
    pool = accumulator.add(totals.pool, fees - bonus, totals.earning)
    TOTALS.put(state, chain.THE_ONE, Totals(totals.stake, totals.earning, pool))


@MODULE.end_block
def pay_matured(ctx: BlockContext) -> None:
    """Return stake whose unbonding time is over, oldest first, less what slashes take of it."""
    state = ctx.state
    for entry in DUE.take(state, ctx.height, limit=MATURED_PER_BLOCK_MAX):
        delegator, key = entry[:20], entry[20:]
        row = UNBONDINGS.require(state, (delegator, key))
        UNBONDINGS.delete(state, (delegator, key))
        left = left_over(state, row.exposures, row.amount)
        bank.burn(state, UNBONDING, row.amount - left)
        bank.move(state, UNBONDING, delegator, left)
        ctx.emit(Unbonded(delegator, left, row.amount - left))


@MODULE.end_block
def end_redelegations(ctx: BlockContext) -> None:
    """Let redelegated stake be like any other once its former validator's slashes are taken."""
    state = ctx.state
    for entry in REDELEGATIONS_DUE.take(state, ctx.height, limit=MATURED_PER_BLOCK_MAX):
        delegator, account, key = entry[:20], entry[20:40], entry[40:]
        row = REDELEGATIONS.get(state, (delegator, account, key))
        if row is not None:
            settle(ctx, delegator, account)
            forget(state, delegator, account, key, row)


@MODULE.end_block
def watch_and_turn(ctx: BlockContext) -> None:
    """Judge who took part, then fix the set after the next: nobody jailed is in a fresh one."""
    watch(ctx)
    turn_epoch(ctx)
