"""What must hold of stake after every block, and of all of it together."""

from state.context import BlockContext
from state.modules import bank, chain
from state.modules.staking.leaving import left_over
from state.modules.staking.records import (
    BONDED,
    DELEGATIONS,
    KEYS,
    MODULE,
    RANKS,
    REDELEGATIONS,
    REWARDS,
    SETS,
    SLASHES,
    TOTALS,
    UNBONDING,
    UNBONDINGS,
    VALIDATORS,
    Standing,
)
from state.modules.staking.sets import epoch_of
from state.modules.staking.shares import may_be_elected, settled_delegation, settled_validator
from state.types import INT_MAX, Address


@MODULE.invariant(always=True)
def bonded_pot_matches(ctx: BlockContext) -> str | None:
    """The bonded pot holds the total stake."""
    stake = TOTALS.require(ctx.state, chain.THE_ONE).stake
    held = bank.balance_of(ctx.state, BONDED)
    return None if held == stake else f"The bonded pot holds {held} and {stake} are bonded."


@MODULE.invariant(always=True)
def fresh_sets_are_free(ctx: BlockContext) -> str | None:
    """Nobody jailed or out sits in a set that this block fixed, unless the one before goes on."""
    params = ctx.params.staking
    if ctx.height == 0 or ctx.height % params.epoch_blocks:
        return None
    epoch = epoch_of(ctx.height, params) + 2
    fresh, before = SETS.get(ctx.state, epoch), SETS.get(ctx.state, epoch - 1)
    if fresh is None or fresh == before:
        return None
    for member in fresh.members:
        if VALIDATORS.require(ctx.state, member.account).standing != Standing.ACTIVE:
            return f"The set of epoch {epoch} holds a validator that is jailed or out."
    return None


@MODULE.invariant(always=False)
def stakes_add_up(ctx: BlockContext) -> str | None:
    """Delegations add up to shares, stake to the totals, and redelegated shares are held."""
    state = ctx.state
    shares: dict[Address, int] = {}
    for (_, account), row in DELEGATIONS.scan(state):
        shares[account] = shares.get(account, 0) + row.shares
    stake = earning = 0
    for account, validator in VALIDATORS.scan(state):
        if shares.get(account, 0) != validator.shares:
            return "Delegations do not add up to their validator's shares."
        slashed = SLASHES.get(state, account) is not None
        if slashed != (validator.standing == Standing.TOMBSTONED):
            return "A validator is slashed and not out, or out and not slashed."
        if validator.stake > validator.shares or not (
            slashed or validator.stake == validator.shares
        ):
            return "A share is worth more than a grain, or less without a slash."
        stake += validator.stake
        earning += validator.stake * validator.earning
    totals = TOTALS.require(state, chain.THE_ONE)
    if (stake, earning) != (totals.stake, totals.earning):
        return "Validators do not add up to the total stake, or to the stake that earns."
    moved: dict[tuple[Address, Address], int] = {}
    for (delegator, account, _), arrival in REDELEGATIONS.scan(state):
        moved[delegator, account] = moved.get((delegator, account), 0) + arrival.shares
    for pair, count in moved.items():
        held = DELEGATIONS.get(state, pair)
        if held is None or held.shares < count:
            return "A delegation holds less than was redelegated to it."
    return None


@MODULE.invariant(always=False)
def pots_cover_what_is_owed(ctx: BlockContext) -> str | None:
    """The pots hold all rewards, and all unbondings before and after slashes."""
    state = ctx.state
    owed = sum(
        [settled_validator(state, account).commission for account, _ in VALIDATORS.scan(state)]
    )
    for (delegator, account), _ in DELEGATIONS.scan(state):
        settled = settled_validator(state, account)
        owed += settled_delegation(state, delegator, account, settled).unpaid
    if owed > bank.balance_of(state, REWARDS):
        return "The rewards pot holds less than stake has earned."
    rows = [row for _, row in UNBONDINGS.scan(state)]
    waiting = sum([row.amount for row in rows])
    if waiting != bank.balance_of(state, UNBONDING):
        return "The unbonding pot does not hold what is on its way back."
    if sum([left_over(state, row.exposures, row.amount) for row in rows]) > waiting:
        return "More is owed to those who wait than they gave."
    return None


@MODULE.invariant(always=False)
def ranks_are_right(ctx: BlockContext) -> str | None:
    """Exactly the validators that may be elected are ranked, by their stake; keys are entered."""
    state = ctx.state
    expected = set()
    for account, row in VALIDATORS.scan(state):
        if may_be_elected(state, account, row):
            expected.add((INT_MAX - row.stake, account))
        key = KEYS.get(state, row.public_key)
        if key is None or key.account != account:
            return "A validator's key is not entered under its account."
    if expected != {key for key, _ in RANKS.scan(state)}:
        return "The ranks are not those of the validators that may be elected."
    return None
