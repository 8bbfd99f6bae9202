"""The whole state machine inside: offences are punished, the absent jailed, sets decided by it."""

from typing import Any

import msgspec
import pytest

from consensus.effects import BuildBlock, ExecuteBlock
from consensus.inputs import EpochInfo
from node.sim.byzantine import KINDS
from node.sim.full import FullMachine
from node.sim.machine import Built, Executed
from node.sim.replica import Replica
from node.sim.report import ApplicationRow, Report
from node.sim.scenario import Options, make_scenario
from node.sim.simulation import Hooks, Simulation, simulate
from node.sim.watch import Watch
from state.block import Body, bodies
from state.codec import encode
from state.context import BlockContext
from state.finality import (
    Conflict,
    Evidence,
    Finalization,
    Finalize,
    Nullified,
    Nullify,
    Proposal,
    Validator,
    ValidatorSet,
    Vote,
)
from state.modules import staking
from state.modules.all import MESSAGES
from state.modules.staking import presence, slashing
from state.modules.staking.queries import slashes, validators
from state.modules.staking.records import Standing
from state.params import StakingParams
from state.tables import State
from state.types import Address

FULL: dict[str, Any] = {"app": "full", "epoch_length": 4, "views": 40, "validators": 7}
PUNISHED = {
    "equivocator": {"E1", "E2", "E3", "E4"},
    "double-voter": {"E1", "E2", "E4"},
    "nullify-finalize": {"E3"},
    "wrong-epoch": {"E5"},
    "splitter": {"E1", "E2", "E4"},
    "tempter": {"E1", "E2", "E4"},
    "twins": {"E1", "E2", "E3", "E4"},
}
"""Kinds that commit provable offences, and which."""
PARTITIONS = {"twins": "random", "tempter": "random"}
"""What it takes for some of them to contradict themselves."""


def make(seed: int = 1, **options: object) -> Simulation:
    given = msgspec.convert({**FULL, "seed": seed, **options}, Options)
    return Simulation(make_scenario(given), None, Hooks())


def run(seed: int = 1, **options: object) -> Report:
    return simulate(msgspec.convert({**FULL, "seed": seed, **options}, Options))


def application(report: Report) -> ApplicationRow:
    assert report.application is not None
    return report.application


def machines(simulation: Simulation) -> list[FullMachine]:
    found = [simulation.replicas[each].machine for each in simulation.scenario.honest]
    assert all(isinstance(each, FullMachine) for each in found)
    return [each for each in found if isinstance(each, FullMachine)]


@pytest.mark.parametrize("kind", PUNISHED)
def test_an_offence_is_punished_on_every_honest_node_at_one_height(kind: str) -> None:
    """What no honest validator came to see is nobody's to prove: one seed of a few must show it."""
    punished = 0
    for seed in range(1, 13):
        simulation = make(seed, byzantine=f"{kind}:1", partition=PARTITIONS.get(kind, "none"))
        report = simulation.run()
        assert report.exit_code == 0, (seed, report.violations)
        slashed = application(report).slashed
        for slash in slashed:
            assert slash.validator == report.byzantine[0].validator
            assert slash.offence in PUNISHED[kind]
            assert slash.offence in {row.kind for row in report.evidence}
            for machine in machines(simulation):
                assert_punished_at(machine, slash.height)
            last = simulation.rotas.stakes(simulation.rotas.last)
            assert slash.validator not in last, "who is out sits in no set that is fixed later"
        punished += len(slashed)
        if punished == 2:
            return
    raise AssertionError(f"{kind} was punished {punished} times only")


def assert_punished_at(machine: FullMachine, height: int) -> None:
    """Whoever has that block has its one slash; the validator, and nobody else, is out."""
    ctx = machine.application.context
    rows = slashes(ctx)
    assert [row.slash.height for row in rows] == ([height] if ctx.height >= height else [])
    out = [row.account for row in validators(ctx) if row.standing == Standing.TOMBSTONED]
    assert out == [row.validator for row in rows]


def test_evidence_comes_in_bodies_and_by_transaction() -> None:
    bodies = reported = 0
    for seed in range(1, 10):
        found = application(run(seed, byzantine="double-voter:2", views=12))
        bodies += found.evidence
        reported += sum(row.ok for row in found.transactions if row.kind == "SubmitEvidence")
        if bodies and reported:
            return
    raise AssertionError(f"{bodies} proofs in bodies and {reported} by transaction")


@pytest.mark.parametrize("kind", ["silent", "withholder"])
def test_who_breaks_no_rule_that_can_be_proven_is_never_slashed(kind: str) -> None:
    report = run(byzantine=f"{kind}:1")
    assert report.exit_code == 0, report.violations
    assert not application(report).slashed


def test_the_absent_are_jailed_and_leave_the_sets() -> None:
    simulation = make(byzantine="silent:1")
    report = simulation.run()
    [byzantine] = report.byzantine
    assert byzantine.validator in application(report).jailed
    sets = [simulation.rotas.stakes(epoch) for epoch in range(simulation.rotas.highest + 1)]
    assert any(byzantine.validator not in members for members in sets)


def test_members_join_and_leave_and_come_back_and_most_kinds_of_messages_are_tried() -> None:
    found = [application(run(seed, views=90, crash=0.02)) for seed in (1, 2, 3)]
    kinds = {row.kind for each in found for row in each.transactions}
    done = {row.kind for each in found for row in each.transactions if row.ok}
    staking = {"Delegate", "Undelegate", "Redelegate", "ClaimRewards", "CreateValidator"}
    assert staking | {"EditValidator", "Transfer"} <= done
    assert len(kinds) > len(MESSAGES) / 2
    assert all(each.sets >= 5 and each.late_votes and each.created for each in found)
    assert any(each.unjailed for each in found)


def test_sets_are_those_that_stake_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every boundary the set after the next is worked out from the validators' own rows."""
    honest = Watch.begins
    compared: list[int] = []

    def begins(watch: Watch, replica: Replica, epoch: EpochInfo) -> None:
        honest(watch, replica, epoch)
        machine = replica.machine
        assert isinstance(machine, FullMachine)
        head = machine.application.head.header
        if epoch.epoch and head.height == epoch.boundary.header.height:
            rows = validators(machine.application.context)
            able = [row for row in rows if row.standing == Standing.ACTIVE and row.self_bond >= 1]
            expected = {row.account: row.stake for row in able if row.stake}
            members = {one.account: one.stake for one in epoch.next_validators}
            assert members == expected or not expected
            compared.append(epoch.epoch)

    monkeypatch.setattr(Watch, "begins", begins)
    assert run(crash=0.02, byzantine="equivocator:1").exit_code == 0
    assert len(set(compared)) >= 5


def test_a_node_that_has_another_set_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FullMachine.members
    odd: list[FullMachine] = []

    def members(machine: FullMachine, epoch: int) -> ValidatorSet:
        found = honest(machine, epoch)
        if epoch < 2:
            odd[:] = odd or [machine]
            return found
        last = found[-1]
        changed = Validator(last.public_key, last.account, last.stake + (machine in odd))
        return (*found[:-1], changed)

    monkeypatch.setattr(FullMachine, "members", members)
    simulation = make(views=20)
    odd[:] = [machines(simulation)[0]]
    assert "sets-as-scheduled" in {row.invariant for row in simulation.run().violations}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_breaks_with_one_byzantine_and_all_faults(kind: str) -> None:
    faults = {"crash": 0.03, "loss": 0.05, "partition": "random", "disk_faults": 0.01, "views": 16}
    report = run(3, byzantine=f"{kind}:1", **faults)
    assert report.exit_code == 0, report.violations
    assert all(row.byzantine for row in application(report).slashed)


@pytest.mark.parametrize(
    "fault", [{"disk_loss": 0.1}, {"power_cut": 0.1}, {"real_signatures": True}]
)
def test_nothing_breaks_when_disks_are_lost_or_all_go_dark(fault: dict[str, object]) -> None:
    report = run(2, byzantine="double-voter:1", **fault)
    assert report.exit_code == 0, report.violations
    assert report.finalized_height > 5


# --- negative controls ----------------------------------------------------------------------------


def test_a_state_machine_that_slashes_the_innocent_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accused_by = slashing.accused_by

    def neighbour(
        state: State, params: StakingParams, height: int, evidence: Evidence
    ) -> slashing.Accused:
        found = accused_by(state, params, height, evidence)
        members = staking.members_of(state, found.epoch)
        other = members[(members.index(found.member) + 1) % len(members)]
        return slashing.Accused(other, found.epoch, found.view, found.kind)

    monkeypatch.setattr(slashing, "accused_by", neighbour)
    report = run(byzantine="double-voter:1", views=20)
    assert "honest-not-punished" in {row.invariant for row in report.violations}
    assert report.exit_code == 1


def test_a_node_that_punishes_on_its_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node jails whom the others do not: its root, and soon its sets, are not theirs."""
    execute = FullMachine.execute
    judge = presence._judge
    acting: list[FullMachine] = []
    odd: list[FullMachine] = []

    def by(machine: FullMachine, wanted: ExecuteBlock) -> Executed:
        acting[:] = [machine]
        return execute(machine, wanted)

    def moody(ctx: BlockContext, unseen: tuple[Address, ...]) -> None:
        judge(ctx, (validators(ctx)[0].account,) if acting == odd else unseen)

    monkeypatch.setattr(FullMachine, "execute", by)
    monkeypatch.setattr(presence, "_judge", moody)
    simulation = make(views=20)
    odd[:] = [machines(simulation)[0]]
    names = {row.invariant for row in simulation.run().violations}
    assert names & {"same-state-roots", "sets-as-scheduled", "engine-never-fails"}


FORGED = Nullified(0, 1)


def forge(members: ValidatorSet) -> Conflict:
    """Accuse the first member by two votes that it never signed."""
    proposal = Proposal(0, 1, 0, bytes(32), bytes(32))
    vote = Vote(0, bytes(64))
    return Conflict(Nullify(FORGED, vote), Finalize(proposal, vote))


@pytest.mark.parametrize("is_checked", [True, False])
def test_leaders_that_accuse_the_innocent_are_found_only_where_nobody_checks(
    is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = FullMachine.build
    simulation = make(views=12)
    forgeries: list[int] = []

    def accusing(machine: FullMachine, wanted: BuildBlock, salt: bytes) -> Built:
        built = build(machine, wanted, salt)
        if forgeries or wanted.height < 3:
            return built
        forgeries.append(wanted.height)
        body = bodies.decode(built.body)
        forged = Body(body.transactions, body.late, (forge(machine.members(0)),))
        return Built(encode(forged), forged.root, forged.evidence_root, built.params_hash)

    monkeypatch.setattr(FullMachine, "build", accusing)
    if not is_checked:
        monkeypatch.setattr(staking, "check_votes", lambda *_, **__: [])
    report = simulation.run()
    names = {row.invariant for row in report.violations}
    assert forgeries
    assert report.exit_code == (0 if is_checked else 1), report.violations
    assert ("honest-not-punished" in names) is not is_checked
    assert bool(application(report).slashed) is not is_checked


@pytest.mark.parametrize("is_checked", [True, False])
def test_late_votes_that_nobody_checks_hide_the_absent(
    is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaders forge a late vote of whoever is silent: only the check keeps it from counting."""
    build = FullMachine.build
    forgeries: list[int] = []
    simulation = make(byzantine="silent:1", views=30)
    [silent] = simulation.scenario.byzantine

    def covering(machine: FullMachine, wanted: BuildBlock, salt: bytes) -> Built:
        built = build(machine, wanted, salt)
        body = bodies.decode(built.body)
        if body.late is None or (is_checked and len(forgeries) == 2):
            return built
        index = simulation.rotas.index(body.late.subject.epoch, silent)
        others = [vote for vote in body.late.votes if vote.validator != index]
        if index is None or len(others) < len(body.late.votes):
            return built
        forgeries.append(wanted.height)
        votes = sorted([*others, Vote(index, bytes(64))], key=lambda vote: vote.validator)
        forged = Body(body.transactions, Finalization(body.late.subject, tuple(votes)))
        return Built(encode(forged), forged.root, forged.evidence_root, built.params_hash)

    monkeypatch.setattr(FullMachine, "build", covering)
    if not is_checked:
        monkeypatch.setattr(staking, "check_votes", lambda *_, **__: [])
    report = simulation.run()
    assert report.exit_code == 0, report.violations
    jailed = application(report).jailed
    assert forgeries
    assert (silent in jailed) is is_checked
