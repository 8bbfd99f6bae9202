"""Faults over a run: who crashes when, and which partition is in force.

Both go by the highest view that an honest validator has reached. A partition without a quorum on
any side would keep that view where it is, so one that stands for STUCK_DELTAS without a new view is
redrawn, or lifted where it was specified.
"""

from collections.abc import Sequence
from functools import partial

from node.sim.network import Network
from node.sim.partitions import REDRAWN_EVERY_VIEWS, Cut, Sides, cut_at, draw_partition
from node.sim.replica import Replica
from node.sim.scenario import Scenario
from node.sim.world import US_PER_MS, World

RESTART_DELTAS_MAX = 5
STUCK_DELTAS = 60


class Faults:
    """Crashes replicas and redraws partitions while it is switched on."""

    def __init__(
        self, world: World, scenario: Scenario, network: Network, replicas: Sequence[Replica]
    ) -> None:
        self._world = world
        self._scenario = scenario
        self._network = network
        self._replicas = replicas
        self._crashes = world.chance("crashes")
        self._partitions = world.chance("partitions")
        self._cuts: list[Cut] = list(scenario.cuts)
        self._view = 0
        self._drawn_at = -1
        self._moved_us = 0
        self.enabled = True

    def begin(self) -> None:
        """Put the first partition in force, and watch for standstill."""
        self.reached(1)
        if self._scenario.options.partition != "none":
            self._watch_standstill()

    def reached(self, view: int) -> None:
        """An honest validator is the first to enter this view."""
        if not self.enabled or view <= self._view:
            return
        self._view = view
        self._moved_us = self._world.now_us
        self._partition()
        probability = self._scenario.options.crash
        if probability:
            for replica in self._replicas:
                if self._crashes.random() < probability:
                    # Never in the middle of a step: the disk's own faults strike there.
                    self._world.after(0, partial(self._crash, replica))

    def _crash(self, replica: Replica) -> None:
        if self.enabled and replica.is_up:
            self._world.record("crash", replica.endpoint, -1, b"", None)
            replica.crash()
            self.restart_later(replica)

    def power_failed(self, replica: Replica) -> None:
        """A replica lost power while it synced."""
        self._world.record("power", replica.endpoint, -1, b"", None)
        if self.enabled:
            self.restart_later(replica)

    def restart_later(self, replica: Replica) -> None:
        """Bring a replica up again after 0 to 5 timeouts."""
        delay_ms = self._crashes.uniform(0, RESTART_DELTAS_MAX * self._scenario.delta_ms)
        self._world.after(round(delay_ms * US_PER_MS), lambda: self._restart(replica))

    def _restart(self, replica: Replica) -> None:
        if self.enabled and not replica.is_up:
            self._world.record("restart", replica.endpoint, -1, b"", None)
            replica.start()

    def _partition(self) -> None:
        options = self._scenario.options
        if options.partition == "random":
            number = self._view // REDRAWN_EVERY_VIEWS
            if number != self._drawn_at:
                self._drawn_at = number
                self._draw()
        elif self._cuts:
            self._set(cut_at(self._cuts, self._view))

    def _draw(self) -> None:
        self._set(draw_partition(self._partitions, len(self._replicas)))

    def _set(self, sides: Sides) -> None:
        if sides != self._network.sides:
            self._network.partition(sides)
            self._world.record("partition", -1, -1, repr(sides).encode()[:64], sides)

    def _watch_standstill(self) -> None:
        if not self.enabled:
            return
        stuck_us = STUCK_DELTAS * self._scenario.delta_ms * US_PER_MS
        if self._world.now_us - self._moved_us >= stuck_us and self._network.sides is not None:
            self._moved_us = self._world.now_us
            if self._scenario.options.partition == "random":
                self._draw()
            else:
                self._cuts = [c for c in self._cuts if not c.first <= self._view <= c.last]
                self._set(None)
        self._world.after(stuck_us, self._watch_standstill)
