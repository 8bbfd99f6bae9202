"""Faults: how often they strike, counted over runs."""

import pytest

from node.sim.faults import chance_of_any
from node.sim.scenario import Options
from node.sim.simulation import simulate


@pytest.mark.parametrize(("views", "expected"), [(1, 0.1), (2, 0.19), (3, 0.271)])
def test_views_that_are_passed_together_count_each(views: int, expected: float) -> None:
    assert chance_of_any(0.1, views) == pytest.approx(expected)
    assert chance_of_any(0.0, views) == 0.0
    assert chance_of_any(1.0, views) == 1.0


def test_crashes_come_per_validator_and_view() -> None:
    views, crashes = 0, 0
    for seed in range(1, 6):
        report = simulate(Options(views=60, crash=0.05, seed=seed))
        assert report.exit_code == 0
        views += report.views
        crashes += report.crashes
    # who is down when its turn comes is not counted: at most one in twenty, and most of these
    assert 0.5 * 0.05 * 4 * views < crashes < 1.3 * 0.05 * 4 * views
