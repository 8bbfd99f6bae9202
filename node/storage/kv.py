"""Ordered keys and values with atomic batches: LevelDB, and its twin in memory for tests.

Every block read is checked against its checksum. A batch is whole or absent after a crash at any
byte; with `sync` it is also there after a power cut. Both stores may be read from several threads
while one writes.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import plyvel

from node.errors import (
    StorageCorrupt,
    StorageExists,
    StorageFailed,
    StorageLocked,
    StorageMissing,
)

Row = tuple[bytes, bytes]

WRITE_BUFFER_BYTES = 8 * 2**20
BLOCK_CACHE_BYTES = 16 * 2**20
BLOCK_BYTES = 1024
"""A random read checks and copies one whole block; most rows are far smaller."""
OPEN_FILES_MAX = 256
BLOOM_BITS = 10
"""One read in a hundred for a key that is not there touches the disk in vain."""
BACKUP_BATCH_BYTES = 2**20
SIGNS_OF_DAMAGE = re.compile(
    r"Corruption|missing files|too short|truncated|\.(ldb|sst): (Invalid argument|No such file)"
)
"""What LevelDB says of files that are cut short or gone, by whatever class of error."""


class Reader(Protocol):
    """What a store and a snapshot of it have in common."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none."""
        ...

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Row]:
        """Return rows from `start` up to but not including `stop` (None: the end), ascending.

        The rows are those of the moment of the call, whatever is written later.
        """
        ...


class KeyValueStore(Reader, Protocol):
    """Exactly the calls that the node uses."""

    def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
        """Put, then delete, all in one atomic batch; with `sync`, durable on return."""
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Return a context in which the store is read as it was when the context was entered."""
        ...

    def compact(self, start: bytes, stop: bytes) -> None:
        """Give back the room of what was deleted in a range; takes long for a large one."""
        ...

    def size_of(self, prefix: bytes) -> int:
        """Return about how many bytes the rows under a one-byte prefix take."""
        ...

    def close(self) -> None:
        """Let go of the database; nothing may be called afterwards."""
        ...


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn LevelDB's errors into ours, with the path and what to do."""
    try:
        yield
    except plyvel.CorruptionError as error:
        raise _corrupt(path, error) from error
    except plyvel.Error as error:
        reason = _reason(error)
        if SIGNS_OF_DAMAGE.search(reason):
            raise _corrupt(path, error) from error
        raise StorageFailed(
            f"The database at {path} cannot be read or written ({reason}). Check that the disk "
            "has room and that this user may write there, then start the node again."
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(
        part.decode(errors="replace") if isinstance(part, bytes) else str(part)
        for part in error.args
    )


def _corrupt(path: Path, error: Exception) -> StorageCorrupt:
    return StorageCorrupt(
        f"The database at {path} is damaged ({_reason(error)}); its data were not used. Move it "
        "away and start the node again: it begins with a snapshot or the blocks of other nodes."
    )


def _open(path: Path, *, create: bool) -> plyvel.DB:
    try:
        return plyvel.DB(
            str(path),
            create_if_missing=create,
            error_if_exists=False,
            paranoid_checks=True,
            write_buffer_size=WRITE_BUFFER_BYTES,
            lru_cache_size=BLOCK_CACHE_BYTES,
            max_open_files=OPEN_FILES_MAX,
            bloom_filter_bits=BLOOM_BITS,
            block_size=BLOCK_BYTES,
            compression=None,  # hashes do not compress, and trying costs a tenth of a core
        )
    except plyvel.Error as error:
        reason = _reason(error)
        if "LOCK" in reason:
            raise StorageLocked(
                f"The database at {path} is in use ({reason}): another node runs in this home. "
                "Stop that node, or give this one a home of its own."
            ) from error
        raise


class _LevelReader:
    """Reads of a database or of one of its snapshots."""

    def __init__(self, path: Path, source: plyvel.DB) -> None:
        self._path = path
        self._source = source

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none; raises StorageError."""
        try:
            value: bytes | None = self._source.get(key, verify_checksums=True)
        except plyvel.Error:
            with _named_errors(self._path):
                raise
        return value

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Row]:
        """Return rows from `start` up to but not including `stop` (None: the end), ascending."""
        with _named_errors(self._path):
            rows = self._source.iterator(start=start, stop=stop, verify_checksums=True)
        return self._checked(rows)

    def _checked(self, rows: Iterator[Row]) -> Iterator[Row]:
        with _named_errors(self._path):
            yield from rows


class Written(Protocol):
    """How long a write takes is somebody else's to know: it happens under this context."""

    def __call__(self, file: str, *, sync: bool) -> AbstractContextManager[None]:
        """Return a context for one write to what is called `file`."""
        ...


def untimed(file: str, *, sync: bool) -> AbstractContextManager[None]:
    """Time nothing."""
    return nullcontext()


class LevelDb(_LevelReader):
    """A LevelDB database in a folder of its own, open in one process at a time.

    With `create` False a missing database is StorageMissing. Raises StorageError throughout.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        if not create and not (path / "CURRENT").is_file():
            raise StorageMissing(
                f"There is no database at {path}: no node has run here yet. Start one with "
                "`sahara run`, or name the home that holds the chain."
            )
        with _named_errors(path):
            if create:
                _make_folder(path)
            super().__init__(path, _open(path, create=create))
        self.written: Written = untimed
        """Times every write."""

    def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
        """Put, then delete, all in one atomic batch; with `sync`, durable on return."""
        with (
            self.written("database", sync=sync),
            _named_errors(self._path),
            self._source.write_batch(transaction=True, sync=sync) as batch,
        ):
            put, delete = batch.put, batch.delete
            for key, value in puts:
                put(key, value)
            for key in deletes:
                delete(key)

    def size_of(self, prefix: bytes) -> int:
        """Return about how many bytes of files the rows under a one-byte prefix take."""
        stop = bytes([prefix[0] + 1])
        with _named_errors(self._path):
            size: int = self._source.approximate_size(prefix, stop)
        return size

    def memory_bytes(self) -> int:
        """Return about how much memory its caches and its newest writes take."""
        return int(self._source.get_property(b"leveldb.approximate-memory-usage"))

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Read the database as it was when this context was entered."""
        taken = self._source.snapshot()
        try:
            yield _LevelReader(self._path, taken)
        finally:
            taken.close()

    def compact(self, start: bytes, stop: bytes) -> None:
        """Give back the room of what was deleted in a range; others read and write meanwhile."""
        with _named_errors(self._path):
            self._source.compact_range(start=start, stop=stop)

    def close(self) -> None:
        """Let go of the database and of its lock."""
        self._source.close()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(
            f"The folder {path} for the database cannot be made ({error.strerror}). Choose a home "
            "that this user may write to."
        ) from error


class MemoryStore:
    """The same contract without a disk: for tests and for replays that keep nothing."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = dict(rows)
        self._sorted: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none."""
        return self._rows.get(key)

    def scan(self, start: bytes, stop: bytes | None) -> Iterator[Row]:
        """Return rows from `start` up to but not including `stop` (None: the end), ascending."""
        if self._sorted is None:
            self._sorted = sorted(self._rows)
        end = None if stop is None else bisect_left(self._sorted, stop)
        keys = self._sorted[bisect_left(self._sorted, start) : end]
        return iter([(key, self._rows[key]) for key in keys])

    def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
        """Put, then delete; a batch that breaks off while it is read changes nothing."""
        added, gone = list(puts), list(deletes)
        self._rows.update(added)
        for key in gone:
            self._rows.pop(key, None)
        self._sorted = None

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Read the rows as they were when this context was entered."""
        yield MemoryStore(self._rows.items())

    def compact(self, start: bytes, stop: bytes) -> None:
        """Do nothing: what is deleted is gone."""

    def size_of(self, prefix: bytes) -> int:
        """Return the bytes of the rows under a one-byte prefix."""
        rows = self.scan(prefix, bytes([prefix[0] + 1]))
        return sum([len(key) + len(value) for key, value in rows])

    def close(self) -> None:
        """Keep the rows: a test opens the store again by using it."""


def backup(store: KeyValueStore, path: Path) -> int:
    """Copy the store, as it is now, into a new database; return the number of rows.

    The store stays in use meanwhile. StorageExists when the path is taken; a copy that fails half
    way is incomplete: remove it and try again.
    """
    if path.exists():
        raise StorageExists(f"{path} exists already. Name a path where the backup may be made.")
    copied = 0
    with store.snapshot() as snapshot:
        target = LevelDb(path, create=True)
        try:
            batch: list[Row] = []
            size = 0
            for row in snapshot.scan(b"", None):
                batch.append(row)
                size += len(row[0]) + len(row[1])
                if size >= BACKUP_BATCH_BYTES:
                    target.write(batch, (), sync=True)
                    copied += len(batch)
                    batch, size = [], 0
            target.write(batch, (), sync=True)
            return copied + len(batch)
        finally:
            target.close()
