"""Staking: validators, delegations, unbonding, and the fees that they share.

Fees of a block go to its proposer by a fixed share and to all stake by the rest, through one
accumulator over all bonded stake and one a validator behind it: no block ever loops over
delegators. Validators and their first bonds stand in genesis.
"""

from state import accumulator, crypto
from state.accumulator import Accumulator
from state.codec import Struct, encode, replace
from state.context import BlockContext, Event, QueryContext, TxContext
from state.crypto import Tag
from state.errors import Malformed, NotFound, Rejected
from state.finality import Validator as Member
from state.finality import ValidatorSet
from state.genesis import Genesis
from state.keys import ADDRESS_KEY, HASH_KEY, U8_KEY, U64_KEY, Fixed
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import bank, chain
from state.queue import Due, DueQueue
from state.registry import Message, Module
from state.tables import State, Table
from state.types import (
    BPS,
    GRAINS_PER_SAHARA,
    U128,
    Address,
    Amount,
    Bps,
    Hash,
    Height,
    PositiveAmount,
    PublicKey,
)

MODULE = Module("staking", 0x02)

BONDED = bank.pot("staking.bonded")
UNBONDING = bank.pot("staking.unbonding")
REWARDS = bank.pot("staking.rewards")

MATURED_PER_BLOCK_MAX = 1_000


class UnknownValidator(NotFound):
    """No validator runs under this account."""

    code = "staking.unknown_validator"


class TooSmall(Rejected):
    """A delegation below the minimum would cost more state than it secures."""

    code = "staking.too_small"


class NotDelegated(Rejected):
    """The account has delegated less than it wants back."""

    code = "staking.not_delegated"


class TooManyUnbondings(Rejected):
    """The account has as many unbondings under way as one may have."""

    code = "staking.too_many_unbondings"


class Validator(Struct):
    """A validator: its consensus key, its stake, and what its delegators have earned."""

    public_key: PublicKey
    commission_bps: Bps
    stake: Amount
    seen: U128
    pool: Accumulator
    commission: Amount


class Totals(Struct):
    """All bonded stake, and the accumulator of fees over it."""

    stake: Amount
    pool: Accumulator


class Delegation(Struct):
    """What an account has bonded with a validator, since when on average, and its rewards."""

    stake: Amount
    since_height: Height
    seen: U128
    unpaid: Amount


class Unbonding(Struct):
    """Stake on its way back to its owner."""

    validator: Address
    amount: Amount
    due_height: Height


class Delegated(Event, tag="staking.delegated"):
    """An account bonded stake with a validator."""

    delegator: Address
    validator: Address
    amount: Amount


class UnbondingBegun(Event, tag="staking.unbonding_begun"):
    """An account asked for stake back; it is paid at `due_height`."""

    delegator: Address
    validator: Address
    amount: Amount
    due_height: Height


class Unbonded(Event, tag="staking.unbonded"):
    """Stake came back to its owner."""

    delegator: Address
    amount: Amount


class RewardsPaid(Event, tag="staking.rewards_paid"):
    """An account took the fees that its stake or its commission had earned."""

    account: Address
    validator: Address
    amount: Amount


VALIDATORS: Table[Address, Validator] = MODULE.table(1, "validators", (ADDRESS_KEY,), Validator)
TOTALS: Table[int, Totals] = MODULE.table(2, "totals", (U8_KEY,), Totals)
DELEGATIONS: Table[tuple[Address, Address], Delegation] = MODULE.table(
    3, "delegations", (ADDRESS_KEY, ADDRESS_KEY), Delegation
)
UNBONDINGS: Table[tuple[Address, Hash], Unbonding] = MODULE.table(
    4, "unbondings", (ADDRESS_KEY, HASH_KEY), Unbonding
)
_DUE = DueQueue(MODULE.table(5, "due", (U64_KEY, Fixed(52)), Due))


def validator_set(state: State) -> ValidatorSet:
    """Return the members of the consensus set, ordered by account."""
    return tuple(
        [Member(row.public_key, account, row.stake) for account, row in VALIDATORS.scan(state)]
    )


def bonded_age(state: State, account: Address, at_height: int) -> int:
    """Return the account's bonded SAHARA times the blocks they were bonded before `at_height`."""
    return sum(
        row.stake // GRAINS_PER_SAHARA * max(0, at_height - row.since_height)
        for _, row in DELEGATIONS.scan(state, under=(account,))
    )


def _settled_validator(state: State, account: Address) -> Validator:
    """Return the validator with its part of the fees so far split off, as it will be stored."""
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


def _settled_delegation(
    state: State, delegator: Address, account: Address, validator: Validator
) -> Delegation:
    row = DELEGATIONS.get(state, (delegator, account))
    if row is None:
        return Delegation(0, 0, validator.pool.per_unit, 0)
    income = accumulator.earned(validator.pool, row.seen, row.stake)
    return Delegation(row.stake, row.since_height, validator.pool.per_unit, row.unpaid + income)


def _bond(state: State, delegator: Address, account: Address, amount: int, height: int) -> None:
    """Write a delegation grown by `amount` and everything that sums it up."""
    validator = _settled_validator(state, account)
    held = _settled_delegation(state, delegator, account, validator)
    stake = held.stake + amount
    since = mul_div_ceil(1, held.stake * held.since_height + amount * height, stake)
    grown = replace(held, stake=stake, since_height=since)
    DELEGATIONS.put(state, (delegator, account), grown)
    _write_stake(state, account, validator, amount)


def _write_stake(state: State, account: Address, row: Validator, change: int) -> None:
    VALIDATORS.put(state, account, replace(row, stake=row.stake + change))
    totals = TOTALS.require(state, chain.THE_ONE)
    TOTALS.put(state, chain.THE_ONE, Totals(totals.stake + change, totals.pool))


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
        _bond(ctx.state, ctx.account, self.validator, self.amount, ctx.height)
        ctx.emit(Delegated(ctx.account, self.validator, self.amount))


@MODULE.tx
class Undelegate(Message, tag=0x0202):
    """Ask for bonded coins back; they stay locked for the unbonding time."""

    validator: Address
    amount: PositiveAmount

    def apply(self, ctx: TxContext) -> None:
        """Shrink the delegation and queue the payment."""
        state = ctx.state
        validator = _settled_validator(state, self.validator)
        held = _settled_delegation(state, ctx.account, self.validator, validator)
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
        _write_stake(state, self.validator, validator, -self.amount)
        bank.move(state, BONDED, UNBONDING, self.amount)
        due = ctx.height + ctx.params.staking.unbonding_blocks
        entry = crypto.hash_bytes(Tag.ASSET_ID, encode((ctx.tx_id, ctx.message_index)))
        UNBONDINGS.put(state, (ctx.account, entry), Unbonding(self.validator, self.amount, due))
        _DUE.push(state, due, ctx.account + entry)
        ctx.emit(UnbondingBegun(ctx.account, self.validator, self.amount, due))


@MODULE.tx
class ClaimRewards(Message, tag=0x0203):
    """Take the fees that the signer's stake with a validator, and its commission, have earned."""

    validator: Address

    def apply(self, ctx: TxContext) -> None:
        """Pay what is due out of the rewards pot."""
        state = ctx.state
        validator = _settled_validator(state, self.validator)
        held = _settled_delegation(state, ctx.account, self.validator, validator)
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


@MODULE.genesis
def write_validators(ctx: BlockContext, genesis: Genesis) -> None:
    """Bond the first validators with coins of their own allocations."""
    state = ctx.state
    TOTALS.put(state, chain.THE_ONE, Totals(0, accumulator.EMPTY))
    for entry in genesis.validators:
        if bank.balance_of(state, entry.account) < entry.stake:
            raise Malformed("A genesis validator's account does not hold its stake; allocate it.")
        VALIDATORS.put(
            state,
            entry.account,
            Validator(entry.public_key, entry.commission_bps, 0, bytes(16), accumulator.EMPTY, 0),
        )
        bank.move(state, entry.account, BONDED, entry.stake)
        _bond(state, entry.account, entry.account, entry.stake, 0)


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
    for entry in _DUE.take(ctx.state, ctx.height, limit=MATURED_PER_BLOCK_MAX):
        delegator, key = entry[:20], entry[20:]
        row = UNBONDINGS.require(ctx.state, (delegator, key))
        UNBONDINGS.delete(ctx.state, (delegator, key))
        bank.move(ctx.state, UNBONDING, delegator, row.amount)
        ctx.emit(Unbonded(delegator, row.amount))


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
        validator = _settled_validator(ctx.state, account)
        held = _settled_delegation(ctx.state, delegator, account, validator)
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
        owed += _settled_validator(ctx.state, account).commission
    for (delegator, account), _ in DELEGATIONS.scan(ctx.state):
        settled = _settled_validator(ctx.state, account)
        owed += _settled_delegation(ctx.state, delegator, account, settled).unpaid
    if owed > bank.balance_of(ctx.state, REWARDS):
        return "The rewards pot holds less than stake has earned."
    waiting = sum(row.amount for _, row in UNBONDINGS.scan(ctx.state))
    if waiting != bank.balance_of(ctx.state, UNBONDING):
        return "The unbonding pot does not hold what is on its way back."
    total = sum(by_validator.values())
    if total != TOTALS.require(ctx.state, chain.THE_ONE).stake:
        return "Validators do not add up to the total stake."
    return None
