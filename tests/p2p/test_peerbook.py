"""The address book: bounded, hard to fill from one side, forgiving, and safe at rest."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2p.addresses import Address, PeerAddress, group_of
from p2p.peerbook import (
    ANCHORS_MAX,
    BUCKET_SIZE,
    ENTRIES_MAX,
    GROUP_BUCKETS,
    HEARD_BUCKETS,
    PROVEN_BUCKETS,
    SOURCE_BUCKETS,
    CorruptBook,
    PeerBook,
)

SECRET = b"\x05" * 32


def peer(number: int, host: str | None = None) -> PeerAddress:
    host = host or f"{11 + number % 90}.{number // 90 % 200}.{number // 18_000 % 250}.1"
    return PeerAddress(number.to_bytes(32, "big"), Address(host, 1 + number % 60_000))


def filled(count: int, *, proven: bool = False) -> PeerBook:
    book = PeerBook(SECRET)
    for number in range(count):
        book.hear(peer(number), f"{11 + number % 90}.{number % 200}.9.9")
        if proven:
            book.prove(peer(number))
    return book


def test_one_teller_fills_no_more_than_its_buckets() -> None:
    book = PeerBook(SECRET)
    for number in range(20_000):
        book.hear(peer(number), f"66.6.1.{number % 250}")
    assert len(book) <= SOURCE_BUCKETS * BUCKET_SIZE


def test_a_flood_from_one_subnet_leaves_most_of_the_others() -> None:
    book = filled(600)
    before = {entry.peer.address for entry in book}
    for number in range(20_000):
        book.hear(peer(100_000 + number), "66.6.1.1")
    kept = before & {entry.peer.address for entry in book}
    assert len(kept) >= len(before) * (HEARD_BUCKETS - SOURCE_BUCKETS) // HEARD_BUCKETS - 20


def test_one_subnet_proves_no_more_than_its_buckets() -> None:
    book = filled(600, proven=True)
    before = {entry.peer.address for entry in book}
    for number in range(5_000):
        book.prove(peer(200_000 + number, f"66.6.{number // 250}.{number % 250}"))
    entries = list(book)
    invaders = [one for one in entries if group_of(one.peer.address.host) == "66.6.0.0/16"]
    assert len(invaders) <= GROUP_BUCKETS * BUCKET_SIZE
    kept = before & {entry.peer.address for entry in entries}
    assert len(kept) >= len(before) * (PROVEN_BUCKETS - GROUP_BUCKETS) // PROVEN_BUCKETS - 20


@given(st.integers(0, 2**32), st.integers(0, 400))
def test_the_book_has_an_end_and_its_buckets_agree(seed: int, steps: int) -> None:
    chance, book = random.Random(seed), PeerBook(SECRET)
    for _ in range(steps):
        one = peer(chance.randrange(200))
        match chance.randrange(4):
            case 0 | 1:
                book.hear(one, f"{chance.randrange(1, 200)}.1.1.1")
            case 2:
                book.prove(one)
            case 3:
                book.fail(one.address)
    rows = [address for bucket in book._buckets.values() for address in bucket]
    assert sorted(map(str, rows)) == sorted(str(entry.peer.address) for entry in book)
    assert all(len(bucket) <= BUCKET_SIZE for bucket in book._buckets.values())
    assert len(book) <= ENTRIES_MAX


def test_telling_again_changes_nothing() -> None:
    book = PeerBook(SECRET)
    one = peer(1)
    assert book.hear(one, "1.1.1.1")
    assert not book.hear(PeerAddress(b"E" * 32, one.address), "2.2.2.2")
    entry = book.get(one.address)
    assert entry is not None and entry.peer.node_id == one.node_id


def test_failures_come_last_and_never_remove() -> None:
    book = filled(40)
    worst = {peer(number).address for number in range(20)}
    for address in worst:
        for _ in range(1_000):
            book.fail(address)
    assert len(book) == 40
    picked = book.pick(random.Random(1), lambda entry: True, 40)
    assert {entry.peer.address for entry in picked[:15]}.isdisjoint(worst)
    assert {entry.peer.address for entry in picked} & worst
    book.prove(peer(0))
    entry = book.get(peer(0).address)
    assert entry is not None and entry.failures == 0 and entry.is_proven


def test_those_picked_are_of_distinct_subnets_and_wanted() -> None:
    book = PeerBook(SECRET)
    for number in range(300):
        book.hear(peer(number, f"66.6.0.{number % 250}"), f"{number % 100 + 1}.1.1.1")
        book.hear(peer(1_000 + number), f"{number % 100 + 1}.1.1.1")
    picked = book.pick(
        random.Random(1), lambda entry: entry.peer.node_id != peer(1_000).node_id, 10
    )
    groups = [group_of(entry.peer.address.host) for entry in picked]
    assert len(set(groups)) == len(groups) == 10
    assert peer(1_000) not in [entry.peer for entry in picked]


def test_only_what_proved_itself_is_told() -> None:
    book = filled(50)
    assert book.tell(random.Random(1), lambda entry: True, 10) == ()
    for number in range(20):
        book.prove(peer(number))
    book.fail(peer(0).address)
    told = book.tell(random.Random(1), lambda entry: entry.peer != peer(1), 100)
    assert set(told) == {peer(number) for number in range(2, 20)}
    assert len(book.tell(random.Random(1), lambda entry: True, 5)) == 5


def test_a_book_comes_back_from_its_bytes() -> None:
    book = filled(300)
    for number in range(50):
        book.prove(peer(number))
    book.fail(peer(7).address)
    book.anchors = (peer(1), peer(2))
    again = PeerBook.from_bytes(book.to_bytes(), "peers.book")
    assert set(again) == set(book) and again.anchors == book.anchors
    assert set(PeerBook.from_bytes(again.to_bytes(), "peers.book")) == set(book)


HOSTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=253)


NAME = "a1b2c3d4e5f6a7b8c9d0-0123456789abcdef.elb.eu-central-1.amazonaws.com"


@settings(max_examples=50)
@example([(NAME, NAME, True, 1)])
@given(st.lists(st.tuples(HOSTS, HOSTS, st.booleans(), st.integers(1, 65_535)), max_size=20))
def test_whatever_was_taken_comes_back(told: list[tuple[str, str, bool, int]]) -> None:
    book = PeerBook(SECRET)
    for at, (host, source, is_met, port) in enumerate(told):
        one = PeerAddress(at.to_bytes(32, "big"), Address(host, port))
        if is_met:
            book.prove(one)
        else:
            book.hear(one, source)
    book.anchors = tuple(entry.peer for entry in book)[:ANCHORS_MAX]
    again = PeerBook.from_bytes(book.to_bytes(), "peers.book")
    assert set(again) == set(book) and again.anchors == book.anchors


def test_a_book_full_of_the_longest_names_comes_back() -> None:
    book = PeerBook(SECRET)
    for number in range(ENTRIES_MAX):
        name = f"{number:05}" + "\U0001f600" * 248
        one = PeerAddress(number.to_bytes(32, "big"), Address(name, 65_535))
        book.hear(one, name[::-1])
        if number % 2:
            book.prove(one)
    for _ in range(300):
        book.fail(one.address)
    book.anchors = (one,) * ANCHORS_MAX
    assert len(book) > ENTRIES_MAX // 2 and len(book.to_bytes()) > 2**21
    again = PeerBook.from_bytes(book.to_bytes(), "peers.book")
    assert {entry.peer for entry in again} == {entry.peer for entry in book}
    assert again.anchors == book.anchors


@pytest.mark.parametrize(
    "bend", [lambda d: d[:-1], lambda d: b"", lambda d: d[:40] + b"x" + d[41:]]
)
def test_a_damaged_book_is_named(bend: object) -> None:
    data = filled(10).to_bytes()
    assert callable(bend)
    with pytest.raises(CorruptBook, match=r"peers\.book"):
        PeerBook.from_bytes(bend(data), "peers.book")


def test_other_bytes_with_a_right_checksum_are_named_too() -> None:
    from p2p.codec import Tag, hash_bytes

    with pytest.raises(CorruptBook, match="another form"):
        PeerBook.from_bytes(hash_bytes(Tag.BOOK, b"\x90") + b"\x90", "peers.book")
