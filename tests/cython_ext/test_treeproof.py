"""Proofs of the state tree, over both twins: what is true is shown, whatever else fails."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import _tree, _tree_py, _treeproof, _treeproof_py

TWINS = pytest.mark.parametrize(
    ("pages", "proofs"),
    [(_tree, _treeproof), (_tree_py, _treeproof_py)],
    ids=["compiled", "pure"],
)
EMPTY = bytes(32)
KEYS = st.binary(max_size=3)
MAPS = st.dictionaries(KEYS, st.binary(max_size=4), max_size=80)
Parts = tuple[int, bytes, bytes, bytes]


def no_page(key: bytes, expected: bytes) -> object:
    raise AssertionError(f"page {key!r} was not written")


def grown(pages: ModuleType, items: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, object]]:
    root, written = pages.update([], no_page, EMPTY, list(items.items()))
    return root, written


@TWINS
@given(items=MAPS, key=KEYS)
def test_a_proof_shows_the_value_and_nothing_else(
    pages: ModuleType, proofs: ModuleType, items: dict[bytes, bytes], key: bytes
) -> None:
    root, written = grown(pages, items)
    for asked in [key, *list(items)[:10]]:
        proof = proofs.prove([written], no_page, root, asked)
        value = items.get(asked)
        for twin in (_treeproof, _treeproof_py):
            assert twin.verify(root, asked, value, *proof)
            assert not twin.verify(root, asked, b"another", *proof)
            assert not twin.verify(bytes(31) + b"\x01", asked, value, *proof)
            assert not twin.verify(root[:31], asked, value, *proof)
            assert not twin.verify(root, asked + b"\x00", value, *proof) or value is None
            assert value is None or not twin.verify(root, asked, None, *proof)


@given(items=MAPS, key=KEYS)
def test_both_twins_make_the_same_proof(items: dict[bytes, bytes], key: bytes) -> None:
    root, compiled = grown(_tree, items)
    _, pure = grown(_tree_py, items)
    for asked in [key, *list(items)[:5]]:
        assert _treeproof.prove([compiled], no_page, root, asked) == _treeproof_py.prove(
            [pure], no_page, root, asked
        )


def flips(proof: Parts) -> list[tuple[object, ...]]:
    """The proof with one bit changed, for every bit it has, and with its parts cut or grown."""
    depth, *parts = proof
    wrong: list[tuple[object, ...]] = [(depth + step, *parts) for step in (-1, 1, 8, 256, 2**20)]
    for index, part in enumerate(parts):
        changed = [part + b"\x00", part + bytes(32), part + bytes(64), part[:-1], part[32:]]
        for position in range(8 * len(part)):
            flipped = bytearray(part)
            flipped[position >> 3] ^= 1 << (position & 7)
            changed.append(bytes(flipped))
        wrong += [
            (depth, *parts[:index], other, *parts[index + 1 :])
            for other in changed
            if other != part
        ]
    if depth & 7:  # a sibling that no level asks for, before all others
        padded = bytearray(proof[1])
        padded[-1] |= 1
        wrong.append((depth, bytes(padded), b"\x01" * 32 + proof[2], proof[3]))
    return wrong


@TWINS
def test_every_flipped_bit_fails(pages: ModuleType, proofs: ModuleType) -> None:
    items = {b"%d" % number: b"value" for number in range(40)}
    root, written = grown(pages, items)
    kinds = set()
    for asked in [b"7", *(b"absent %d" % number for number in range(12))]:
        proof = proofs.prove([written], no_page, root, asked)
        value = items.get(asked)
        kinds.add((value is None, bool(proof[3])))
        assert proofs.verify(root, asked, value, *proof)
        for wrong in flips(proof):
            assert not proofs.verify(root, asked, value, *wrong), (asked, proof, wrong)
    assert kinds == {(False, False), (True, False), (True, True)}  # all three ends were met


@TWINS
def test_proofs_under_the_empty_root_and_a_single_leaf(
    pages: ModuleType, proofs: ModuleType
) -> None:
    nothing = proofs.prove([], no_page, EMPTY, b"key")
    assert nothing == (0, b"", b"", b"")
    assert proofs.verify(EMPTY, b"key", None, *nothing)
    assert not proofs.verify(EMPTY, b"key", b"", *nothing)
    root, written = grown(pages, {b"key": b"value"})
    assert proofs.prove([written], no_page, root, b"key") == nothing
    assert proofs.verify(root, b"key", b"value", *nothing)
    assert not proofs.verify(root, b"key", None, *nothing)
    assert not proofs.verify(root, b"other", b"value", *nothing)
    depth, bitmap, siblings, leaf = proofs.prove([written], no_page, root, b"other")
    assert proofs.verify(root, b"other", None, depth, bitmap, siblings, leaf)
    assert not proofs.verify(root, b"key", None, depth, bitmap, siblings, leaf)


@TWINS
def test_a_leaf_from_elsewhere_shows_no_absence(pages: ModuleType, proofs: ModuleType) -> None:
    items = {b"%d" % number: b"v" for number in range(40)}
    root, written = grown(pages, items)
    ends = [proofs.prove([written], no_page, root, b"absent %d" % number) for number in range(30)]
    theirs = next(proof for proof in ends if proof[3])
    for number in range(40):
        assert not proofs.verify(root, b"%d" % number, None, *theirs)
