"""Shares: what stake is worth and has earned, settled only when somebody looks.

The fees of all blocks run through one accumulator over all stake that earns; what a validator takes
from it, less its commission, runs through its own to its shares. A slash lowers the stake behind
the shares once, so it reaches every delegator without a loop over them.
"""

from state import accumulator
from state.codec import encode, replace
from state.context import TxContext
from state.crypto import Tag, hash_bytes
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import chain
from state.modules.staking.errors import Tombstoned, UnknownValidator
from state.modules.staking.records import (
    DELEGATIONS,
    RANKS,
    TOTALS,
    VALIDATORS,
    Delegation,
    Rank,
    Standing,
    Totals,
    Validator,
)
from state.tables import State
from state.types import BPS, GRAINS_PER_SAHARA, INT_MAX, Address, Hash


def row_id(ctx: TxContext, number: int) -> Hash:
    """Return the id of the row number `number` that the message under execution makes."""
    return hash_bytes(Tag.ASSET_ID, encode((ctx.tx_id, ctx.message_index, number)))


def worth(validator: Validator, shares: int) -> int:
    """Return the grains behind so many of a validator's shares, floored."""
    return mul_div_floor(shares, validator.stake, validator.shares) if shares else 0


def shares_for(validator: Validator, amount: int) -> int:
    """Return the shares that `amount` grains cost, rounded up: whoever leaves pays the rounding."""
    return mul_div_ceil(amount, validator.shares, validator.stake)


def self_bond(state: State, account: Address, validator: Validator) -> int:
    """Return the grains that a validator stands for of its own."""
    own = DELEGATIONS.get(state, (account, account))
    return 0 if own is None else worth(validator, own.shares)


def bonded_age(state: State, account: Address, at_height: int) -> int:
    """Return the account's bonded SAHARA times the blocks they were bonded before `at_height`.

    What a slash took counts no more; of redelegated stake, from the time when it is settled.
    """
    total = 0
    for (_, at), row in DELEGATIONS.scan(state, under=(account,)):
        grains = worth(VALIDATORS.require(state, at), row.shares)
        total += grains // GRAINS_PER_SAHARA * max(0, at_height - row.since_height)
    return total


def settled_validator(state: State, account: Address) -> Validator:
    """Return the validator with its part of the fees so far split off, as to be stored."""
    row = VALIDATORS.get(state, account)
    if row is None:
        raise UnknownValidator("No validator runs under this account; see staking.validators.")
    totals = TOTALS.require(state, chain.THE_ONE)
    if not row.earning or row.stake == 0:
        return replace(row, seen=totals.pool.per_unit)
    income = accumulator.earned(totals.pool, row.seen, row.stake)
    commission = mul_div_floor(income, row.commission_bps, BPS)
    return replace(
        row,
        seen=totals.pool.per_unit,
        pool=accumulator.add(row.pool, income - commission, row.shares),
        commission=row.commission + commission,
    )


def settled_delegation(
    state: State, delegator: Address, account: Address, validator: Validator
) -> Delegation:
    """Return the delegation with its part of the settled validator's income, as to be stored."""
    row = DELEGATIONS.get(state, (delegator, account))
    if row is None:
        return Delegation(0, 0, validator.pool.per_unit, 0)
    income = accumulator.earned(validator.pool, row.seen, row.shares)
    return Delegation(row.shares, row.since_height, validator.pool.per_unit, row.unpaid + income)


def keep_delegation(state: State, delegator: Address, account: Address, held: Delegation) -> None:
    """Write a settled delegation, or delete it once it holds nothing and is owed nothing."""
    if held.shares or held.unpaid:
        DELEGATIONS.put(state, (delegator, account), held)
    else:
        DELEGATIONS.delete(state, (delegator, account))


def bond(state: State, delegator: Address, account: Address, amount: int, height: int) -> None:
    """Write a delegation grown by `amount` bonded since `height`, and everything that sums it up.

    Raises UnknownValidator, and Tombstoned where a share may be worth less than a grain.
    """
    validator = settled_validator(state, account)
    if validator.standing == Standing.TOMBSTONED:
        raise Tombstoned("The validator was slashed and is out for ever; choose another.")
    held = settled_delegation(state, delegator, account, validator)
    shares = held.shares + amount
    since = mul_div_ceil(1, held.shares * held.since_height + amount * height, shares)
    DELEGATIONS.put(state, (delegator, account), replace(held, shares=shares, since_height=since))
    grown = replace(validator, stake=validator.stake + amount, shares=validator.shares + amount)
    keep_validator(state, account, grown)


def keep_validator(state: State, account: Address, row: Validator) -> None:
    """Write a settled validator, and what follows of it: the totals, and its rank by stake.

    Its own delegation is written before, because whether it may be elected depends on it.
    """
    before = VALIDATORS.get(state, account)
    VALIDATORS.put(state, account, row)
    was, earned = (0, 0) if before is None else (before.stake, before.stake * before.earning)
    totals = TOTALS.require(state, chain.THE_ONE)
    stake, earning = totals.stake + row.stake - was, totals.earning + row.stake * row.earning
    TOTALS.put(state, chain.THE_ONE, Totals(stake, earning - earned, totals.pool))
    if RANKS.get(state, (INT_MAX - was, account)) is not None:
        RANKS.delete(state, (INT_MAX - was, account))
    if may_be_elected(state, account, row):
        RANKS.put(state, (INT_MAX - row.stake, account), Rank())


def may_be_elected(state: State, account: Address, row: Validator) -> bool:
    """Tell whether a validator may sit in the sets fixed from now on: free, and bonded enough."""
    own = self_bond(state, account, row)
    minimum = chain.params_of(state).staking.self_bond_min
    return row.standing == Standing.ACTIVE and own > 0 and own >= minimum
