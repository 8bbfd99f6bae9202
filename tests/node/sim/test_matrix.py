"""The matrix: 300 seeds of the swarm break nothing, and among them is every kind of fault."""

import pytest

from node.sim.byzantine import KINDS
from node.sim.scenario import make_scenario
from node.sim.simulation import simulate
from node.sim.swarm import COUNTS, draw_options

SEEDS = range(1, 301)
BATCH = 10
DRAWN = {seed: draw_options(seed) for seed in SEEDS}


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_nothing_breaks_and_the_chain_goes_on_once_a_quorum_is_healed(first: int) -> None:
    for seed in range(first, first + BATCH):
        report = simulate(DRAWN[seed])
        assert report.exit_code == 0, (seed, report.violations)
        assert report.liveness.progressed or not report.liveness.expected, seed
        assert report.forks == 0
        assert all(row.byzantine for row in report.evidence)


def test_a_seed_draws_the_same_options_every_time() -> None:
    assert draw_options(7) == draw_options(7)
    assert len({options.validators for options in DRAWN.values()}) == len(COUNTS)


@pytest.mark.parametrize("count", [1, 4, 5, 7, 10, 13])
def test_every_count_is_drawn_with_equal_and_with_skewed_stakes(count: int) -> None:
    forms = {each.stakes for each in DRAWN.values() if each.validators == count}
    assert {"equal", "zipf"} <= forms
    assert any("," in form or form.isdigit() for form in forms)


@pytest.mark.parametrize("name", ["views", "latency", "stakes", "byzantine", "epoch_length"])
def test_what_else_there_is_differs_from_seed_to_seed(name: str) -> None:
    assert len({getattr(each, name) for each in DRAWN.values()}) >= 3


@pytest.mark.parametrize(
    "fault",
    [
        "jitter",
        "loss",
        "duplicate",
        "reorder",
        "bandwidth",
        "crash",
        "disk_faults",
        "disk_loss",
        "churn",
        "cpu_cost",
        "real_signatures",
    ],
)
def test_every_fault_is_there_in_some_seeds_and_not_in_others(fault: str) -> None:
    having = [each for each in DRAWN.values() if getattr(each, fault)]
    assert len(SEEDS) * 0.02 <= len(having) <= len(SEEDS) * 0.7
    assert len({each.validators for each in having}) >= 3


@pytest.mark.parametrize("partition", ["none", "random", "@"])
def test_every_form_of_partition_is_drawn(partition: str) -> None:
    assert sum(partition in each.partition for each in DRAWN.values()) >= 10


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_byzantine_kind_is_drawn_alone_and_in_company(kind: str) -> None:
    companies = [set(make_scenario(each).byzantine.values()) for each in DRAWN.values()]
    assert {kind} in companies
    assert any(kind in company and len(company) > 1 for company in companies)


def test_mixes_reach_just_under_a_third_of_the_stake_and_never_more() -> None:
    shares = []
    for options in DRAWN.values():
        scenario = make_scenario(options)
        assert scenario.is_within_bound
        shares.append(scenario.byzantine_stake / sum(scenario.stakes))
    assert sum(share > 0.3 for share in shares) >= 20


def test_the_whole_state_machine_runs_in_some_with_faults_and_byzantine_validators() -> None:
    full = [each for each in DRAWN.values() if each.app == "full"]
    assert len(full) >= 20
    assert any(each.byzantine and each.crash for each in full)
    assert all(each.epoch_length <= 5 and each.views >= 10 for each in full)
    assert len({each.validators for each in full}) >= 4
    kinds = {kind for each in full for kind in make_scenario(each).byzantine.values()}
    assert len(kinds) >= len(KINDS) / 2
