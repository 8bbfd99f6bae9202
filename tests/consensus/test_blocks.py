"""The tree above the tip: what is judged when, what is dropped, and that nothing piles up."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.blocks import Blocks, Standing
from consensus.inputs import Tip
from consensus.messages import Block
from consensus.settings import Judgement
from consensus.validators import Validators
from state import codec
from state.finality import (
    Header,
    Justify,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    Validator,
    Vote,
    justify_hash,
    set_hash,
)
from state.types import ZERO_ADDRESS, ZERO_HASH

MEMBERS = tuple([Validator(bytes([at]) * 32, bytes([at]) * 20, 10) for at in range(4)])
VALIDATORS = Validators(MEMBERS, b"s" * 32)
OWN = set_hash(MEMBERS)
ROOTS = (b"S" * 32, b"O" * 32)
GENESIS = Header(0, 0, 0, 0, ZERO_HASH, 500, ZERO_ADDRESS, *[ZERO_HASH] * 5, OWN, OWN, ZERO_HASH)
TIP = Tip(GENESIS, GENESIS.id, *ROOTS, True, None)
VALID, INVALID = Judgement.VALID, Judgement.INVALID


def tree(judge: Callable[[Header, bytes, bytes], bool] = lambda *_: True) -> Blocks:
    return Blocks(TIP, 1_000, judge)


def block(parent: Header, view: int, **changes: Any) -> Block:
    """A sound block over a parent, in the view after it, whose execution gave ROOTS."""
    votes = (Vote(0, bytes(64)),)
    over = Proposal(0, parent.view, 0, parent.id, b"j" * 32)
    justify = Justify(Notarization(over, votes) if parent.height else None, ())
    fields = {
        "height": parent.height + 1,
        "view": view,
        "parent_view": parent.view,
        "parent_id": parent.id,
        "time_ms": parent.time_ms + 1,
        "proposer": VALIDATORS.leader_of(view).account,
        "justify_hash": justify_hash(justify),
        "state_root": ROOTS[0],
        "outcomes_root": ROOTS[1],
    }
    return Block(codec.replace(GENESIS, **{**fields, **changes}), justify, b"body")


def chain(length: int) -> list[Block]:
    found = [block(GENESIS, 1)]
    while len(found) < length:
        found.append(block(found[-1].header, found[-1].header.view + 1))
    return found


def add(blocks: Blocks, one: Block, judgement: Judgement = VALID) -> list[bytes]:
    assert blocks.add(one.header.id, one, judgement)
    return blocks.advance(one.header.id, VALIDATORS, OWN)


def execute(blocks: Blocks, block_id: bytes, *, is_valid: bool = True) -> list[bytes]:
    blocks.executed(block_id, is_valid=is_valid, roots=ROOTS, changed=False)
    return blocks.advance(block_id, VALIDATORS, OWN)


def test_a_block_is_run_once_its_parent_was_and_not_before() -> None:
    blocks, (low, high) = tree(), chain(2)
    assert add(blocks, high) == []
    assert add(blocks, low) == [low.header.id]
    assert blocks.path(high.header.id) == ([low.header.id, high.header.id], None)
    assert execute(blocks, low.header.id) == [high.header.id]
    entry = blocks.get(high.header.id)
    assert entry is not None
    assert entry.standing is Standing.SOUND


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 3},
        {"time_ms": 500},
        {"state_root": b"x" * 32},
        {"outcomes_root": b"x" * 32},
        {"proposer": b"x" * 20},
        {"validators_hash": b"x" * 32},
        {"next_validators_hash": b"x" * 32},
        {"justify_hash": b"x" * 32},
        {"parent_view": 1},
        {"epoch": 1},
    ],
    ids=lambda one: next(iter(one)),
)
def test_r2_and_settled_9_what_a_header_must_agree_with(changes: dict[str, Any]) -> None:
    blocks = tree()
    wrong = block(GENESIS, 2, **changes)
    assert add(blocks, wrong) == []
    entry = blocks.get(wrong.header.id)
    assert entry is not None
    assert entry.standing is Standing.INVALID


def test_r3_the_application_judges_over_the_executed_parent_and_only_what_else_holds() -> None:
    asked: list[bytes] = []

    def judge(header: Header, block_id: bytes, body: bytes) -> bool:
        asked.append(block_id)
        return header.params_hash == ZERO_HASH

    blocks, (low, high) = tree(judge), chain(2)
    wrong = block(low.header, 2, params_hash=b"x" * 32)
    worse = block(low.header, 2, params_hash=b"x" * 32, proposer=b"x" * 20)
    for one in (high, wrong, worse):
        assert add(blocks, one) == []
    assert asked == [], "nothing is known of their parent"
    assert add(blocks, low) == [low.header.id]
    assert execute(blocks, low.header.id) == [high.header.id]
    standings = [blocks.get(one.header.id) for one in (high, wrong, worse)]
    expected = [Standing.SOUND, Standing.INVALID, Standing.INVALID]
    assert [one.standing for one in standings if one] == expected
    assert set(asked) == {low.header.id, high.header.id, wrong.header.id}


def test_r2_only_the_first_block_of_an_epoch_has_no_view_below_it() -> None:
    blocks, (low,) = tree(), chain(1)
    add(blocks, low)
    execute(blocks, low.header.id)
    gap = Justify(None, (Nullification(Nullified(0, 1), (Vote(0, bytes(64)),)),))
    wrong = block(low.header, 2, parent_view=0, justify_hash=justify_hash(gap))
    wrong = Block(wrong.header, gap, b"body")
    assert add(blocks, wrong) == []
    entry = blocks.get(wrong.header.id)
    assert entry is not None
    assert entry.standing is Standing.INVALID
    right = Block(block(GENESIS, 2, justify_hash=justify_hash(gap)).header, gap, b"body")
    assert add(blocks, right) == [right.header.id]


def test_what_stands_on_the_invalid_is_invalid() -> None:
    for judgement, is_valid in ((INVALID, True), (VALID, False)):
        blocks, links = tree(), chain(3)
        for one in reversed(links):
            add(blocks, one, judgement if one is links[0] else VALID)
        execute(blocks, links[0].header.id, is_valid=is_valid)
        standings = [blocks.get(one.header.id) for one in links]
        assert {one.standing for one in standings if one} == {Standing.INVALID}


def test_a_path_that_passes_the_tip_by_is_a_contradiction() -> None:
    blocks, (low, high) = tree(), chain(2)
    other = block(GENESIS, 2)
    for one in (low, other, high):
        add(blocks, one)
    blocks.finalize(low.header.id)
    assert blocks.get(other.header.id) is None, "a sibling of what is final"
    assert blocks.get(high.header.id) is not None
    beside = block(other.header, 3)
    add(blocks, beside)
    assert blocks.path(beside.header.id) == ([], blocks.tip_id)


def test_orphans_that_can_never_be_final_are_dropped() -> None:
    """Heights grow by no more than views: an orphan far too high, or too old, has no place."""
    blocks, links = tree(), chain(5)
    lost = b"lost" * 8
    low = block(GENESIS, 4, height=3, parent_id=lost)
    high = block(GENESIS, 20, height=900, parent_id=lost)
    may = block(GENESIS, 20, height=9, parent_id=lost)
    for one in (*links, low, high, may):
        add(blocks, one)
    for one in links[:4]:
        blocks.finalize(one.header.id)
    kept = [blocks.get(one.header.id) is not None for one in (low, high, may, links[4])]
    assert kept == [False, False, True, True]


def test_only_what_is_certified_is_kept_outside_the_window() -> None:
    blocks, links = tree(), chain(4)
    bogus = block(GENESIS, 2, time_ms=900)
    far = block(GENESIS, 10**9)
    for one in (*links, bogus, far):
        add(blocks, one)
    blocks.forget([links[2].header.id], range(4, 40))
    kept = [blocks.get(one.header.id) is not None for one in (*links, bogus, far)]
    assert kept == [True, True, True, True, False, False], "with all that it stands on"
    blocks.forget([], range(30, 40))
    assert len(blocks) == 0
    assert blocks.tip.header == GENESIS


def test_a_parent_that_was_forgotten_may_come_again() -> None:
    blocks, (low, high) = tree(), chain(2)
    add(blocks, low)
    add(blocks, high)
    blocks.forget([], range(2, 10))
    assert blocks.get(low.header.id) is None
    assert blocks.path(high.header.id) == ([], low.header.id)
    assert add(blocks, low) == [low.header.id]
    assert execute(blocks, low.header.id) == [high.header.id]


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 5))
def test_in_whatever_order_blocks_come_the_tree_is_the_same(order: list[int], final: int) -> None:
    blocks, links = tree(), chain(6)
    for at in order:
        waiting = add(blocks, links[at])
        while waiting:
            waiting = [later for one in waiting for later in execute(blocks, one)]
    for one in links[: final + 1]:
        blocks.finalize(one.header.id)
    assert blocks.tip_id == links[final].header.id
    assert len(blocks) == 5 - final
    above = [one.header.id for one in links[final + 1 :]]
    assert blocks.path(links[5].header.id) == (above, None)
    standings = [blocks.get(one) for one in above]
    assert all(one is not None and one.standing is Standing.VALID for one in standings)
