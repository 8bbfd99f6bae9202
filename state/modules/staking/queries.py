"""What staking answers."""

from state.codec import Struct
from state.context import QueryContext
from state.errors import Malformed
from state.finality import Validator as Member
from state.modules import chain
from state.modules.staking.leaving import arrivals, left_over, lost
from state.modules.staking.records import (
    DELEGATIONS,
    MODULE,
    OFFENCES,
    REDELEGATIONS,
    SLASHES,
    UNBONDINGS,
    VALIDATORS,
    WATCH,
    Delegation,
    Slash,
    Standing,
)
from state.modules.staking.sets import members_of
from state.modules.staking.shares import self_bond, settled_delegation, settled_validator, worth
from state.types import (
    ZERO_ADDRESS,
    Address,
    Amount,
    Bps,
    Count,
    Height,
    PublicKey,
)

ROWS_MAX = 200
"""Validators, or slashes, that one query returns at most."""


class ValidatorView(Struct):
    """A validator as others see it; `is_unseen` while no vote of it was seen in this window."""

    account: Address
    public_key: PublicKey
    moniker: str
    stake: Amount
    shares: Amount
    self_bond: Amount
    commission_bps: Bps
    commission_change_bps_max: Bps
    standing: Standing
    release_height: Height
    is_earning: bool
    is_unseen: bool
    commission: Amount


class DelegationView(Struct):
    """A delegation after all slashes, and what it could claim now."""

    validator: Address
    stake: Amount
    since_height: Height
    rewards: Amount


class UnbondingView(Struct):
    """An unbonding under way: what was asked for, and what will come by what is known now."""

    validator: Address
    amount: Amount
    expected: Amount
    due_height: Height


class RedelegationView(Struct):
    """Stake that still answers for the offences of the validator that it came from."""

    source: Address
    validator: Address
    shares: Amount
    left_height: Height
    due_height: Height


class SlashView(Struct):
    """A validator that is out, and what its first proven offence cost."""

    validator: Address
    slash: Slash


class OffenceView(Struct):
    """A proven offence."""

    epoch: Height
    view: Height
    offence: str
    height: Height
    reporter: Address


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= ROWS_MAX:
        raise Malformed(f"A query returns 1 to {ROWS_MAX} rows; ask for fewer, page by page.")


@MODULE.query
def validators(
    ctx: QueryContext, after: Address = ZERO_ADDRESS, limit: Count = ROWS_MAX
) -> list[ValidatorView]:
    """Return at most `limit` validators behind an account, by account."""
    _check_limit(limit)
    watch = WATCH.get(ctx.state, chain.THE_ONE)
    unseen = () if watch is None else watch.unseen
    return [
        _validator_view(ctx, account, account in unseen)
        for account, _ in VALIDATORS.scan(ctx.state, after=after, limit=limit)
    ]


def _validator_view(ctx: QueryContext, account: Address, is_unseen: bool) -> ValidatorView:
    row = settled_validator(ctx.state, account)
    return ValidatorView(
        account=account,
        public_key=row.public_key,
        moniker=row.moniker,
        stake=row.stake,
        shares=row.shares,
        self_bond=self_bond(ctx.state, account, row),
        commission_bps=row.commission_bps,
        commission_change_bps_max=row.commission_change_bps_max,
        standing=row.standing,
        release_height=row.release_height,
        is_earning=row.earning,
        is_unseen=is_unseen,
        commission=row.commission,
    )


@MODULE.query
def epoch_set(ctx: QueryContext, epoch: Height) -> list[Member]:
    """Return the validators of an epoch in the order of their indices."""
    return list(members_of(ctx.state, epoch))


@MODULE.query
def delegations(ctx: QueryContext, delegator: Address) -> list[DelegationView]:
    """Return an account's delegations with the rewards that it could claim now.

    A validator's own is listed even where it holds nothing and only commission is due.
    """
    found = []
    rows = [(account, row) for (_, account), row in DELEGATIONS.scan(ctx.state, under=(delegator,))]
    validating = VALIDATORS.get(ctx.state, delegator) is not None
    if validating and DELEGATIONS.get(ctx.state, (delegator, delegator)) is None:
        rows.append((delegator, Delegation(0, 0, bytes(16), 0)))
    for account, row in rows:
        validator = settled_validator(ctx.state, account)
        held = settled_delegation(ctx.state, delegator, account, validator)
        own = validator.commission if account == delegator else 0
        there = arrivals(ctx.state, delegator, account)
        cut = sum([lost(ctx.state, one.exposure, one.shares) for _, one in there])
        stake = worth(validator, row.shares - cut)
        if row.shares or held.unpaid + own:
            found.append(DelegationView(account, stake, row.since_height, held.unpaid + own))
    return found


@MODULE.query
def unbondings(ctx: QueryContext, delegator: Address) -> list[UnbondingView]:
    """Return an account's unbondings under way."""
    return [
        UnbondingView(
            row.validator,
            row.amount,
            left_over(ctx.state, row.exposures, row.amount),
            row.due_height,
        )
        for _, row in UNBONDINGS.scan(ctx.state, under=(delegator,))
    ]


@MODULE.query
def redelegations(ctx: QueryContext, delegator: Address) -> list[RedelegationView]:
    """Return an account's redelegations under way."""
    return [
        RedelegationView(
            row.exposure.validator, account, row.shares, row.exposure.left_height, row.due_height
        )
        for (_, account, _), row in REDELEGATIONS.scan(ctx.state, under=(delegator,))
    ]


@MODULE.query
def slashes(
    ctx: QueryContext, after: Address = ZERO_ADDRESS, limit: Count = ROWS_MAX
) -> list[SlashView]:
    """Return at most `limit` slashed validators behind an account, by account."""
    _check_limit(limit)
    found = SLASHES.scan(ctx.state, after=after, limit=limit)
    return [SlashView(account, row) for account, row in found]


@MODULE.query
def offences(ctx: QueryContext, validator: Address) -> list[OffenceView]:
    """Return the offences of a validator that are on record; its first proven one is slashed."""
    return [
        OffenceView(epoch, view, row.kind, row.height, row.reporter)
        for (_, epoch, view), row in OFFENCES.scan(ctx.state, under=(validator,))
    ]
