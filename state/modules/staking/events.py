"""What subscribers hear of stake: where it goes, who validates, who is jailed and who slashed."""

from state.context import Event
from state.types import Address, Amount, Bps, Count, Height, PublicKey


class ValidatorCreated(Event, tag="staking.validator_created"):
    """An account began to run a validator."""

    validator: Address
    public_key: PublicKey
    commission_bps: Bps


class ValidatorEdited(Event, tag="staking.validator_edited"):
    """A validator changed its commission or what it calls itself."""

    validator: Address
    commission_bps: Bps


class Delegated(Event, tag="staking.delegated"):
    """An account bonded stake with a validator."""

    delegator: Address
    validator: Address
    amount: Amount


class Redelegated(Event, tag="staking.redelegated"):
    """An account moved stake; until `due_height` it answers for the source's offences too."""

    delegator: Address
    source: Address
    validator: Address
    amount: Amount
    due_height: Height


class UnbondingBegun(Event, tag="staking.unbonding_begun"):
    """An account asked for stake back; it is paid at `due_height`."""

    delegator: Address
    validator: Address
    amount: Amount
    due_height: Height


class Unbonded(Event, tag="staking.unbonded"):
    """Stake came back to its owner, less what slashes had taken of it."""

    delegator: Address
    amount: Amount
    slashed: Amount


class RewardsPaid(Event, tag="staking.rewards_paid"):
    """An account took the fees that its stake or its commission had earned."""

    account: Address
    validator: Address
    amount: Amount


class Jailed(Event, tag="staking.jailed"):
    """No vote of a validator was seen in a whole window; it may ask back at `release_height`."""

    validator: Address
    release_height: Height


class Unjailed(Event, tag="staking.unjailed"):
    """A validator may be elected again."""

    validator: Address


class Slashed(Event, tag="staking.slashed"):
    """A validator was proven to have broken the protocol; it is out for ever."""

    validator: Address
    offence: str
    epoch: Height
    view: Height
    burned: Amount
    reward: Amount
    reporter: Address


class OffenceRecorded(Event, tag="staking.offence_recorded"):
    """A validator that is out already was proven to have broken the protocol once more."""

    validator: Address
    offence: str
    epoch: Height
    view: Height


class StakeSlashed(Event, tag="staking.stake_slashed"):
    """A redelegation lost what its former validator's offence costs it."""

    delegator: Address
    validator: Address
    amount: Amount


class SetKept(Event, tag="staking.set_kept"):
    """Too few validators stood for an epoch, so the set before it goes on."""

    epoch: Height
    candidates: Count
