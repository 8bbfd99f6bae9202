"""Typed tables over the key-value state, and the layers through which they are read and written.

A `Table` names a key prefix, a key shape and a row type. A `State` is one layer of decoded rows:
the block being executed lies over its unfinalized ancestors, they over the finalized `Base`.
Writes go to the top layer; an undo list takes a failed transaction back.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from state.codec import Decoder, Struct, encode
from state.errors import BoundExceeded, NotFound
from state.keys import KeyShape

K = TypeVar("K")
R = TypeVar("R", bound=Struct)

CACHED_ROWS_MAX = 200_000
"""Decoded rows that the finalized layer keeps; about 60 MB when all are small."""

GENERATION_BLOCKS = 256
"""A row is still in memory this many blocks after its last use, and after twice as many no more."""

FEW_KEYS = 8
"""So many new keys are cheaper to insert one by one than by sorting again."""

Row = Struct | None
_MISSING: Any = object()


class Reader(Protocol):
    """Where finalized bytes are read from: a database, or a dictionary in tests."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for start <= key < stop in key order."""
        ...


class Base:
    """The finalized rows: decoded once, and kept in memory while they are in use.

    What is read or written stands in the young generation. When that is half of CACHED_ROWS_MAX or
    GENERATION_BLOCKS blocks old, it becomes the old one, and the old one goes: so memory follows
    what the last blocks have used, however much there is.
    """

    __slots__ = ("_age_blocks", "_old", "_reader", "_young")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._young: dict[bytes, Row] = {}
        self._old: dict[bytes, Row] = {}
        self._age_blocks = 0

    def row(self, key: bytes, decoder: Decoder[Any]) -> Row:
        """Return the decoded row under `key`, or None."""
        row: Row = self._young.get(key, _MISSING)
        if row is not _MISSING:
            return row
        row = self._old.get(key, _MISSING)
        if row is _MISSING:
            data = self._reader.get(key)
            row = None if data is None else decoder.trusted(data)
        self._young[key] = row
        self._trim()
        return row

    def span(
        self, start: bytes, stop: bytes, decoder: Decoder[Any]
    ) -> Iterator[tuple[bytes, Struct]]:
        """Yield (key, row) for start <= key < stop in key order."""
        for key, data in self._reader.scan(start, stop):
            row = self._young.get(key, _MISSING)
            if row is _MISSING:
                row = self._old.get(key)
            yield key, decoder.trusted(data) if row is None else row

    def absorb(self, rows: dict[bytes, Row]) -> None:
        """Take over the rows of a layer whose bytes have just become final in the reader."""
        self._young.update(rows)
        self._age_blocks += 1
        self._trim()

    def _trim(self) -> None:
        rows = len(self._young)
        if rows > CACHED_ROWS_MAX // 2 or self._age_blocks == GENERATION_BLOCKS:
            # what is more than all that may be kept came at once, as a genesis does
            self._old = self._young if rows <= CACHED_ROWS_MAX else {}
            self._young = {}
            self._age_blocks = 0


class _Keys:
    """The keys that a layer holds under one prefix, put in order when a scan first asks.

    So a block that both writes and scans a table pays for the keys that are new since the last
    scan, not for all of them every time.
    """

    __slots__ = ("_fresh", "_ordered")

    def __init__(self) -> None:
        self._ordered: list[bytes] = []
        self._fresh: dict[bytes, None] = {}

    def add(self, key: bytes) -> None:
        self._fresh[key] = None

    def discard(self, key: bytes) -> None:
        if key in self._fresh:
            del self._fresh[key]
        else:
            del self._ordered[bisect_left(self._ordered, key)]

    def between(self, start: bytes, stop: bytes) -> list[bytes]:
        """Return the keys in [start, stop) in order."""
        ordered = self._ordered
        if len(self._fresh) < FEW_KEYS:
            for key in self._fresh:
                insort(ordered, key)
        else:
            ordered += self._fresh
            ordered.sort()
        self._fresh.clear()
        return ordered[bisect_left(ordered, start) : bisect_left(ordered, stop)]


class State:
    """One layer of decoded rows over another layer or over the finalized base."""

    __slots__ = ("_keys", "_undo", "below", "derived", "rows")

    def __init__(self, below: "State | Base") -> None:
        self.below = below
        self.derived: dict[tuple[str, int], object] = {}
        """What a module worked out from the rows as this layer leaves them, for the next block to
        start from. It is no state: whoever keeps something here can also make it from the rows."""
        self.rows: dict[bytes, Row] = {}
        self._keys: dict[bytes, _Keys] = {}
        self._undo: list[tuple[bytes, Row]] | None = None

    def begin(self) -> None:
        """Start to remember former rows, so that `rollback` can restore them."""
        assert self._undo is None, "transactions do not nest"
        self._undo = []

    def commit(self) -> None:
        """Keep what was written since `begin`."""
        assert self._undo is not None, "commit without begin"
        self._undo = None

    def rollback(self) -> None:
        """Restore every row as it was at `begin`."""
        undo, self._undo = self._undo, None
        assert undo is not None, "rollback without begin"
        for key, row in reversed(undo):
            if row is _MISSING:
                del self.rows[key]
                self._keys[key[:2]].discard(key)
            else:
                self.rows[key] = row

    def inherited(self, name: tuple[str, int]) -> object | None:
        """Return what the layer below derived from its rows under this name, or None."""
        return self.below.derived.get(name) if isinstance(self.below, State) else None

    def written(self, prefix: bytes) -> list[bytes]:
        """Return the keys under a table's prefix that this layer wrote, in order."""
        index = self._keys.get(prefix)
        return [] if index is None else index.between(prefix, _successor(prefix))

    def row(self, key: bytes, decoder: Decoder[Any]) -> Row:
        """Return the decoded row under `key` as this layer sees it, or None."""
        row: Row = self.rows.get(key, _MISSING)
        return self.below.row(key, decoder) if row is _MISSING else row

    def write(self, key: bytes, row: Row) -> None:
        """Set or (None) delete the row under `key` in this layer."""
        rows = self.rows
        if self._undo is not None:
            self._undo.append((key, rows.get(key, _MISSING)))
        if key not in rows:
            prefix = key[:2]
            if prefix not in self._keys:
                self._keys[prefix] = _Keys()
            self._keys[prefix].add(key)
        rows[key] = row

    def span(
        self, start: bytes, stop: bytes, decoder: Decoder[Any]
    ) -> Iterator[tuple[bytes, Struct]]:
        """Yield (key, row) for start <= key < stop in key order, own rows over those below."""
        own = self.rows
        index = self._keys.get(start[:2])
        keys = [] if index is None else index.between(start, stop)
        below = self.below.span(start, stop, decoder)
        if not keys:
            yield from below
            return
        at = 0
        for key, row in below:
            while at < len(keys) and keys[at] < key:
                mine = own[keys[at]]
                if mine is not None:
                    yield keys[at], mine
                at += 1
            if at < len(keys) and keys[at] == key:
                mine = own[key]
                at += 1
                if mine is not None:
                    yield key, mine
            else:
                yield key, row
        for key in keys[at:]:
            mine = own[key]
            if mine is not None:
                yield key, mine

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Return this layer's writes as bytes in key order, deletions as None."""
        found = []
        for key in sorted(self.rows):
            row = self.rows[key]
            found.append((key, None if row is None else encode(row)))
        return found


class Table(Generic[K, R]):
    """Rows of one type under one key prefix; only the module that declares it writes it."""

    __slots__ = ("_decoder", "_pack", "_row_type", "name", "prefix", "shape")

    def __init__(self, prefix: bytes, name: str, shape: KeyShape[K], row: type[R]) -> None:
        assert len(prefix) == 2, "a table's prefix is its module's number and its own"
        self.prefix = prefix
        self.name = name
        self.shape = shape
        self._pack = shape.packer(prefix)
        self._row_type = row
        self._decoder: Decoder[R] = Decoder(row)

    @property
    def row_type(self) -> type[R]:
        """The type of the rows, from which their JSON form derives."""
        return self._row_type

    def decode(self, data: bytes) -> R:
        """Return the row that a proof carries as bytes; raises Malformed."""
        return self._decoder.decode(data)

    def key(self, key: K) -> bytes:
        """Return the state key of a row: what membership proofs are made for."""
        return self._pack(key)

    def get(self, state: State, key: K) -> R | None:
        """Return the row under `key`, or None."""
        packed = self._pack(key)
        row: Any = state.rows.get(packed, _MISSING)
        if row is _MISSING:
            row = state.below.row(packed, self._decoder)
        found: R | None = row  # its type was checked when it was written
        return found

    def require(self, state: State, key: K) -> R:
        """Return the row under `key`; raises NotFound when there is none."""
        row = self.get(state, key)
        if row is None:
            raise NotFound(f"There is no row {_shown(key)} in {self.name}; check id and height.")
        return row

    def put(self, state: State, key: K, row: R) -> None:
        """Write a row; raises BoundExceeded when a field leaves its declared range."""
        try:
            self._decoder.check(row)
        except (msgspec.ValidationError, OverflowError) as error:
            # The sentence is under the outcomes root, so no library's wording may stand in it.
            raise BoundExceeded(
                f"A row of {self.name} would leave its bounds; use smaller amounts."
            ) from error
        state.write(self._pack(key), row)

    def written(self, state: State) -> list[tuple[K, R | None]]:
        """Return (key, row) for every key that the top layer wrote, None where it deleted."""
        return [
            (self.shape.unpack(key[2:]), cast("R | None", state.rows[key]))
            for key in state.written(self.prefix)
        ]

    def delete(self, state: State, key: K) -> None:
        """Remove the row under `key`, if there is one."""
        state.write(self._pack(key), None)

    def scan(
        self,
        state: State,
        *,
        under: tuple[Any, ...] = (),
        after: K | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[K, R]]:
        """Yield (key, row) in key order.

        `under` fixes the first parts of the key, `after` starts behind one key, and `limit`
        stops after so many rows. Do not write the table while a scan of it is under way: take
        a list first.
        """
        start = self.prefix + self.shape.pack_part(under)
        stop = _successor(start)
        if after is not None:
            start = self.prefix + self.shape.pack(after) + b"\x00"
        left = -1 if limit is None else limit
        for key, row in state.span(start, stop, self._decoder):
            if left == 0:
                return
            left -= 1
            yield self.shape.unpack(key[2:]), cast(R, row)


def _shown(key: object) -> str:
    """Return a key for a sentence under the outcomes root: hex, and the same on every Python."""
    parts = key if isinstance(key, tuple) else (key,)
    return "/".join([part.hex() if isinstance(part, bytes) else ascii(part) for part in parts])


def _successor(prefix: bytes) -> bytes:
    """Return the first key behind all keys that start with `prefix`."""
    number = int.from_bytes(prefix, "big") + 1
    assert number < 1 << (8 * len(prefix)), "table prefixes stay below ff"
    return number.to_bytes(len(prefix), "big")
