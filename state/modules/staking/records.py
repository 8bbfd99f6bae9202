"""What staking stores and says: pots, rows, events and refusals."""

from state.accumulator import Accumulator
from state.codec import Struct
from state.context import Event
from state.errors import NotFound, Rejected
from state.finality import ValidatorSet
from state.keys import ADDRESS_KEY, HASH_KEY, U8_KEY, U64_KEY, Fixed
from state.modules import bank
from state.queue import Due, DueQueue
from state.registry import Module
from state.tables import Table
from state.types import U128, Address, Amount, Bps, Hash, Height, PublicKey

MODULE = Module("staking", 0x02)

BONDED = bank.pot("staking.bonded")
UNBONDING = bank.pot("staking.unbonding")
REWARDS = bank.pot("staking.rewards")


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


class EpochSet(Struct):
    """The validators of one epoch, in the order of their indices."""

    members: ValidatorSet


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
SETS: Table[int, EpochSet] = MODULE.table(6, "sets", (U64_KEY,), EpochSet)
"""Validator sets by epoch, the next two included, for as long as evidence may concern them."""
DUE = DueQueue(MODULE.table(5, "due", (U64_KEY, Fixed(52)), Due))
"""Unbondings by the height at which they are paid; an entry is the owner and the row's id."""
