"""Rules that others stand before, so that no run without them goes wrong: what stands there.

The simulator cannot miss these rules; test_mutations*.py has the controls for all others. Each is
kept all the same: it holds when the one before it fails.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.effects import SignVote
from consensus.links import justifies
from consensus.validators import Validators
from consensus.view import View
from state.crypto import Tag
from state.finality import (
    Finalization,
    Justify,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    Validator,
    Vote,
)

VOTES = (Vote(0, bytes(64)),)


@pytest.mark.parametrize("seed", range(3))
def test_r4_who_finalizes_has_left_the_view_and_nullifies_only_the_one_it_is_in(
    network: Any, seed: int
) -> None:
    """A certified and executed block unlocks the next view in the step that asks for Finalize."""
    net = network(4, seed=seed, loss=35, delay=(5, 60)).start()
    finalized = nullified = 0
    for node in net.nodes:
        handle = node.driver.handle

        def checked(event: Any, handle: Any = handle, node: Any = node) -> list[Any]:
            nonlocal finalized, nullified
            effects: list[Any] = handle(event)
            for effect in effects:
                if isinstance(effect, SignVote) and effect.kind is Tag.FINALIZE:
                    finalized += 1
                    assert node.core.epoch.view > effect.subject.view
                nullified += isinstance(effect, SignVote) and effect.kind is Tag.NULLIFY
            return effects

        node.driver.handle = checked
    net.run_to(15, 200_000)
    assert finalized > 30
    assert nullified > 0


def test_r6_a_notarization_beside_the_own_notarize_is_an_equivocation_already() -> None:
    members = tuple([Validator(bytes([at]) * 32, bytes([at]) * 20, 10) for at in range(4)])
    view = View(1, Validators(members, bytes(32)))
    mine, other = (Proposal(0, 1, 0, block_id * 32, bytes(32)) for block_id in (b"a", b"b"))
    view.cast(Tag.NOTARIZE, mine)
    view.certify(Notarization(other, VOTES))
    assert view.equivocated


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_r2_no_link_passes_a_final_view_but_over_its_nullification(
    parent_view: int, up: int, more: int
) -> None:
    """Who stands below what is final shows a nullification of the final view: E3 by a third."""
    final_view, view = parent_view + up, parent_view + up + more
    over = Proposal(1, parent_view, 0, b"p" * 32, bytes(32))
    ended = Proposal(0, 9, 8, b"p" * 32, bytes(32))
    parent = Notarization(over, VOTES) if parent_view else Finalization(ended, VOTES)
    proposal = Proposal(1, view, parent_view, b"b" * 32, bytes(32))
    gap = [Nullification(Nullified(1, at), VOTES) for at in range(parent_view + 1, view)]
    assert justifies(Justify(parent, tuple(gap)), proposal, b"p" * 32, 1)
    without = tuple([one for one in gap if one.subject.view != final_view])
    assert not justifies(Justify(parent, without), proposal, b"p" * 32, 1)


@pytest.mark.parametrize("epoch", [0, 2])
def test_e5_a_header_of_another_epoch_has_a_justification_of_another_epoch(epoch: int) -> None:
    over = Proposal(1, 3, 2, b"p" * 32, bytes(32))
    proposal = Proposal(1, 4, 3, b"b" * 32, bytes(32))
    justify = Justify(Notarization(over, VOTES), ())
    assert justifies(justify, proposal, b"p" * 32, 1)
    assert not justifies(justify, proposal, b"p" * 32, epoch)
