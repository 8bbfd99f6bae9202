"""How far a run has come: views completed by a quorum of the honest, over all epochs."""

from collections.abc import Callable
from dataclasses import dataclass, field

from state.finality import is_quorum


@dataclass
class Views:
    """Views of honest validators, counted on from epoch to epoch."""

    stakes: dict[int, int]
    """Of honest validators."""
    on_new_view: Callable[[int], None]
    """Called with the number of the highest view that anybody honest has entered."""
    completed: int = 0
    """The highest view completed by a quorum of the honest stake."""
    highest: int = 0
    _entered: dict[int, tuple[int, int]] = field(default_factory=dict)
    _last_of_epoch: dict[int, int] = field(default_factory=dict)

    def entered(self, validator: int, epoch: int, view: int) -> None:
        """An honest validator is in this view; those below it are completed."""
        if self._entered.get(validator, (0, 0)) >= (epoch, view):
            return
        self._entered[validator] = (epoch, view)
        self._last_of_epoch[epoch] = max(self._last_of_epoch.get(epoch, 0), view)
        self._count()
        number = self._before(epoch) + view
        if number > self.highest:
            self.highest = number
            self.on_new_view(number)

    def _before(self, epoch: int) -> int:
        return sum(last for number, last in self._last_of_epoch.items() if number < epoch)

    def _count(self) -> None:
        done = sorted(
            (
                (self._before(epoch) + view - 1, self.stakes[validator])
                for validator, (epoch, view) in self._entered.items()
            ),
            reverse=True,
        )
        stake, total = 0, sum(self.stakes.values())
        for number, weight in done:
            stake += weight
            if is_quorum(stake, total):
                self.completed = max(self.completed, number)
                return
