"""Runs from a seed: the same in any process, and nothing breaks under any one kind of fault."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.sim.byzantine import KINDS
from node.sim.report import Report
from node.sim.scenario import Options
from node.sim.simulation import simulate

ROOT = Path(__file__).resolve().parents[3]
STORM = Options(
    views=30,
    seed=7,
    jitter=5,
    loss=0.1,
    duplicate=0.1,
    reorder=True,
    partition="random",
    crash=0.03,
    disk_faults=0.01,
    byzantine="equivocator:1",
    epoch_length=9,
)
PROGRAM = """
import sys
from node.sim.scenario import Options
from node.sim.simulation import simulate
import msgspec
print(simulate(msgspec.json.decode(sys.argv[1], type=Options)).trace_hash)
"""


def run(seed: int = 1, **options: object) -> Report:
    return simulate(msgspec.convert({"views": 25, "seed": seed, **options}, Options))


def test_a_seed_gives_one_trace_in_this_process_and_in_any_other() -> None:
    here = simulate(STORM).trace_hash
    assert simulate(STORM).trace_hash == here
    for hash_seed in ("0", "12345"):
        said = subprocess.run(
            [sys.executable, "-c", PROGRAM, msgspec.json.encode(STORM).decode()],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert said.stdout.strip() == here


def test_another_seed_gives_another_trace() -> None:
    assert run(1).trace_hash != run(2).trace_hash


def test_four_validators_need_two_delays_a_block_and_three_to_finality() -> None:
    report = run(views=100, latency="20")
    assert report.exit_code == 0
    assert report.block_interval_delays_p50 == 2.0
    assert report.finality_delays_p50 == 3.0
    assert report.finality_ms_p50 == 60.0
    assert report.views == 100
    assert report.finalized_height >= 98


def test_forty_over_a_wide_network_keep_the_limits_with_bandwidth_and_verification() -> None:
    """The same claim for 100 validators is a command: docs/consensus.md."""
    wide = {"validators": 40, "latency": "wan", "views": 16}
    report = run(**wide, bandwidth=100.0, cpu_cost=True)
    assert report.exit_code == 0
    assert report.views_nullified == 0
    assert report.block_interval_delays_p50 is not None
    assert report.finality_delays_p50 is not None
    # no schedule does better on the median than two and three delays
    assert 2.0 <= report.block_interval_delays_p50 <= 2.2
    assert 3.0 <= report.finality_delays_p50 <= 3.2
    # two votes to each of the others, and few besides: no certificate is flooded (settled 13)
    assert report.messages_per_block_and_validator is not None
    assert report.messages_per_block_and_validator < 1.2 * 2 * 39
    slow = run(**wide, bandwidth=2.0, cpu_cost=True)
    assert slow.finality_delays_p50 is not None
    assert slow.finality_delays_p50 > 3.2, "bandwidth is charged"


@pytest.mark.parametrize(
    "fault",
    [
        {"loss": 0.3},
        {"duplicate": 0.5},
        {"jitter": 8.0},
        {"jitter": 8.0, "reorder": True},
        {"crash": 0.05},
        {"crash": 0.05, "disk_faults": 0.02},
        {"partition": "random"},
        {"partition": "0,1|2,3@5-8;0|1,2,3@12-14"},
        {"epoch_length": 5},
        {"epoch_length": 4, "crash": 0.05, "loss": 0.1},
        {"epoch_length": 3, "churn": 0.8, "crash": 0.05, "loss": 0.1},
        {"disk_loss": 0.1, "views": 40},
        {"disk_loss": 0.05, "epoch_length": 10, "validators": 7, "loss": 0.2, "views": 40},
        {"stakes": "zipf", "validators": 7},
        {"bandwidth": 20.0, "cpu_cost": True},
        {"real_signatures": True},
    ],
    ids=str,
)
def test_nothing_breaks_under_one_kind_of_fault(fault: dict[str, object]) -> None:
    for seed in (1, 2, 3):
        report = run(seed, **fault)
        assert report.exit_code == 0, (seed, report.violations)
        assert report.liveness.progressed


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_breaks_with_one_byzantine_of_four(kind: str) -> None:
    for seed in (1, 2, 3):
        report = run(seed, byzantine=f"{kind}:1")
        assert report.exit_code == 0, (seed, report.violations)
        assert all(row.byzantine for row in report.evidence)


@pytest.mark.parametrize("count", [1, 4, 5, 7, 10, 13])
def test_nothing_breaks_with_a_mix_just_under_a_third(count: int) -> None:
    mix = "equivocator:15%,double-voter:10%,twins:8%" if count > 1 else ""
    for seed in (1, 2):
        report = run(seed, validators=count, byzantine=mix, crash=0.01, loss=0.03, views=12)
        assert report.exit_code == 0, (seed, report.violations)


def test_offenders_are_named_by_what_they_did() -> None:
    kinds = {"equivocator": "E1", "double-voter": "E1", "nullify-finalize": "E3"}
    for kind, offence in {**kinds, "wrong-epoch": "E5"}.items():
        report = run(byzantine=f"{kind}:1")
        [byzantine] = report.byzantine
        found = {(row.offender, row.kind) for row in report.evidence}
        assert (byzantine.validator, offence) in found, kind
        assert report.evidence_stake_fraction == 0.25


@pytest.mark.parametrize("byzantine", ["equivocator:2", "equivocator:1,double-voter:1"])
def test_with_a_third_or_more_the_chain_forks_and_the_evidence_is_complete(byzantine: str) -> None:
    for seed in (1, 2, 3):
        report = run(seed, byzantine=byzantine)
        assert report.exit_code == 3, (seed, report.violations)
        assert report.forks >= 1
        assert report.evidence_stake_fraction > 1 / 3
        assert all(row.byzantine for row in report.evidence)


def test_twins_fork_the_chain_when_a_partition_helps_them() -> None:
    forked = [
        seed
        for seed in range(1, 21)
        if run(seed, byzantine="twins:2", partition="random").exit_code == 3
    ]
    assert forked


def test_silence_of_a_third_stalls_and_that_is_no_violation() -> None:
    report = run(byzantine="silent:2")
    assert report.exit_code == 0
    assert report.finalized_height == 0
    assert not report.liveness.progressed
    assert not report.liveness.expected


def test_the_whole_state_machine_runs_inside_with_its_invariants() -> None:
    report = run(app="full", crash=0.03, byzantine="equivocator:1", views=15)
    assert report.exit_code == 0, report.violations
    assert report.finalized_height > 5
