"""Stake that leaves a validator, and how slashes find it afterwards.

A set's stake must answer for what the set did until evidence of it is too old, wherever it has
gone. So stake that leaves carries exposures: the validators whose slash would still reach it. They
are settled when it is paid out or touched; no slash ever searches for it.
"""

from state.codec import replace
from state.context import BlockContext
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import bank
from state.modules.staking.errors import NotDelegated
from state.modules.staking.events import StakeSlashed
from state.modules.staking.records import (
    BONDED,
    REDELEGATIONS,
    REDELEGATIONS_DUE,
    SLASHES,
    Delegation,
    Exposure,
    Redelegation,
    Standing,
    Validator,
)
from state.modules.staking.shares import (
    keep_delegation,
    keep_validator,
    settled_delegation,
    settled_validator,
    shares_for,
    worth,
)
from state.tables import State
from state.types import BPS, Address, Hash


def lost(state: State, exposure: Exposure, amount: int) -> int:
    """Return what of `amount` the slash of a validator that it has left takes, rounded up."""
    slash = SLASHES.get(state, exposure.validator)
    if slash is None or exposure.left_height <= slash.from_height:
        return 0
    return mul_div_ceil(amount, slash.bps, BPS)


def left_over(state: State, exposures: tuple[Exposure, ...], amount: int) -> int:
    """Return what is left of `amount` after the slashes of all validators that it has left."""
    for exposure in exposures:
        amount -= lost(state, exposure, amount)
    return amount


def exposures_of(validator: Validator, account: Address, height: int) -> tuple[Exposure, ...]:
    """Return what stake that leaves now still answers for; a slashed validator had its due."""
    return () if validator.standing == Standing.TOMBSTONED else (Exposure(account, height),)


def arrivals(state: State, delegator: Address, account: Address) -> list[tuple[Hash, Redelegation]]:
    """Return a delegation's redelegations under way, those that end first in front."""
    found = REDELEGATIONS.scan(state, under=(delegator, account))
    rows = [(row_id, row) for (_, _, row_id), row in found]
    return sorted(rows, key=lambda item: (item[1].due_height, item[0]))


def forget(
    state: State, delegator: Address, account: Address, entry: Hash, row: Redelegation
) -> None:
    """End a redelegation: its shares answer for nobody but their validator."""
    REDELEGATIONS.delete(state, (delegator, account, entry))
    REDELEGATIONS_DUE.drop(state, row.due_height, delegator + account + entry)


def settle(ctx: BlockContext, delegator: Address, account: Address) -> tuple[Validator, Delegation]:
    """Return validator and delegation with all income in and all slashes taken, and both stored.

    What a redelegation loses is burned out of its new validator's stake, its own shares first to
    last, so that nobody else there loses a grain. Raises UnknownValidator.
    """
    state = ctx.state
    validator = settled_validator(state, account)
    held = settled_delegation(state, delegator, account, validator)
    for entry, row in arrivals(state, delegator, account):
        cut = lost(state, row.exposure, row.shares)
        if cut == 0:
            continue
        forget(state, delegator, account, entry, row)
        amount = worth(validator, cut)
        validator = replace(
            validator, stake=validator.stake - amount, shares=validator.shares - cut
        )
        held = replace(held, shares=held.shares - cut)
        keep_delegation(state, delegator, account, held)
        keep_validator(state, account, validator)
        bank.burn(state, BONDED, amount)
        ctx.emit(StakeSlashed(delegator, account, amount))
    return validator, held


def free_shares(state: State, delegator: Address, account: Address, held: Delegation) -> int:
    """Return the shares of a settled delegation that no redelegation brought."""
    return held.shares - sum([row.shares for _, row in arrivals(state, delegator, account)])


def check_held(validator: Validator, held: Delegation, amount: int) -> None:
    """Raise NotDelegated unless the settled delegation is worth `amount`."""
    there = worth(validator, held.shares)
    if there < amount:
        raise NotDelegated(f"The account has {there} grains bonded there; ask for at most that.")


def withdraw(
    state: State, delegator: Address, account: Address, amount: int, height: int
) -> list[tuple[int, tuple[Exposure, ...]]]:
    """Take `amount` grains out of a settled delegation that holds them; return them in pieces.

    Each piece comes with what it still answers for. Free shares go first, then redelegated ones,
    those that end first in front. Shares that are worth nothing are left behind.
    """
    validator = settled_validator(state, account)
    held = settled_delegation(state, delegator, account, validator)
    own = exposures_of(validator, account, height)
    shares = shares_for(validator, amount)
    there = arrivals(state, delegator, account)
    at = min(shares, held.shares - sum([row.shares for _, row in there]))
    pieces = [(at, own)] if at else []
    for entry, row in there:
        taken = min(row.shares, shares - at)
        if taken == 0:
            break
        forget(state, delegator, account, entry, row)
        if taken < row.shares:
            rest = replace(row, shares=row.shares - taken)
            REDELEGATIONS.put(state, (delegator, account, entry), rest)
            REDELEGATIONS_DUE.push(state, row.due_height, delegator + account + entry)
        at += taken
        pieces.append((taken, (*own, row.exposure)))
    assert at == shares, "the caller has checked that so much is there"
    _leave(state, delegator, account, validator, held, shares, amount)
    return _in_grains(pieces, shares, amount)


def _leave(
    state: State,
    delegator: Address,
    account: Address,
    validator: Validator,
    held: Delegation,
    shares: int,
    amount: int,
) -> None:
    stake = validator.stake - amount
    rest = held.shares - shares
    others = validator.shares - held.shares
    if rest and mul_div_floor(rest, stake, others + rest) == 0:
        for entry, row in arrivals(state, delegator, account):
            forget(state, delegator, account, entry, row)
        rest = 0
    keep_delegation(state, delegator, account, replace(held, shares=rest))
    keep_validator(state, account, replace(validator, stake=stake, shares=others + rest))


def _in_grains(
    pieces: list[tuple[int, tuple[Exposure, ...]]], shares: int, amount: int
) -> list[tuple[int, tuple[Exposure, ...]]]:
    """Return the pieces in grains instead of shares, to the grain `amount` in all."""
    found = []
    at = paid = 0
    for count, exposures in pieces:
        at += count
        upto = mul_div_floor(amount, at, shares)
        if upto > paid:
            found.append((upto - paid, exposures))
        paid = upto
    return found
