"""Seats: both sides keep the same one of two connections, and full rows give way by rule."""

import pytest

from p2p.roster import (
    DUPLICATE,
    EVICTED,
    FULL,
    REPLACED,
    SHELTERED,
    SIMULTANEOUS_MS,
    Admission,
    Roster,
    Seat,
)

LOW, HIGH = b"\x01" * 32, b"\x02" * 32


def seat(
    peer: bytes,
    *,
    outbound: bool = False,
    since: int = 0,
    host: str = "1.1.1.1",
    ours: bool = False,
) -> Seat:
    return Seat(peer, host, outbound, ours, since)


def nothing(_: bytes) -> int:
    return 0


@pytest.mark.parametrize("low_first", [True, False])
@pytest.mark.parametrize("high_first", [True, False])
def test_simultaneous_dials_end_with_one_and_the_same(low_first: bool, high_first: bool) -> None:
    """Whatever order each side sees them in, both keep the one that the lower id opened."""
    kept = []
    for own, other, own_first in ((LOW, HIGH, low_first), (HIGH, LOW, high_first)):
        roster = Roster(own, 9, 9)
        dialled, accepted = seat(other, outbound=True, since=10), seat(other, since=20)
        for one in (dialled, accepted) if own_first else (accepted, dialled):
            roster.admit(one, nothing)
        (left,) = roster.seats.values()
        kept.append(own if left.is_outbound else other)
    assert kept == [LOW, LOW]


def test_who_opens_another_has_lost_the_first() -> None:
    roster = Roster(LOW, 9, 9)
    roster.admit(seat(HIGH), nothing)
    assert roster.admit(seat(HIGH, since=1), nothing) == Admission(None, HIGH, REPLACED)
    roster = Roster(LOW, 9, 9)
    roster.admit(seat(HIGH, outbound=True), nothing)
    assert roster.admit(seat(HIGH, since=10), nothing).refusal == DUPLICATE
    late = seat(HIGH, since=SIMULTANEOUS_MS + 1)
    assert roster.admit(late, nothing) == Admission(None, HIGH, REPLACED)


def test_a_seat_is_left_once() -> None:
    roster = Roster(LOW, 9, 9)
    old, new = seat(HIGH), seat(HIGH, since=1)
    roster.admit(old, nothing)
    roster.admit(new, nothing)
    roster.leave(old)
    assert roster.seats == {HIGH: new}
    roster.leave(new)
    assert not roster.seats


def filled(inbound: int) -> Roster:
    roster = Roster(LOW, inbound, 2)
    for at in range(inbound):
        host = f"{10 + at}.0.0.1"
        roster.admit(seat(bytes([50 + at]) * 32, since=at, host=host), nothing)
    return roster


def test_outbound_seats_end_and_exempt_peers_have_one_always() -> None:
    roster = filled(0)
    for at in range(2):
        assert roster.admit(seat(bytes([at + 9]) * 32, outbound=True), nothing).refusal is None
    assert roster.admit(seat(HIGH, outbound=True), nothing).refusal == FULL
    assert roster.admit(seat(HIGH, outbound=True, ours=True), nothing).refusal is None
    assert roster.admit(seat(b"\x44" * 32, ours=True), nothing).refusal is None
    assert (roster.count(is_outbound=True), roster.count(is_outbound=False)) == (2, 0)


def test_a_full_row_of_distinct_subnets_takes_nobody() -> None:
    roster = filled(SHELTERED + 6)
    assert roster.admit(seat(HIGH, since=99), nothing).refusal == FULL


def test_the_youngest_of_the_fullest_subnet_gives_way() -> None:
    roster = filled(SHELTERED + 6)
    del roster.seats[bytes([59]) * 32]
    twin = seat(b"\x77" * 32, since=50, host="17.0.0.9")
    roster.admit(twin, nothing)
    assert roster.admit(seat(HIGH, since=99), nothing) == Admission(None, twin.peer_id, EVICTED)


def test_the_useless_give_way_first_and_the_useful_never() -> None:
    roster = filled(2 * SHELTERED + 2)
    scores = {bytes([50 + at]) * 32: 10 + at for at in range(6, 10)}
    bad = bytes([54]) * 32
    scores[bad] = -1
    found = roster.admit(seat(HIGH, since=99), lambda one: scores.get(one, 0))
    assert found == Admission(None, bad, EVICTED)


def test_a_subnet_that_comes_in_crowds_moves_only_itself() -> None:
    roster = filled(12)
    before = set(roster.seats)
    for at in range(200):
        crowd = seat(at.to_bytes(32, "big"), since=100 + at, host=f"66.6.0.{at % 250}")
        roster.admit(crowd, nothing)
    assert set(roster.seats) == before
