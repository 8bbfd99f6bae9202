"""Asking, passing on and helping: nothing is a proof of delivery, and everything is bounded."""

import pytest

from consensus.catchup import (
    PEERS_REMEMBERED_MAX,
    SERVED_MAX,
    WANTS_MAX,
    Catchup,
)
from consensus.messages import BlockRequest, CertificateRequest

DELTA_MS, RETRY_MS = 200, 500
ONE, TWO, THREE = b"1", b"2", b"3"


@pytest.fixture
def catchup() -> Catchup:
    return Catchup(DELTA_MS, RETRY_MS)


def want(catchup: Catchup, number: int, view: int, *, is_certified: bool = False) -> bytes:
    key = number.to_bytes(32, "big")
    catchup.want(
        key,
        BlockRequest(key, 1),
        (ONE, TWO),
        view=view,
        is_certified=is_certified,
        due_ms=0,
    )
    return key


def test_each_source_is_asked_in_turn_until_it_has_come(catchup: Catchup) -> None:
    key = want(catchup, 7, 1)
    asked = [peer for now in (0, 100, 200, 400) for peer, _ in catchup.asking(now)]
    assert asked == [ONE, TWO, ONE], "every delta, and never all at once"
    catchup.forget(key)
    assert catchup.asking(10_000) == []
    assert catchup.next_ms() is None


def test_who_may_hold_it_too_is_added_and_nobody_twice(catchup: Catchup) -> None:
    key = want(catchup, 7, 1)
    request = BlockRequest(key, 1)
    catchup.want(key, request, (TWO, THREE), view=1, is_certified=True, due_ms=9_999)
    asked = [peer for now in range(0, 800, DELTA_MS) for peer, _ in catchup.asking(now)]
    assert asked == [ONE, TWO, THREE, ONE]


def test_what_nobody_can_have_is_not_asked_for(catchup: Catchup) -> None:
    catchup.want(5, CertificateRequest(0, 5), (), view=5, is_certified=True, due_ms=0)
    assert not catchup.wants(5)


def test_the_certified_and_the_newer_make_themselves_room(catchup: Catchup) -> None:
    """What leaders name may not exist: it must never be all that is asked for."""
    bogus = [want(catchup, at, 10 + at) for at in range(WANTS_MAX)]
    real = want(catchup, 5_000, 1, is_certified=True)
    assert catchup.wants(real)
    assert not catchup.wants(bogus[0])
    newer = want(catchup, 5_001, 10_000)
    assert catchup.wants(newer)
    assert not catchup.wants(bogus[1])
    older = want(catchup, 5_002, 2)
    assert not catchup.wants(older)
    assert catchup.wants(real)
    for at in range(2 * WANTS_MAX):
        want(catchup, 9_000 + at, 20_000 + at)
    assert catchup.wants(real)
    assert len(catchup._wants) == WANTS_MAX


def test_finality_and_time_end_what_is_asked_for(catchup: Catchup) -> None:
    low, high = want(catchup, 1, 5), want(catchup, 2, 9, is_certified=True)
    catchup.want(6, CertificateRequest(0, 6), (ONE,), view=6, is_certified=True, due_ms=0)
    catchup.forget_uncertified(8)
    assert [catchup.wants(one) for one in (low, 6, high)] == [False, True, True]
    catchup.forget_views(6)
    assert [catchup.wants(one) for one in (6, high)] == [False, True]
    catchup.forget_views(9)
    assert not catchup.wants(high), "what finality stands on is asked for anew"


def test_only_as_many_blocks_as_were_asked_for(catchup: Catchup) -> None:
    key = b"k" * 32
    assert catchup.blocks_wanted(key) == 0
    catchup.want(key, BlockRequest(key, 1), (ONE,), view=1, is_certified=False, due_ms=50)
    assert catchup.blocks_wanted(key) == 1
    catchup.want(key, BlockRequest(key, 7), (ONE,), view=1, is_certified=True, due_ms=20)
    assert catchup.blocks_wanted(key) == 7, "a quorum stands for it now, and more are missing"
    assert catchup.next_ms() == 20
    catchup.want(key, BlockRequest(key, 2), (ONE,), view=1, is_certified=True, due_ms=0)
    assert (catchup.blocks_wanted(key), catchup.next_ms()) == (7, 20)


def test_what_finality_puts_off_has_waited_already(catchup: Catchup) -> None:
    """Blocks may come faster than a question waits: it must not begin to wait with each of them."""
    key, request, due_ms = bytes(32), BlockRequest(bytes(32), 1), 100
    asked = []
    for now in range(0, 1_000, 20):
        view = 1 + now // 20
        for each in (view, view):  # two may become final at once
            catchup.forget_views(each - 1)
        catchup.want(key, request, (ONE, TWO), view=view, is_certified=True, due_ms=now + due_ms)
        asked += [(now, peer) for peer, _ in catchup.asking(now)]
    expected = range(due_ms, 1_000, DELTA_MS)
    assert asked == [(at, (ONE, TWO)[number % 2]) for number, at in enumerate(expected)]
    catchup.forget(key)
    catchup.forget_views(50)
    catchup.want(key, request, (ONE,), view=60, is_certified=True, due_ms=5_000)
    assert catchup.asking(4_999) == [], "what has come and is missed again waits again"


def test_help_and_answers_are_limited_in_time_and_not_for_ever(catchup: Catchup) -> None:
    """Comet #3340: a limit is a pause, never the belief that what was sent has arrived."""
    assert catchup.may_help(ONE, 0, 0)
    assert not catchup.may_help(ONE, 0, RETRY_MS // 2 - 1)
    assert catchup.may_help(ONE, 1, 0)
    assert catchup.may_help(TWO, 0, 0)
    assert catchup.may_help(ONE, 0, RETRY_MS // 2)
    served = [catchup.may_serve(ONE, 0) for _ in range(SERVED_MAX + 5)]
    assert served == [True] * SERVED_MAX + [False] * 5
    assert catchup.may_serve(TWO, 0)
    assert catchup.may_serve(ONE, RETRY_MS // 2)


def test_help_with_a_later_epoch_does_not_wait_for_the_one_before(catchup: Catchup) -> None:
    """Epochs of half a second are over before a pause is: one a pause would never catch up."""
    assert catchup.may_help(ONE, 0, 0, 5)
    assert not catchup.may_help(ONE, 0, 1, 5)
    assert catchup.may_help(ONE, 0, 1, 6)
    assert not catchup.may_help(ONE, 0, 2, 5), "going back and forth gains nothing"
    helped = [catchup.may_help(ONE, 0, 3, 7 + at) for at in range(SERVED_MAX + 5)]
    assert helped == [True] * (SERVED_MAX - 1) + [False] * 6, "as many as requests are answered"
    assert catchup.may_help(ONE, 0, 3 + RETRY_MS // 2, 5)


def test_many_peers_leave_little_behind(catchup: Catchup) -> None:
    for at in range(3 * PEERS_REMEMBERED_MAX):
        catchup.may_help(at.to_bytes(4, "big"), 0, 0)
        catchup.may_serve(at.to_bytes(4, "big"), 0)
    assert len(catchup._helped) == len(catchup._served) == PEERS_REMEMBERED_MAX
    for at in range(3 * WANTS_MAX):
        want(catchup, at, at)
        catchup.forget_views(at)
    assert len(catchup._put_off) == WANTS_MAX
