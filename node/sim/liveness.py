"""The liveness phase: heal a random quorum, leave the rest broken, and the chain must go on.

The core is drawn from the honest validators, as small as a quorum can be. Its links carry
everything, its disks hold, and whoever of it was down comes back. Other honest validators stay
down or cut off; Byzantine ones go on as before. Within the bound every member of the core must
hold a block as final that is higher than anything that was final before.

The bound is in Δ: a few views, and one for each validator outside of the core, because that many
may lead one after the other; and each view may fail, after the longest back-off there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from node.sim.network import LinkFaults, Network
from node.sim.replica import Replica
from node.sim.report import Liveness
from node.sim.rotas import Rotas
from node.sim.scenario import Scenario
from node.sim.settings import timeouts_for
from node.sim.world import US_PER_MS, World

BOUND_VIEWS = 4
"""Beside those that others than the core may lead: one that fails already, and three that hold."""
CHANCE_BEYOND_BOUND_VIEWS = 10
"""With a third or more Byzantine a stall is no violation, so it is not waited for as long."""


@dataclass(frozen=True)
class Patient:
    """All that the phase works on."""

    world: World
    scenario: Scenario
    rotas: Rotas
    network: Network
    replicas: Sequence[Replica]

    def is_quorum(self, core: Sequence[int]) -> bool:
        """Tell whether these are a quorum of every epoch that the phase may meet.

        That is the highest begun, the one before if only outsiders know of its end, and the next.
        """
        epochs = self.rotas.at_hand(1)
        return all([self.rotas.is_quorum(epoch, set(core)) for epoch in epochs])


def draw_core(patient: Patient, healthy: Sequence[int], chance: Random) -> list[int]:
    """Return a random quorum of the healthy, or all of them when they are none."""
    order = list(healthy)
    chance.shuffle(order)
    core: list[int] = []
    for validator in order:
        if patient.is_quorum(core):
            break
        core.append(validator)
    return sorted(core)


def bound_ms(scenario: Scenario, core: Sequence[int], *, is_within_bound: bool = True) -> int:
    """Return how long progress may take: so many views, each failing after the longest back-off."""
    timeouts = timeouts_for(scenario.delta_ms)
    longest_ms = timeouts.backoff_ms_max + 2 * timeouts.delta_ms + timeouts.retry_ms
    views = BOUND_VIEWS + len(scenario.stakes) - len(core)
    if not is_within_bound:
        views = CHANCE_BEYOND_BOUND_VIEWS
    return views * longest_ms


def run_liveness(patient: Patient) -> Liveness:
    """Heal, let time pass, and tell whether the chain went on."""
    scenario, world = patient.scenario, patient.world
    replicas = patient.replicas
    honest = [
        each
        for each in scenario.honest
        if not replicas[each].is_broken and not replicas[each].is_lost
    ]
    core = draw_core(patient, honest, world.chance("liveness"))
    is_within_bound = patient.rotas.is_within_bound
    expected = patient.is_quorum(core) and is_within_bound
    limit_ms = bound_ms(scenario, core, is_within_bound=is_within_bound)
    _heal(patient, core)
    members = [patient.replicas[each] for each in core]
    before = max((replica.ledger.height for replica in patient.replicas), default=0)
    started_us = world.now_us

    def went_on() -> bool:
        return bool(members) and all(each.ledger.height > before for each in members)

    progressed = world.run(started_us + limit_ms * US_PER_MS, went_on)
    needed_ms = (world.now_us - started_us) // US_PER_MS if progressed else None
    return Liveness(core, expected, progressed, limit_ms, needed_ms, scenario.delta_ms)


def _heal(patient: Patient, core: list[int]) -> None:
    world, network = patient.world, patient.network
    chance = world.chance("liveness of the rest")
    outside = [each for each in patient.scenario.honest if each not in core]
    network.partition(None)
    network.faults = LinkFaults(
        jitter_ms=network.faults.jitter_ms, bandwidth_mbit=network.faults.bandwidth_mbit
    )
    down = [each for each in outside if chance.random() < 0.5]
    network.cut_off = frozenset(outside)
    for each in down:
        patient.replicas[each].crash()
    for replica in patient.replicas:
        replica.faults.enabled = False
        if not replica.is_up and replica.endpoint not in down:
            world.record("restart", replica.endpoint, -1, b"", None)
            replica.start()
    world.record("heal", -1, -1, repr(core).encode()[:64], core)
