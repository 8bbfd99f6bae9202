"""Delegate, undelegate, and take what stake has earned."""

from state import crypto
from state.codec import encode, replace
from state.context import TxContext
from state.crypto import Tag
from state.modules import bank
from state.modules.staking.records import (
    BONDED,
    DELEGATIONS,
    DUE,
    MODULE,
    REWARDS,
    UNBONDING,
    UNBONDINGS,
    VALIDATORS,
    Delegated,
    NotDelegated,
    RewardsPaid,
    TooManyUnbondings,
    TooSmall,
    Unbonding,
    UnbondingBegun,
    UnknownValidator,
)
from state.modules.staking.shares import bond, settled_delegation, settled_validator, write_stake
from state.registry import Message
from state.types import Address, PositiveAmount


@MODULE.tx
class Delegate(Message, tag=0x0201):
    """Bond the signer's coins with a validator, to share its fees."""

    validator: Address
    amount: PositiveAmount

    def apply(self, ctx: TxContext) -> None:
        """Move the coins to the bonded pot and grow the delegation."""
        if self.amount < ctx.params.staking.delegation_min:
            raise TooSmall(
                f"A delegation is at least {ctx.params.staking.delegation_min} grains; bond more."
            )
        if VALIDATORS.get(ctx.state, self.validator) is None:
            raise UnknownValidator("No validator runs under this account; see staking.validators.")
        bank.move(ctx.state, ctx.account, BONDED, self.amount)
        bond(ctx.state, ctx.account, self.validator, self.amount, ctx.height)
        ctx.emit(Delegated(ctx.account, self.validator, self.amount))


@MODULE.tx
class Undelegate(Message, tag=0x0202):
    """Ask for bonded coins back; they stay locked for the unbonding time."""

    validator: Address
    amount: PositiveAmount

    def apply(self, ctx: TxContext) -> None:
        """Shrink the delegation and queue the payment."""
        state = ctx.state
        validator = settled_validator(state, self.validator)
        held = settled_delegation(state, ctx.account, self.validator, validator)
        if held.stake < self.amount:
            raise NotDelegated(
                f"The account has {held.stake} grains bonded there; ask for at most that."
            )
        if validator.stake == self.amount:
            raise NotDelegated("A validator keeps some stake; leave at least one grain bonded.")
        limit = ctx.params.staking.unbonding_entries_max
        under_way = list(UNBONDINGS.scan(state, under=(ctx.account,), limit=limit))
        if len(under_way) >= limit:
            raise TooManyUnbondings(f"At most {limit} unbondings run at once; wait for one.")
        left = replace(held, stake=held.stake - self.amount)
        if left.stake or left.unpaid:
            DELEGATIONS.put(state, (ctx.account, self.validator), left)
        else:
            DELEGATIONS.delete(state, (ctx.account, self.validator))
        write_stake(state, self.validator, validator, -self.amount)
        bank.move(state, BONDED, UNBONDING, self.amount)
        due = ctx.height + ctx.params.staking.unbonding_blocks
        entry = crypto.hash_bytes(Tag.ASSET_ID, encode((ctx.tx_id, ctx.message_index)))
        UNBONDINGS.put(state, (ctx.account, entry), Unbonding(self.validator, self.amount, due))
        DUE.push(state, due, ctx.account + entry)
        ctx.emit(UnbondingBegun(ctx.account, self.validator, self.amount, due))


@MODULE.tx
class ClaimRewards(Message, tag=0x0203):
    """Take the fees that the signer's stake with a validator, and its commission, have earned."""

    validator: Address

    def apply(self, ctx: TxContext) -> None:
        """Pay what is due out of the rewards pot."""
        state = ctx.state
        validator = settled_validator(state, self.validator)
        held = settled_delegation(state, ctx.account, self.validator, validator)
        amount = held.unpaid
        kept = validator.commission
        if ctx.account == self.validator:
            amount, kept = amount + kept, 0
        if amount == 0:
            raise NotDelegated("Nothing has been earned there since the last claim; wait.")
        if held.stake:
            paid = replace(held, unpaid=0)
            DELEGATIONS.put(state, (ctx.account, self.validator), paid)
        else:
            DELEGATIONS.delete(state, (ctx.account, self.validator))
        VALIDATORS.put(state, self.validator, replace(validator, commission=kept))
        bank.move(state, REWARDS, ctx.account, amount)
        ctx.emit(RewardsPaid(ctx.account, self.validator, amount))
