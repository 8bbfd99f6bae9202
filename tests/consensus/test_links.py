"""R2: which justification lets a proposal stand where it stands, and which does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.links import certificates_in, justifies, normal_proposal
from state import codec
from state.finality import (
    Finalization,
    Header,
    Justify,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    Vote,
)

VOTES = (Vote(0, bytes(64)),)
PARENT = b"p" * 32
EPOCH = 2


def link(parent_view: int, view: int, epoch: int = EPOCH) -> tuple[Any, Proposal]:
    """A justification that holds, and the proposal for which it does."""
    over = Proposal(epoch, parent_view, 0, PARENT, b"j" * 32)
    gone = [Nullified(epoch, at) for at in range(parent_view + 1, view)]
    gap = tuple([Nullification(one, VOTES) for one in gone])
    proposal = Proposal(epoch, view, parent_view, b"b" * 32, b"k" * 32)
    if parent_view:
        return Justify(Notarization(over, VOTES), gap), proposal
    if epoch == 0:
        return Justify(None, gap), proposal
    ended = Proposal(epoch - 1, 90, 89, PARENT, b"j" * 32)
    return Justify(Finalization(ended, VOTES), gap), proposal


@given(st.integers(0, 3), st.integers(0, 40), st.integers(1, 40))
def test_a_certified_parent_and_every_skipped_view_justify(epoch: int, low: int, gap: int) -> None:
    justify, proposal = link(low, low + gap, epoch)
    assert justifies(justify, proposal, PARENT, epoch)
    assert len(certificates_in(justify)) == gap - (epoch == low == 0)
    if gap > 1:
        for shorter in (justify.nullifications[1:], justify.nullifications[:-1]):
            broken = codec.replace(justify, nullifications=shorter)
            assert not justifies(broken, proposal, PARENT, epoch)
        turned = codec.replace(justify, nullifications=justify.nullifications[::-1])
        assert justifies(turned, proposal, PARENT, epoch) == (gap == 2)


def test_the_parent_must_be_exactly_the_one_that_is_certified() -> None:
    justify, proposal = link(5, 8)
    assert not justifies(justify, proposal, b"q" * 32, EPOCH)
    assert not justifies(codec.replace(justify, parent=None), proposal, PARENT, EPOCH)
    for view in (4, 6):
        other = codec.replace(justify.parent.subject, view=view)
        wrong = codec.replace(justify, parent=Notarization(other, VOTES))
        assert not justifies(wrong, proposal, PARENT, EPOCH)


def test_settled_5_over_the_boundary_only_its_finalization_will_do() -> None:
    justify, proposal = link(0, 1)
    subject = justify.parent.subject
    assert justifies(justify, proposal, PARENT, EPOCH)
    assert not justifies(Justify(Notarization(subject, VOTES), ()), proposal, PARENT, EPOCH)
    assert not justifies(Justify(None, ()), proposal, PARENT, EPOCH)
    far = codec.replace(subject, epoch=EPOCH - 2)
    assert not justifies(Justify(Finalization(far, VOTES), ()), proposal, PARENT, EPOCH)
    first = codec.replace(proposal, epoch=0)
    assert not justifies(justify, first, PARENT, 0), "over genesis there is none"


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_nullifications_are_of_the_same_epoch(epoch: int) -> None:
    justify, proposal = link(5, 8)
    stray = [codec.replace(one, subject=Nullified(epoch, 6)) for one in justify.nullifications]
    broken = codec.replace(justify, nullifications=tuple(stray))
    assert not justifies(broken, proposal, PARENT, EPOCH)


def test_a_gap_of_any_claimed_length_costs_nothing() -> None:
    justify, proposal = link(5, 8)
    assert not justifies(justify, codec.replace(proposal, view=2**53), PARENT, EPOCH)


def test_a_header_names_its_first_proposal() -> None:
    roots = [bytes([at]) * 32 for at in range(8)]
    header = Header(5, 1, 7, 6, PARENT, 1_000, b"a" * 20, *roots)
    assert normal_proposal(header, b"i" * 32) == Proposal(1, 7, 6, b"i" * 32, header.justify_hash)
