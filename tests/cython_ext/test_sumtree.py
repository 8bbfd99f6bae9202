"""Merkle-sum trees, over both twins and against a recursive reference."""

from hashlib import blake2b
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import _sumtree, _sumtree_py

TWINS = pytest.mark.parametrize("twin", [_sumtree, _sumtree_py], ids=["compiled", "pure"])
TAG = b"test/sums"
TOP = 2**63 - 1
Sums = tuple[int, ...]
Tokens = st.integers(0, 2**40)
Rows = st.lists(st.tuples(st.just(1), Tokens, Tokens, Tokens, Tokens), min_size=1, max_size=33)


def leaf(at: int) -> bytes:
    """The hash of a leaf; how it is made is the caller's business."""
    return blake2b(b"\x00%d" % at, digest_size=32).digest()


def leaves(count: int) -> tuple[list[bytes], list[Sums]]:
    """So many leaves of one call each, all their sums different."""
    return [leaf(at) for at in range(count)], [
        (1, at, 7 * at, at + 3, 10**9 + at) for at in range(count)
    ]


def reference(hashes: list[bytes], rows: list[Sums]) -> tuple[bytes, Sums]:
    """The definition: split at the largest power of two, hash children with their sums."""
    if len(hashes) == 1:
        return hashes[0], rows[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    preimage = b"\x01"
    parts = reference(hashes[:split], rows[:split]), reference(hashes[split:], rows[split:])
    for node, sums in parts:
        preimage += node + b"".join(number.to_bytes(8, "big") for number in sums)
    total = tuple(map(sum, zip(parts[0][1], parts[1][1], strict=True)))
    return blake2b(preimage, digest_size=32, person=TAG).digest(), total


@TWINS
@given(rows=Rows)
def test_root_and_totals_are_those_of_the_definition(twin: ModuleType, rows: list[Sums]) -> None:
    hashes = [leaf(at) for at in range(len(rows))]
    assert twin.sum_root(TAG, hashes, rows) == reference(hashes, rows)
    assert twin.sum_root(TAG, hashes, rows)[1] == tuple(map(sum, zip(*rows, strict=True)))


@TWINS
def test_golden_root(twin: ModuleType) -> None:
    root, total = twin.sum_root(TAG, *leaves(7))
    assert total == (7, 21, 147, 42, 7 * 10**9 + 21)
    assert root.hex() == "6b708afdecdd17beccecaf30e2194a3fb4111c827a34ebf47266a9bf9fbc6b11"


@TWINS
@pytest.mark.parametrize("count", [*range(1, 18), 33])
def test_every_leaf_is_proven_at_its_own_place_and_no_other(twin: ModuleType, count: int) -> None:
    hashes, rows = leaves(count)
    root, total = twin.sum_root(TAG, hashes, rows)
    for index in range(count):
        path = twin.sum_path(TAG, hashes, rows, index)
        proof = (hashes[index], rows[index], index, path)
        assert twin.sum_verify(TAG, root, total, *proof)
        assert count == 1 or not twin.sum_verify(b"other", root, total, *proof)
        assert not twin.sum_verify(TAG, leaf(99), total, *proof)
        for other in (*range(-1, count + 1), 2**64 + index, -(2**70)):
            if other != index:
                assert not twin.sum_verify(TAG, root, total, *proof[:2], other, path)
        assert not twin.sum_verify(TAG, root, total, *proof[:3], [*path, (root, rows[0])])
        shorter = path[1:] if path else [(root, rows[0])]
        assert not twin.sum_verify(TAG, root, total, *proof[:3], shorter)


@TWINS
def test_no_sum_may_differ_anywhere(twin: ModuleType) -> None:
    hashes, rows = leaves(6)
    root, total = twin.sum_root(TAG, hashes, rows)
    path = twin.sum_path(TAG, hashes, rows, 3)

    def changed(sums: Sums, field: int, by: int) -> Sums:
        return (*sums[:field], sums[field] + by, *sums[field + 1 :])

    for field in range(5):
        for by in (-1, 1):
            assert not twin.sum_verify(
                TAG, root, changed(total, field, by), hashes[3], rows[3], 3, path
            )
            assert not twin.sum_verify(
                TAG, root, total, hashes[3], changed(rows[3], field, by), 3, path
            )
            for at, (node, sums) in enumerate(path):
                spoiled = [*path]
                spoiled[at] = (node, changed(sums, field, by))
                assert not twin.sum_verify(TAG, root, total, hashes[3], rows[3], 3, spoiled)


@TWINS
def test_moving_value_between_sums_that_cancel_is_refused(twin: ModuleType) -> None:
    """The totals alone would still add up; the hashes do not."""
    hashes, rows = leaves(4)
    root, total = twin.sum_root(TAG, hashes, rows)
    path = twin.sum_path(TAG, hashes, rows, 0)
    richer = (*rows[0][:4], rows[0][4] + 1)
    (node, sums), rest = path[0], path[1:]
    poorer = (node, (*sums[:4], sums[4] - 1))
    assert twin.sum_verify(TAG, root, total, hashes[0], rows[0], 0, path)
    assert not twin.sum_verify(TAG, root, total, hashes[0], richer, 0, [poorer, *rest])


@TWINS
@pytest.mark.parametrize(
    ("calls", "provable"),
    [((1, 1, 1, 1), {0, 1, 2, 3}), ((2, 1, 1, 0), set()), ((2, 0, 1, 1), {2, 3})],
    ids=["honest", "shifted", "shifted and back"],
)
def test_the_calls_left_of_a_leaf_are_its_index(
    twin: ModuleType, calls: tuple[int, ...], provable: set[int]
) -> None:
    """A committed leaf that counts two calls cannot be proven, nor can those it displaces."""
    hashes, rows = leaves(4)
    rows = [(number, *row[1:]) for number, row in zip(calls, rows, strict=True)]
    root, total = twin.sum_root(TAG, hashes, rows)
    assert total[0] == 4
    for index in range(4):
        path = twin.sum_path(TAG, hashes, rows, index)
        verdict = twin.sum_verify(TAG, root, total, hashes[index], rows[index], index, path)
        assert verdict is (index in provable), index


@TWINS
@pytest.mark.parametrize("field", range(5))
def test_a_sum_that_reaches_the_limit_overflows(twin: ModuleType, field: int) -> None:
    def row(number: int) -> Sums:
        return (*(0,) * field, number, *(0,) * (4 - field))

    hashes = [leaf(at) for at in range(3)]
    fits = [row(TOP - 5), row(2), row(3)]
    assert twin.sum_root(TAG, hashes, fits)[1] == row(TOP)
    too_much = ([row(TOP - 5), row(2), row(4)], [row(TOP), row(TOP), row(TOP)], [row(TOP + 1)] * 3)
    for rows in (*too_much, [row(TOP + 1)], [row(TOP + 1)] * 2, [row(-1)], [row(2**64)]):
        with pytest.raises(OverflowError):
            twin.sum_root(TAG, hashes[: len(rows)], rows)
        with pytest.raises(OverflowError):
            twin.sum_path(TAG, hashes[: len(rows)], rows, 0)


@TWINS
def test_a_proof_whose_partial_sums_leave_the_range_is_false(twin: ModuleType) -> None:
    """Wrapped around 2^64, the totals of this forged proof would come out right."""
    path = [(leaf(1), (1, 0, 0, 0, TOP)), (leaf(2), (2, 0, 0, 0, 3))]
    for total in ((4, 0, 0, 0, 1), (4, 0, 0, 0, TOP), (4, 0, 0, 0, 2**64 + 1)):
        assert not twin.sum_verify(TAG, leaf(9), total, leaf(0), (1, 0, 0, 0, TOP), 0, path)


@TWINS
def test_what_strangers_send_never_raises(twin: ModuleType) -> None:
    hashes, rows = leaves(2)
    root, total = twin.sum_root(TAG, hashes, rows)
    good = twin.sum_path(TAG, hashes, rows, 0)
    bad_siblings: list[tuple[bytes, Sums]] = [
        (b"", rows[1]),
        (hashes[1] + b"!", rows[1]),
        (hashes[1], ()),
        (hashes[1], rows[1][:4]),
        (hashes[1], (*rows[1], 0)),
        (hashes[1], (-1,) * 5),
        (hashes[1], (2**63,) * 5),
        (hashes[1], (2**64,) * 5),
        (hashes[1], (2**200,) * 5),
    ]
    for sibling in bad_siblings:
        assert twin.sum_verify(TAG, root, total, hashes[0], rows[0], 0, [sibling]) is False
    for sums in ((), (1,), (2**63,) * 5, (-1,) * 5, (0,) * 5):
        assert twin.sum_verify(TAG, root, sums, hashes[0], rows[0], 0, good) is False
        assert twin.sum_verify(TAG, root, total, hashes[0], sums, 0, good) is False
    assert twin.sum_verify(TAG, root[:31], total, hashes[0], rows[0], 0, good) is False
    assert twin.sum_verify(TAG, root, total, b"", rows[0], 0, good) is False


@TWINS
def test_an_odd_last_node_is_promoted_and_a_node_is_no_leaf(twin: ModuleType) -> None:
    hashes, rows = leaves(3)
    pair, pair_sums = twin.sum_root(TAG, hashes[:2], rows[:2])
    assert twin.sum_path(TAG, hashes, rows, 2) == [(pair, pair_sums)]
    root, total = twin.sum_root(TAG, hashes, rows)
    doubled = twin.sum_root(TAG, [*hashes, hashes[2]], [*rows, rows[2]])
    assert doubled[0] != root
    # The inner node over two calls, offered as if it were a leaf of a tree of two.
    assert not twin.sum_verify(TAG, root, total, pair, pair_sums, 0, [(hashes[2], rows[2])])


@TWINS
def test_misuse_is_refused(twin: ModuleType) -> None:
    hashes, rows = leaves(3)
    wrong = (([], []), (hashes, rows[:2]), ([*hashes[:2], b"short"], rows), (hashes, [(1, 2)] * 3))
    for pair in wrong:
        with pytest.raises(ValueError):
            twin.sum_root(TAG, *pair)
        with pytest.raises(ValueError):
            twin.sum_path(TAG, *pair, 0)
    for index in (-1, 3):
        with pytest.raises(IndexError, match="of a tree of 3"):
            twin.sum_path(TAG, hashes, rows, index)
    for call in (twin.sum_root, lambda *tree: twin.sum_path(*tree, 0)):
        with pytest.raises(ValueError, match="at most 16 bytes"):
            call(b"x" * 17, hashes[:2], rows[:2])


@given(rows=Rows)
def test_twins_agree(rows: list[Sums]) -> None:
    hashes = [leaf(at) for at in range(len(rows))]
    assert _sumtree.sum_root(TAG, hashes, rows) == _sumtree_py.sum_root(TAG, hashes, rows)
    for index in range(len(rows)):
        expected = _sumtree_py.sum_path(TAG, hashes, rows, index)
        assert _sumtree.sum_path(TAG, hashes, rows, index) == expected
