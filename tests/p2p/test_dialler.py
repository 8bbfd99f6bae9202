"""Dialling: who we must reach first, a longer wait after each failure, and never a ban."""

import random
from typing import Any

import pytest

from p2p.addresses import Address, PeerAddress
from p2p.dialler import (
    DIALS_MAX,
    DRAW_MS,
    FRESH_DIALS_MIN,
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


SILENT_MS, HEARD_MS, STEP_MS = 3_000, 100, 100


def meet(one: Dialler, musts: list[PeerAddress], silent: set[bytes], until_ms: int) -> set[bytes]:
    """Dial for a while; the silent swallow packets, everybody else answers at once and stays."""
    connected: set[bytes] = set()
    under_way: list[tuple[int, PeerAddress]] = []
    for now in range(0, until_ms, STEP_MS):
        for attempt in [attempt for attempt in under_way if attempt[0] <= now]:
            under_way.remove(attempt)
            found = attempt[1]
            if found.node_id in silent:
                one.failed(found, now)
            else:
                one.succeeded(found.address, found.node_id)
                connected.add(found.node_id)
        for found in due(one, now, musts=musts, connected=connected, outbound=4):
            duration_ms = SILENT_MS if found.node_id in silent else HEARD_MS
            under_way.append((now + duration_ms, found))
        assert one.dialling == len(under_way) <= DIALS_MAX
    return connected


@pytest.mark.parametrize(
    ("silent", "addresses"), [(0, 1), (15, 4), (16, 4), (17, 4), (33, 4), (33, 1), (24, 2)]
)
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_silent_addresses_keep_no_must_from_being_dialled(
    silent: int, addresses: int, is_shuffled: bool
) -> None:
    """Whoever announces addresses that swallow packets takes turns, and no place for ever."""
    names = [peer(at).node_id for at in range(silent)]
    musts = [
        PeerAddress(name, Address(f"9.{at}.0.{number}", 1))
        for at, name in enumerate(names)
        for number in range(addresses)
    ]
    honest = [peer(at) for at in range(1_000, 1_066)]
    musts += honest
    if is_shuffled:
        random.Random(2).shuffle(musts)
    connected = meet(dialler(), musts, set(names), 60_000)
    assert connected == {one.node_id for one in honest}


def test_who_comes_up_late_has_its_turn_among_the_silent() -> None:
    one, late = dialler(), peer(1_000)
    silent = [
        PeerAddress(peer(at).node_id, Address(f"9.{at}.0.{number}", 1))
        for at in range(33)
        for number in range(4)
    ]
    for _ in range(8):
        one.failed(late, 0)
    names = {found.node_id for found in silent}
    assert meet(one, [*silent, late], names, 60_000) == {late.node_id}


def test_names_that_change_all_the_time_do_not_come_first() -> None:
    """A validator may announce a new node and new addresses every 20 seconds."""
    one, late, renewal_ms = dialler(), peer(1_000), 20_000
    for _ in range(8):
        one.failed(late, 0)
    under_way: list[tuple[int, PeerAddress]] = []
    for now in range(0, 90_000, STEP_MS):
        for attempt in [attempt for attempt in under_way if attempt[0] <= now]:
            under_way.remove(attempt)
            one.failed(attempt[1], now)
        musts = [late]
        for at in range(200):  # they renew one after the other, so there are new ones all the time
            number = (now + at * renewal_ms // 200) // renewal_ms
            name = (at << 8 | number).to_bytes(32, "little")
            musts += [PeerAddress(name, Address(f"9.{at}.{number}.{k}", 1)) for k in range(4)]
        found = due(one, now, musts=musts, outbound=4)
        if late in found and now > PAUSE_MUST_MS_MAX:
            return
        under_way += [(now + SILENT_MS, attempt) for attempt in found]
    raise AssertionError("it was never its turn")


def test_silent_musts_leave_places_for_anchors_and_the_book() -> None:
    one = dialler(30)
    musts = [peer(at) for at in range(100, 200)]
    now, found = 0, [peer(0)]
    while found:  # until every one of them has been tried and has failed
        found = due(one, now, musts=musts, outbound=4)
        for failed in found:
            one.failed(failed, now)
    later = due(one, now + PAUSE_MUST_MS_MAX, musts=musts)
    assert len(later) == DIALS_MAX
    assert sum(found in musts for found in later) == DIALS_MAX - FRESH_DIALS_MIN
    one.failed(later[0], now)
    assert due(one, now + 2 * PAUSE_MUST_MS_MAX, musts=[later[0]]) == [later[0]]


def test_two_musts_of_one_address_are_dialled_in_turn() -> None:
    """Anybody may announce somebody else's address under a name of its own."""
    one, other = dialler(), PeerAddress(b"o" * 32, peer(0).address)
    now, turns = 0, []
    for _ in range(4):
        now += PAUSE_MUST_MS_MAX
        (found,) = due(one, now, musts=[peer(0), other])
        one.failed(found, now)
        turns.append(found)
    assert turns == [peer(0), other] * 2


def test_what_is_known_of_musts_goes_with_them() -> None:
    one = dialler()
    due(one, musts=[peer(at) for at in range(10)])
    assert len(one._line) == 10
    due(one, musts=[peer(0)])
    assert len(one._line) == 1


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
