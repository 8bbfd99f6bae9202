"""The liveness phase: a healed quorum goes on within its bound, and one that cannot is found."""

from collections.abc import Callable

import msgspec
import pytest

from consensus.driver import Driver
from consensus.effects import Effect, Send
from consensus.inputs import Input, TimerFired
from node.sim.liveness import bound_ms
from node.sim.report import Report
from node.sim.scenario import Options, make_scenario
from node.sim.simulation import Hooks, simulate

LOSSY = {"views": 15, "loss": 0.4, "crash": 0.1}


class NeverAgain(Driver):
    """Says everything once: what a timer would send again, or pass on, stays unsaid."""

    def handle(self, event: Input) -> list[Effect]:
        effects = super().handle(event)
        if isinstance(event, TimerFired):
            return [effect for effect in effects if not isinstance(effect, Send)]
        return effects


class Dumb(Driver):
    """Falls silent for good at some view, as a deadlock would have it."""

    def handle(self, event: Input) -> list[Effect]:
        effects = super().handle(event)
        if self.core.epoch.view >= 6:
            return [effect for effect in effects if not isinstance(effect, Send)]
        return effects


def run(seed: int, make_engine: Callable[..., Driver] = Driver) -> Report:
    options = msgspec.convert({**LOSSY, "seed": seed}, Options)
    return simulate(options, hooks=Hooks(make_engine=make_engine))


@pytest.mark.parametrize(("engine", "seeds_max"), [(NeverAgain, 20), (Dumb, 1)])
def test_a_stall_is_found_within_so_many_seeds(engine: type[Driver], seeds_max: int) -> None:
    for seed in range(1, seeds_max + 1):
        report = run(seed, engine)
        if report.exit_code == 1:
            assert {row.invariant for row in report.violations} == {"progress"}
            assert report.liveness.needed_deltas is None
            return
    raise AssertionError("the stall was not found")


def test_the_same_seeds_go_on_with_the_honest_engine() -> None:
    for seed in range(1, 6):
        liveness = run(seed).liveness
        assert liveness.needed_deltas is not None
        assert liveness.needed_deltas <= liveness.bound_deltas


def test_the_bound_grows_with_those_who_stay_broken_and_with_nothing_else() -> None:
    for delta_ms in (50, 200, 1_000):
        scenario = make_scenario(Options(validators=7, delta_ms=delta_ms))
        assert bound_ms(scenario, range(5)) / delta_ms == (4 + 2) * 24.5
        assert bound_ms(scenario, range(7)) / delta_ms == 4 * 24.5
