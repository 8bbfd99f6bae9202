"""The pure twin of _hashing: the same digests from hashlib, the same trees level by level.

A tree pairs neighbours level by level and promotes the odd last node, never duplicating it. That
is the shape of RFC 6962, which splits at the largest power of two. A leaf is H(tag, 0x00 || leaf)
and a node H(tag, 0x01 || left || right), so that neither can be passed off as the other.
"""

from collections.abc import Sequence
from hashlib import blake2b

HASH_SIZE = 32
TAG_SIZE_MAX = 16
LEAF = b"\x00"
NODE = b"\x01"


def tagged_hash(tag: bytes, data: bytes) -> bytes:
    """H(tag, data): 32 bytes of BLAKE2b under the tag as personalisation.

    The tag is zero padded to 16 bytes; a longer one is a ValueError.
    """
    if len(tag) > TAG_SIZE_MAX:
        raise ValueError(f"a hash tag holds at most 16 bytes, this one has {len(tag)}")
    if type(data) is not bytes:
        raise TypeError(f"a kernel takes bytes, not {type(data).__name__}")
    return blake2b(data, digest_size=HASH_SIZE, person=tag).digest()


def tagged_hash_many(tag: bytes, items: Sequence[bytes]) -> list[bytes]:
    """H(tag, item) of every item, in their order."""
    return [tagged_hash(tag, item) for item in items]


def merkle_root(tag: bytes, leaves: Sequence[bytes]) -> bytes:
    """The root of the leaves in their order; the root of none is H(tag, b"")."""
    if not leaves:
        return tagged_hash(tag, b"")
    level = [tagged_hash(tag, LEAF + leaf) for leaf in leaves]
    while len(level) > 1:
        level = _fold(tag, level)
    return level[0]


def merkle_path(tag: bytes, leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The siblings of one leaf from the bottom up; a promoted node has none at its level.

    An index outside the tree is an IndexError.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of a tree of {len(leaves)}")
    level = [tagged_hash(tag, LEAF + leaf) for leaf in leaves]
    path = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level = _fold(tag, level)
        index >>= 1
    return path


def merkle_verify(
    tag: bytes, root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]
) -> bool:
    """Whether the path leads from this leaf at this index of so many leaves to the root.

    Index and count fix the side of every sibling and the length of the path; a path with one
    sibling too many or too few is False.
    """
    if not 0 <= index < count or len(root) != HASH_SIZE:
        return False
    node = tagged_hash(tag, LEAF + leaf)
    siblings = list(path)
    while count > 1:
        if index ^ 1 < count:
            if not siblings or len(siblings[0]) != HASH_SIZE:
                return False
            sibling = siblings.pop(0)
            left, right = (sibling, node) if index & 1 else (node, sibling)
            node = tagged_hash(tag, NODE + left + right)
        index >>= 1
        count = (count + 1) >> 1
    return not siblings and node == root


def _fold(tag: bytes, level: list[bytes]) -> list[bytes]:
    """One level up: neighbours are paired, the odd last one is promoted."""
    pairs = zip(level[::2], level[1::2], strict=False)
    nodes = [tagged_hash(tag, NODE + left + right) for left, right in pairs]
    return nodes + level[len(nodes) * 2 :]
