"""Shares: what validators and delegations have earned, settled only when somebody looks.

The fees of all blocks run through one accumulator over all bonded stake; what a validator takes
from it, less its commission, runs through its own to its delegations.
"""

from state import accumulator
from state.codec import replace
from state.finality import Validator as Member
from state.finality import ValidatorSet
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import chain
from state.modules.staking.records import (
    DELEGATIONS,
    SETS,
    TOTALS,
    VALIDATORS,
    Delegation,
    Totals,
    UnknownValidator,
    Validator,
)
from state.tables import State
from state.types import BPS, GRAINS_PER_SAHARA, Address


def validator_set(state: State) -> ValidatorSet:
    """Return the members of the consensus set, ordered by account."""
    return tuple(
        [Member(row.public_key, account, row.stake) for account, row in VALIDATORS.scan(state)]
    )


def members_of(state: State, epoch: int) -> ValidatorSet:
    """Return the validators of an epoch; raises NotFound where they are not known, or no more."""
    return SETS.require(state, epoch).members


def bonded_age(state: State, account: Address, at_height: int) -> int:
    """Return the account's bonded SAHARA times the blocks they were bonded before `at_height`."""
    return sum(
        row.stake // GRAINS_PER_SAHARA * max(0, at_height - row.since_height)
        for _, row in DELEGATIONS.scan(state, under=(account,))
    )


def settled_validator(state: State, account: Address) -> Validator:
    """Return the validator with its part of the fees so far split off, as to be stored."""
    row = VALIDATORS.get(state, account)
    if row is None:
        raise UnknownValidator("No validator runs under this account; see staking.validators.")
    totals = TOTALS.require(state, chain.THE_ONE)
    income = accumulator.earned(totals.pool, row.seen, row.stake)
    commission = mul_div_floor(income, row.commission_bps, BPS)
    pool = accumulator.add(row.pool, income - commission, row.stake) if row.stake else row.pool
    return Validator(
        row.public_key,
        row.commission_bps,
        row.stake,
        totals.pool.per_unit,
        pool,
        row.commission + commission + (0 if row.stake else income - commission),
    )


def settled_delegation(
    state: State, delegator: Address, account: Address, validator: Validator
) -> Delegation:
    """Return the delegation with its part of the settled validator's income, as to be stored."""
    row = DELEGATIONS.get(state, (delegator, account))
    if row is None:
        return Delegation(0, 0, validator.pool.per_unit, 0)
    income = accumulator.earned(validator.pool, row.seen, row.stake)
    return Delegation(row.stake, row.since_height, validator.pool.per_unit, row.unpaid + income)


def bond(state: State, delegator: Address, account: Address, amount: int, height: int) -> None:
    """Write a delegation grown by `amount` and everything that sums it up."""
    validator = settled_validator(state, account)
    held = settled_delegation(state, delegator, account, validator)
    stake = held.stake + amount
    since = mul_div_ceil(1, held.stake * held.since_height + amount * height, stake)
    grown = replace(held, stake=stake, since_height=since)
    DELEGATIONS.put(state, (delegator, account), grown)
    write_stake(state, account, validator, amount)


def write_stake(state: State, account: Address, row: Validator, change: int) -> None:
    """Write a settled validator whose stake, and so the total, changes by `change`."""
    VALIDATORS.put(state, account, replace(row, stake=row.stake + change))
    totals = TOTALS.require(state, chain.THE_ONE)
    TOTALS.put(state, chain.THE_ONE, Totals(totals.stake + change, totals.pool))
