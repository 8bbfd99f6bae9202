"""Tallies: quorums by stake, and every pair of votes that excludes another."""

import pytest

from consensus.validators import Validators
from consensus.votes import Tally
from state.crypto import Tag
from state.finality import (
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    Validator,
    Vote,
    clash,
)

MEMBERS = tuple(
    [
        Validator(bytes([at]) * 32, bytes([at]) * 20, stake)
        for at, stake in enumerate((40, 27, 20, 13))
    ]
)
VALIDATORS = Validators(MEMBERS, b"s" * 32)
ONE = Proposal(0, 5, 4, b"1" * 32, b"j" * 32)
OTHER = Proposal(0, 5, 3, b"1" * 32, b"j" * 32)
ABANDONED = Nullified(0, 5)


def vote(kind: str, validator: int, subject: Proposal = ONE) -> SignedVote:
    signed = Vote(validator, bytes([validator]) * 64)
    match kind:
        case "notarize":
            return Notarize(subject, signed)
        case "finalize":
            return Finalize(subject, signed)
    return Nullify(ABANDONED, signed)


def test_more_than_two_thirds_of_stake_are_a_quorum() -> None:
    tally = Tally(VALIDATORS)
    tally.add(vote("notarize", 0))
    tally.add(vote("notarize", 3))
    assert not tally.has_quorum(Tag.NOTARIZE, ONE), "53 of 100"
    tally.add(vote("notarize", 1))
    assert tally.has_quorum(Tag.NOTARIZE, ONE), "80 of 100"
    assert not tally.has_quorum(Tag.FINALIZE, ONE)
    found = tally.certificate(Tag.NOTARIZE, ONE)
    assert isinstance(found, Notarization)
    assert [one.validator for one in found.votes] == [0, 1, 3], "ascending, whatever came first"


def test_a_vote_that_comes_twice_counts_once() -> None:
    tally = Tally(VALIDATORS)
    for _ in range(3):
        tally.add(vote("nullify", 0))
    assert not tally.has_quorum(Tag.NULLIFY, ABANDONED)
    for at in (1, 2):
        tally.add(vote("nullify", at))
    assert isinstance(tally.certificate(Tag.NULLIFY, ABANDONED), Nullification)


@pytest.mark.parametrize(
    ("first", "second", "offence"),
    [
        (vote("notarize", 1), vote("notarize", 1, OTHER), "E1"),
        (vote("finalize", 1), vote("finalize", 1, OTHER), "E2"),
        (vote("nullify", 1), vote("finalize", 1), "E3"),
        (vote("notarize", 1), vote("finalize", 1, OTHER), "E4"),
        (vote("notarize", 1), vote("finalize", 1), ""),
        (vote("notarize", 1), vote("nullify", 1), ""),
        (vote("notarize", 1), vote("notarize", 2, OTHER), ""),
        (vote("notarize", 1), vote("notarize", 1), ""),
    ],
)
def test_which_pairs_are_offences_in_either_order(
    first: SignedVote, second: SignedVote, offence: str
) -> None:
    for earlier, later in ((first, second), (second, first)):
        tally = Tally(VALIDATORS)
        assert tally.add(earlier) == []
        found = tally.add(later)
        assert [clash(one.first, one.second) for one in found] == [offence] * bool(offence)


def test_each_offence_of_a_validator_is_reported_once_in_a_view() -> None:
    tally = Tally(VALIDATORS)
    shown = [
        clash(one.first, one.second)
        for signed in (
            vote("notarize", 1),
            vote("nullify", 1),
            vote("finalize", 1, OTHER),
            vote("finalize", 1),
            vote("notarize", 1, OTHER),
        )
        for one in tally.add(signed)
    ]
    assert sorted(shown) == ["E1", "E2", "E3", "E4"]
    assert tally.accuse(1, "E5")
    assert not tally.accuse(1, "E5")
    assert tally.accuse(2, "E5")


def test_nobody_is_accused_twice_in_a_view_and_memory_is_bounded() -> None:
    tally = Tally(VALIDATORS)
    proposals = [Proposal(0, 5, 4, bytes([at]) * 32, b"j" * 32) for at in range(20)]
    found = [tally.add(vote("notarize", 2, one)) for one in proposals]
    assert [len(one) for one in found] == [0, 1] + [0] * 18
    assert len(tally.votes_of(2, Tag.NOTARIZE)) == 2
    assert tally.is_full(2, Tag.NOTARIZE)


def test_only_exactly_the_same_bytes_were_verified_before() -> None:
    tally = Tally(VALIDATORS)
    tally.add(vote("notarize", 2))
    assert tally.knows(vote("notarize", 2))
    assert not tally.knows(Notarize(ONE, Vote(2, bytes(64))))
    assert not tally.knows(vote("finalize", 2))
