"""Layers of rows against plain dictionaries; scans in key order; bounds at rest."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import tables
from state.codec import Struct, encode
from state.errors import BoundExceeded, NotFound
from state.keys import ADDRESS_KEY, TEXT_KEY, U16_KEY, U64_KEY, KeyShape
from state.tables import Base, State, Table
from state.types import Amount


class Entry(Struct):
    amount: Amount


class Store:
    """A reader over a dictionary."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.data.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.data):
            if start <= key < stop:
                yield key, self.data[key]


ENTRIES: Table[tuple[int, str], Entry] = Table(
    b"\x09\x01", "test.entries", KeyShape(U16_KEY, TEXT_KEY), Entry
)
OTHERS: Table[int, Entry] = Table(b"\x09\x02", "test.others", KeyShape(U64_KEY), Entry)

_keys = st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", "ab"]))
_operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _keys, st.integers(0, 9)),
        st.tuples(st.just("delete"), _keys, st.just(0)),
        st.tuples(
            st.sampled_from(["begin", "commit", "rollback", "finalize", "layer"]),
            st.just((0, "a")),
            st.just(0),
        ),
    ),
    max_size=60,
)


def finalize(store: Store, base: Base, state: State) -> None:
    """Write a layer's bytes to the store, as a node does when a block is final."""
    for key, value in state.changes():
        if value is None:
            store.data.pop(key, None)
        else:
            store.data[key] = value
    base.absorb(state.rows)


@settings(max_examples=200)
@given(_operations)
def test_layers_match_a_dictionary(operations: list[tuple[str, tuple[int, str], int]]) -> None:
    store = Store()
    base = Base(store)
    state = State(base)
    layers = [state]
    model: dict[tuple[int, str], int] = {}
    saved: dict[tuple[int, str], int] | None = None
    for name, key, amount in operations:
        if name == "put":
            ENTRIES.put(state, key, Entry(amount))
            model[key] = amount
        elif name == "delete":
            ENTRIES.delete(state, key)
            model.pop(key, None)
        elif name == "begin" and saved is None:
            state.begin()
            saved = dict(model)
        elif name == "commit" and saved is not None:
            state.commit()
            saved = None
        elif name == "rollback" and saved is not None:
            state.rollback()
            model, saved = saved, None
        elif name == "layer" and saved is None:
            state = State(state)
            layers.append(state)
        elif name == "finalize" and saved is None:
            for layer in layers:
                finalize(store, base, layer)
            state = State(base)
            layers = [state]
        expected = sorted(model.items(), key=lambda item: ENTRIES.key(item[0]))
        assert [(k, row.amount) for k, row in ENTRIES.scan(state)] == expected
        for k in [(n, t) for n in range(4) for t in ("a", "b", "ab")]:
            row = ENTRIES.get(state, k)
            assert (None if row is None else row.amount) == model.get(k)


@pytest.mark.parametrize(("rows", "blocks"), [(2, 256), (200_000, 1), (4, 2), (0, 1)])
def test_they_match_whatever_is_forgotten(
    rows: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CACHED_ROWS_MAX", rows)
    monkeypatch.setattr(tables, "GENERATION_BLOCKS", blocks)
    test_layers_match_a_dictionary()


def test_memory_holds_what_is_in_use_and_no_more() -> None:
    store = Store()
    base = Base(store)
    state = State(base)
    for number in range(1_000):
        OTHERS.put(state, number, Entry(number))
    finalize(store, base, state)
    with patch.object(store, "get", side_effect=store.get) as read:
        for height in range(10 * tables.GENERATION_BLOCKS):
            layer = State(base)
            assert OTHERS.get(layer, height % 10) == Entry(height % 10)
            OTHERS.put(layer, 1_000 + height, Entry(height))
            finalize(store, base, layer)
    kept = len(base._young) + len(base._old)
    assert kept <= 2 * (tables.GENERATION_BLOCKS + 10), "most rows were used long ago"
    asked = {call.args[0] for call in read.call_args_list}
    assert not asked & {OTHERS.key(number) for number in range(10)}, "what is in use stays"


def test_more_than_may_be_kept_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CACHED_ROWS_MAX", 100)
    store = Store()
    base = Base(store)
    for first in range(0, 1_000, 40):
        state = State(base)
        for number in range(first, first + 40):
            OTHERS.put(state, number, Entry(number))
        finalize(store, base, state)
        assert len(base._young) + len(base._old) <= 100 + 40
    state = State(base)
    for number in range(101):
        OTHERS.put(state, number, Entry(number))
    finalize(store, base, state)
    assert not base._young and not base._old


@given(
    st.lists(
        st.tuples(st.sampled_from("ppppddbrcs"), st.integers(0, 60)), min_size=20, max_size=120
    )
)
def test_many_keys_between_two_scans(operations: list[tuple[str, int]]) -> None:
    """Keys that came since the last scan, few or many, kept or rolled back, stand in order."""
    state = State(Base(Store()))
    model: dict[int, int] = {}
    saved: dict[int, int] | None = None
    for name, number in [*operations, ("s", 0)]:
        if name == "p":
            OTHERS.put(state, number, Entry(number))
            model[number] = number
        elif name == "d":
            OTHERS.delete(state, number)
            model.pop(number, None)
        elif name == "b" and saved is None:
            state.begin()
            saved = dict(model)
        elif name == "r" and saved is not None:
            state.rollback()
            model, saved = saved, None
        elif name == "c" and saved is not None:
            state.commit()
            saved = None
        elif name == "s":
            assert [key for key, _ in OTHERS.scan(state)] == sorted(model)
            behind = [key for key, _ in OTHERS.scan(state, after=number, limit=3)]
            assert behind == sorted(key for key in model if key > number)[:3]


def test_writing_and_scanning_by_turns_costs_no_square() -> None:
    """What a block can be filled with: every message adds a row and scans a few."""
    state = State(Base(Store()))
    for number in range(40_000):
        OTHERS.put(state, number, Entry(1))
        assert [key for key, _ in OTHERS.scan(state, under=(number,))] == [number]


def test_sentences_are_the_same_on_every_machine() -> None:
    """They stand under the outcomes root: neither a library's words nor repr may be in them."""
    state = State(Base(Store()))
    with pytest.raises(NotFound, match=r"no row 1/'\\xe4\\u2028' in test.entries; check"):
        ENTRIES.require(state, (1, "\u00e4\u2028"))
    with pytest.raises(BoundExceeded) as caught:
        OTHERS.put(state, 1, Entry(2**63))
    assert caught.value.sentence == (
        "A row of test.others would leave its bounds; use smaller amounts."
    )


def test_scan_under_after_and_limit() -> None:
    state = State(Base(Store()))
    for number in range(5):
        for text in ("a", "b"):
            ENTRIES.put(state, (number, text), Entry(number))
    OTHERS.put(state, 1, Entry(1))
    assert [key for key, _ in ENTRIES.scan(state, under=(2,))] == [(2, "a"), (2, "b")]
    assert [key for key, _ in ENTRIES.scan(state, after=(3, "a"))] == [(3, "b"), (4, "a"), (4, "b")]
    assert [key for key, _ in ENTRIES.scan(state, limit=2)] == [(0, "a"), (0, "b")]
    assert [key for key, _ in ENTRIES.scan(state, under=(2,), after=(2, "a"))] == [(2, "b")]
    assert list(ENTRIES.scan(state, limit=0)) == []


def test_rows_keep_their_bounds_at_rest() -> None:
    state = State(Base(Store()))
    for amount in (-1, 2**63, 2**64):
        with pytest.raises(BoundExceeded):
            OTHERS.put(state, 1, Entry(amount))
    assert OTHERS.get(state, 1) is None
    OTHERS.put(state, 1, Entry(2**63 - 1))
    with pytest.raises(NotFound):
        OTHERS.require(state, 2)


def test_changes_are_sorted_bytes() -> None:
    state = State(Base(Store()))
    OTHERS.put(state, 2, Entry(5))
    ENTRIES.put(state, (1, "a"), Entry(7))
    ENTRIES.delete(state, (0, "b"))
    assert state.changes() == [
        (b"\x09\x01\x00\x00\x01b", None),
        (b"\x09\x01\x00\x01\x01a", encode(Entry(7))),
        (b"\x09\x02" + bytes(7) + b"\x02", encode(Entry(5))),
    ]


@given(st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.text(max_size=6)), max_size=8))
def test_keys_unpack_and_no_key_starts_another(keys: list[tuple[bytes, str]]) -> None:
    shape: KeyShape[tuple[bytes, str]] = KeyShape(ADDRESS_KEY, TEXT_KEY)
    packed = {shape.pack(key): key for key in keys}
    for data, key in packed.items():
        assert shape.unpack(data) == key
        assert not any(other != data and other.startswith(data) for other in packed)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=9))
def test_integer_keys_keep_their_order(numbers: list[int]) -> None:
    shape: KeyShape[int] = KeyShape(U64_KEY)
    assert [shape.unpack(d) for d in sorted(shape.pack(n) for n in numbers)] == sorted(numbers)
