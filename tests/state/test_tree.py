"""Versions of the state tree, over both kernels and against plain dicts."""

import tracemalloc
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cython_ext import _tree, _tree_py, _treeproof, _treeproof_py
from state import tree as tree_module
from state.codec import Decoder, encode
from state.errors import Malformed
from state.tree import EMPTY_ROOT, Change, Tree, TreeCorrupt, TreeProof, rebuild, verify_proof

Rows = dict[bytes, bytes]
KEYS = st.integers(0, 60).map(lambda number: b"k%d" % number)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=30)


@pytest.fixture(params=[(_tree, _treeproof), (_tree_py, _treeproof_py)], ids=["compiled", "pure"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pages, proofs = request.param
    monkeypatch.setattr(tree_module, "kernel", pages)
    monkeypatch.setattr(tree_module, "proof_kernel", proofs)
    assert isinstance(pages, ModuleType)
    return pages


def write(rows: Rows, tree: Tree, version: bytes) -> None:
    """Commit a version the way a node does: all rows at once."""
    puts, deletes = tree.commit(version)
    rows.update(puts)
    for key in deletes:
        rows.pop(key, None)


def numbered(start: int, stop: int, value: bytes = b"v") -> list[Change]:
    return [(b"%d" % number, value) for number in range(start, stop)]


class Versions(RuleBasedStateMachine):
    """Layers come, compete, are committed and discarded; the node restarts; dicts know better."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Rows = {}
        self.stored = b"v0"
        self.tree = Tree(self.rows, EMPTY_ROOT, self.stored, cached_pages_max=8)
        self.maps: dict[bytes, Rows] = {self.stored: {}}
        self.parents: dict[bytes, bytes] = {}
        self.count = 0

    def pick(self, number: int) -> bytes:
        return sorted(self.maps)[number % len(self.maps)]

    def line(self, version: bytes) -> set[bytes]:
        names = {version}
        while version in self.parents:
            version = self.parents[version]
            names.add(version)
        return names

    def keep(self, names: set[bytes]) -> None:
        for gone in set(self.maps) - names:
            with pytest.raises(KeyError):
                self.tree.root_of(gone)
        self.maps = {name: items for name, items in self.maps.items() if name in names}
        self.parents = {
            name: parent
            for name, parent in self.parents.items()
            if name in names and parent in names and name != self.stored
        }

    @rule(number=st.integers(0), changes=CHANGES)
    def update(self, number: int, changes: dict[bytes, bytes | None]) -> None:
        parent = self.pick(number)
        self.count += 1
        name = b"v%d" % self.count
        root = self.tree.update(parent, name, list(changes.items()))
        merged = {**self.maps[parent], **changes}
        self.maps[name] = {key: value for key, value in merged.items() if value is not None}
        self.parents[name] = parent
        assert root == rebuild(self.maps[name].items())

    @rule(number=st.integers(0))
    def commit(self, number: int) -> None:
        self.stored = self.pick(number)
        write(self.rows, self.tree, self.stored)
        self.keep({name for name in self.maps if self.stored in self.line(name)})

    @precondition(lambda self: self.parents)
    @rule(number=st.integers(0))
    def discard(self, number: int) -> None:
        name = sorted(self.parents)[number % len(self.parents)]
        self.tree.discard(name)
        self.keep({other for other in self.maps if name not in self.line(other)})

    @rule()
    def restart(self) -> None:
        self.tree = Tree(self.rows, self.tree.root, self.stored, cached_pages_max=8)
        self.keep({self.stored})

    @rule(number=st.integers(0), key=KEYS)
    def prove(self, number: int, key: bytes) -> None:
        name = self.pick(number)
        value = self.maps[name].get(key)
        assert verify_proof(self.tree.root_of(name), key, value, self.tree.prove(name, key))

    @invariant()
    def roots_agree(self) -> None:
        assert self.tree.version == self.stored
        for name, items in self.maps.items():
            assert self.tree.root_of(name) == rebuild(items.items())


TestVersions = Versions.TestCase


def test_layers_compete_and_only_the_committed_line_lives(kernels: ModuleType) -> None:
    rows: Rows = {}
    tree = Tree(rows, EMPTY_ROOT, b"genesis")
    base = tree.update(b"genesis", b"a", numbered(0, 100))
    left = tree.update(b"a", b"left", numbered(0, 10, b"left"))
    right = tree.update(b"a", b"right", [(b"%d" % number, None) for number in range(90)])
    top = tree.update(b"left", b"top", numbered(100, 200))
    assert tree.update(b"left", b"empty block", []) == left
    assert len({base, left, right, top}) == 4
    assert rows == {}
    write(rows, tree, b"left")
    assert tree.root == left
    for gone in (b"genesis", b"a", b"right"):
        with pytest.raises(KeyError):
            tree.root_of(gone)
    assert tree.root_of(b"top") == top
    assert tree.root_of(b"empty block") == left
    reopened = Tree(rows, left, b"left")
    assert reopened.update(b"left", b"top", numbered(100, 200)) == top
    write(rows, tree, b"top")
    assert Tree(rows, top, b"top").prove(b"top", b"150") == tree.prove(b"top", b"150")


def test_layers_are_discarded_with_all_that_stand_on_them(kernels: ModuleType) -> None:
    tree = Tree({}, EMPTY_ROOT, b"0")
    for parent, version in ((b"0", b"1"), (b"1", b"2"), (b"0", b"3"), (b"2", b"4"), (b"3", b"5")):
        tree.update(parent, version, [(b"key", version)])
    with pytest.raises(KeyError):
        tree.discard(b"5", b"missing")
    assert tree.root_of(b"5"), "all of them or none"
    tree.discard(b"2", b"4", b"5")
    tree.discard()
    assert [tree.root_of(version) != EMPTY_ROOT for version in (b"1", b"3")] == [True, True]
    for gone in (b"2", b"4", b"5"):
        with pytest.raises(KeyError):
            tree.root_of(gone)


def test_a_version_is_named_once(kernels: ModuleType) -> None:
    tree = Tree({}, EMPTY_ROOT, b"genesis")
    tree.update(b"genesis", b"a", [])
    for name in (b"genesis", b"a"):
        with pytest.raises(ValueError, match="exists"):
            tree.update(b"genesis", name, [])
    for call in (tree.discard, tree.commit, tree.root_of):
        with pytest.raises(KeyError):
            call(b"nobody")
    with pytest.raises(KeyError):
        tree.discard(b"genesis")
    with pytest.raises(ValueError, match="twice"):
        tree.update(b"a", b"b", [(b"key", b"1"), (b"key", b"2")])
    with pytest.raises(KeyError):
        tree.root_of(b"b")  # a refused update leaves nothing behind


def test_committing_what_is_stored_writes_nothing(kernels: ModuleType) -> None:
    tree = Tree({}, EMPTY_ROOT, b"genesis")
    assert tree.commit(b"genesis") == ([], [])


def test_damage_is_named_and_never_read(kernels: ModuleType) -> None:
    rows: Rows = {}
    tree = Tree(rows, EMPTY_ROOT, b"genesis")
    root = tree.update(b"genesis", b"a", numbered(0, 2000))
    write(rows, tree, b"a")
    deep = max(rows)
    for damaged in ({}, {**rows, deep: rows[deep][:-1]}, {**rows, deep: bytes(len(rows[deep]))}):
        with pytest.raises(TreeCorrupt, match=r"state tree's page .* (database|anew)\.$"):
            Tree(damaged, root, b"a").update(b"a", b"b", numbered(0, 2000, b"w"))
    foreign: Rows = {}
    other = Tree(foreign, EMPTY_ROOT, b"genesis")
    other.update(b"genesis", b"a", numbered(0, 2000, b"other"))
    write(foreign, other, b"a")
    with pytest.raises(TreeCorrupt, match="does not have the hash"):
        Tree({**rows, deep: foreign[deep]}, root, b"a").update(b"a", b"b", numbered(0, 2000, b"w"))


def test_the_cache_is_bounded_and_never_stale(kernels: ModuleType) -> None:
    rows: Rows = {}
    tree = Tree(rows, EMPTY_ROOT, b"0", cached_pages_max=16)
    model: Rows = {}
    for block in range(1, 12):
        changes = numbered(block * 37 % 400, block * 37 % 400 + 300, b"%d" % block)
        gone: list[Change] = [(b"%d" % number, None) for number in range(900, 900 + block)]
        model.update((key, value) for key, value in changes if value is not None)
        root = tree.update(b"%d" % (block - 1), b"%d" % block, [*changes, *gone])
        write(rows, tree, b"%d" % block)
        assert root == rebuild(model.items())
        for key in (b"1", b"399", b"absent"):
            assert verify_proof(root, key, model.get(key), tree.prove(b"%d" % block, key))
        cache = tree._cache
        assert len(cache.upper) <= 10
        assert len(cache.old) + len(cache.young) <= len(rows) + 16
    assert len(rows) > 32


def test_what_the_cache_takes_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "kernel", _tree)
    tracemalloc.start()
    try:
        tree = Tree({}, EMPTY_ROOT, b"0")
        tree.update(b"0", b"1", numbered(0, 5_000, b"value"))
        tree.commit(b"1")
        held_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held_bytes > 2**20
    assert 0.8 * held_bytes < tree.cached_bytes < 1.1 * held_bytes


def test_a_proof_travels_canonically_and_is_small(kernels: ModuleType) -> None:
    tree = Tree({}, EMPTY_ROOT, b"genesis")
    root = tree.update(b"genesis", b"a", numbered(0, 4096))
    decoder = Decoder[TreeProof](TreeProof)
    sizes = []
    for key, value in ((b"17", b"v"), (b"absent", None), (b"nowhere", None)):
        sent = encode(tree.prove(b"a", key))
        sizes.append(len(sent))
        assert verify_proof(root, key, value, decoder.decode(sent))
        with pytest.raises(Malformed):
            decoder.decode(sent + b"\x00")
    assert max(sizes) <= 32 * 18 + 64 + 16  # 12 levels shared by halves, some luck, another's leaf
    with pytest.raises(Malformed):
        decoder.decode(encode((300, b"", b"", b"")))


@given(items=st.dictionaries(st.binary(max_size=6), st.binary(max_size=6), max_size=80))
def test_rebuild_equals_what_grew(items: Rows) -> None:
    tree = Tree({}, EMPTY_ROOT, b"genesis")
    assert tree.update(b"genesis", b"a", list(items.items())) == rebuild(sorted(items.items()))
