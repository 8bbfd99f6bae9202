"""Parts of the state tree in pure Python: the twin of _treeparts.pyx.

A whole subtree is hashed at once, from the rows under it; two that stand side by side are joined
under the node above them.
"""

from collections.abc import Iterable
from itertools import pairwise

from cython_ext._tree_py import hash_subtree, hash_tagged, new_leaf, path_of


def root_of(items: Iterable[tuple[bytes, bytes]], level: int = 0, prefix: bytes = b"") -> bytes:
    """Return the hash over all items at once, without pages: the root, or that of a subtree.

    A subtree's keys have paths that begin with `level` bits of `prefix`, padded with zeros;
    ValueError when one does not, or comes twice.
    """
    if not 0 <= level < 256 or len(prefix) != (level + 7) >> 3:
        raise ValueError("a subtree starts at a level of the path, and its prefix has those bits")
    leaves = sorted(new_leaf(key, value) for key, value in items)
    if any(low[0] == high[0] for low, high in pairwise(leaves)):
        raise ValueError("a key comes twice")
    unused = 8 * len(prefix) - level
    start = int.from_bytes(prefix, "big")
    for path, _, _ in leaves:
        if int.from_bytes(path[: len(prefix)], "big") >> unused << unused != start:
            raise ValueError("a key lies outside the subtree")
    return hash_subtree(leaves, level)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two subtrees with more than one leaf between them."""
    if len(left) != 32 or len(right) != 32:
        raise ValueError("a subtree's hash has 32 bytes")
    return hash_tagged(b"tree/node", left + right)


__all__ = ["node_hash", "path_of", "root_of"]
