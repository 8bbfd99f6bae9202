"""How far a run has come: views completed by a quorum of the honest, over all epochs."""

from collections.abc import Callable
from dataclasses import dataclass, field

from state.finality import is_quorum


@dataclass
class Views:
    """Views of honest validators, counted on from epoch to epoch."""

    stakes: Callable[[int], dict[int, int]]
    """The honest members of an epoch and their stakes."""
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

    def last_of(self, epoch: int) -> int:
        """Return the highest view of an epoch that anybody honest has entered."""
        return self._last_of_epoch.get(epoch, 0)

    def _before(self, epoch: int) -> int:
        return sum(last for number, last in self._last_of_epoch.items() if number < epoch)

    def _count(self) -> None:
        """See what a quorum of the honest stake of the newest epochs has left behind."""
        newest = max(self._last_of_epoch)
        for epoch in (newest - 1, newest):
            last = self._last_of_epoch.get(epoch)
            if last is not None:
                done = self._completed(epoch, last)
                self.completed = max(self.completed, self._before(epoch) + done)

    def _completed(self, epoch: int, last: int) -> int:
        """Return the highest view of an epoch that a quorum of its honest stake has completed."""
        stakes = self.stakes(epoch)
        done: list[tuple[int, int]] = []
        for validator, weight in stakes.items():
            at, view = self._entered.get(validator, (0, 0))
            left = last if at > epoch else view - 1 if at == epoch else 0
            done.append((left, weight))
        stake, total = 0, sum(stakes.values())
        for left, weight in sorted(done, reverse=True):
            stake += weight
            if is_quorum(stake, total):
                return left
        return 0
