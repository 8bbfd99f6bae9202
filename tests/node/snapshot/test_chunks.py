"""Chunks: marks that tile the tree fold to its root, and a chunk is all rows of its subtree."""

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext import tree_parts as kernel
from node.snapshot import cutting
from node.snapshot.cutting import Bins, cut
from state import chunks
from state.chunks import Chunk, Mark, fold, read_chunk
from state.codec import encode, replace
from state.errors import Malformed
from state.tree import EMPTY_ROOT, rebuild

Cut = list[tuple[Mark, bytes]]
MAPS = st.dictionaries(st.binary(max_size=6), st.binary(max_size=12), max_size=80)
NOWHERE = Path("/nonexistent")
"""Where bins would go that do not fit into memory; these do."""


def pieces(rows: dict[bytes, bytes]) -> Cut:
    bins = Bins(NOWHERE)
    for key, value in rows.items():
        bins.add(key, value)
    return list(cut(bins))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of a few rows, so that a handful of rows makes many."""
    monkeypatch.setattr(cutting, "CHUNK_BYTES", 100)
    return 100


def many(count: int) -> dict[bytes, bytes]:
    return {b"key %d" % number: b"value %d" % number for number in range(count)}


@settings(deadline=None)
@given(rows=MAPS, size=st.sampled_from([1, 30, 100, 1_000]))
def test_what_was_cut_folds_to_the_root_and_holds_every_row(
    rows: dict[bytes, bytes], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "CHUNK_BYTES", size)
        found = pieces(rows)
        again = pieces(dict(sorted(rows.items(), reverse=True)))
    assert found == again
    assert fold([mark for mark, _ in found]) == rebuild(rows.items())
    read = [row for mark, data in found for row in read_chunk(mark, data)]
    assert sorted(read) == sorted(rows.items())
    for _, data in found:
        held = chunks._chunks.decode(data).rows
        assert len(held) < 2 or sum(cutting.row_bytes(*row) for row in held) <= size


def test_an_empty_state_and_one_row_are_one_chunk() -> None:
    ((mark, data),) = pieces({})
    assert (mark, read_chunk(mark, data)) == (Mark(0, b"", EMPTY_ROOT), ())
    ((mark, data),) = pieces({b"k": b"v"})
    assert mark.digest == rebuild([(b"k", b"v")])
    assert read_chunk(mark, data) == ((b"k", b"v"),)


def test_a_large_row_stands_alone(small: int) -> None:
    rows = {**many(20), b"large": bytes(5 * small)}
    found = pieces(rows)
    assert fold([mark for mark, _ in found]) == rebuild(rows.items())
    alone = [data for _, data in found if len(data) > 5 * small]
    assert [chunks._chunks.decode(data).rows[0][0] for data in alone] == [b"large"]


def test_keys_whose_paths_begin_alike_are_cut_far_down(small: int) -> None:
    """Whoever chooses keys by their hashes cannot make a chunk longer than another."""
    group: list[bytes] = []
    number = 0
    while len(group) < 12:
        number += 1
        if kernel.path_of(b"%d" % number)[:1] == b"\x5a":
            group.append(b"%d" % number)
    rows = {key: bytes(30) for key in group}
    found = pieces(rows)
    assert max(mark.level for mark, _ in found) > cutting.BIN_LEVEL
    assert fold([mark for mark, _ in found]) == rebuild(rows.items())
    assert sum([len(read_chunk(mark, data)) for mark, data in found]) == 12


def test_bins_that_grow_go_to_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    rows = many(200)
    expected = pieces(rows)
    monkeypatch.setattr(cutting, "BINS_BYTES_MAX", 900)
    bins = Bins(tmp_path)
    for key, value in rows.items():
        bins.add(key, value)
    assert any(tmp_path.iterdir())
    assert list(cut(bins)) == expected
    assert not any(tmp_path.iterdir())


def test_the_memory_that_cutting_takes_does_not_follow_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the bounds, and then of the memory, and of the time that watching it takes."""
    monkeypatch.setattr(cutting, "CHUNK_BYTES", chunks.CHUNK_BYTES // 10)
    monkeypatch.setattr(cutting, "BINS_BYTES_MAX", cutting.BINS_BYTES_MAX // 10)

    def sort_and_cut() -> int:
        bins = Bins(tmp_path)
        for number in range(20_000):
            bins.add(b"row %d" % number, bytes(150))
        for _ in cut(bins):
            pass
        return sum(bins.sizes)

    state_bytes = sort_and_cut()  # names of files and the like are made once
    tracemalloc.start()
    try:
        sort_and_cut()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert state_bytes > 3 * 2**20
    assert peak_bytes < 6 * (chunks.CHUNK_BYTES // 10)


Rows = list[tuple[bytes, bytes]]


def without_first(rows: Rows) -> Rows:
    return rows[1:]


def with_another(rows: Rows) -> Rows:
    return sorted([*rows, (b"another", b"row")])


def with_another_value(rows: Rows) -> Rows:
    return [(rows[0][0], rows[0][1] + b"!"), *rows[1:]]


def with_another_key(rows: Rows) -> Rows:
    return sorted([(rows[0][0] + b"!", rows[0][1]), *rows[1:]])


def in_another_order(rows: Rows) -> Rows:
    return rows[::-1]


def with_one_twice(rows: Rows) -> Rows:
    return [rows[0], *rows]


@pytest.mark.parametrize(
    "change",
    [
        without_first,
        with_another,
        with_another_value,
        with_another_key,
        in_another_order,
        with_one_twice,
    ],
)
@pytest.mark.parametrize("count", [2, 40])
def test_a_chunk_that_was_changed_is_refused(
    small: int, count: int, change: Callable[[Rows], Rows]
) -> None:
    checked = 0
    for mark, data in pieces(many(count)):
        rows = list(read_chunk(mark, data))
        if len(rows) > 1:
            with pytest.raises(Malformed):
                read_chunk(mark, encode(Chunk(tuple(change(rows)))))
            checked += 1
    assert checked


def test_a_row_moved_over_the_border_of_two_chunks_is_refused(small: int) -> None:
    found = pieces(many(40))
    for (left, left_data), (right, right_data) in pairwise(found):
        lefts, rights = read_chunk(left, left_data), read_chunk(right, right_data)
        for mark, rows in [
            (left, lefts[:-1]),
            (right, tuple(sorted([*rights, *lefts[-1:]]))),
            (left, tuple(sorted([*lefts, *rights[:1]]))),
            (right, rights[1:]),
        ]:
            if rows not in (lefts, rights):
                with pytest.raises(Malformed):
                    read_chunk(mark, encode(Chunk(rows)))
        with pytest.raises(Malformed):
            read_chunk(left, right_data)


def test_a_chunk_is_held_to_its_bounds_before_it_is_decoded(small: int) -> None:
    mark = pieces({})[0][0]
    for data in (b"", b"\x90", b"\x91\xdd\xff\xff\xff\xff", bytes(chunks.CHUNK_BYTES_MAX + 1)):
        with pytest.raises(Malformed):
            read_chunk(mark, data)


def test_marks_that_do_not_tile_the_tree_are_refused(small: int) -> None:
    marks = [mark for mark, _ in pieces(many(40))]
    root = fold(marks)
    assert root == rebuild(many(40).items())
    for wrong in (
        [],
        marks[1:],
        marks[:-1],
        marks[::-1],
        [*marks, marks[-1]],
        [marks[0], *marks],
        [replace(marks[0], level=marks[0].level + 1), *marks[1:]],
        [replace(marks[0], prefix=b"\x01" + marks[0].prefix[1:]), *marks[1:]],
        [replace(marks[0], prefix=marks[0].prefix + b"\x00"), *marks[1:]],
        # a subtree of half the tree that starts at its first quarter
        [Mark(2, b"\x00", root), Mark(1, b"\x40", root), Mark(2, b"\xc0", root)],
    ):
        with pytest.raises(Malformed):
            fold(wrong)
    for index in range(len(marks)):
        other = [*marks]
        other[index] = replace(marks[index], digest=bytes(31) + b"\x01")
        assert fold(other) != root


def test_no_mark_hides_rows_of_a_lone_subtree(small: int) -> None:
    """A single row is its subtree's hash at every level, but no node over it is."""
    root = rebuild([(b"k", b"v")])
    side = kernel.path_of(b"k")[0] >> 7
    halves = [Mark(1, bytes([bit << 7]), root if bit == side else EMPTY_ROOT) for bit in (0, 1)]
    assert fold(halves) != root
