"""Faults over a run: who crashes when, when all lose power, and which partition is in force.

All go by the highest view that an honest validator has reached. A partition without a quorum on
any side would keep that view where it is, so one that stands for STUCK_DELTAS without a new view is
redrawn, or lifted where it was specified.
"""

from collections.abc import Callable, Sequence
from functools import partial

from node.sim.network import Network
from node.sim.partitions import REDRAWN_EVERY_VIEWS, Cut, Sides, cut_at, draw_partition
from node.sim.replica import Replica
from node.sim.rotas import Rotas
from node.sim.scenario import Scenario
from node.sim.settings import timeouts_for
from node.sim.world import US_PER_MS, World

RESTART_DELTAS_MAX = 5
STUCK_DELTAS = 60
VIEW_DELAYS = 2


def chance_of_any(probability: float, views: int) -> float:
    """Return how likely it is that something which may happen once a view does in one of these."""
    return probability if views == 1 else 1 - (1 - probability) ** views


class Faults:
    """Crashes replicas and redraws partitions while it is switched on."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        rotas: Rotas,
        network: Network,
        replicas: Sequence[Replica],
        lost: Callable[[Replica], None],
    ) -> None:
        self._world = world
        self._scenario = scenario
        self._rotas = rotas
        self._network = network
        self._lost = lost
        self._losses = world.chance("disk losses")
        self._replicas = replicas
        self._crashes = world.chance("crashes")
        self._partitions = world.chance("partitions")
        self._power = world.chance("power cuts")
        # A cut falls anywhere within a view, one that goes well or one that is given up.
        failed_us = timeouts_for(scenario.delta_ms).advance_ms(0) * US_PER_MS
        self._view_lasts_us = (VIEW_DELAYS * scenario.latency.largest_us, failed_us)
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
        passed, self._view = view - self._view, view
        self._moved_us = self._world.now_us
        self._partition()
        self._lose_disks(passed)
        probability = chance_of_any(self._scenario.options.crash, passed)
        if probability:
            for replica in self._replicas:
                if self._crashes.random() < probability:
                    # Never in the middle of a step: the disk's own faults strike there.
                    self._world.after(0, partial(self._crash, replica))
        if self._power_is_cut():
            within_us = self._power.choice(self._view_lasts_us)
            self._world.after(self._power.randint(0, within_us), self._cut_power)

    def _power_is_cut(self) -> bool:
        probability = self._scenario.options.power_cut
        return probability > 0 and self._power.random() < probability

    def _cut_power(self) -> None:
        """Crash every node at once: whatever nobody has synced is gone (settled 1)."""
        if self.enabled:
            for replica in self._replicas:
                self._crash(replica)

    def end(self) -> None:
        """End the schedule; power may be cut once more, so that what follows begins in the dark."""
        if self._power_is_cut():
            self._cut_power()

    def _lose_disks(self, passed: int) -> None:
        """Take the disks of some, as long as the others can go on without them (settled 10)."""
        probability = chance_of_any(self._scenario.options.disk_loss, passed)
        for replica in self._replicas if probability else ():
            if self._losses.random() < probability and self._may_lose(replica):
                self._world.after(0, partial(self._lose, replica, self._losses.random() < 0.5))

    def _may_lose(self, replica: Replica) -> bool:
        """Tell whether whoever votes without this replica's help is still a quorum, ever after."""
        if replica.validator in self._scenario.byzantine:
            return False
        out = {each.validator for each in self._replicas if each.is_lost} | {replica.validator}
        voters = set(self._scenario.honest) - out
        epochs = self._rotas.at_hand(2)
        return all([self._rotas.is_quorum(epoch, voters) for epoch in epochs])

    def _lose(self, replica: Replica, everything: bool) -> None:
        if not self.enabled or replica.is_lost or not self._may_lose(replica):
            return
        replica.crash()
        replica.lose_disk(everything)
        self._rotas.lost.add(replica.validator)
        self._lost(replica)
        self.restart_later(replica)

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
            if replica.is_lost:
                self._network.forget(replica.endpoint)  # settled 10: sessions opened after start
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
