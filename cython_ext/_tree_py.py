"""The state tree's kernel in pure Python: the twin of _tree.pyx, and the plainer text of the two.

The tree is a binary Merkle tree over the 256-bit paths of its keys, path-compressed:

    path(key)          = H("tree/key", key)
    leaf(key, value)   = H("tree/leaf", path || H("tree/value", value))
    node(left, right)  = H("tree/node", left || right)
    a subtree without leaves is 32 zero bytes; a subtree with exactly one leaf is that leaf.

It is kept in pages of three binary levels. A page has 8 slots, one for each next three bits of the
path; a slot holds up to SLOT_LEAVES_MAX leaves, or, when there are more below it, the hash of a
child page. The first page exists while the tree holds a leaf. So which pages exist, and what is in
them, follows from the content of the tree alone.

Stored page: 4 bytes of 8 half-byte codes (the number of leaves, or 15 for a child), then slot by
slot a child's 32-byte hash or the leaves, path || value hash each, in ascending order of paths.
Key of a page: the level it starts at, one byte, then that many bits of path, padded with zeros.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby, pairwise

PAGE_LEVELS = 3
SLOTS = 8
SLOT_LEAVES_MAX = 2
_CODES_SIZE = 4
_CHILD = 15
EMPTY = bytes(32)

Leaf = tuple[bytes, bytes, bytes]
"""Path, value hash, leaf hash; as a change, an empty leaf hash takes the leaf away."""

Slot = bytes | tuple[Leaf, ...]
"""The hash of a child page, or the leaves."""

Fetch = Callable[[bytes, bytes], object]
"""Key and expected hash of a page to the decoded page; raises when there is no such page."""

Writes = tuple[list[tuple[bytes, bytes]], list[bytes]]
"""Rows to put and keys to delete."""

Overlays = Sequence[Mapping[bytes, object]]
"""Pages by key, newest first, looked through before anything is fetched."""


def hash_tagged(tag: bytes, data: bytes) -> bytes:
    """Return H(tag, data)."""
    return blake2b(data, digest_size=32, person=tag).digest()


def path_of(key: bytes) -> bytes:
    """Return the 256-bit path of a key."""
    return hash_tagged(b"tree/key", key)


def as_leaf(path: bytes, value_hash: bytes) -> Leaf:
    """Return the leaf with its hash."""
    return path, value_hash, hash_tagged(b"tree/leaf", path + value_hash)


def new_leaf(key: bytes, value: bytes) -> Leaf:
    """Return the leaf of a key and its value."""
    return as_leaf(path_of(key), hash_tagged(b"tree/value", value))


def bit(path: bytes, level: int) -> int:
    """Return the bit of a path that chooses the side below a level; the first is level 0."""
    return path[level >> 3] >> (7 - (level & 7)) & 1


def _slot_of(path: bytes, level: int) -> int:
    """Return the bits that choose the slot in a page at this level; past the end, zeros."""
    window = int.from_bytes(path[level >> 3 : (level >> 3) + 2].ljust(2, b"\0"), "big")
    return window >> (16 - PAGE_LEVELS - (level & 7)) & (SLOTS - 1)


def page_key(level: int, path: bytes) -> bytes:
    """Return the key of the page that starts at the level, a multiple of PAGE_LEVELS."""
    size = (level + 7) >> 3
    if not 0 <= level < 256 or level % PAGE_LEVELS or len(path) < size:
        raise ValueError("a page starts at a multiple of its levels, within the path")
    start = int.from_bytes(path[:size], "big") >> (8 * size - level) << (8 * size - level)
    return bytes([level]) + start.to_bytes(size, "big")


def hash_subtree(leaves: Sequence[Leaf], level: int) -> bytes:
    """Return the hash over leaves that stand in ascending order and agree above `level`."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0][2]
    middle = sum(not bit(leaf[0], level) for leaf in leaves)
    below = level + 1
    return hash_tagged(
        b"tree/node", hash_subtree(leaves[:middle], below) + hash_subtree(leaves[middle:], below)
    )


class Page:
    """A decoded page: its slots, and the binary nodes over them as a heap (root 1, then slots)."""

    __slots__ = ("hashes", "slots", "weights")

    def __init__(self, slots: list[Slot], level: int) -> None:
        self.slots = slots
        self.hashes = [EMPTY] * (2 * SLOTS)
        self.weights = [0] * (2 * SLOTS)
        for index, slot in enumerate(slots, SLOTS):
            if isinstance(slot, bytes):
                self.weights[index], self.hashes[index] = SLOT_LEAVES_MAX + 1, slot
            else:
                self.weights[index] = len(slot)
                self.hashes[index] = hash_subtree(slot, level + PAGE_LEVELS)
        for index in range(SLOTS - 1, 0, -1):
            left, right = self.hashes[2 * index], self.hashes[2 * index + 1]
            self.weights[index] = self.weights[2 * index] + self.weights[2 * index + 1]
            lone = self.weights[index] <= 1
            self.hashes[index] = (
                max(left, right) if lone else hash_tagged(b"tree/node", left + right)
            )


def page_hash(page: object) -> bytes:
    """Return the hash of the subtree that starts at the page."""
    assert isinstance(page, Page)
    return page.hashes[1]


def encode_page(page: object) -> bytes:
    """Return the stored form of a page."""
    assert isinstance(page, Page)
    codes = [_CHILD if isinstance(slot, bytes) else len(slot) for slot in page.slots]
    parts = [bytes(codes[i] << 4 | codes[i + 1] for i in range(0, SLOTS, 2))]
    for slot in page.slots:
        if isinstance(slot, bytes):
            parts.append(slot)
        else:
            parts.extend(path + value_hash for path, value_hash, _ in slot)
    return b"".join(parts)


def encode_pages(pages: Mapping[bytes, object], prefix: bytes) -> Writes:
    """Return rows to put and keys to delete for pages by key, None where one is gone."""
    puts = [(prefix + key, encode_page(page)) for key, page in pages.items() if page is not None]
    return puts, [prefix + key for key, page in pages.items() if page is None]


def sort_pages(
    pages: Mapping[bytes, object],
    floor: int,
    upper: dict[bytes, object],
    lower: dict[bytes, object],
) -> None:
    """Move pages into those above a level or the others; what is None leaves them."""
    for key, page in pages.items():
        target = upper if key[0] < floor else lower
        if page is None:
            target.pop(key, None)
        else:
            target[key] = page


def decode_page(stored: bytes, level: int) -> object:
    """Return the page, its hashes computed anew; ValueError for what no page encodes to."""
    if not 0 <= level < 256:
        raise ValueError("a stored page starts at a level of the path")
    codes = [code for pair in stored[:_CODES_SIZE] for code in (pair >> 4, pair & 15)]
    sizes = [32 if code == _CHILD else 64 * code for code in codes]
    if len(codes) != SLOTS or len(stored) != _CODES_SIZE + sum(sizes):
        raise ValueError("a stored page has a length that its header does not announce")
    slots: list[Slot] = []
    start = _CODES_SIZE
    for index, (code, size) in enumerate(zip(codes, sizes, strict=True)):
        part = stored[start : start + size]
        start += size
        if code == _CHILD:
            slots.append(part)
            continue
        leaves = [as_leaf(part[i : i + 32], part[i + 32 : i + 64]) for i in range(0, size, 64)]
        paths = [leaf[0] for leaf in leaves]
        rising = all(low < high for low, high in pairwise(paths))
        at_home = all(_slot_of(path, level) == index for path in paths)
        if code > SLOT_LEAVES_MAX or not rising or not at_home:
            raise ValueError("a stored page holds leaves that do not belong there")
        slots.append(tuple(leaves))
    return Page(slots, level)


class _Update:
    """One update under way: where pages come from, and those that it wrote."""

    def __init__(self, overlays: Overlays, fetch: Fetch) -> None:
        self.overlays = overlays
        self.fetch = fetch
        self.pages: dict[bytes, object] = {}

    def load(self, key: bytes, expected: bytes) -> Page:
        page = find_page(self.overlays, self.fetch, key, expected)
        assert isinstance(page, Page)
        return page

    def apply(self, page: Page | None, level: int, changes: Sequence[Leaf]) -> Slot:
        """Apply changes below a page and return what its parent's slot is to hold now."""
        slots: list[Slot] = list(page.slots) if page else [()] * SLOTS
        for index, group in groupby(changes, lambda leaf: _slot_of(leaf[0], level)):
            slots[index] = self._apply_to_slot(slots[index], level, list(group))
        key = page_key(level, changes[0][0])
        leaves = [leaf for slot in slots if not isinstance(slot, bytes) for leaf in slot]
        full = any(isinstance(slot, bytes) for slot in slots)
        if not full and len(leaves) <= (SLOT_LEAVES_MAX if level else 0):
            if page:
                self.pages[key] = None
            return tuple(leaves)
        written = Page(slots, level)
        self.pages[key] = written
        return written.hashes[1]

    def _apply_to_slot(self, slot: Slot, level: int, changes: list[Leaf]) -> Slot:
        if isinstance(slot, bytes):
            child = self.load(page_key(level + PAGE_LEVELS, changes[0][0]), slot)
            return self.apply(child, level + PAGE_LEVELS, changes)
        merged = {leaf[0]: leaf for leaf in [*slot, *changes]}
        leaves = sorted(leaf for leaf in merged.values() if leaf[2])
        if len(leaves) <= SLOT_LEAVES_MAX:
            return tuple(leaves)
        return self.apply(None, level + PAGE_LEVELS, leaves)


def find_page(overlays: Overlays, fetch: Fetch, key: bytes, expected: bytes) -> object:
    """Return the page from the newest overlay that has it, or else fetched."""
    for overlay in overlays:
        page = overlay.get(key)
        if page is not None:
            return page
    return fetch(key, expected)


def update(
    overlays: Overlays,
    fetch: Fetch,
    root: bytes,
    changes: Iterable[tuple[bytes, bytes | None]],
) -> tuple[bytes, dict[bytes, object]]:
    """Set or, with None, take away keys; return the new root and the pages written.

    A page that is gone is written as None. ValueError when a key comes twice.
    """
    if len(root) != len(EMPTY):
        raise ValueError("a root has 32 bytes")
    leaves = sorted(
        (path_of(key), b"", b"") if value is None else new_leaf(key, value)
        for key, value in changes
    )
    if any(low[0] == high[0] for low, high in pairwise(leaves)):
        raise ValueError("a key is changed twice in one update")
    run = _Update(overlays, fetch)
    page = None if root == EMPTY else run.load(page_key(0, b""), root)
    if page is None:
        leaves = [leaf for leaf in leaves if leaf[2]]
    if not leaves:
        return root, {}
    top = run.apply(page, 0, leaves)
    return (top if isinstance(top, bytes) else EMPTY), run.pages
