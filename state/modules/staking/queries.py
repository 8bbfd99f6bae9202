"""What staking answers."""

from state.codec import Struct
from state.context import QueryContext
from state.modules.staking.records import DELEGATIONS, MODULE, UNBONDINGS, VALIDATORS
from state.modules.staking.shares import settled_delegation, settled_validator
from state.types import Address, Amount, Bps, Height, PublicKey


class ValidatorView(Struct):
    """A validator as others see it."""

    account: Address
    public_key: PublicKey
    stake: Amount
    commission_bps: Bps


class DelegationView(Struct):
    """A delegation and what it could claim now."""

    validator: Address
    stake: Amount
    since_height: Height
    rewards: Amount


class UnbondingView(Struct):
    """An unbonding under way."""

    validator: Address
    amount: Amount
    due_height: Height


@MODULE.query
def validators(ctx: QueryContext) -> list[ValidatorView]:
    """Return all validators by account."""
    return [
        ValidatorView(account, row.public_key, row.stake, row.commission_bps)
        for account, row in VALIDATORS.scan(ctx.state)
    ]


@MODULE.query
def delegations(ctx: QueryContext, delegator: Address) -> list[DelegationView]:
    """Return an account's delegations with the rewards that it could claim now."""
    found = []
    for (_, account), row in DELEGATIONS.scan(ctx.state, under=(delegator,)):
        validator = settled_validator(ctx.state, account)
        held = settled_delegation(ctx.state, delegator, account, validator)
        own = validator.commission if account == delegator else 0
        found.append(DelegationView(account, row.stake, row.since_height, held.unpaid + own))
    return found


@MODULE.query
def unbondings(ctx: QueryContext, delegator: Address) -> list[UnbondingView]:
    """Return an account's unbondings under way."""
    return [
        UnbondingView(row.validator, row.amount, row.due_height)
        for _, row in UNBONDINGS.scan(ctx.state, under=(delegator,))
    ]
