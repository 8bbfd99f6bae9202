"""R3, R4 and R6 one by one: what each occurrence asks of a view, and what it never asks."""

from collections.abc import Callable

import pytest

from consensus.validators import Validators
from consensus.view import Occurrence, View
from state.crypto import Tag
from state.finality import (
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    Validator,
    Vote,
)

MEMBERS = tuple([Validator(bytes([at]) * 32, bytes([at]) * 20, 10) for at in range(4)])
VALIDATORS = Validators(MEMBERS, b"s" * 32)
ONE = Proposal(0, 5, 4, b"1" * 32, b"j" * 32)
OTHER = Proposal(0, 5, 3, b"2" * 32, b"k" * 32)
VOTE = Vote(0, bytes(64))
GIVING_UP = [
    Occurrence.PROPOSAL_INVALID,
    Occurrence.PROPOSAL_LATE,
    Occurrence.VIEW_LATE,
    Occurrence.LEADER_GAVE_UP,
    Occurrence.BUILD_FAILED,
    Occurrence.CERTIFIED_INVALID,
]
Change = Callable[[View], None]


def fresh() -> View:
    return View(5, VALIDATORS)


def notarized() -> View:
    view = fresh()
    view.certify(Notarization(ONE, (VOTE,)))
    return view


def test_a_valid_proposal_is_notarized_in_the_current_view_only() -> None:
    view = fresh()
    view.propose(ONE)
    assert view.wanted(Occurrence.PROPOSAL_VALID, is_current=True) is Tag.NOTARIZE
    assert view.wanted(Occurrence.PROPOSAL_VALID, is_current=False) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.cast(Tag.NOTARIZE, ONE),
        lambda view: view.cast(Tag.NULLIFY, None),
        lambda view: view.cast(Tag.FINALIZE, ONE),
        lambda view: view.propose(OTHER),
    ],
    ids=["notarized", "nullified", "finalized", "equivocation seen"],
)
def test_r3_notarize_once_a_view_and_after_nothing_else(change: Change) -> None:
    view = fresh()
    view.propose(ONE)
    change(view)
    assert view.wanted(Occurrence.PROPOSAL_VALID, is_current=True) is None


@pytest.mark.parametrize("occurrence", GIVING_UP)
def test_r4_nullify_the_current_view_even_after_notarize(occurrence: Occurrence) -> None:
    view = fresh()
    view.cast(Tag.NOTARIZE, ONE)
    assert view.wanted(occurrence, is_current=True) is Tag.NULLIFY
    assert view.wanted(occurrence, is_current=False) is None


@pytest.mark.parametrize("occurrence", GIVING_UP)
def test_r4_never_nullify_after_finalize_nor_twice(occurrence: Occurrence) -> None:
    for kind in (Tag.FINALIZE, Tag.NULLIFY):
        view = fresh()
        view.cast(kind, ONE)
        assert view.wanted(occurrence, is_current=True) is None


def test_r4_a_proposal_that_is_there_is_not_late() -> None:
    view = fresh()
    view.propose(ONE)
    assert view.wanted(Occurrence.PROPOSAL_LATE, is_current=True) is None
    assert view.wanted(Occurrence.VIEW_LATE, is_current=True) is Tag.NULLIFY


def test_r6_finalize_also_after_the_view_was_left() -> None:
    for is_current in (True, False):
        view = notarized()
        assert view.wanted(Occurrence.CERTIFIED_VALID, is_current=is_current) is Tag.FINALIZE


def test_r6_own_notarize_of_the_same_proposal_is_no_hindrance() -> None:
    view = notarized()
    view.cast(Tag.NOTARIZE, ONE)
    assert view.wanted(Occurrence.CERTIFIED_VALID, is_current=False) is Tag.FINALIZE


def null(view: View) -> None:
    view.nullification = Nullification(Nullified(0, 5), (VOTE,))


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.cast(Tag.NULLIFY, None),
        lambda view: view.cast(Tag.FINALIZE, ONE),
        lambda view: view.cast(Tag.NOTARIZE, OTHER),
        lambda view: view.certify(Notarization(OTHER, (VOTE,))),
        null,
    ],
    ids=["nullified", "finalized", "notarized another", "second notarization", "nullification"],
)
def test_r6_what_forbids_finalize(change: Change) -> None:
    view = notarized()
    change(view)
    assert view.wanted(Occurrence.CERTIFIED_VALID, is_current=False) is None


def test_r6_without_notarization_nothing_is_finalized() -> None:
    assert fresh().wanted(Occurrence.CERTIFIED_VALID, is_current=True) is None


def test_settled_3_equivocation_is_seen_again_in_what_was_logged() -> None:
    """After a restart the own Notarize and a notarization of another proposal say it all."""
    view = fresh()
    view.recall(Notarize(ONE, VOTE))
    view.certify(Notarization(OTHER, (VOTE,)))
    assert view.equivocated
    assert view.wanted(Occurrence.CERTIFIED_VALID, is_current=False) is None


def test_r6_a_certificate_of_another_proposal_than_the_leaders_first_stops_both_votes() -> None:
    view = fresh()
    view.propose(ONE)
    view.certify(Notarization(OTHER, (VOTE,)))
    assert view.proposal == OTHER
    assert view.equivocated
    assert view.wanted(Occurrence.PROPOSAL_VALID, is_current=True) is None
    assert view.wanted(Occurrence.CERTIFIED_VALID, is_current=False) is None
    assert view.wanted(Occurrence.VIEW_LATE, is_current=True) is Tag.NULLIFY


def test_a_conflicting_vote_never_replaces_the_proposal_and_a_certificate_does() -> None:
    view = fresh()
    view.propose(ONE)
    view.propose(OTHER)
    assert view.proposal == ONE
    assert view.equivocated
    view.certify(Notarization(OTHER, (VOTE,)))
    assert view.proposal == OTHER


@pytest.mark.parametrize(
    ("vote", "occurrence"),
    [
        (Notarize(ONE, VOTE), Occurrence.PROPOSAL_VALID),
        (Nullify(Nullified(0, 5), VOTE), Occurrence.VIEW_LATE),
        (Finalize(ONE, VOTE), Occurrence.VIEW_LATE),
    ],
)
def test_settled_11_a_recalled_vote_binds_like_one_just_cast(
    vote: Notarize | Nullify | Finalize, occurrence: Occurrence
) -> None:
    view = fresh()
    view.recall(vote)
    assert view.wanted(occurrence, is_current=True) is None
