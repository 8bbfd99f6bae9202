"""Who is a validator in which epoch, with what stake: always the same, or as chance changes it.

With `--churn P` the set of each epoch from the second on differs from the one before with that
chance: members leave, others join, stakes change. It follows from the seed alone, so it is final
before any block says so, as the sets of a state machine are two epochs ahead (consensus settled
point 8). A third of the stake of no set is Byzantine if it is not so in the first.

Validators have a number for the whole run; votes name an index into the set of their epoch.
"""

from dataclasses import dataclass, field
from random import Random

from node.sim.scenario import Scenario
from state.finality import Validator, ValidatorSet, is_quorum

AHEAD_MAX = 2
"""Sets are known so far above the highest epoch that has begun; votes of later ones name nobody."""
DRAWS_MAX = 32
"""After so many changes that are not allowed, a set stays as it was."""
STAKE_FACTORS = ((1, 2), (2, 3), (3, 2), (2, 1))

Stakes = dict[int, int]
"""Stake by validator, in the order of indices."""


@dataclass
class Rotas:
    """The sets of a run, epoch by epoch."""

    scenario: Scenario
    everyone: ValidatorSet
    """Every validator there is, in the order of their numbers, with its stake at genesis."""
    chance: Random
    highest: int = 0
    """The highest epoch that anybody has begun."""
    lost: set[int] = field(default_factory=set)
    """Validators whose disk was lost: no set that is drawn from then on needs them."""
    _stakes: list[Stakes] = field(default_factory=list)

    @property
    def is_within_bound(self) -> bool:
        """Whether less than a third of the stake of every set is Byzantine."""
        return self.scenario.is_within_bound

    @property
    def last(self) -> int:
        """The last epoch whose set is known."""
        return self.highest + AHEAD_MAX

    def at_hand(self, ahead: int) -> range:
        """Return the epochs that a node may be in now, and so many more as far as known."""
        return range(max(0, self.highest - 1), min(self.highest + ahead, self.last) + 1)

    def learn(self, epoch: int, members: ValidatorSet) -> bool:
        """Tell whether a node has the set of an epoch that it should."""
        return self.members(epoch) == members

    def begun(self, epoch: int) -> None:
        """Somebody begins this epoch."""
        self.highest = max(self.highest, epoch)

    def stakes(self, epoch: int) -> Stakes:
        """Return the members of an epoch and their stakes; nobody in one that is not known yet."""
        if self.scenario.options.churn == 0:
            epoch = 0
        elif not 0 <= epoch <= self.highest + AHEAD_MAX:
            return {}
        while len(self._stakes) <= epoch:
            self._stakes.append(self._next())
        return self._stakes[epoch]

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validator set of an epoch."""
        found = self.stakes(epoch).items()
        return tuple(
            [
                Validator(self.everyone[each].public_key, self.everyone[each].account, stake)
                for each, stake in found
            ]
        )

    def validator(self, epoch: int, index: int) -> int | None:
        """Return which validator an index of an epoch's set names."""
        members = list(self.stakes(epoch))
        return members[index] if index < len(members) else None

    def index(self, epoch: int, validator: int) -> int | None:
        """Return the index of a validator in an epoch's set, None where it is no member."""
        members = list(self.stakes(epoch))
        return members.index(validator) if validator in members else None

    def stake_of(self, epoch: int, validators: set[int]) -> int:
        """Return the stake that these have together in an epoch."""
        return sum([stake for each, stake in self.stakes(epoch).items() if each in validators])

    def total(self, epoch: int) -> int:
        """Return the whole stake of an epoch."""
        return sum(self.stakes(epoch).values())

    def is_quorum(self, epoch: int, validators: set[int]) -> bool:
        """Tell whether these have more than two thirds of the stake of an epoch."""
        return is_quorum(self.stake_of(epoch, validators), self.total(epoch))

    def is_quorum_of(self, epoch: int, indices: set[int]) -> bool:
        """Tell whether the members of these indices have so much."""
        found = [self.validator(epoch, index) for index in indices]
        return self.is_quorum(epoch, {each for each in found if each is not None})

    # --- how sets change ------------------------------------------------------------------------

    def _next(self) -> Stakes:
        genesis = dict(enumerate(self.scenario.stakes))
        if len(self._stakes) < AHEAD_MAX:
            return genesis  # genesis fixes the sets of the first two epochs
        before = self._stakes[-1]
        if self.chance.random() >= self.scenario.options.churn:
            return before
        for _ in range(DRAWS_MAX):
            changed = self._changed(before, genesis)
            if changed != before and self._is_allowed(changed):
                return changed
        return before

    def _changed(self, before: Stakes, genesis: Stakes) -> Stakes:
        after = dict(before)
        for _ in range(self.chance.randint(1, 2)):
            absent = [each for each in genesis if each not in after]
            kind = self.chance.random()
            if kind < 0.4 and len(after) > 1:
                del after[self.chance.choice(list(after))]
            elif kind < 0.75 and absent:
                joining = self.chance.choice(absent)
                after[joining] = genesis[joining]
            else:
                times, parts = self.chance.choice(STAKE_FACTORS)
                each = self.chance.choice(list(after))
                after[each] = max(1, after[each] * times // parts)
        return dict(sorted(after.items()))

    def _is_allowed(self, stakes: Stakes) -> bool:
        """Tell whether somebody is honest, and where the bound holds at genesis, a quorum is."""
        out = self.lost | set(self.scenario.byzantine)
        able = sum([stake for each, stake in stakes.items() if each not in out])
        total = sum(stakes.values())
        return able > 0 and (is_quorum(able, total) or not self.scenario.is_within_bound)
