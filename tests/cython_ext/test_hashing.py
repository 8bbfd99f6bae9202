"""Tagged hashes and Merkle trees, over both twins and against a recursive reference."""

from hashlib import blake2b
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import _hashing, _hashing_py

TWINS = pytest.mark.parametrize("twin", [_hashing, _hashing_py], ids=["compiled", "pure"])
TAG = b"test/tree"
Leaves = st.lists(st.binary(max_size=40), max_size=40)


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word: split at the largest power of two below n."""

    def digest(data: bytes) -> bytes:
        return blake2b(data, digest_size=32, person=TAG).digest()

    if len(leaves) <= 1:
        return digest(b"\x00" + leaves[0] if leaves else b"")
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = reference_root(leaves[:split]), reference_root(leaves[split:])
    return digest(b"\x01" + left + right)


@TWINS
@pytest.mark.parametrize("size", [0, 1, 31, 127, 128, 129, 1023, 2047, 2048, 100_000])
@pytest.mark.parametrize("tag", [b"", b"t", b"sixteen bytes ok"])
def test_the_hash_is_blake2b_256_personalised_by_the_tag(
    twin: ModuleType, size: int, tag: bytes
) -> None:
    data = bytes(at % 251 for at in range(size))
    expected = blake2b(data, digest_size=32, person=tag.ljust(16, b"\x00")).digest()
    assert twin.tagged_hash(tag, data) == expected
    assert twin.tagged_hash_many(tag, [data, b"", data])[::2] == [expected, expected]


@TWINS
def test_golden_digests(twin: ModuleType) -> None:
    leaves = [b"%d" % at for at in range(7)]
    assert twin.tagged_hash(b"sahara", b"abc").hex() == (
        "a9b928cfc28bc137372012efc19a81fe2ef0f583a897d3d62beab57c1b950645"
    )
    assert twin.merkle_root(TAG, []).hex() == (
        "24876ca53135fab59b1f6a445988173cb6c4693ba4df346aa36775faeed70461"
    )
    assert twin.merkle_root(TAG, leaves).hex() == (
        "e45d5dce32e0932726353a872681e3d15ede74c44614bdf9fb115569cabc3d3e"
    )


@TWINS
def test_misuse_is_refused(twin: ModuleType) -> None:
    with pytest.raises(ValueError, match="at most 16 bytes, this one has 17"):
        twin.tagged_hash(b"x" * 17, b"")
    with pytest.raises(ValueError, match="at most 16 bytes"):
        twin.merkle_root(b"x" * 17, [b"a"])
    for call in (twin.tagged_hash_many, twin.merkle_root):
        with pytest.raises(TypeError):
            call(TAG, [b"a", "b"])
    for index in (-1, 3, 2**40):
        with pytest.raises(IndexError, match="of a tree of 3"):
            twin.merkle_path(TAG, [b"a", b"b", b"c"], index)


@TWINS
@given(leaves=Leaves)
def test_the_root_is_that_of_rfc_6962(twin: ModuleType, leaves: list[bytes]) -> None:
    assert twin.merkle_root(TAG, leaves) == reference_root(leaves)


@TWINS
@pytest.mark.parametrize("count", [*range(1, 18), 31, 32, 33])
def test_every_leaf_is_proven_at_its_own_place_and_no_other(twin: ModuleType, count: int) -> None:
    leaves = [b"leaf %d" % at for at in range(count)]
    root = twin.merkle_root(TAG, leaves)
    for index, leaf in enumerate(leaves):
        path = twin.merkle_path(TAG, leaves, index)
        assert twin.merkle_verify(TAG, root, leaf, index, count, path)
        assert not twin.merkle_verify(TAG, root, leaf + b"!", index, count, path)
        assert not twin.merkle_verify(b"other", root, leaf, index, count, path)
        assert not twin.merkle_verify(TAG, root, leaf, index, count, [*path, root])
        assert not twin.merkle_verify(TAG, root, leaf, index, count, path[1:] if path else [leaf])
        for other in range(-1, count + 1):
            if other != index:
                assert not twin.merkle_verify(TAG, root, leaf, other, count, path)


@TWINS
@given(leaves=st.lists(st.binary(max_size=4), min_size=2, max_size=20), data=st.data())
def test_a_spoiled_path_proves_nothing(
    twin: ModuleType, leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = twin.merkle_path(TAG, leaves, index)
    at = data.draw(st.integers(0, len(path) - 1))
    spoiled = data.draw(st.binary(max_size=33).filter(lambda node: node != path[at]))
    root = twin.merkle_root(TAG, leaves)
    path[at] = spoiled
    assert not twin.merkle_verify(TAG, root, leaves[index], index, len(leaves), path)


@TWINS
def test_an_odd_last_node_is_promoted_never_duplicated(twin: ModuleType) -> None:
    """Duplicating it would give [a, b, c] and [a, b, c, c] one root (CVE-2012-2459)."""
    a, b, c = b"a", b"b", b"c"
    assert twin.merkle_root(TAG, [a, b, c]) != twin.merkle_root(TAG, [a, b, c, c])
    pair = twin.merkle_root(TAG, [a, b])
    lone = twin.merkle_root(TAG, [c])
    assert twin.merkle_root(TAG, [a, b, c]) == twin.tagged_hash(TAG, b"\x01" + pair + lone)
    assert twin.merkle_path(TAG, [a, b, c], 2) == [pair]


@TWINS
def test_a_node_cannot_pass_for_a_leaf(twin: ModuleType) -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    left, right = (twin.merkle_root(TAG, leaves[:2]), twin.merkle_root(TAG, leaves[2:]))
    root = twin.merkle_root(TAG, leaves)
    assert twin.merkle_root(TAG, [left + right]) != root
    assert twin.merkle_root(TAG, [left, right]) != root
    assert not twin.merkle_verify(TAG, root, left + right, 0, 1, [])
    assert not twin.merkle_verify(TAG, root, left, 0, 2, [right])
    assert not twin.merkle_verify(TAG, root, b"\x01" + left + right, 0, 1, [])


@TWINS
def test_a_count_that_is_not_there_proves_nothing(twin: ModuleType) -> None:
    root = twin.merkle_root(TAG, [])
    assert not twin.merkle_verify(TAG, root, b"", 0, 0, [])
    assert not twin.merkle_verify(TAG, root, b"", 0, -1, [])
    assert not twin.merkle_verify(TAG, root[:31], b"", 0, 1, [])
    assert not twin.merkle_verify(TAG, root, b"", 2**80, 2**81, [root] * 81)


@given(leaves=Leaves)
def test_twins_agree(leaves: list[bytes]) -> None:
    assert _hashing.tagged_hash_many(TAG, leaves) == _hashing_py.tagged_hash_many(TAG, leaves)
    assert _hashing.merkle_root(TAG, leaves) == _hashing_py.merkle_root(TAG, leaves)
    for index in range(len(leaves)):
        expected = _hashing_py.merkle_path(TAG, leaves, index)
        assert _hashing.merkle_path(TAG, leaves, index) == expected
