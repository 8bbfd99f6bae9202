"""Accounts, parameters and genesis of `--app full`: everything that stakes, small and quick.

Windows are a few blocks, so that a run of a few dozen views sees who was absent jailed, who came
back, who was elected and who was paid. One honest validator in five is not there at genesis: it
enters by a transaction, as long as the others are enough without it.
"""

from functools import lru_cache
from random import Random

from node.client.accounts import Account
from node.sim.scenario import Scenario
from node.sim.signatures import Scheme
from state.finality import Validator, ValidatorSet, is_quorum
from state.genesis import Allocation, Genesis, GenesisValidator
from state.params import Params, StakingParams
from state.types import Address

PAYERS = 8
FUNDS = 10**15
ONE_LATE_OF = 5
PARTICIPATION_BLOCKS = 6
JAIL_BLOCKS = 4
COMMISSION_BLOCKS = 5


@lru_cache(maxsize=512)
def account_of(kind: str, number: int) -> Account:
    """Return the account of a payer, or of a validator."""
    return Account.from_seed(f"{kind} {number}".encode().ljust(32, b"."))


def payer(number: int) -> Account:
    """Return an account that sends coins, delegates and tries everything else."""
    return account_of("payer", number)


def staker(number: int) -> Account:
    """Return the account that runs a validator."""
    return account_of("validator", number)


def make_members(scenario: Scenario, scheme: Scheme) -> ValidatorSet:
    """Return every validator that there may be, in the order of numbers."""
    return tuple(
        Validator(key, staker(number).address, stake)
        for number, (key, stake) in enumerate(zip(scheme.keys, scenario.stakes, strict=True))
    )


def make_params(epoch_blocks: int) -> Params:
    """Return parameters under which things happen within a few blocks."""
    evidence_blocks = 3 * epoch_blocks
    staking = StakingParams(
        epoch_blocks=epoch_blocks,
        evidence_blocks=evidence_blocks,
        unbonding_blocks=evidence_blocks + 2 * epoch_blocks,
        delegation_min=1,
        self_bond_min=1,
        validators_min=1,
        validators_max=200,
        commission_blocks=COMMISSION_BLOCKS,
        participation_blocks=PARTICIPATION_BLOCKS,
        jail_blocks=JAIL_BLOCKS,
    )
    return Params(staking=staking)


def make_genesis(scenario: Scenario, everyone: ValidatorSet, chance: Random) -> Genesis:
    """Return a network of payers and validators, some of whom come later."""
    late = _latecomers(scenario, chance)
    first = [member for number, member in enumerate(everyone) if number not in late]
    payers: list[Address] = [payer(number).address for number in range(PAYERS)]
    allocations = [Allocation(address, FUNDS) for address in payers]
    allocations += [Allocation(member.account, FUNDS + member.stake) for member in everyone]
    validators = [GenesisValidator(each.public_key, each.account, each.stake) for each in first]
    params = make_params(scenario.options.epoch_length)
    return Genesis("simulation", 0, params, tuple(allocations), tuple(validators))


def _latecomers(scenario: Scenario, chance: Random) -> set[int]:
    """Draw honest validators to come later; without them, those at genesis are a quorum still."""
    late: set[int] = set()
    able = sum([scenario.stakes[each] for each in scenario.honest])
    total = sum(scenario.stakes)
    honest = list(scenario.honest)
    chance.shuffle(honest)
    for each in honest[: len(scenario.stakes) // ONE_LATE_OF]:
        stake = scenario.stakes[each]
        if is_quorum(able - stake, total - stake):
            late.add(each)
            able, total = able - stake, total - stake
    return late
