"""Negative controls of what is judged before a vote: blocks, links, quorums, and what fits (R1-R3).

As in test_mutations.py each case names the invariant and the seeds, with the seed at which it was
found beside it. No case is without the guard: it knows of votes, and nothing of why they are cast.
"""

from collections.abc import Callable
from typing import Any

import pytest

from consensus import blocks, core, intake, rules
from consensus.blocks import Blocks
from consensus.core import Core
from consensus.links import justifies
from node.sim.byzantine.liar import AGAIN, BODY, LIES, Liar
from node.sim.checkers import NAMES
from node.sim.machine import Counter
from state import finality
from state.codec import replace
from state.finality import (
    Header,
    Justify,
    Nullification,
    Nullified,
    Proposal,
    Vote,
    boundary_height,
    fits,
)

Patch = Callable[[pytest.MonkeyPatch], None]
Hunt = Callable[..., int | None]

ANY_VOTE = (Vote(0, bytes(64)),)


def accept_any_quorum(patch: pytest.MonkeyPatch) -> None:
    """One vote makes a certificate, when somebody else shows it."""
    patch.setattr(finality, "is_quorum", lambda _stake, _total: True)


def skip_unproven(patch: pytest.MonkeyPatch) -> None:
    """R2 without the nullifications of the gap."""

    def lenient(justify: Justify, proposal: Proposal, parent_id: bytes, number: int) -> bool:
        gap = range(proposal.parent_view + 1, proposal.view)
        proven = tuple([Nullification(Nullified(number, view), ANY_VOTE) for view in gap])
        return justifies(replace(justify, nullifications=proven), proposal, parent_id, number)

    for module in (blocks, core, intake):
        patch.setattr(module, "justifies", lenient)


def skip_by_any(patch: pytest.MonkeyPatch) -> None:
    """R2 counts the nullifications of the gap and does not look at their views."""

    def lenient(justify: Justify, proposal: Proposal, parent_id: bytes, number: int) -> bool:
        gap = range(proposal.parent_view + 1, proposal.view)
        if len(gap) != len(justify.nullifications):
            return False
        proven = [
            replace(one, subject=Nullified(number, view))
            for one, view in zip(justify.nullifications, gap, strict=True)
        ]
        given = replace(justify, nullifications=tuple(proven))
        return justifies(given, proposal, parent_id, number)

    for module in (blocks, core, intake):
        patch.setattr(module, "justifies", lenient)


def forget_order(patch: pytest.MonkeyPatch) -> None:
    """R2 without the order of rounds: a parent may lie below what is final (settled 9)."""

    def forgetting(honest: Callable[..., Any]) -> Callable[..., Any]:
        def lenient(given: Core, *rest: Any) -> Any:
            held, given.epoch.final_view = given.epoch.final_view, 0
            found = honest(given, *rest)
            given.epoch.final_view = held
            return found

        return lenient

    patch.setattr(rules, "vote_notarize", forgetting(rules.vote_notarize))
    patch.setattr(intake, "_link_claims", forgetting(intake._link_claims))


def skip_in_any_order(patch: pytest.MonkeyPatch) -> None:
    """Neither the gap is looked at nor the order of rounds."""
    skip_unproven(patch)
    forget_order(patch)


def stand_on_any_root(patch: pytest.MonkeyPatch) -> None:
    """View 0 stands for any parent, not only for the block below the epoch (settled 5)."""
    honest = Blocks._is_sound

    def lenient(tree: Blocks, block_id: bytes, block: Any, parent: Any, *rest: Any) -> bool:
        height = parent.header.height if block.header.parent_view == 0 else -1
        patch.setattr(tree, "_height_before", lambda _: height, raising=False)
        return honest(tree, block_id, block, parent, *rest)

    patch.setattr(Blocks, "_is_sound", lenient)


def judge_when_executed(patch: pytest.MonkeyPatch) -> None:
    """R3 without what the parent's state shows: only execution refuses it."""
    judge = Counter.judge_over_parent

    def execute(machine: Counter, block: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Counter, "judge_over_parent", judge)
            return honest(machine, block)

    patch.setattr(Liar, "about", ("params_hash",))
    honest = Counter.execute
    patch.setattr(Counter, "execute", execute)
    patch.setattr(Counter, "judge_over_parent", lambda *_: True)


def misfit(patch: pytest.MonkeyPatch, lenient: Callable[[Proposal, Header, int], bool]) -> None:
    patch.setattr(Liar, "about", (AGAIN,))
    for module in (blocks, core, intake):
        patch.setattr(module, "fits", lenient)


def fit_any_height(patch: pytest.MonkeyPatch) -> None:
    """E5 without the range of heights: an epoch goes on above its boundary."""

    def lenient(proposal: Proposal, header: Header, epoch_blocks: int) -> bool:
        low = boundary_height(header.epoch, epoch_blocks) - epoch_blocks
        height = header.height if header.view != proposal.view else low + 1
        return fits(proposal, replace(header, height=height), epoch_blocks)

    misfit(patch, lenient)


def fit_any_view(patch: pytest.MonkeyPatch) -> None:
    """E5 without the order of views: any block may be proposed again, under any view."""

    def lenient(proposal: Proposal, header: Header, epoch_blocks: int) -> bool:
        return proposal.epoch == header.epoch

    misfit(patch, lenient)


LOSSY: dict[str, Any] = {"loss": 0.2, "jitter": 8.0, "reorder": True, "views": 25}
SKIPPED = {"jitter": 30.0, "reorder": True, "views": 25, "byzantine": "skipper:1"}
ROOTED = {"validators": 7, "byzantine": "skipper:2", "views": 4}
ENDED = {**LOSSY, "loss": 0.4, "byzantine": "liar:1", "epoch_length": 2}
E5 = {"honest-commit-no-offence"}
CASES: list[tuple[Patch, dict[str, Any], set[str], int]] = [
    (accept_any_quorum, {**LOSSY, "byzantine": "minority:1"}, {"agreement"}, 20),  # seed 1
    (accept_any_quorum, SKIPPED, {"certificates-have-quorum"}, 20),  # seed 2
    (skip_unproven, SKIPPED, {"agreement"}, 60),  # seed 4
    (skip_unproven, SKIPPED, {"finalization-ancestry"}, 60),  # seed 4
    (skip_by_any, SKIPPED, {"agreement"}, 60),  # seed 10
    (skip_in_any_order, SKIPPED, {"agreement"}, 60),  # seed 4
    (stand_on_any_root, ROOTED, {"finality-over-certified"}, 120),  # seed 18
    (judge_when_executed, {**LOSSY, "byzantine": "liar:1"}, {"notarizes-what-holds"}, 20),
    (fit_any_height, ENDED, E5, 60),  # seed 11
    (fit_any_view, {**LOSSY, "byzantine": "liar:1"}, E5, 20),
]


@pytest.mark.parametrize(("mutate", "options", "invariants", "seeds_max"), CASES)
def test_a_rule_of_judging_that_is_switched_off_is_missed(
    mutate: Patch,
    options: dict[str, Any],
    invariants: set[str],
    seeds_max: int,
    hunt: Hunt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert hunt(options, invariants, seeds_max) is not None


@pytest.mark.parametrize("kind", ["liar", "minority", "skipper"])
@pytest.mark.parametrize("options", [LOSSY, ENDED, {"jitter": 30.0, "views": 15}], ids=str)
def test_nothing_is_found_where_nothing_is_switched_off(
    kind: str, options: dict[str, Any], hunt: Hunt
) -> None:
    assert hunt({**options, "byzantine": f"{kind}:1"}, set(NAMES), 3) is None


@pytest.mark.parametrize("lie", [*LIES, BODY, AGAIN])
@pytest.mark.parametrize("options", [{}, {"epoch_length": 3, "loss": 0.1}], ids=str)
def test_a_lie_is_never_notarized_and_the_chain_goes_on(
    lie: str, options: dict[str, Any], hunt: Hunt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Liar, "about", (lie,))
    assert hunt({"views": 8, "byzantine": "liar:1", **options}, set(NAMES), 1) is None


def test_there_is_a_lie_about_every_field_of_a_header() -> None:
    assert set(LIES) == set(Header.__struct_fields__)
