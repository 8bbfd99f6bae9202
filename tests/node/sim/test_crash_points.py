"""A crash at every record: whichever write the power does not outlast, nothing breaks.

One schedule without chance is run once to count what each validator writes: journal records, guard
records and unfinal blocks, over three epochs and over views that fail. Then it is run again for
each of them, with the power failing as that record is synced: the record lost, or garbage in its
sector, or kept while everything that rests on it is still undone (recovery from any fsync prefix).
"""

from typing import Any

import msgspec
import pytest

from consensus.messages import Propose
from node.signer import GuardedSigner
from node.sim.disk import CrashPoint, Fate
from node.sim.report import Liveness, Report
from node.sim.scenario import Options, make_scenario
from node.sim.simulation import Hooks, Simulation
from node.sim.storage import Storage
from state.finality import Finalize, Notarize, Nullify

FOUR: dict[str, Any] = {"views": 11, "epoch_length": 2, "partition": "3|0,1,2@2-5", "delta_ms": 50}
ALONE: dict[str, Any] = {"views": 9, "epoch_length": 3, "validators": 1}


def simulation(options: dict[str, object]) -> Simulation:
    return Simulation(make_scenario(msgspec.convert(options, Options)), None, Hooks())


def written(options: dict[str, object]) -> tuple[Report, list[dict[str, int]]]:
    """Run without a crash; return how many records of each file the schedule makes each write."""
    run = simulation(options)
    counts: list[dict[str, int]] = []

    def count(endpoint: int) -> None:
        counts.append({file.name: file.written for file in run.replicas[endpoint].storage.files})

    liveness = run.begin_liveness

    def counting() -> Liveness:
        for replica in run.replicas:
            count(replica.endpoint)
        return liveness()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "begin_liveness", counting)
        report = run.run()
    return report, counts


def crash_at(options: dict[str, object], endpoint: int, point: CrashPoint) -> Report:
    run = simulation(options)
    run.replicas[endpoint].faults.point = point
    report = run.run()
    assert run.replicas[endpoint].faults.point is None, f"power never failed: {endpoint, point}"
    assert report.crashes == 1
    return report


def check_crash_at(options: dict[str, object], endpoint: int, point: CrashPoint) -> None:
    report = crash_at(options, endpoint, point)
    where = (endpoint, point)
    assert report.exit_code == 0, (where, report.violations)
    assert report.liveness.progressed, where


def crash_at_every_record(options: dict[str, object], endpoint: int, fate: Fate) -> int:
    """Crash one validator at each record that it writes, the guard's first apart: it is made with
    the file. Return how many there were."""
    _, counts = written(options)
    points = [
        CrashPoint(name, record, fate)
        for name, count in counts[endpoint].items()
        for record in range(2 if name == "guard" else 1, count + 1)
    ]
    for point in points:
        check_crash_at(options, endpoint, point)
    return len(points)


def test_the_schedule_crosses_epochs_and_views_that_fail() -> None:
    report, counts = written(FOUR)
    assert report.finalized_height >= 2 * FOUR["epoch_length"]
    assert report.views_nullified >= 1
    assert all(min(each.values()) >= 2 for each in counts)
    assert written(ALONE)[0].finalized_height >= 2 * ALONE["epoch_length"]


@pytest.mark.parametrize("fate", list(Fate))
@pytest.mark.parametrize("endpoint", range(4))
def test_one_of_four_crashes_at_every_record(endpoint: int, fate: Fate) -> None:
    assert crash_at_every_record(FOUR, endpoint, fate) >= 20


@pytest.mark.parametrize("fate", list(Fate))
def test_a_validator_alone_crashes_at_every_record(fate: Fate) -> None:
    assert crash_at_every_record(ALONE, 0, fate) >= 40


def test_a_node_that_forgets_its_votes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    recover = Storage.recover

    def forgetful(storage: Storage, height: int) -> object:
        records, blocks = recover(storage, height)
        kinds = Notarize | Nullify | Finalize | Propose
        return tuple([each for each in records if not isinstance(each, kinds)]), blocks

    _, counts = written(FOUR)
    monkeypatch.setattr(Storage, "recover", forgetful)
    monkeypatch.setattr(GuardedSigner, "votes", lambda *_: ())
    monkeypatch.setattr(GuardedSigner, "_refuse_contradiction", lambda *_: None)
    records = range(1, counts[1]["journal"] + 1)
    reports = [crash_at(FOUR, 1, CrashPoint("journal", each, Fate.KEPT)) for each in records]
    found = {row.invariant for report in reports for row in report.violations}
    assert "one-vote-of-a-kind" in found or "no-notarize-after-nullify" in found
