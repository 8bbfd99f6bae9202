"""The state tree's kernels, over both twins and against a recursive reference."""

import random
from collections.abc import Sequence
from hashlib import blake2b
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import _tree, _tree_py, _treeparts, _treeparts_py, _treeproof, _treeproof_py

TWINS = pytest.mark.parametrize(
    ("pages", "proofs"),
    [(_tree, _treeproof), (_tree_py, _treeproof_py)],
    ids=["compiled", "pure"],
)
PARTS: dict[ModuleType, ModuleType] = {_tree: _treeparts, _tree_py: _treeparts_py}
"""The kernel of parts beside that of pages."""

EMPTY = bytes(32)
GOLDEN = [
    "59196a948242305f3f95ccd1b6564b17594079a4466e2b62b5b80913c921e39a",
    "13c4c63273fbfe4f8f3b7ff409ff9a397bd7d3011959b7024d4253726e5a4020",
    "4d6d43625039412a24ff284cdcafecffb9720da2ea549fba85adef1e47b88f4c",
    "472ab5495efed325886110164dd3edd1c3f82b5072973feebc865a1c40fc96ce",
]
Change = tuple[bytes, bytes | None]

KEYS = st.one_of(st.binary(max_size=4), st.integers(0, 30).map(lambda number: b"k%d" % number))
MAPS = st.dictionaries(KEYS, st.binary(max_size=8), max_size=60)
ROUNDS = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=25), max_size=6)


def digest(tag: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=32, person=tag).digest()


def reference_root(items: dict[bytes, bytes]) -> bytes:
    """The definition, word for word, over strings of bits."""

    def below(leaves: dict[str, bytes], level: int) -> bytes:
        if not leaves:
            return EMPTY
        if len(leaves) == 1:
            return next(iter(leaves.values()))
        sides = [
            below({bits: leaf for bits, leaf in leaves.items() if bits[level] == side}, level + 1)
            for side in "01"
        ]
        return digest(b"tree/node", sides[0] + sides[1])

    leaves = {}
    for key, value in items.items():
        path = digest(b"tree/key", key)
        bits = "".join(f"{byte:08b}" for byte in path)
        leaves[bits] = digest(b"tree/leaf", path + digest(b"tree/value", value))
    return below(leaves, 0)


class Stored:
    """A tree whose pages live in stored form only, so that every read decodes."""

    def __init__(self, pages: ModuleType) -> None:
        self.kernel = pages
        self.root = EMPTY
        self.rows: dict[bytes, bytes] = {}

    def fetch(self, key: bytes, expected: bytes) -> object:
        page = self.kernel.decode_page(self.rows[key], key[0])
        assert self.kernel.page_hash(page) == expected
        return page

    def update(self, changes: Sequence[Change]) -> bytes:
        self.root, pages = self.kernel.update([], self.fetch, self.root, changes)
        for key, page in pages.items():
            if page is None:
                del self.rows[key]  # a page that is gone was there
            else:
                self.rows[key] = self.kernel.encode_page(page)
        return self.root


def random_map(size: int) -> dict[bytes, bytes]:
    chance = random.Random(size)
    return {chance.randbytes(8): chance.randbytes(chance.randrange(40)) for _ in range(size)}


def same_start_keys(count: int, bits: int) -> list[bytes]:
    """Keys whose paths agree in the first bits: they force pages far down."""
    found: dict[bytes, list[bytes]] = {}
    number = 0
    while True:
        key = b"%d" % number
        group = found.setdefault(digest(b"tree/key", key)[: bits // 8], [])
        group.append(key)
        if len(group) == count:
            return group
        number += 1


@TWINS
@given(items=MAPS, seed=st.integers(0, 2**16))
def test_the_root_is_the_definition_whatever_the_order_and_batches(
    pages: ModuleType, proofs: ModuleType, items: dict[bytes, bytes], seed: int
) -> None:
    expected = reference_root(items)
    assert PARTS[pages].root_of(items.items()) == expected
    entries: list[Change] = list(items.items())
    random.Random(seed).shuffle(entries)
    at_once, in_parts = Stored(pages), Stored(pages)
    assert at_once.update(entries) == expected
    size = seed % 7 + 1
    for start in range(0, len(entries), size):
        in_parts.update(entries[start : start + size])
    assert in_parts.root == expected
    assert in_parts.rows == at_once.rows  # the pages, too, follow from the content alone


@TWINS
@given(rounds=ROUNDS)
def test_sets_and_deletes_agree_with_a_dict(
    pages: ModuleType, proofs: ModuleType, rounds: list[dict[bytes, bytes | None]]
) -> None:
    tree, model = Stored(pages), dict[bytes, bytes]()
    for changes in rounds:
        for key, value in changes.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        assert tree.update(list(changes.items())) == reference_root(model)
    fresh = Stored(pages)
    fresh.update(list(model.items()))
    assert tree.rows == fresh.rows


@TWINS
@given(items=MAPS, more=MAPS)
def test_deleting_restores_the_former_root_and_pages(
    pages: ModuleType, proofs: ModuleType, items: dict[bytes, bytes], more: dict[bytes, bytes]
) -> None:
    tree = Stored(pages)
    root = tree.update(list(items.items()))
    rows = dict(tree.rows)
    tree.update(list(more.items()))
    tree.update([(key, items.get(key)) for key in more])
    assert (tree.root, tree.rows) == (root, rows)
    tree.update([(key, None) for key in items])
    assert (tree.root, tree.rows) == (EMPTY, {})


@TWINS
def test_paths_that_agree_for_long_go_deep_and_come_back(
    pages: ModuleType, proofs: ModuleType
) -> None:
    keys = same_start_keys(5, 16)
    items = {key: b"v" + key for key in keys}
    tree = Stored(pages)
    tree.update(list(items.items()))
    assert tree.root == reference_root(items)
    assert max(key[0] for key in tree.rows) >= 12
    for key in keys[:3]:
        del items[key]
        tree.update([(key, None)])
        assert tree.root == reference_root(items)
    assert set(tree.rows) == {b"\x00"}  # two leaves fit into one slot of the first page


def test_both_twins_write_the_same_pages() -> None:
    compiled, pure = Stored(_tree), Stored(_tree_py)
    items: list[Change] = list(random_map(3000).items())
    gone: list[Change] = [(key, None) for key, _ in items[::3]]
    for changes in (items[:1000], items[1000:], gone):
        assert compiled.update(changes) == pure.update(changes)
        assert compiled.rows == pure.rows
    left = [(key, value) for key, value in items if key not in dict(gone)]
    assert _treeparts.root_of(left) == compiled.root


@TWINS
def test_a_page_is_kept_under_its_level_and_its_path(pages: ModuleType, proofs: ModuleType) -> None:
    path = b"\xff" * 32
    assert pages.page_key(0, b"") == b"\x00"
    assert pages.page_key(3, path) == b"\x03\xe0"
    assert pages.page_key(24, path) == b"\x18\xff\xff\xff"
    assert pages.page_key(255, path) == b"\xff" + b"\xff" * 31 + b"\xfe"


@TWINS
def test_pages_are_sorted_by_their_level(pages: ModuleType, proofs: ModuleType) -> None:
    upper, lower = {b"\x03\x20": 1, b"\x03\x40": 2}, {b"\x06\x10": 3, b"\x09\x10\x00": 4}
    came = {b"\x00": 5, b"\x03\x20": None, b"\x06\x10": 6, b"\x09\x10\x00": None, b"\x0c\x00": 7}
    pages.sort_pages({**came, b"\x03\x60": None}, 6, upper, lower)
    assert upper == {b"\x03\x40": 2, b"\x00": 5}
    assert lower == {b"\x06\x10": 6, b"\x0c\x00": 7}


@TWINS
def test_golden_roots_and_pages(pages: ModuleType, proofs: ModuleType) -> None:
    tree = Stored(pages)
    roots = [
        tree.update([(b"key/%d" % number, b"value/%d" % number) for number in range(*ends)]).hex()
        for ends in ((0, 1), (1, 2), (2, 1000))
    ]
    rows = b"".join(key + row for key, row in sorted(tree.rows.items()))
    assert [*roots, digest(b"test", rows).hex()] == GOLDEN


@TWINS
def test_misuse_is_refused(pages: ModuleType, proofs: ModuleType) -> None:
    with pytest.raises(ValueError, match="twice"):
        pages.update([], None, EMPTY, [(b"a", b"1"), (b"b", b"1"), (b"a", None)])
    with pytest.raises(ValueError, match="32 bytes"):
        pages.update([], None, bytes(31), [(b"a", b"1")])
    for level in (-3, 1, 256):
        with pytest.raises(ValueError, match="page starts"):
            pages.page_key(level, EMPTY)
    with pytest.raises(ValueError, match="page starts"):
        pages.decode_page(bytes(4), 256)
    with pytest.raises(ValueError, match="twice"):
        PARTS[pages].root_of([(b"a", b"1"), (b"a", b"1")])
    assert pages.update([], None, EMPTY, []) == (EMPTY, {})
    assert pages.update([], None, EMPTY, [(b"a", None)]) == (EMPTY, {})
    for wrong in ([(None, b"1")], [("a", b"1")], [(b"a", "1")], [(b"a", 1)]):
        with pytest.raises(TypeError):
            pages.update([], None, EMPTY, wrong)


@TWINS
@given(position=st.integers(0), flip=st.integers(1, 255))
def test_no_flipped_byte_of_a_page_goes_unseen(
    pages: ModuleType, proofs: ModuleType, position: int, flip: int
) -> None:
    tree = Stored(pages)
    tree.update([(b"%d" % number, b"v") for number in range(position % 90 + 1)])
    key = sorted(tree.rows)[position % len(tree.rows)]
    row = bytearray(tree.rows[key])
    expected = pages.page_hash(pages.decode_page(bytes(row), key[0]))
    row[position % len(row)] ^= flip
    try:
        page = pages.decode_page(bytes(row), key[0])
    except ValueError:
        return
    assert pages.page_hash(page) != expected


@TWINS
@pytest.mark.parametrize("stored", [b"", b"\x00", bytes(3), bytes(5), b"\x10" + bytes(3)])
def test_what_no_page_encodes_to_is_refused(
    pages: ModuleType, proofs: ModuleType, stored: bytes
) -> None:
    with pytest.raises(ValueError, match="stored page"):
        pages.decode_page(stored, 0)
    with pytest.raises(ValueError, match="stored page"):
        pages.decode_page(bytes([0x30]) + bytes(3) + bytes(range(192)), 0)


@TWINS
@given(items=MAPS, level=st.integers(0, 12))
def test_subtrees_are_the_parts_of_the_definition(
    pages: ModuleType, proofs: ModuleType, items: dict[bytes, bytes], level: int
) -> None:
    """Every subtree of one level is hashed alone; joined pair by pair they give the root."""
    parts: list[dict[bytes, bytes]] = [{} for _ in range(1 << level)]
    for key, value in items.items():
        assert PARTS[pages].path_of(key) == digest(b"tree/key", key)
        parts[int.from_bytes(PARTS[pages].path_of(key), "big") >> 256 - level][key] = value
    size = (level + 7) // 8
    hashes = []
    for number, part in enumerate(parts):
        prefix = (number << 8 * size - level).to_bytes(size, "big")
        hashes.append((len(part), PARTS[pages].root_of(part.items(), level, prefix)))
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [
            (
                one + two,
                PARTS[pages].node_hash(left, right) if one + two > 1 else max(left, right),
            )
            for (one, left), (two, right) in pairs
        ]
    assert hashes[0][1] == reference_root(items)


@TWINS
def test_a_subtree_takes_only_its_own_keys(pages: ModuleType, proofs: ModuleType) -> None:
    keys = [b"%d" % number for number in range(2_000)]
    key = next(key for key in keys if PARTS[pages].path_of(key)[0] == 0xA5)
    inside = [(0, b""), (1, b"\x80"), (3, b"\xa0"), (8, b"\xa5")]
    for level, prefix in inside:
        assert PARTS[pages].root_of([(key, b"v")], level, prefix) == reference_root({key: b"v"})
    for level, prefix in [(1, b"\x00"), (1, b"\x81"), (3, b"\xc0"), (8, b"\xa4"), (9, b"\xa5\x7f")]:
        with pytest.raises(ValueError, match="outside"):
            PARTS[pages].root_of([(key, b"v")], level, prefix)
    for level, prefix in [(-1, b""), (256, bytes(32)), (0, b"\x00"), (8, b""), (9, b"\xa5")]:
        with pytest.raises(ValueError, match="level of the path"):
            PARTS[pages].root_of([], level, prefix)
    for left, right in [(b"", bytes(32)), (bytes(32), bytes(31))]:
        with pytest.raises(ValueError, match="32 bytes"):
            PARTS[pages].node_hash(left, right)
