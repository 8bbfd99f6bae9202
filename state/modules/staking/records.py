"""What staking stores: pots, rows, and the tables that hold them."""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from state.accumulator import Accumulator
from state.codec import Struct
from state.finality import ValidatorSet
from state.keys import ADDRESS_KEY, HASH_KEY, U8_KEY, U64_KEY, Fixed
from state.modules import bank
from state.queue import Due, DueQueue
from state.registry import Module
from state.tables import Table
from state.types import U128, Address, Amount, Bps, Count, Hash, Height, PublicKey

MODULE = Module("staking", 0x02)

BONDED = bank.pot("staking.bonded")
UNBONDING = bank.pot("staking.unbonding")
REWARDS = bank.pot("staking.rewards")

Moniker = Annotated[str, Meta(max_length=64)]
"""What a validator calls itself; nothing in the state machine reads it."""


class Standing(IntEnum):
    """Whether a validator may sit in the sets that are fixed from now on."""

    ACTIVE = 0
    JAILED = 1
    TOMBSTONED = 2


class Validator(Struct):
    """A validator: its consensus key, the stake behind its shares, and what it has earned.

    A share is worth stake / shares grains: one grain until the validator is slashed, which happens
    at most once and ends delegating to it, so shares are only ever made at one grain each.
    """

    public_key: PublicKey
    moniker: Moniker
    commission_bps: Bps
    commission_change_bps_max: Bps
    commission_height: Height
    """When the commission was last set."""
    stake: Amount
    shares: Amount
    standing: Standing
    release_height: Height
    """The first height at which a jailed validator may ask to be unjailed."""
    earning: bool
    """Whether it has a part in fees: a member of the present set that is neither jailed nor out."""
    seen: U128
    pool: Accumulator
    commission: Amount


class Totals(Struct):
    """All bonded stake, the part of it that earns, and the accumulator of fees over that part."""

    stake: Amount
    earning: Amount
    pool: Accumulator


class Delegation(Struct):
    """What an account has bonded with a validator, since when on average, and its rewards."""

    shares: Amount
    since_height: Height
    seen: U128
    unpaid: Amount


class Exposure(Struct):
    """Stake that has left a validator and still answers for what that validator did before."""

    validator: Address
    left_height: Height


class Unbonding(Struct):
    """Stake on its way back to its owner, less what slashes found until then take of it."""

    validator: Address
    amount: Amount
    due_height: Height
    exposures: Annotated[tuple[Exposure, ...], Meta(max_length=2)]


class Redelegation(Struct):
    """Shares of a delegation that came from another validator and still answer for it."""

    shares: Amount
    due_height: Height
    exposure: Exposure


class KeyUse(Struct):
    """Whose a consensus key is, for ever: no key serves twice, not even its owner."""

    account: Address


class EpochSet(Struct):
    """The validators of one epoch, in the order of their indices."""

    members: ValidatorSet


class Rank(Struct):
    """A place in the order by stake; its key says everything."""


class Watch(Struct):
    """The members of whom no vote was seen in the present window of blocks."""

    unseen: Annotated[tuple[Address, ...], Meta(max_length=200)]


class Slash(Struct):
    """What a validator's first proven offence cost: all that was bonded after `from_height`."""

    epoch: Height
    offence: str
    bps: Bps
    from_height: Height
    """When the set of the oldest proven offence's epoch was fixed: what left before backed none."""
    height: Height
    burned: Amount
    reward: Amount
    reporter: Address
    offences: Count
    """Offences on record, this one included."""


class Offence(Struct):
    """A proven offence: its kind, when it was proven, and by whom."""

    kind: str
    height: Height
    reporter: Address


VALIDATORS: Table[Address, Validator] = MODULE.table(1, "validators", (ADDRESS_KEY,), Validator)
TOTALS: Table[int, Totals] = MODULE.table(2, "totals", (U8_KEY,), Totals)
DELEGATIONS: Table[tuple[Address, Address], Delegation] = MODULE.table(
    3, "delegations", (ADDRESS_KEY, ADDRESS_KEY), Delegation
)
UNBONDINGS: Table[tuple[Address, Hash], Unbonding] = MODULE.table(
    4, "unbondings", (ADDRESS_KEY, HASH_KEY), Unbonding
)
DUE = DueQueue(MODULE.table(5, "due", (U64_KEY, Fixed(52)), Due))
"""Unbondings by the height at which they are paid; an entry is the owner and the row's id."""
SETS: Table[int, EpochSet] = MODULE.table(6, "sets", (U64_KEY,), EpochSet)
"""Validator sets by epoch, the next two included, for as long as evidence may concern them."""
KEYS: Table[PublicKey, KeyUse] = MODULE.table(7, "keys", (HASH_KEY,), KeyUse)
RANKS: Table[tuple[int, Address], Rank] = MODULE.table(8, "ranks", (U64_KEY, ADDRESS_KEY), Rank)
"""Validators that may be elected, most stake first: INT_MAX less the stake, then the account."""
REDELEGATIONS: Table[tuple[Address, Address, Hash], Redelegation] = MODULE.table(
    9, "redelegations", (ADDRESS_KEY, ADDRESS_KEY, HASH_KEY), Redelegation
)
"""Redelegations under way by delegator, destination and id."""
REDELEGATIONS_DUE = DueQueue(MODULE.table(10, "redelegations_due", (U64_KEY, Fixed(72)), Due))
WATCH: Table[int, Watch] = MODULE.table(11, "watch", (U8_KEY,), Watch)
SLASHES: Table[Address, Slash] = MODULE.table(12, "slashes", (ADDRESS_KEY,), Slash)
OFFENCES: Table[tuple[Address, int, int], Offence] = MODULE.table(
    13, "offences", (ADDRESS_KEY, U64_KEY, U64_KEY), Offence
)
"""Proven offences by validator, epoch and view: one of each view is on record, once."""
