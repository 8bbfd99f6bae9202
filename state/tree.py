"""The state tree: one hash that commits the key-value map of the state, with proofs for any key.

The hashes and pages are those of cython_ext/_tree_py.py. Here are the versions: the *stored* one,
whose pages a `NodeStore` holds, and over it in-memory *layers*, one for each executed block that is
not yet final; several may have the same parent. Two layers may have the same root (a block that
changes nothing), so a version is named by its caller: by the id of the block it is the state after.

A page is stored under its place in the tree, not under its hash, so writing a version overwrites
the one before it: old versions need no pruning, and only the stored one survives a restart.
"""

from collections.abc import Iterable, Mapping, Sequence
from sys import getsizeof
from typing import Annotated, ClassVar, Protocol

from msgspec import Meta

from cython_ext import tree as kernel
from cython_ext import tree_parts as parts_kernel
from cython_ext import tree_proof as proof_kernel
from state.codec import Struct
from state.errors import SaharaError
from state.types import ZERO_HASH

EMPTY_ROOT = ZERO_HASH
"""The root over no keys at all."""

CACHED_PAGES_MAX = 65_536
"""Decoded pages of the stored version that stay in memory, about 1 kB each."""

Change = tuple[bytes, bytes | None]
"""A key and its new value; None takes the key away."""

Writes = tuple[list[tuple[bytes, bytes]], list[bytes]]
"""Pages to put and keys of pages to delete, in one atomic batch with the block they belong to."""


class TreeCorrupt(SaharaError):
    """The stored pages are not those that were written: a page is missing or hashes differently."""

    code: ClassVar[str] = "tree.corrupt"


class TreeProof(Struct):
    """The way from a key's place in the tree up to the root; about 0.7 kB at 10^6 keys."""

    depth: Annotated[int, Meta(ge=0, le=256)]
    """Binary levels between the root and the end of the way."""
    bitmap: Annotated[bytes, Meta(max_length=32)]
    """A bit for each level from the root down: whether the sibling there is not empty."""
    siblings: Annotated[bytes, Meta(max_length=256 * 32)]
    """The hashes of those siblings, from the root down."""
    leaf: Annotated[bytes, Meta(max_length=64)]
    """Path and value hash of the other key found in an absent key's place; otherwise empty."""


def verify_proof(root: bytes, key: bytes, value: bytes | None, proof: TreeProof) -> bool:
    """Tell whether under `root` the key has the value, or with None that it has no value."""
    return proof_kernel.verify(
        root, key, value, proof.depth, proof.bitmap, proof.siblings, proof.leaf
    )


def rebuild(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the root over a whole map, in any order; ValueError when a key comes twice."""
    return parts_kernel.root_of(items)


class NodeStore(Protocol):
    """Where the pages of the stored version are read from."""

    def get(self, key: bytes) -> bytes | None:
        """Return the stored page, None when there is none."""
        ...


class _Layer:
    """What one block changed: its pages, None where one is gone."""

    __slots__ = ("pages", "parent", "root")

    def __init__(self, parent: bytes, root: bytes, pages: dict[bytes, object]) -> None:
        self.parent = parent
        self.root = root
        self.pages = pages


class _Cache:
    """Decoded stored pages: whole upper levels, and of those below what was in use of late.

    Every update passes the upper levels, and each has an eighth of the pages of the next. The
    others stand in two generations: when the young one is full, the old one goes.
    """

    __slots__ = ("floor", "lower_max", "old", "upper", "upper_max", "young")

    def __init__(self, pages_max: int) -> None:
        self.upper_max = max(1, pages_max * 5 >> 3)
        self.lower_max = max(1, pages_max * 3 >> 4)
        self.floor = 256
        self.upper: dict[bytes, object] = {}
        self.young: dict[bytes, object] = {}
        self.old: dict[bytes, object] = {}

    def add(self, pages: dict[bytes, object]) -> None:
        """Take pages in; one that is None is gone.

        A page that is gone may linger in the old generation: no page above it leads there any
        more, and should it come again, the young one is found first.
        """
        kernel.sort_pages(pages, self.floor, self.upper, self.young)
        while len(self.upper) > self.upper_max:
            self.floor = max(key[0] for key in self.upper)
            self.upper = {key: page for key, page in self.upper.items() if key[0] < self.floor}
        if len(self.young) > self.lower_max:
            self.old, self.young = self.young, {}

    def taken_bytes(self) -> int:
        """Return about how much memory the pages take, with their places."""
        found = 0
        for pages in (self.upper, self.young, self.old):
            found += (
                getsizeof(pages) + sum(map(getsizeof, pages)) + sum(map(getsizeof, pages.values()))
            )
        return found


class Tree:
    """The stored version and the layers over it. Not safe to share between threads.

    `version` names the stored version; the keys of its pages in the store begin with `prefix`.
    Every call that reads pages raises TreeCorrupt when the store does not hold those of `root`.
    """

    def __init__(
        self,
        store: NodeStore,
        root: bytes,
        version: bytes,
        *,
        prefix: bytes = b"",
        cached_pages_max: int = CACHED_PAGES_MAX,
    ) -> None:
        self.root = root
        self.version = version
        self._store = store
        self._prefix = prefix
        self._layers: dict[bytes, _Layer] = {}
        self._cache = _Cache(cached_pages_max)

    @property
    def cached_bytes(self) -> int:
        """About how much memory the cached pages take: it grows with the state, up to a bound."""
        return self._cache.taken_bytes()

    def root_of(self, version: bytes) -> bytes:
        """Return the root of the stored version or of a layer; KeyError for any other."""
        return self.root if version == self.version else self._layers[version].root

    def update(self, parent: bytes, version: bytes, changes: Sequence[Change]) -> bytes:
        """Make `version` a layer over `parent` and return its root.

        The order of the changes does not matter. ValueError when a key is changed twice or the
        version exists; KeyError when the parent does not.
        """
        if version == self.version or version in self._layers:
            raise ValueError(f"version {version.hex()} exists: name every block's state once")
        root, pages = kernel.update(
            self._overlays(parent), self._fetch, self.root_of(parent), changes
        )
        self._layers[version] = _Layer(parent, root, pages)
        return root

    def prove(self, version: bytes, key: bytes) -> TreeProof:
        """Return the proof that verifies, with the key's value or with None, against the root."""
        return TreeProof(
            *proof_kernel.prove(self._overlays(version), self._fetch, self.root_of(version), key)
        )

    def commit(self, version: bytes) -> Writes:
        """Make a layer the stored version; return what to write, before anything else is asked.

        Its ancestors merge into it and its descendants stay; competing layers are dropped.
        """
        root = self.root_of(version)
        chain = self._chain(version)
        merged = chain[0].pages if chain else {}
        for layer in chain[1:]:
            merged = {**layer.pages, **merged}
        self._layers = {
            name: layer for name, layer in self._layers.items() if self._descends(name, version)
        }
        self.root, self.version = root, version
        puts, deletes = kernel.encode_pages(merged, self._prefix)
        self._cache.add(merged)
        return puts, deletes

    def discard(self, *versions: bytes) -> None:
        """Drop layers and all that stand on them; KeyError when there is no such layer."""
        for version in versions:
            if version not in self._layers:
                raise KeyError(version)
        dropped = set(versions)
        for name, layer in self._layers.items():  # parents come before children
            if layer.parent in dropped:
                dropped.add(name)
        self._layers = {name: layer for name, layer in self._layers.items() if name not in dropped}

    def _chain(self, version: bytes) -> list[_Layer]:
        """The layers from a version down to the stored one, newest first."""
        layers = []
        while version != self.version:
            layers.append(self._layers[version])
            version = layers[-1].parent
        return layers

    def _descends(self, name: bytes, ancestor: bytes) -> bool:
        while name in self._layers:
            name = self._layers[name].parent
            if name == ancestor:
                return True
        return False

    def _overlays(self, version: bytes) -> list[Mapping[bytes, object]]:
        layers: list[Mapping[bytes, object]] = [layer.pages for layer in self._chain(version)]
        return [*layers, self._cache.upper, self._cache.young, self._cache.old]

    def _fetch(self, key: bytes, expected: bytes) -> object:
        """Read, check and cache a page of the stored version."""
        stored = self._store.get(self._prefix + key)
        if stored is None:
            raise _corrupt(key, "is missing from the database")
        try:
            page = kernel.decode_page(stored, key[0])
        except ValueError as error:
            raise _corrupt(key, f"is damaged: {error}") from error
        if kernel.page_hash(page) != expected:
            raise _corrupt(key, "does not have the hash that its parent holds")
        self._cache.add({key: page})
        return page


def _corrupt(key: bytes, what: str) -> TreeCorrupt:
    return TreeCorrupt(
        f"The state tree's page {key.hex()} {what}. Restore the database from a backup, or sync "
        "this node anew."
    )
