"""Delegate, redelegate, undelegate, and take what stake has earned."""

from state.codec import replace
from state.context import TxContext
from state.modules import bank
from state.modules.staking.errors import (
    NotDelegated,
    RedelegationUnderWay,
    SameValidator,
    TooManyRedelegations,
    TooManyUnbondings,
    TooSmall,
    UnknownValidator,
)
from state.modules.staking.events import Delegated, Redelegated, RewardsPaid, UnbondingBegun
from state.modules.staking.leaving import check_held, free_shares, settle, withdraw
from state.modules.staking.records import (
    BONDED,
    DUE,
    MODULE,
    REDELEGATIONS,
    REDELEGATIONS_DUE,
    REWARDS,
    UNBONDING,
    UNBONDINGS,
    VALIDATORS,
    Exposure,
    Redelegation,
    Unbonding,
)
from state.modules.staking.shares import bond, keep_delegation, keep_validator, row_id, worth
from state.registry import Message
from state.types import Address, PositiveAmount


def check_size(ctx: TxContext, amount: int) -> None:
    """Raise TooSmall for a delegation below the minimum."""
    minimum = ctx.params.staking.delegation_min
    if amount < minimum:
        raise TooSmall(f"A delegation is at least {minimum} grains; bond more.")


@MODULE.tx
class Delegate(Message, tag=0x0201):
    """Bond the signer's coins with a validator, to share its fees and its fate.

    A validator bonds its own stake by delegating to itself.
    """

    validator: Address
    amount: PositiveAmount

    WEIGHT = 150

    def apply(self, ctx: TxContext) -> None:
        """Move the coins to the bonded pot and grow the delegation."""
        check_size(ctx, self.amount)
        if VALIDATORS.get(ctx.state, self.validator) is None:
            raise UnknownValidator("No validator runs under this account; see staking.validators.")
        bank.move(ctx.state, ctx.account, BONDED, self.amount)
        settle(ctx, ctx.account, self.validator)
        bond(ctx.state, ctx.account, self.validator, self.amount, ctx.height)
        ctx.emit(Delegated(ctx.account, self.validator, self.amount))


@MODULE.tx
class Undelegate(Message, tag=0x0202):
    """Ask for bonded coins back; they stay locked, and slashable, for the unbonding time."""

    validator: Address
    amount: PositiveAmount

    WEIGHT = 300

    def apply(self, ctx: TxContext) -> None:
        """Shrink the delegation and queue the payment, one entry for each part's exposures."""
        state, params = ctx.state, ctx.params.staking
        check_held(*settle(ctx, ctx.account, self.validator), self.amount)
        limit = params.unbonding_entries_max
        under_way = len(list(UNBONDINGS.scan(state, under=(ctx.account,), limit=limit)))
        pieces = withdraw(state, ctx.account, self.validator, self.amount, ctx.height)
        if under_way + len(pieces) > limit:
            raise TooManyUnbondings(
                f"At most {limit} unbondings run at once and this makes {len(pieces)}; wait."
            )
        bank.move(state, BONDED, UNBONDING, self.amount)
        due = ctx.height + params.unbonding_blocks
        for number, (amount, exposures) in enumerate(pieces):
            entry = row_id(ctx, number)
            row = Unbonding(self.validator, amount, due, exposures)
            UNBONDINGS.put(state, (ctx.account, entry), row)
            DUE.push(state, due, ctx.account + entry)
        ctx.emit(UnbondingBegun(ctx.account, self.validator, self.amount, due))


@MODULE.tx
class ClaimRewards(Message, tag=0x0203):
    """Take the fees that the signer's stake with a validator, and its commission, have earned."""

    validator: Address

    WEIGHT = 150

    def apply(self, ctx: TxContext) -> None:
        """Pay what is due out of the rewards pot."""
        state = ctx.state
        validator, held = settle(ctx, ctx.account, self.validator)
        amount = held.unpaid
        kept = validator.commission
        if ctx.account == self.validator:
            amount, kept = amount + kept, 0
        if amount == 0:
            raise NotDelegated("Nothing has been earned there since the last claim; wait.")
        keep_delegation(state, ctx.account, self.validator, replace(held, unpaid=0))
        keep_validator(state, self.validator, replace(validator, commission=kept))
        bank.move(state, REWARDS, ctx.account, amount)
        ctx.emit(RewardsPaid(ctx.account, self.validator, amount))


@MODULE.tx
class Redelegate(Message, tag=0x0204):
    """Move stake to another validator at once, without the unbonding time.

    Until that time is over it answers for the old validator's offences as well, and may not hop on.
    """

    source: Address
    validator: Address
    amount: PositiveAmount

    WEIGHT = 300

    def apply(self, ctx: TxContext) -> None:
        """Shrink one delegation, grow another, and remember where it came from."""
        state, params = ctx.state, ctx.params.staking
        check_size(ctx, self.amount)
        if self.source == self.validator:
            raise SameValidator("The stake is with that validator already; name another.")
        validator, held = settle(ctx, ctx.account, self.source)
        check_held(validator, held, self.amount)
        free = worth(validator, free_shares(state, ctx.account, self.source, held))
        if free < self.amount:
            raise RedelegationUnderWay(
                f"Only {free} grains of this delegation did not come from another validator "
                "within the unbonding time; move at most that, or undelegate."
            )
        limit = params.redelegation_entries_max
        under_way = len(list(REDELEGATIONS.scan(state, under=(ctx.account,), limit=limit)))
        if under_way >= limit:
            raise TooManyRedelegations(f"At most {limit} redelegations run at once; wait for one.")
        ((_, exposures),) = withdraw(state, ctx.account, self.source, self.amount, ctx.height)
        settle(ctx, ctx.account, self.validator)
        bond(state, ctx.account, self.validator, self.amount, held.since_height)
        due = ctx.height + params.unbonding_blocks
        for exposure in exposures:
            self._remember(ctx, exposure, due)
        ctx.emit(Redelegated(ctx.account, self.source, self.validator, self.amount, due))

    def _remember(self, ctx: TxContext, exposure: Exposure, due: int) -> None:
        entry = row_id(ctx, 0)
        row = Redelegation(self.amount, due, exposure)
        REDELEGATIONS.put(ctx.state, (ctx.account, self.validator, entry), row)
        REDELEGATIONS_DUE.push(ctx.state, due, ctx.account + self.validator + entry)
