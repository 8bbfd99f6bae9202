"""The pure twin of _sumtree: Merkle-sum trees, one root for hashes and five running totals.

The sums of a leaf are (calls, in, cached, out, value). A node is
H(tag, 0x01 || left.hash || left.sums || right.hash || right.sums), sums as eight bytes each, big
endian; the tree has the shape of _hashing_py. Leaf hashes come from the caller, who makes them
with a 0x00 prefix (or under another tag) so that no node can be passed off as a leaf. A sum that
reaches 2^63 anywhere in the tree is an OverflowError, never a wrapped number (assets C.1).
"""

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

from cython_ext._hashing_py import HASH_SIZE, NODE, tagged_hash

FIELDS = 5
LIMIT = 1 << 63
Sums = tuple[int, int, int, int, int]


class _Node(NamedTuple):
    hash: bytes
    sums: tuple[int, ...]


def sum_root(
    tag: bytes, leaf_hashes: Sequence[bytes], sums: Sequence[tuple[int, ...]]
) -> tuple[bytes, Sums]:
    """The root hash and the five totals; no leaves, or a leaf of another shape, is a ValueError."""
    level = _lowest(leaf_hashes, sums)
    while len(level) > 1:
        level = _fold(tag, level)
    calls, tokens_in, cached, tokens_out, value = level[0].sums
    return level[0].hash, (calls, tokens_in, cached, tokens_out, value)


def sum_path(
    tag: bytes, leaf_hashes: Sequence[bytes], sums: Sequence[tuple[int, ...]], index: int
) -> list[tuple[bytes, tuple[int, ...]]]:
    """The siblings (hash, sums) of one leaf from the bottom up; outside it is an IndexError."""
    if leaf_hashes and not 0 <= index < len(leaf_hashes):
        raise IndexError(f"leaf {index} of a tree of {len(leaf_hashes)}")
    level = _lowest(leaf_hashes, sums)
    path: list[tuple[bytes, tuple[int, ...]]] = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append((level[index ^ 1].hash, level[index ^ 1].sums))
        level = _fold(tag, level)
        index >>= 1
    return path


def sum_verify(
    tag: bytes,
    root: bytes,
    total: tuple[int, ...],
    leaf_hash: bytes,
    leaf_sums: tuple[int, ...],
    index: int,
    path: Sequence[tuple[bytes, tuple[int, ...]]],
) -> bool:
    """Whether the path leads from this leaf, at this index, to the root and the totals.

    The claimed calls, total[0], are the number of leaves: with the index they fix the side of
    every sibling and the length of the path. Valid iff the leaf counts one call, the calls left
    of it sum to the index, no partial sum reaches 2^63, and hash and sums arrive (assets 10).
    """
    tagged_hash(tag, b"")  # a tag too long is the caller's error, not a false proof
    try:
        claimed = _node(root, total)
        node = _node(leaf_hash, leaf_sums)
        if leaf_sums[0] != 1 or not 0 <= index < total[0]:
            return False
        return _climb(tag, node, index, total[0], [_node(*sibling) for sibling in path]) == claimed
    except (ValueError, OverflowError):
        return False


def _climb(tag: bytes, node: _Node, index: int, count: int, siblings: list[_Node]) -> _Node | None:
    """The root that these siblings lead to, or None when they do not fit the shape."""
    at, before = index, 0
    while count > 1:
        if at ^ 1 < count:
            if not siblings:
                return None
            sibling = siblings.pop(0)
            if at & 1:
                before += sibling.sums[0]
                node = _join(tag, sibling, node)
            else:
                node = _join(tag, node, sibling)
        at >>= 1
        count = (count + 1) >> 1
    return node if before == index and not siblings else None


def _node(node_hash: bytes, sums: tuple[int, ...]) -> _Node:
    if type(node_hash) is not bytes or len(node_hash) != HASH_SIZE:
        raise ValueError("a node's hash is 32 bytes")
    if len(sums) != FIELDS:
        raise ValueError("a node has five sums: calls, in, cached, out, value")
    if not all(0 <= number < LIMIT for number in sums):
        raise OverflowError("a sum is at most 2^63 - 1")
    return _Node(node_hash, tuple(sums))


def _lowest(leaf_hashes: Sequence[bytes], sums: Sequence[tuple[int, ...]]) -> list[_Node]:
    if not leaf_hashes or len(leaf_hashes) != len(sums):
        raise ValueError(f"{len(leaf_hashes)} leaf hashes and {len(sums)} rows of sums: no tree")
    return [_node(leaf_hash, row) for leaf_hash, row in zip(leaf_hashes, sums, strict=True)]


def _join(tag: bytes, left: _Node, right: _Node) -> _Node:
    sums = tuple(a + b for a, b in zip(left.sums, right.sums, strict=True))
    preimage = NODE + left.hash + pack(">5Q", *left.sums) + right.hash + pack(">5Q", *right.sums)
    return _node(tagged_hash(tag, preimage), sums)


def _fold(tag: bytes, level: list[_Node]) -> list[_Node]:
    """One level up: neighbours are paired, the odd last one is promoted."""
    pairs = zip(level[::2], level[1::2], strict=False)
    nodes = [_join(tag, left, right) for left, right in pairs]
    return nodes + level[len(nodes) * 2 :]
