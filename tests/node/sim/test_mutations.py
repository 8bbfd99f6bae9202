"""Negative controls: with one safety rule switched off, the simulator finds the violation.

Each case states within how many seeds; the mutations exist here only.
"""

from collections.abc import Callable

import msgspec
import pytest

from consensus import validators
from consensus.driver import Driver
from consensus.effects import Effect, Journal, StoreBlock
from consensus.inputs import Input
from consensus.view import Occurrence, View
from node.signer import GuardedSigner
from node.sim.replica import Engine, Replica
from node.sim.scenario import Options
from node.sim.simulation import Hooks, simulate
from node.sim.storage import Storage
from state import finality
from state.crypto import Tag
from state.finality import Nullify

Patch = Callable[[pytest.MonkeyPatch], None]


class JournalsLate(Driver):
    """Sends first, and journals what it sent afterwards."""

    def handle(self, event: Input) -> list[Effect]:
        return sorted(super().handle(event), key=lambda effect: isinstance(effect, Journal))


class KeepsNoBodies(Driver):
    """Finalizes blocks that are only in memory (settled 1)."""

    def handle(self, event: Input) -> list[Effect]:
        return [each for each in super().handle(event) if not isinstance(each, StoreBlock)]


def guard_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GuardedSigner, "_refuse_contradiction", lambda *_: None)


def once_per_view_off(patch: pytest.MonkeyPatch) -> None:
    """R3 without the check for an own Nullify."""
    guard_off(patch)
    patch.setattr(View, "_has_voted", property(lambda view: view.my_notarize is not None))


def finalize_after_nullify(patch: pytest.MonkeyPatch) -> None:
    """R6 without the check for an own Nullify."""
    guard_off(patch)
    honest = View.wanted

    def wanted(view: View, occurrence: Occurrence, *, is_current: bool) -> Tag | None:
        if occurrence is not Occurrence.CERTIFIED_VALID:
            return honest(view, occurrence, is_current=is_current)
        nullified, view.my_nullify = view.my_nullify, False
        try:
            return honest(view, occurrence, is_current=is_current)
        finally:
            view.my_nullify = nullified

    patch.setattr(View, "wanted", wanted)


def smaller_quorum(patch: pytest.MonkeyPatch) -> None:
    """A quorum of one validator less."""

    def is_quorum(stake: int, total: int) -> bool:
        return 2 * stake >= total

    patch.setattr(validators, "is_quorum", is_quorum)
    patch.setattr(finality, "is_quorum", is_quorum)


def forgets_nullify(patch: pytest.MonkeyPatch) -> None:
    """The guard is off, and a crash loses the journal's Nullify records."""
    guard_off(patch)
    recover = Storage.recover

    def lossy(storage: Storage, height: int) -> object:
        records, blocks = recover(storage, height)
        return tuple([each for each in records if not isinstance(each, Nullify)]), blocks

    patch.setattr(Storage, "recover", lossy)
    patch.setattr(GuardedSigner, "votes", lambda *_: ())


def votes_at_once(patch: pytest.MonkeyPatch) -> None:
    """Settled 10 is off: who has lost journal and guard votes as if it had never voted."""
    lose_disk = Replica.lose_disk

    def careless(replica: Replica, everything: bool) -> None:
        lose_disk(replica, everything)
        replica.is_lost = False

    patch.setattr(Replica, "lose_disk", careless)


def nothing(_: pytest.MonkeyPatch) -> None:
    """The mutation is the engine itself."""


LOSSY = {"loss": 0.2, "jitter": 8.0, "reorder": True, "views": 25}


@pytest.mark.parametrize(
    ("mutate", "engine", "options", "invariants", "seeds_max"),
    [
        (once_per_view_off, Driver, {**LOSSY, "loss": 0.4}, {"no-notarize-after-nullify"}, 20),
        (finalize_after_nullify, Driver, LOSSY, {"one-vote-of-a-kind"}, 20),
        (smaller_quorum, Driver, {"views": 10}, {"certificates-have-quorum"}, 5),
        (nothing, JournalsLate, {"views": 10}, {"durable-before-send"}, 5),
        (nothing, KeepsNoBodies, {"views": 10}, {"durable-before-send"}, 5),
        (
            forgets_nullify,
            Driver,
            {**LOSSY, "crash": 0.2},
            {"no-notarize-after-nullify", "one-vote-of-a-kind"},
            100,
        ),
        (votes_at_once, Driver, {**LOSSY, "disk_loss": 0.1}, {"silent-after-loss"}, 20),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_rule_that_is_switched_off_is_missed_within_so_many_seeds(
    mutate: Patch,
    engine: Callable[..., Engine],
    options: dict[str, object],
    invariants: set[str],
    seeds_max: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(seed: int) -> set[str]:
        given = msgspec.convert({"seed": seed, **options}, Options)
        report = simulate(given, hooks=Hooks(make_engine=engine))
        return {row.invariant for row in report.violations}

    mutate(monkeypatch)
    assert any(invariants & found(seed) for seed in range(1, seeds_max + 1))


@pytest.mark.parametrize("options", [LOSSY, {**LOSSY, "crash": 0.2}], ids=str)
def test_nothing_is_found_where_nothing_is_switched_off(options: dict[str, object]) -> None:
    for seed in range(1, 4):
        report = simulate(msgspec.convert({"seed": seed, **options}, Options))
        assert report.exit_code == 0, report.violations
