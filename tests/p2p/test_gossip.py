"""Gossip: each thing is asked for once at a time, nobody is waited for for ever, memory ends."""

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.gossip import (
    ASKED_OF_SILENT_MAX,
    ASKED_PER_PEER_MAX,
    ATTEMPTS_MAX,
    FORGOTTEN_AT_ONCE_MAX,
    PULL_BATCH_MAX,
    PULL_TIMEOUT_MS,
    UNKEPT_PER_VERDICT,
    WANTED_MAX,
    WANTED_PER_PEER_MAX,
    Pull,
    Puller,
    Seen,
)

A, B, C = (bytes([name]) * 32 for name in b"ABC")


def ids(count: int, start: int = 0) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(start, start + count)]


def test_seen_holds_the_last_id_of_each_slot() -> None:
    seen = Seen(1_024)
    assert bytes(32) not in seen
    hashes = [blake2b(thing, digest_size=32).digest() for thing in ids(2_000)]
    slots: dict[int, bytes] = {}
    for thing in hashes:
        assert thing not in seen
        seen.add(thing)
        slots[int.from_bytes(thing[:8], "big") % 1_024] = thing
    assert {thing for thing in hashes if thing in seen} == {*slots.values()}
    assert len(slots) > 800, "most of them hold one"


def test_seen_forgets_few_of_what_has_just_come() -> None:
    seen = Seen()
    hashes = [blake2b(thing, digest_size=32).digest() for thing in ids(5_000)]
    for thing in hashes:
        seen.add(thing)
    assert sum(thing in seen for thing in hashes) > 4_900


def test_one_question_at_a_time_and_the_next_teller_after_a_timeout() -> None:
    puller = Puller()
    (thing,) = ids(1)
    for peer in (A, B):
        puller.on_told(peer, [thing])
    assert puller.poll(0) == [Pull(A, (thing,))]
    assert puller.poll(PULL_TIMEOUT_MS - 1) == []
    assert puller.poll(PULL_TIMEOUT_MS) == [Pull(B, (thing,))]
    puller.on_received([thing])
    assert puller.poll(10 * PULL_TIMEOUT_MS) == [] and len(puller) == puller.failed == 0


def test_what_nobody_has_is_given_up() -> None:
    puller = Puller()
    puller.on_told(A, ids(3))
    (pull,) = puller.poll(0)
    puller.on_refused(A, pull.things[:1])
    assert (len(puller), puller.failed) == (2, 1)
    for attempt in range(1, ATTEMPTS_MAX):
        assert puller.poll(attempt * PULL_TIMEOUT_MS) == [Pull(A, pull.things[1:])]
    assert puller.poll(ATTEMPTS_MAX * PULL_TIMEOUT_MS) == []
    assert (len(puller), puller.failed) == (0, 3)
    assert not any(puller._by_peer.values())


def test_a_refusal_by_somebody_else_changes_nothing() -> None:
    puller = Puller()
    puller.on_told(A, ids(1))
    puller.poll(0)
    puller.on_refused(B, ids(1))
    assert len(puller) == 1


def test_who_leaves_is_not_waited_for() -> None:
    puller = Puller()
    puller.on_told(A, ids(2))
    puller.on_told(B, ids(1))
    asked = {pull.peer: pull.things for pull in puller.poll(0)}
    assert sum(map(len, asked.values())) == 2
    puller.forget(A)
    assert {pull.peer for pull in puller.poll(1)} <= {B}
    assert len(puller) == 1 and puller.failed == 1


def test_questions_are_spread_and_cut_into_batches() -> None:
    puller = Puller()
    things = ids(4 * PULL_BATCH_MAX)
    for peer in (A, B):
        puller.on_told(peer, things)
    pulls = puller.poll(0)
    assert [(pull.peer, len(pull.things)) for pull in pulls] == [
        *[(A, PULL_BATCH_MAX)] * 2,
        *[(B, PULL_BATCH_MAX)] * 2,
    ]


def test_a_burst_of_one_peer_is_pulled_as_fast_as_it_answers() -> None:
    puller = Puller()
    things = ids(50_000)
    puller.on_told(A, things)
    got: list[bytes] = []
    while len(puller):
        pulls = puller.poll(0)
        assert sum(len(pull.things) for pull in pulls) <= ASKED_PER_PEER_MAX
        due = [thing for pull in pulls for thing in pull.things]
        assert due
        puller.on_received(due)
        got += due
    assert (got, puller.failed) == (things, 0)


def test_what_nobody_has_holds_up_nothing_that_another_has() -> None:
    """A liar told a lot, true ids among it; whoever else tells those is asked at once."""
    puller = Puller()
    junk, true = ids(30_000), ids(100, 10**6)
    puller.on_told(A, [*junk, *true])
    assert {pull.peer for pull in puller.poll(0)} == {A}
    puller.on_told(B, true)
    (pull,) = puller.poll(1)
    assert (pull.peer, sorted(pull.things)) == (B, true)


def test_who_tells_too_much_gives_way_to_others() -> None:
    puller = Puller()
    for at in range(WANTED_MAX // WANTED_PER_PEER_MAX):  # liars
        puller.on_told(bytes([at]) * 32, ids(WANTED_PER_PEER_MAX, at * 10**6))
    assert len(puller) == WANTED_MAX
    puller.on_told(b"h" * 32, ids(10, 10**8))
    assert len(puller) == WANTED_MAX
    assert sum(len(pull.things) for pull in puller.poll(0) if pull.peer == b"h" * 32) == 10


def test_nobody_fills_the_memory() -> None:
    puller = Puller()
    puller.on_told(A, ids(WANTED_PER_PEER_MAX + 100))
    assert len(puller) == WANTED_PER_PEER_MAX
    for at in range(2, 4):
        puller.on_told(bytes([at]) * 32, ids(WANTED_PER_PEER_MAX, at * 10**6))
    assert len(puller) == WANTED_MAX


class Looks(Counter[bytes]):
    """What each peer is asked for; counts how often anybody looks."""

    looks = 0

    def __getitem__(self, peer: bytes) -> int:
        self.looks += 1
        return super().__getitem__(peer)


def test_only_whose_queue_or_room_changed_is_looked_at() -> None:
    """Otherwise one short message of a stranger costs as much as there are peers."""
    puller, looks = Puller(), Looks()
    puller._asking = looks
    for at in range(100):
        puller.on_told(bytes([100 + at]) * 32, ids(1, at))
    assert len(puller.poll(0)) == 100
    puller.on_received(ids(50))
    looks.looks = 0
    for _ in range(1_000):
        assert puller.poll(1) == []
    assert looks.looks == 0
    puller.on_told(A, ids(ASKED_PER_PEER_MAX + 1, 1_000))
    assert sum(len(pull.things) for pull in puller.poll(1)) == ASKED_PER_PEER_MAX
    puller.on_received(ids(1, 1_000))
    assert puller.poll(1) == [Pull(A, tuple(ids(1, 1_000 + ASKED_PER_PEER_MAX)))]
    assert looks.looks < 20_000, "some for each thing told, however many peers there are"


def test_nothing_is_kept_of_a_peer_of_whom_nothing_is_wanted() -> None:
    puller = Puller()
    puller.on_told(A, ids(3))
    puller.on_told(B, [])
    puller.poll(0)
    puller.on_told(B, ids(1))
    puller.forget(B)
    puller.on_received(ids(3))
    puller.on_told(B, ids(1))  # what it said before it left, held up until now
    for attempt in range(ATTEMPTS_MAX + 1):
        puller.poll(attempt * PULL_TIMEOUT_MS)
    assert not puller._by_peer and not puller._ready and not puller._asking


@given(st.lists(st.tuples(st.sampled_from("tprdf"), st.integers(0, 5), st.integers(0, 2))))
def test_each_thing_has_one_question_at_most(steps: list[tuple[str, int, int]]) -> None:
    puller, now, open_pulls = Puller(), 0, dict[bytes, tuple[bytes, int]]()
    peers, things = (A, B, C), ids(6)
    for action, number, who in steps:
        peer, thing = peers[who], things[number]
        match action:
            case "t":
                puller.on_told(peer, [thing])
            case "r":
                puller.on_received([thing])
                open_pulls.pop(thing, None)
            case "d":
                puller.on_refused(peer, [thing])
                if open_pulls.get(thing, (b"", 0))[0] == peer:
                    del open_pulls[thing]
            case "f":
                puller.forget(peer)
                open_pulls = {key: one for key, one in open_pulls.items() if one[0] != peer}
            case _:
                now += 300
                pulls = puller.poll(now)
                due = [key for key, one in open_pulls.items() if now - one[1] >= PULL_TIMEOUT_MS]
                for key in due:
                    del open_pulls[key]
                for pull in pulls:
                    for key in pull.things:
                        assert key not in open_pulls
                        open_pulls[key] = (pull.peer, now)
        assert set(puller._asked) == set(open_pulls)
        ready = [thing for queue in puller._ready.values() for thing in queue]
        assert len(ready) == len(set(ready))
        assert set(puller._wanted) == set(puller._asked) | set(ready)
        assert sum(puller._asking.values()) == len(puller._asked)
        assert all([*puller._by_peer.values(), *puller._ready.values(), *puller._asking.values()])
        for peer in puller._ready:
            assert peer in puller._due or puller._asking[peer] >= ASKED_PER_PEER_MAX


def test_who_told_a_lot_and_leaves_is_forgotten_in_pieces() -> None:
    puller = Puller()
    count = 5 * FORGOTTEN_AT_ONCE_MAX
    puller.on_told(A, ids(count))
    puller.on_told(B, ids(10))
    puller.forget(A)
    assert count - FORGOTTEN_AT_ONCE_MAX - 10 <= len(puller) < count
    puller.on_told(A, ids(1, 10**6))
    polls = 0
    while puller.is_forgetting:
        assert {pull.peer for pull in puller.poll(0)} <= {B}
        polls += 1
    assert (polls, len(puller)) == (4, 10)
    puller.on_told(A, ids(1, 10**6))
    assert {pull.peer for pull in puller.poll(0)} <= {A, B}
    assert len(puller) == 11


def test_what_all_who_told_are_gone_is_asked_of_none_of_them() -> None:
    puller, things = Puller(), ids(5 * FORGOTTEN_AT_ONCE_MAX)
    for peer in (A, B):
        puller.on_told(peer, things)
    for peer in (A, B):
        puller.forget(peer)
    while puller.is_forgetting:
        assert puller.poll(0) == []
    assert len(puller) == 0


def test_what_comes_while_its_teller_is_being_forgotten_is_done() -> None:
    puller, things = Puller(), ids(5 * FORGOTTEN_AT_ONCE_MAX)
    puller.on_told(A, things)
    puller.poll(0)
    puller.forget(A)
    puller.on_received(things[::2])
    while puller.is_forgetting:
        assert puller.poll(PULL_TIMEOUT_MS) == []
    assert len(puller) == 0


@given(st.lists(st.tuples(st.sampled_from("tttprdfc"), st.integers(0, 5), st.integers(0, 2))))
def test_nobody_who_is_gone_is_asked_however_slowly_it_is_forgotten(
    steps: list[tuple[str, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2p.gossip.FORGOTTEN_AT_ONCE_MAX", 1)
        puller, now, gone = Puller(), 0, set[bytes]()
        peers, things = (A, B, C), ids(6)
        for action, number, who in steps:
            peer, thing = peers[who], things[number]
            match action:
                case "t" if peer not in gone:
                    puller.on_told(peer, [thing, things[number // 2]])
                case "r":
                    puller.on_received([thing])
                case "d":
                    puller.on_refused(peer, [thing])
                case "f" if peer not in gone:
                    puller.forget(peer)
                    gone.add(peer)
                case "c":
                    gone.discard(peer)
                case _:
                    now += 300
                    assert not gone & {pull.peer for pull in puller.poll(now)}
            ready = [thing for queue in puller._ready.values() for thing in queue]
            assert set(puller._wanted) == set(puller._asked) | set(ready)
            assert sum(puller._asking.values()) == len(puller._asked)
            tables = [puller._by_peer, puller._leaving, puller._ready, puller._asking]
            assert all(all(table.values()) for table in tables)
            assert not set(puller._by_peer) & set(puller._leaving)
        for peer in {A, B, C} - gone:
            puller.forget(peer)
        while puller.is_forgetting:
            puller.poll(now)
        assert not (puller._by_peer or puller._ready or puller._asking or puller._wanted)


def test_who_brings_nothing_of_what_it_told_is_named_by_the_number() -> None:
    puller, things = Puller(), ids(3 * UNKEPT_PER_VERDICT)
    puller.on_told(A, things)
    puller.on_told(B, things[: UNKEPT_PER_VERDICT // 2])
    now = 0
    while len(puller):
        for pull in puller.poll(now):
            if pull.peer == B:
                puller.on_received(pull.things)
        now += PULL_TIMEOUT_MS
    assert set(named := puller.take_unreliable()) == {A} and len(named) in (2, 3)
    assert puller.take_unreliable() == []


def test_who_says_that_it_has_them_no_more_is_named_and_who_is_gone_is_not() -> None:
    puller, things = Puller(), ids(UNKEPT_PER_VERDICT)
    for peer in (A, B):
        puller.on_told(peer, things)
    for pull in puller.poll(0):
        if pull.peer == A:
            puller.on_refused(A, pull.things)
    puller.forget(B)
    for pull in puller.poll(1):
        puller.on_refused(A, pull.things)
    assert puller.take_unreliable() == [A]


def test_giving_way_takes_as_long_however_many_gave_way_before() -> None:
    puller = Puller()
    for at, peer in enumerate((A, B)):
        puller.on_told(peer, ids(WANTED_PER_PEER_MAX, at * WANTED_PER_PEER_MAX))

    class Looks(set[bytes]):
        """To look for its first one again and again is to pass all that are gone before."""

        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("nothing is looked for from the start")

    for peer in (A, B):
        puller._by_peer[peer] = Looks(puller._by_peer[peer])
    puller.on_told(C, ids(1_000, WANTED_MAX))
    assert len(puller) == WANTED_MAX and len(puller._by_peer[C]) == 1_000


def test_who_is_silent_is_asked_for_less_until_it_brings_something() -> None:
    puller, asked = Puller(), 0
    puller.on_told(A, ids(10 * ASKED_PER_PEER_MAX))
    assert sum(len(pull.things) for pull in puller.poll(0)) == ASKED_PER_PEER_MAX
    for at in range(1, 6):
        pulls = puller.poll(at * PULL_TIMEOUT_MS)
        asked += sum(len(pull.things) for pull in pulls)
    assert 0 < asked <= 5 * ASKED_OF_SILENT_MAX
    puller.on_told(B, ids(2, 10**6))
    puller.on_told(A, ids(2, 10**6))
    assert Pull(B, tuple(ids(2, 10**6))) in puller.poll(5 * PULL_TIMEOUT_MS), "it answers"
    puller.on_received(pulls[0].things[:1])
    asked = sum(len(pull.things) for pull in puller.poll(5 * PULL_TIMEOUT_MS + 1))
    assert asked == ASKED_PER_PEER_MAX - ASKED_OF_SILENT_MAX + 1
