"""Sets of epochs: they change as chance says, and what must hold of them holds whatever it says."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.inputs import EpochInfo
from node.sim.ledger import Ledger
from node.sim.rotas import AHEAD_MAX, Rotas
from node.sim.scenario import Options, Scenario, make_scenario
from node.sim.simulation import Hooks, Simulation, simulate
from state.finality import Validator

CHURN = {"views": 20, "epoch_length": 3, "churn": 0.9}


def rotas(scenario: Scenario, highest: int) -> Rotas:
    everyone = tuple(
        Validator(bytes([at]) * 32, bytes([at]) * 20, stake)
        for at, stake in enumerate(scenario.stakes)
    )
    return Rotas(scenario, everyone, Random(scenario.options.seed), highest)


@given(st.integers(0, 2**20), st.integers(1, 13), st.sampled_from(["", "twins:33.33%"]))
def test_sets_change_from_the_third_on_and_keep_the_bound(
    seed: int, count: int, byzantine: str
) -> None:
    options = Options(seed=seed, validators=count, byzantine=byzantine, churn=1.0)
    scenario = make_scenario(options)
    found = rotas(scenario, 20)
    genesis = dict(enumerate(scenario.stakes))
    assert found.stakes(0) == found.stakes(1) == genesis
    for epoch in range(20):
        stakes = found.stakes(epoch)
        assert stakes and set(stakes) <= set(genesis)
        bad = sum(stakes[each] for each in stakes if each in scenario.byzantine)
        assert 3 * bad < sum(stakes.values())
        for validator in genesis:
            index = found.index(epoch, validator)
            assert (index is None) == (validator not in stakes)
            assert index is None or found.validator(epoch, index) == validator
        assert [member.stake for member in found.members(epoch)] == list(stakes.values())


def test_members_leave_and_join_and_stakes_change() -> None:
    found = rotas(make_scenario(Options(validators=7, churn=1.0)), 60)
    left = joined = changed = 0
    for epoch in range(60):
        before, after = found.stakes(epoch), found.stakes(epoch + 1)
        left += bool(set(before) - set(after))
        joined += bool(set(after) - set(before))
        changed += any(before[each] != after[each] for each in set(before) & set(after))
    assert min(left, joined, changed) >= 5


def test_no_set_needs_those_who_lost_their_disks() -> None:
    found = rotas(make_scenario(Options(churn=1.0)), 3)
    found.stakes(3)
    found.lost.add(0)
    found.begun(40)
    for epoch in range(4, 40):
        assert found.is_quorum(epoch, {1, 2, 3})


def test_epochs_far_above_the_highest_have_nobody_in_them() -> None:
    found = rotas(make_scenario(Options(churn=0.5)), 3)
    assert found.stakes(3 + AHEAD_MAX)
    assert found.stakes(4 + AHEAD_MAX) == {}
    assert found.validator(2**60, 0) is None
    assert rotas(make_scenario(Options()), 0).stakes(2**60)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_chain_goes_on_through_changing_sets(count: int) -> None:
    for seed in range(1, 4):
        options = msgspec.convert({**CHURN, "seed": seed, "validators": count}, Options)
        run = Simulation(make_scenario(options), None, Hooks())
        report = run.run()
        assert report.exit_code == 0, report.violations
        sets = {tuple(run.rotas.stakes(each).items()) for each in range(run.rotas.highest + 1)}
        assert len(sets) >= 3, seed


def test_a_header_that_names_another_set_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Ledger.epoch_info

    def stale(ledger: Ledger) -> EpochInfo:
        info = honest(ledger)
        return EpochInfo(info.epoch, info.validators, info.validators, info.boundary)

    monkeypatch.setattr(Ledger, "epoch_info", stale)
    reports = [simulate(msgspec.convert({**CHURN, "seed": seed}, Options)) for seed in range(1, 4)]
    found = {row.invariant for report in reports for row in report.violations}
    assert "sets-as-scheduled" in found
