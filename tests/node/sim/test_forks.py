"""Forks by more than a third of the stake: found, proven from what the honest hold, complete.

Each case names a mix of Byzantine validators above a third or far above it, and within how many
seeds the chain forks. No seed of it may end with evidence that is incomplete or names the honest.
"""

from typing import Any

import msgspec
import pytest

from node.sim.report import Report
from node.sim.scenario import Options
from node.sim.simulation import simulate

LOSSY: dict[str, Any] = {"loss": 0.1, "jitter": 8.0, "reorder": True, "views": 20}
CUT = {**LOSSY, "partition": "random"}
SEVEN = {**LOSSY, "validators": 7}
CASES = [
    ("equivocator:2", LOSSY),
    ("equivocator:1,double-voter:1", LOSSY),
    ("nullify-finalize:2", LOSSY),
    ("twins:2", CUT),
    ("equivocator:3", SEVEN),
    ("equivocator:5", SEVEN),  # more than two thirds
    ("nullify-finalize:3", LOSSY),
    ("equivocator:1", {**LOSSY, "stakes": "5,3,1,1"}),
    ("equivocator:2,nullify-finalize:1", {**LOSSY, "stakes": "zipf", "validators": 5}),
    ("equivocator:2", {**LOSSY, "epoch_length": 2}),
    ("nullify-finalize:2", {**LOSSY, "epoch_length": 2}),
    ("twins:2", {**CUT, "epoch_length": 2}),
]
SEEDS_MAX = 60


def run(seed: int, byzantine: str, options: dict[str, Any]) -> Report:
    given = {"seed": seed, "byzantine": byzantine, **options}
    return simulate(msgspec.convert(given, Options))


@pytest.mark.parametrize(("byzantine", "options"), CASES, ids=str)
def test_a_fork_is_found_and_names_more_than_a_third_and_nobody_honest(
    byzantine: str, options: dict[str, Any]
) -> None:
    forked = 0
    for seed in range(1, SEEDS_MAX + 1):
        report = run(seed, byzantine, options)
        assert report.exit_code in (0, 3), (seed, report.violations)
        assert all(row.byzantine for row in report.evidence)
        if report.exit_code == 3:
            forked += 1
            assert report.forks >= 1
            assert report.evidence_stake_fraction > 1 / 3
            if forked == 3:
                return
    assert forked


@pytest.mark.parametrize("byzantine", ["equivocator:2", "nullify-finalize:2", "twins:2"])
def test_exactly_a_third_cannot_fork(byzantine: str) -> None:
    """Two quorums share more than a third, so one of them lacks an honest vote."""
    for seed in (1, 2):
        report = run(seed, byzantine, {**CUT, "validators": 6, "views": 10})
        assert report.exit_code == 0, (seed, report.violations)
        assert report.forks == 0


@pytest.mark.parametrize("kind", ["splitter", "tempter", "liar", "minority", "skipper"])
def test_below_a_third_neither_forks_nor_stops_the_chain(kind: str) -> None:
    for seed in (1, 2, 3, 4):
        report = run(seed, f"{kind}:1", {**LOSSY, "crash": 0.05})
        assert report.exit_code == 0, (seed, report.violations)
        assert report.liveness.progressed
