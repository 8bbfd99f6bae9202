"""Dialling: who we must reach first, a longer wait after each failure, and never a ban."""

import random
from typing import Any

import pytest

from p2p.addresses import Address, PeerAddress
from p2p.dialler import (
    DIALS_MAX,
    DRAW_MS,
    LASTING_MS,
    PACED_MAX,
    PAUSE_MAY_MS_MAX,
    PAUSE_MS,
    PAUSE_MUST_MS_MAX,
    Dialler,
)
from p2p.peerbook import PeerBook


def peer(number: int) -> PeerAddress:
    return PeerAddress(
        number.to_bytes(32, "big"), Address(f"{number % 200 + 1}.{number // 200}.0.1", 5)
    )


def dialler(known: int = 0, outbound_max: int = 4) -> Dialler:
    book = PeerBook(bytes(32))
    for number in range(known):
        book.hear(peer(number), f"{number + 1}.1.1.1")
    return Dialler(random.Random(1), book, outbound_max)


def due(one: Dialler, now: int = 0, **changes: Any) -> list[PeerAddress]:
    asked: dict[str, Any] = {
        "musts": [],
        "connected": set(),
        "outbound": 0,
        "groups": set(),
        "is_allowed": lambda _: True,
    }
    return one.due(now, **(asked | changes))


def test_musts_come_first_and_nobody_twice() -> None:
    one = dialler(30)
    found = due(one, musts=[peer(100), peer(101)])
    assert found[:2] == [peer(100), peer(101)] and len(found) == 6
    assert due(one, musts=[peer(100), peer(101)]) == []
    assert one.dialling == 6


def test_musts_do_not_count_as_outbound_peers() -> None:
    one = dialler(30)
    assert len(due(one, musts=[peer(at) for at in range(100, 110)], outbound=4)) == 10
    assert due(one, musts=[peer(at) for at in range(100, 110)], outbound=4) == []


def test_who_is_connected_banned_or_next_door_is_not_dialled() -> None:
    one = dialler(8, outbound_max=8)
    found = due(
        one,
        connected={peer(0).node_id},
        groups={"2.0.0.0/16"},
        is_allowed=lambda node_id: node_id != peer(2).node_id,
    )
    assert set(found) == {peer(at) for at in range(3, 8)}


def test_attempts_at_once_are_bounded() -> None:
    one = dialler()
    assert len(due(one, musts=[peer(at) for at in range(100)])) == DIALS_MAX
    assert due(one, musts=[peer(at) for at in range(100)]) == []


@pytest.mark.parametrize(("is_must", "cap"), [(True, PAUSE_MUST_MS_MAX), (False, PAUSE_MAY_MS_MAX)])
def test_waits_grow_to_a_cap_and_never_end(is_must: bool, cap: int) -> None:
    one = dialler(0 if is_must else 1)
    musts = [peer(0)] if is_must else []
    now, waits = 0, []
    for _ in range(24):
        one._draw_ms = 0
        assert due(one, now, musts=musts) == [peer(0)]
        one.failed(peer(0), now)
        start = now
        while not one._is_due(peer(0).address, now):
            now += 50
        waits.append(now - start)
    assert PAUSE_MS // 2 <= waits[0] <= PAUSE_MS + 50
    assert cap // 2 <= waits[-1] <= cap + 50
    assert all(wait <= cap + 50 for wait in waits)


def test_what_lasted_is_dialled_again_soon_and_what_flaps_is_not() -> None:
    one = dialler()
    now = 0
    for _ in range(6):
        one.failed(peer(0), now)
    one.succeeded(peer(0).address, peer(0).node_id)
    one.ended(peer(0), LASTING_MS, now)
    assert one._paces[peer(0).address][1] <= PAUSE_MS
    for _ in range(6):
        one.succeeded(peer(0).address, peer(0).node_id)
        one.ended(peer(0), 10, now)
    assert one._paces[peer(0).address][1] > 8 * PAUSE_MS
    assert peer(0) in [entry.peer for entry in one._book]


def test_anchors_are_dialled_before_the_book() -> None:
    one = dialler(50, outbound_max=2)
    one._book.anchors = (peer(300), peer(301))
    assert due(one) == [peer(300), peer(301)]


def test_the_book_is_looked_through_once_a_second() -> None:
    one = dialler(8, outbound_max=2)
    first = due(one)
    assert len(first) == 2
    for found in first:
        one.failed(found, 0)
    assert due(one, DRAW_MS - 1) == []
    assert len(due(one, DRAW_MS)) == 2


def test_paces_are_bounded() -> None:
    one = dialler()
    for at in range(PACED_MAX + 50):
        one.failed(peer(at), 0)
    assert len(one._paces) == PACED_MAX
