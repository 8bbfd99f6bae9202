"""Memory: whatever peers send, containers stay under their bounds; one that does not is found."""

from typing import Any

import msgspec
import pytest

from consensus.catchup import Catchup
from consensus.epoch import Epoch
from node.sim.memory import BOUNDS, excesses, open_views, sizes
from node.sim.scenario import Options, make_scenario
from node.sim.simulation import Hooks, Simulation, simulate


def options(**changes: Any) -> Options:
    return msgspec.convert({"views": 60, **changes}, Options)


@pytest.mark.parametrize(
    "attack",
    [
        {"byzantine": "garbage:1"},
        {"byzantine": "hoarder:1", "loss": 0.2},
        {"byzantine": "garbage:16.66%,hoarder:16.66%", "validators": 7, "views": 30},
        {"byzantine": "stale:1", "crash": 0.05, "epoch_length": 7},
        {"crash": 0.05, "seed": 2},
        {"crash": 0.05, "seed": 3},
    ],
    ids=str,
)
def test_a_flood_fills_nothing_beyond_its_bound(attack: dict[str, Any]) -> None:
    report = simulate(options(**attack))
    assert "bounded-memory" in report.invariants
    assert report.exit_code == 0, report.violations


def test_what_grows_with_every_view_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Epoch, "prune", lambda _: None)
    report = simulate(options())
    assert {row.invariant for row in report.violations} == {"bounded-memory"}
    assert any("Epoch.views" in row.text for row in report.violations)


def test_what_grows_with_every_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    saw = Catchup.saw

    def hoard(catchup: Catchup, peer: bytes, view: int) -> None:
        saw(catchup, peer, view)
        catchup.seen[peer + view.to_bytes(8, "big")] = view

    monkeypatch.setattr(Catchup, "saw", hoard)
    report = simulate(options(views=10))
    assert any("Catchup.seen" in row.text for row in report.violations)


def test_the_walk_finds_the_containers_that_have_bounds_of_their_own() -> None:
    run = Simulation(make_scenario(options(views=20, epoch_length=8)), None, Hooks())
    run.run()
    replica = run.replicas[0]
    found = sizes(replica)
    assert {name.split(".")[0] for name in BOUNDS} <= {name.split(".")[0] for name in found}
    assert found["Tally._votes[]"] == 1
    assert found["Epoch.views"] <= open_views(replica.engine.core, 0)
    assert list(excesses(replica, 0)) == []
