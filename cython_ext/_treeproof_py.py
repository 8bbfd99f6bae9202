"""Proofs of the state tree in pure Python: the twin of _treeproof.pyx.

A proof is the siblings on the way from a leaf, or from an empty place, to the root. It holds for
one key: the bits of the key's path say on which side each sibling stands.
"""

from collections.abc import Sequence

from cython_ext._tree_py import (
    EMPTY,
    PAGE_LEVELS,
    SLOTS,
    Fetch,
    Leaf,
    Overlays,
    Page,
    Slot,
    as_leaf,
    bit,
    find_page,
    hash_subtree,
    hash_tagged,
    page_key,
    path_of,
)


class _Walk:
    """The siblings met on the way down to a path, and what stands at its end."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.siblings: list[bytes] = []

    def through_page(self, page: Page) -> Slot:
        """Go down a page; return the child's hash, or the at most one leaf at the end."""
        index = 1
        while index < SLOTS and page.weights[index] > 1:
            index = 2 * index + bit(self.path, len(self.siblings))
            self.siblings.append(page.hashes[index ^ 1])
        if index >= SLOTS:
            slot = page.slots[index - SLOTS]
            return slot if isinstance(slot, bytes) else self.through_leaves(slot)
        first = index
        while first < SLOTS:
            first = 2 * first + (page.weights[2 * first] == 0)
        slot = page.slots[first - SLOTS]
        assert not isinstance(slot, bytes)
        return slot

    def through_leaves(self, leaves: Sequence[Leaf]) -> tuple[Leaf, ...]:
        """Go down a slot's leaves until at most one is left."""
        while len(leaves) > 1:
            level = len(self.siblings)
            side = bit(self.path, level)
            other = [leaf for leaf in leaves if bit(leaf[0], level) != side]
            leaves = [leaf for leaf in leaves if bit(leaf[0], level) == side]
            self.siblings.append(hash_subtree(other, level + 1))
        return tuple(leaves)


def prove(
    overlays: Overlays, fetch: Fetch, root: bytes, key: bytes
) -> tuple[int, bytes, bytes, bytes]:
    """Return the depth, the bitmap of siblings that are not empty, those siblings, and the leaf.

    The leaf, path || value hash, is that of another key where the key is absent; else empty.
    """
    walk = _Walk(path_of(key))
    level = 0
    end: Slot = root if root != EMPTY else ()
    while isinstance(end, bytes):
        page = find_page(overlays, fetch, page_key(level, walk.path), end)
        assert isinstance(page, Page)
        end = walk.through_page(page)
        level += PAGE_LEVELS
    bitmap = bytearray(-(-len(walk.siblings) // 8))
    for at, sibling in enumerate(walk.siblings):
        if sibling != EMPTY:
            bitmap[at >> 3] |= 0x80 >> (at & 7)
    siblings = b"".join(sibling for sibling in walk.siblings if sibling != EMPTY)
    leaf = b"".join(path + value_hash for path, value_hash, _ in end if path != walk.path)
    return len(walk.siblings), bytes(bitmap), siblings, leaf


def _end_of_proof(path: bytes, value: bytes | None, leaf: bytes) -> bytes | None:
    """Return the hash that a proof starts from, None where its leaf does not belong there."""
    if value is not None:
        return None if leaf else as_leaf(path, hash_tagged(b"tree/value", value))[2]
    if not leaf:
        return EMPTY
    other = leaf[:32]
    if len(leaf) != 64 or other == path:
        return None
    # That it shares the key's path so far needs no check: its hash stands in the key's place.
    return as_leaf(other, leaf[32:])[2]


def verify(
    root: bytes,
    key: bytes,
    value: bytes | None,
    depth: int,
    bitmap: bytes,
    siblings: bytes,
    leaf: bytes,
) -> bool:
    """Tell whether the proof shows that under this root the key has the value; None is no value."""
    path = path_of(key)
    if not 0 <= depth <= 256 or len(bitmap) != -(-depth // 8):
        return False
    bits = [bit(bitmap, level) for level in range(8 * len(bitmap))]
    if sum(bits) * 32 != len(siblings) or any(bits[depth:]):
        return False
    current = _end_of_proof(path, value, leaf)
    end = len(siblings)
    for level in range(depth - 1, -1, -1):
        sibling = siblings[end - 32 : end] if bits[level] else EMPTY
        end -= 32 * bits[level]
        if current is None or (bits[level] and sibling == EMPTY):
            return False
        pair = sibling + current if bit(path, level) else current + sibling
        current = hash_tagged(b"tree/node", pair)
    return current == root
