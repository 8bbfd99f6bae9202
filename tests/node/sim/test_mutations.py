"""Negative controls: with one rule of voting switched off, the simulator finds what it leads to.

Each case names the invariant that must break and within how many seeds; beside it stands the seed
at which it was found when the case was written. The guard is off in all of them: it refuses what
the engine should not have asked for, so with it the mutated engine harms nobody (defence in depth;
the last test shows that). The mutations exist here only.
"""

from collections.abc import Callable
from typing import Any

import pytest

from consensus import validators
from consensus.view import Occurrence, View
from state import finality
from state.crypto import Tag

Patch = Callable[[pytest.MonkeyPatch], None]
Hunt = Callable[..., int | None]


def without(patch: pytest.MonkeyPatch, occurrence: Occurrence, flag: str, unset: object) -> None:
    """Ask for votes on this occurrence as if this flag were not set."""
    honest = View.wanted

    def wanted(view: View, occurred: Occurrence, *, is_current: bool) -> Tag | None:
        if occurred is not occurrence:
            return honest(view, occurred, is_current=is_current)
        held = getattr(view, flag)
        setattr(view, flag, unset)
        try:
            return honest(view, occurred, is_current=is_current)
        finally:
            setattr(view, flag, held)

    patch.setattr(View, "wanted", wanted)


def notarize_twice(patch: pytest.MonkeyPatch) -> None:
    """R3 without once per view: whatever the leader proposes last is voted for."""
    honest = View.wanted

    def wanted(view: View, occurred: Occurrence, *, is_current: bool) -> Tag | None:
        is_other = view.proposal != view.my_notarize and not view.my_nullify
        if occurred is Occurrence.PROPOSAL_VALID and is_current and is_other:
            return Tag.NOTARIZE
        return honest(view, occurred, is_current=is_current)

    patch.setattr(View, "wanted", wanted)
    patch.setattr(View, "propose", lambda view, proposal: setattr(view, "proposal", proposal))


def notarize_after_nullify(patch: pytest.MonkeyPatch) -> None:
    """R3 without the check for an own Nullify."""
    patch.setattr(View, "_has_voted", property(lambda view: view.my_notarize is not None))


def finalize_after_nullify(patch: pytest.MonkeyPatch) -> None:
    """R6 without the check for an own Nullify."""
    without(patch, Occurrence.CERTIFIED_VALID, "my_nullify", False)


def smaller_quorum(patch: pytest.MonkeyPatch) -> None:
    """A quorum of one validator less: two of four."""

    def is_quorum(stake: int, total: int) -> bool:
        return 2 * stake >= total

    patch.setattr(validators, "is_quorum", is_quorum)
    patch.setattr(finality, "is_quorum", is_quorum)


LOSSY: dict[str, Any] = {"loss": 0.2, "jitter": 8.0, "reorder": True, "views": 25}
VERY_LOSSY = {**LOSSY, "loss": 0.4, "views": 40}
OFFENCE = {"one-vote-of-a-kind"}
CASES = [
    # R3 really twice: an honest E1, beside an equivocating leader (seed 2)
    (notarize_twice, {**LOSSY, "byzantine": "equivocator:1"}, OFFENCE, 20),
    (notarize_after_nullify, VERY_LOSSY, {"no-notarize-after-nullify"}, 20),  # seed 1
    (finalize_after_nullify, LOSSY, OFFENCE, 60),  # an honest E3 (seed 34)
    # and where it leads: one view is nullified and final (seed 31)
    (finalize_after_nullify, VERY_LOSSY, {"finalized-not-nullified"}, 150),
    # not only certificates too small (seed 1): two blocks of one height are final (seed 1)
    (smaller_quorum, LOSSY, {"certificates-have-quorum"}, 5),
    (smaller_quorum, {**LOSSY, "partition": "random"}, {"agreement"}, 20),
]


@pytest.mark.usefixtures("without_guard")
@pytest.mark.parametrize(("mutate", "options", "invariants", "seeds_max"), CASES)
def test_a_rule_of_voting_that_is_switched_off_is_missed(
    mutate: Patch,
    options: dict[str, Any],
    invariants: set[str],
    seeds_max: int,
    hunt: Hunt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert hunt(options, invariants, seeds_max) is not None


@pytest.mark.parametrize("mutate", [notarize_twice, notarize_after_nullify, finalize_after_nullify])
def test_the_guard_masks_an_engine_that_forgot_a_rule(
    mutate: Patch, hunt: Hunt, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    broken = OFFENCE | {"no-notarize-after-nullify", "honest-commit-no-offence", "agreement"}
    assert hunt({**LOSSY, "byzantine": "equivocator:1"}, broken, 5) is None


@pytest.mark.parametrize("extra", [{}, {"crash": 0.2}, {"power_cut": 0.3}], ids=str)
def test_nothing_is_found_where_nothing_is_switched_off(
    extra: dict[str, Any], without_guard: None, hunt: Hunt
) -> None:
    everything = OFFENCE | {"no-notarize-after-nullify", "agreement", "progress"}
    assert hunt({**LOSSY, **extra}, everything, 4) is None
