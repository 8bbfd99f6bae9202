"""Negative controls of what crashes must not undo: durability, recovery, and the guard's memory.

As in test_mutations.py each case names the invariant and the seeds, with the seed at which it was
found beside it. Where a checker sees the rule broken at once (durable-before-send, seed 1), a
second case shows what comes of it.
"""

from collections.abc import Callable
from typing import Any

import pytest

from consensus import driver, helping, intake
from consensus.core import Core
from consensus.driver import Driver
from consensus.effects import Effect, Journal, StoreBlock
from consensus.inputs import Input
from consensus.view import Occurrence, View
from node.sim.replica import Replica
from node.sim.storage import Storage
from state.crypto import Tag
from state.finality import (
    Finalization,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    SignedVote,
)

Patch = Callable[[pytest.MonkeyPatch], None]
Hunt = Callable[..., int | None]


class JournalsLate(Driver):
    """Sends first, and journals what it sent afterwards."""

    def handle(self, event: Input) -> list[Effect]:
        return sorted(super().handle(event), key=lambda effect: isinstance(effect, Journal))


class KeepsNoBodies(Driver):
    """Finalizes blocks that are only in memory (settled 1)."""

    def handle(self, event: Input) -> list[Effect]:
        return [each for each in super().handle(event) if not isinstance(each, StoreBlock)]


def lose(patch: pytest.MonkeyPatch, *kinds: type) -> None:
    """Let a crash lose the journal's records of these kinds."""
    recover = Storage.recover

    def lossy(storage: Storage, height: int) -> object:
        records, blocks = recover(storage, height)
        return tuple([each for each in records if not isinstance(each, kinds)]), blocks

    patch.setattr(Storage, "recover", lossy)


def forget_nullify(patch: pytest.MonkeyPatch) -> None:
    """A crash loses the journal's Nullify records."""
    lose(patch, Nullify)


def remember_nothing(patch: pytest.MonkeyPatch) -> None:
    """Own votes and equivocation were only in memory: no restart brings them back (settled 3)."""
    lose(patch, Notarization, Nullification, Finalization)
    patch.setattr(View, "recall", lambda *_: None)


def notarize_after_finalize(patch: pytest.MonkeyPatch) -> None:
    """R3 without my_finalize, where certificates and own Notarize were only in memory."""
    lose(patch, Notarization, Nullification, Finalization)
    recall, wanted = View.recall, View.wanted

    def recalled(view: View, vote: SignedVote) -> None:
        if not isinstance(vote, Notarize):
            recall(view, vote)

    def asked(view: View, occurred: Occurrence, *, is_current: bool) -> Tag | None:
        held = view.my_finalize
        if occurred is Occurrence.PROPOSAL_VALID:
            view.my_finalize = None
        vote = wanted(view, occurred, is_current=is_current)
        view.my_finalize = held
        return vote

    patch.setattr(View, "recall", recalled)
    patch.setattr(View, "wanted", asked)


def nullify_after_finalize(patch: pytest.MonkeyPatch) -> None:
    """R4 without my_finalize, where certificates were only in memory: else the view is left."""
    lose(patch, Notarization, Nullification, Finalization)
    patch.setattr(
        View, "_may_nullify", lambda view, *, is_current: is_current and not view.my_nullify
    )


def count_no_own_votes(patch: pytest.MonkeyPatch) -> None:
    """Logged votes set flags and are counted in no tally, nor sent from there (settled 2)."""
    count = Core.count

    def counted(core: Core, vote: SignedVote) -> None:
        if not core.is_replaying or vote.vote.validator != core.epoch.me:
            count(core, vote)

    patch.setattr(Core, "count", counted)


def resend_no_votes(patch: pytest.MonkeyPatch) -> None:
    """Own votes go out once (settled 2)."""
    patch.setattr(driver, "_resend_votes", lambda *_: None)


def resend_no_entry(patch: pytest.MonkeyPatch) -> None:
    """The certificate by which a view was entered is never shown again (settled 2)."""
    resend = driver._resend

    def without_entry(core: Core) -> None:
        held, core.epoch.entry = core.epoch.entry, None
        resend(core)
        core.epoch.entry = held

    patch.setattr(driver, "_resend", without_entry)
    for module in (intake, helping):
        patch.setattr(module, "help_forward", lambda *_: None)


def votes_at_once(patch: pytest.MonkeyPatch) -> None:
    """Settled 10 is off: who has lost journal and guard votes as if it had never voted."""
    lose_disk = Replica.lose_disk

    def careless(replica: Replica, everything: bool) -> None:
        lose_disk(replica, everything)
        replica.is_lost = False

    patch.setattr(Replica, "lose_disk", careless)


def nothing(_: pytest.MonkeyPatch) -> None:
    """The mutation is the engine itself."""


LOSSY: dict[str, Any] = {"loss": 0.2, "jitter": 8.0, "reorder": True, "views": 25}
DARK = {**LOSSY, "power_cut": 0.3, "views": 8}
SILENT = {**LOSSY, "byzantine": "silent:1"}
TORN = {"views": 15, "disk_faults": 0.02}
TEMPTED = {**LOSSY, "loss": 0.1, "views": 15, "byzantine": "tempter:1", "power_cut": 0.5}
OFFENCE = {"one-vote-of-a-kind"}
STALL = {"progress"}
HONEST_E4 = {"FINALIZE and a conflicting NOTARIZE"}
CASES = [
    (nothing, JournalsLate, {"views": 10}, {"durable-before-send"}, 5),
    # power fails between sending and journalling: the leader proposes twice (seed 31)
    (nothing, JournalsLate, TORN, OFFENCE, 60),
    (nothing, KeepsNoBodies, {"views": 10}, {"durable-before-send"}, 5),
    # settled 1: after a power cut nobody has the body of a final block (seed 20)
    (nothing, KeepsNoBodies, DARK, STALL, 120),
    # settled 2: whoever was cut off may not vote again, and nobody hears what it voted (seed 11)
    (count_no_own_votes, Driver, {**DARK, "byzantine": "silent:1"}, STALL, 60),
    (resend_no_votes, Driver, SILENT, STALL, 40),  # seed 2
    (resend_no_entry, Driver, SILENT, STALL, 40),  # seed 4
    (remember_nothing, Driver, TEMPTED, OFFENCE, 60),  # seed 3
    # settled 3: without my_finalize in R3 an honest E4 (seed 19)
    (notarize_after_finalize, Driver, {**TEMPTED, "views": 5, "power_cut": 0.9}, HONEST_E4, 200),
    # and without it in R4 an honest E3 (seed 8)
    (nullify_after_finalize, Driver, DARK, OFFENCE, 60),
    # the guard off together with lost Nullify records: an honest E3 (seed 3)
    (forget_nullify, Driver, {**LOSSY, "crash": 0.2}, OFFENCE, 60),
    (votes_at_once, Driver, {**LOSSY, "disk_loss": 0.1}, {"silent-after-loss"}, 20),
]


@pytest.mark.usefixtures("without_guard")
@pytest.mark.parametrize(("mutate", "engine", "options", "invariants", "seeds_max"), CASES)
def test_what_a_crash_undoes_is_missed(
    mutate: Patch,
    engine: type[Driver],
    options: dict[str, Any],
    invariants: set[str],
    seeds_max: int,
    hunt: Hunt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert hunt(options, invariants, seeds_max, engine) is not None


@pytest.mark.parametrize(
    ("mutate", "engine", "options"),
    [
        (nothing, JournalsLate, TORN),
        (remember_nothing, Driver, TEMPTED),
        (forget_nullify, Driver, {**LOSSY, "crash": 0.2}),
    ],
)
def test_the_guard_masks_what_the_journal_lost(
    mutate: Patch,
    engine: type[Driver],
    options: dict[str, Any],
    hunt: Hunt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert hunt(options, OFFENCE | {"agreement"}, 8, engine) is None


@pytest.mark.usefixtures("without_guard")
@pytest.mark.parametrize(
    "options", [DARK, {**DARK, "byzantine": "silent:1"}, SILENT, TORN, TEMPTED], ids=str
)
def test_nothing_is_found_where_nothing_is_lost(options: dict[str, Any], hunt: Hunt) -> None:
    assert hunt(options, OFFENCE | STALL | {"agreement", "durable-before-send"}, 5) is None
