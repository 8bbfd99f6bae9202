"""Sets that the state machine decides: what honest validators learn of them, epoch by epoch."""

from dataclasses import dataclass

from node.sim.rotas import Rotas
from state.finality import ValidatorSet
from state.types import Address


@dataclass
class Elections(Rotas):
    """The sets of `--app full`; each stands as the first honest validator gave it."""

    def __post_init__(self) -> None:
        """Number the accounts of validators."""
        self._numbers = {member.account: each for each, member in enumerate(self.everyone)}
        self._within_bound = True

    @property
    def is_within_bound(self) -> bool:
        """Whether less than a third of the stake is Byzantine in every set that was decided."""
        return self._within_bound

    @property
    def different(self) -> int:
        """How many different sets there were."""
        return len({tuple(stakes.items()) for stakes in self._stakes[: self.highest + 1]})

    def number(self, account: Address) -> int:
        """Return the number of the validator that an account runs."""
        return self._numbers[account]

    @property
    def last(self) -> int:
        """The last epoch whose set is decided."""
        return len(self._stakes) - 1

    def learn(self, epoch: int, members: ValidatorSet) -> bool:
        """Take in the set of an epoch as a node has it; tell whether it is that of the others."""
        if epoch < len(self._stakes):
            return self.members(epoch) == members
        assert epoch == len(self._stakes), "sets are decided epoch by epoch"
        stakes = {self._numbers[member.account]: member.stake for member in members}
        self._stakes.append(stakes)
        bad = sum([stake for each, stake in stakes.items() if each in self.scenario.byzantine])
        self._within_bound = self._within_bound and 3 * bad < sum(stakes.values())
        return self.members(epoch) == members

    def stakes(self, epoch: int) -> dict[int, int]:
        """Return the members of an epoch and their stakes; nobody where that is not decided."""
        return self._stakes[epoch] if 0 <= epoch <= self.last else {}
