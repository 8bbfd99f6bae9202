"""A run from beginning to end: the schedule of faults, the liveness phase, the report."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from consensus.driver import Driver
from node.sim.accountability import blame_forks
from node.sim.checkers import ALWAYS, SAFETY, Evidence, Violation
from node.sim.chronicle import Chronicle
from node.sim.cluster import Cluster, MakeEngine
from node.sim.elections import Elections
from node.sim.ending import Ending, make_report
from node.sim.faults import Faults
from node.sim.liveness import Patient, run_liveness
from node.sim.machines import machines_of
from node.sim.measure import Limits, Measures
from node.sim.network import LinkFaults, Network
from node.sim.offences import find_offences
from node.sim.progress import Views
from node.sim.replica import Replica
from node.sim.report import ApplicationRow, Liveness, Report
from node.sim.scenario import Options, Scenario, make_scenario
from node.sim.settings import timeouts_for
from node.sim.signatures import make_scheme
from node.sim.watch import Watch
from node.sim.world import US_PER_MS, Account, World

STALLED_BACKOFFS = 40
"""Without a new view or height for so many of the longest back-offs, a schedule is cut short."""
AFTER_FORK_DELTAS = 10
"""A run goes on for a little after a fork, so that evidence can spread."""


@dataclass(frozen=True)
class Hooks:
    """What tests replace."""

    make_engine: MakeEngine = Driver
    alter: Callable[["Simulation"], None] = lambda _: None
    """Called with the simulation before it begins."""


class Simulation:
    """One seed: build it, run it, report."""

    def __init__(self, scenario: Scenario, account: Account | None, hooks: Hooks) -> None:
        options = scenario.options
        self.scenario = scenario
        self.world = World(options.seed, account)
        scheme = make_scheme(options.seed, options.validators, options.real_signatures)
        machines = machines_of(scenario, scheme, self.world)
        self.rotas = machines.rotas
        self.chronicle = Chronicle(machines.genesis_hash, self.rotas, scheme)
        limits = Limits(scenario.latency, scenario.stakes)
        self.measures = Measures(scenario.latency, limits)
        self.watch = Watch(self.world, scenario, self.chronicle, self.measures)
        self.cluster = Cluster(
            world=self.world,
            scenario=scenario,
            scheme=scheme,
            rotas=self.rotas,
            genesis=machines.genesis,
            genesis_hash=machines.genesis_hash,
            make_engine=hooks.make_engine,
            make_machine=machines.make,
        )
        self.cluster.watch = self.watch
        self.network = Network(
            self.world,
            scenario.latency,
            list(scenario.endpoints),
            LinkFaults(
                options.jitter,
                options.loss,
                options.duplicate,
                options.reorder,
                options.bandwidth,
            ),
            self.cluster.deliver,
        )
        self.cluster.network = self.network
        self.cluster.build()
        self.replicas = self.cluster.replicas
        self.faults = Faults(
            self.world, scenario, self.rotas, self.network, self.replicas, self.watch.lost
        )
        self.views = Views(self._honest_stakes, self.faults.reached)
        self.cluster.on_power_failure = self.faults.power_failed
        self.cluster.on_step = self._stepped
        backoff_ms = timeouts_for(scenario.delta_ms).backoff_ms_max
        self._patience_us = STALLED_BACKOFFS * backoff_ms * US_PER_MS
        self._advanced_us = 0
        self._advance = (0, 0)
        self._forked_us: int | None = None
        hooks.alter(self)

    def run(self) -> Report:
        """Run the schedule and the liveness phase; return the report."""
        started = time.perf_counter()
        self.faults.begin()
        for replica in self.replicas:
            self.world.after(0, replica.start)
        self.world.run(2**62, self._schedule_ended)
        views = self.views.completed
        traffic = (self.network.messages, self.network.bytes)
        self.faults.end()
        crashes = sum(replica.crashes for replica in self.replicas)
        liveness = self.begin_liveness()
        return self._report(views, (*traffic, crashes), liveness, time.perf_counter() - started)

    def _honest_stakes(self, epoch: int) -> dict[int, int]:
        """Return the honest members of an epoch and their stakes."""
        stakes = self.rotas.stakes(epoch)
        return {each: stake for each, stake in stakes.items() if each in self.scenario.honest}

    def _stepped(self, replica: Replica) -> None:
        """A replica has done something: see how far it is."""
        if replica.is_up and self.watch.is_honest(replica):
            epoch = replica.engine.core.epoch
            self.views.entered(replica.validator, epoch.number, epoch.view)
            self.watch.remembers(replica, self.views.last_of(epoch.number))

    def _schedule_ended(self) -> bool:
        """Tell whether the views are done, or nothing goes on any more."""
        now_us = self.world.now_us
        if self.watch.is_forked:
            if self._forked_us is None:
                self._forked_us = now_us
            since_us = now_us - self._forked_us
            return since_us > AFTER_FORK_DELTAS * self.scenario.delta_ms * US_PER_MS
        at = (self.views.highest, len(self.chronicle.final))
        if at != self._advance:
            self._advance, self._advanced_us = at, now_us
        stalled = now_us - self._advanced_us > self._patience_us
        return stalled or self.views.completed >= self.scenario.options.views

    def begin_liveness(self) -> Liveness:
        """End the schedule of faults, and see whether a healed quorum goes on."""
        if self.watch.is_forked:
            return Liveness([], False, False, 0, None, self.scenario.delta_ms)
        patient = Patient(self.world, self.scenario, self.rotas, self.network, self.replicas)
        self.faults.enabled = False
        return run_liveness(patient)

    def _report(
        self, views: int, counts: tuple[int, int, int], liveness: Liveness, seconds: float
    ) -> Report:
        blames = tuple(blame_forks(self.chronicle))
        offences = tuple(find_offences(self.chronicle, self.scenario.options.epoch_length))
        honest = frozenset(self.scenario.honest)
        punished = self._punished()
        evidence = Evidence(self.chronicle, honest, offences, blames, self.watch.roots, punished)
        ending = Ending(
            scenario=self.scenario,
            evidence=evidence,
            violations=tuple(self._violations(views, liveness, evidence)),
            views=views,
            traffic=counts[:2],
            liveness=liveness,
            application=self._application(),
            figures=self.measures.figures(),
            heights=tuple(
                replica.ledger.height
                for replica in self.replicas
                if replica.is_up and self.watch.is_honest(replica)
            ),
            crashes=counts[2],
            virtual_ms=self.world.now_ms,
            trace=self.world.trace,
            seconds=seconds,
        )
        return make_report(ending)

    def _honest_replicas(self) -> list[Replica]:
        return [each for each in self.replicas if self.watch.is_honest(each)]

    def _punished(self) -> frozenset[int]:
        """Return whom the application of any honest validator has punished."""
        accounts = {one for each in self._honest_replicas() for one in each.machine.punished()}
        numbers = {member.account: number for number, member in enumerate(self.rotas.everyone)}
        return frozenset(numbers[account] for account in accounts)

    def _application(self) -> ApplicationRow | None:
        """Return what happened in the application, by the honest node that is furthest."""
        if not isinstance(self.rotas, Elections):
            return None
        from node.sim.full import FullMachine
        from node.sim.happenings import read_happenings

        furthest = max(self._honest_replicas(), key=lambda replica: replica.ledger.height)
        assert isinstance(furthest.machine, FullMachine), "elections are of the state machine"
        return read_happenings(furthest.machine, self.rotas)

    def _violations(self, views: int, liveness: Liveness, evidence: Evidence) -> list[Violation]:
        found: list[Violation] = self.watch.concluded()
        checks = ALWAYS + SAFETY if self.rotas.is_within_bound else ALWAYS
        found += [violation for check in checks for violation in check(evidence)]
        if liveness.expected and not liveness.progressed:
            who = f"{len(liveness.healed)} validators healed"
            text = f"{who}, nothing final within {liveness.bound_deltas:.0f} Δ"
            found.append(Violation("progress", views, text))
        return found


def simulate(
    options: Options, account: Account | None = None, hooks: Hooks | None = None
) -> Report:
    """Run one seed; raises WrongUsage."""
    return Simulation(make_scenario(options), account, hooks or Hooks()).run()
