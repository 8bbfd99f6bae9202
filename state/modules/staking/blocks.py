"""What staking does in every block: share fees out, pay matured unbondings, add itself up."""

from state import accumulator
from state.accumulator import EMPTY
from state.context import BlockContext
from state.errors import Malformed
from state.genesis import Genesis
from state.maths import floor_div, mul_div_floor
from state.modules import bank, chain
from state.modules.staking.records import (
    BONDED,
    DELEGATIONS,
    DUE,
    MODULE,
    REWARDS,
    SETS,
    TOTALS,
    UNBONDING,
    UNBONDINGS,
    VALIDATORS,
    EpochSet,
    Totals,
    Unbonded,
    Validator,
)
from state.modules.staking.shares import bond, settled_delegation, settled_validator, validator_set
from state.types import BPS, Address

MATURED_PER_BLOCK_MAX = 1_000


@MODULE.genesis
def write_validators(ctx: BlockContext, genesis: Genesis) -> None:
    """Bond the first validators with coins of their own allocations."""
    state = ctx.state
    TOTALS.put(state, chain.THE_ONE, Totals(0, EMPTY))
    for entry in genesis.validators:
        if bank.balance_of(state, entry.account) < entry.stake:
            raise Malformed("A genesis validator's account does not hold its stake; allocate it.")
        VALIDATORS.put(
            state,
            entry.account,
            Validator(entry.public_key, entry.commission_bps, 0, bytes(16), EMPTY, 0),
        )
        bank.move(state, entry.account, BONDED, entry.stake)
        bond(state, entry.account, entry.account, entry.stake, 0)
    for epoch in (0, 1):
        SETS.put(state, epoch, EpochSet(validator_set(state)))


@MODULE.end_block
def fix_next_set(ctx: BlockContext) -> None:
    """After the boundary block of epoch e, fix the set of epoch e+2 (consensus settled point 8)."""
    blocks = ctx.params.staking.epoch_blocks
    if ctx.height % blocks:
        return
    epoch = floor_div(ctx.height, blocks) - 1
    SETS.put(ctx.state, epoch + 2, EpochSet(validator_set(ctx.state)))


@MODULE.end_block
def share_fees(ctx: BlockContext) -> None:
    """Pay the proposer its share of the block's fees and all stake the rest."""
    state = ctx.state
    fees = bank.balance_of(state, chain.FEES)
    if fees == 0:
        return
    bonus = mul_div_floor(fees, ctx.params.staking.proposer_bps, BPS)
    if VALIDATORS.get(state, ctx.proposer) is None:
        bonus = 0
    bank.move(state, chain.FEES, ctx.proposer, bonus)
    bank.move(state, chain.FEES, REWARDS, fees - bonus)
    totals = TOTALS.require(state, chain.THE_ONE)
    pool = accumulator.add(totals.pool, fees - bonus, totals.stake)
    TOTALS.put(state, chain.THE_ONE, Totals(totals.stake, pool))


@MODULE.end_block
def pay_matured(ctx: BlockContext) -> None:
    """Return stake whose unbonding time is over, oldest first, within a budget."""
    for entry in DUE.take(ctx.state, ctx.height, limit=MATURED_PER_BLOCK_MAX):
        delegator, key = entry[:20], entry[20:]
        row = UNBONDINGS.require(ctx.state, (delegator, key))
        UNBONDINGS.delete(ctx.state, (delegator, key))
        bank.move(ctx.state, UNBONDING, delegator, row.amount)
        ctx.emit(Unbonded(delegator, row.amount))


@MODULE.invariant(always=True)
def bonded_pot_matches(ctx: BlockContext) -> str | None:
    """The bonded pot holds the total stake."""
    stake = TOTALS.require(ctx.state, chain.THE_ONE).stake
    held = bank.balance_of(ctx.state, BONDED)
    return None if held == stake else f"The bonded pot holds {held} and {stake} are bonded."


@MODULE.invariant(always=False)
def stakes_add_up(ctx: BlockContext) -> str | None:
    """Delegations add up to validators, they to the total; the pots cover what is owed."""
    by_validator: dict[Address, int] = {}
    for (_, account), row in DELEGATIONS.scan(ctx.state):
        by_validator[account] = by_validator.get(account, 0) + row.stake
    owed = 0
    for account, validator in VALIDATORS.scan(ctx.state):
        if by_validator.get(account, 0) != validator.stake:
            return "Delegations do not add up to their validator's stake."
        owed += settled_validator(ctx.state, account).commission
    for (delegator, account), _ in DELEGATIONS.scan(ctx.state):
        settled = settled_validator(ctx.state, account)
        owed += settled_delegation(ctx.state, delegator, account, settled).unpaid
    if owed > bank.balance_of(ctx.state, REWARDS):
        return "The rewards pot holds less than stake has earned."
    waiting = sum(row.amount for _, row in UNBONDINGS.scan(ctx.state))
    if waiting != bank.balance_of(ctx.state, UNBONDING):
        return "The unbonding pot does not hold what is on its way back."
    total = sum(by_validator.values())
    if total != TOTALS.require(ctx.state, chain.THE_ONE).stake:
        return "Validators do not add up to the total stake."
    return None
