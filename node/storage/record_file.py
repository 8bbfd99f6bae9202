"""A file of records that only grows: each stands on the one before it, and is durable when synced.

Each record is

    length (4 bytes) || checksum of the length (4) || payload || checksum (16)

where the checksum covers the payload and the checksum before it: a record that is changed, missing
or out of place breaks the chain. What a crash leaves half-written at the end was not synced, so
nothing rests on it, and it is cut off; damage anywhere else is an error. Records are kept back in
memory until they are synced, so that no file grows before the one that must be durable first.

Pages of one sync reach the disk in any order, and a file may have grown before they do. So a file
that may not tear is synced page by page: a crash leaves the pages before it whole, and of the one
that was written at most the bytes, all zero, that the file grew by.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Final

from node.errors import NodeError
from node.keystore import sync_folder

LENGTH_BYTES: Final = 4
CHECKSUM_BYTES: Final = 16
SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all; pages are multiples of it."""
PAGE_BYTES: Final = 4_096
"""What the system writes at once; larger pages are multiples of it."""


@dataclass(frozen=True, slots=True)
class Form:
    """What tells one kind of record file from another, and the errors that it raises."""

    person: bytes
    """By which its checksums differ from those of other kinds."""
    payload_bytes_max: int
    may_tear: bool
    """Whether a last record is a torn one whose checksum is wrong, or of whose head a sector is
    empty: several pages of one record need not reach the disk in order. Else this is damage, and
    a sync waits for each page before it writes the next."""
    missing: Callable[[Path], NodeError]
    failed: Callable[[Path, str], NodeError]
    corrupt: Callable[[Path, int], NodeError]
    """Called with the path and the offset of the damage."""

    def __post_init__(self) -> None:
        """Hold the longest record against a page."""
        record_bytes_max = 2 * LENGTH_BYTES + self.payload_bytes_max + CHECKSUM_BYTES
        assert self.may_tear or record_bytes_max <= PAGE_BYTES, "a record crosses one edge at most"


class RecordFile:
    """The records of a file, in order; the file is held open for writing."""

    def __init__(self, path: Path, form: Form) -> None:
        self._path = path
        self._form = form
        self._chain = b""
        self._waiting: list[bytes] = []
        self._broken = False
        with self._errors():
            self._file = _open(path)
        try:
            with self._errors():
                self.payloads = self._read()
        except NodeError:
            self._file.close()
            raise

    def _errors(self) -> AbstractContextManager[None]:
        return disk_errors(self._path, self._form)

    def _read(self) -> list[bytes]:
        """Return the payloads, and cut off what a crash left half-written at the end."""
        data = self._path.read_bytes()
        payloads: list[bytes] = []
        offset = 0
        while offset < len(data):
            payload = self._next(data, offset)
            if payload is None:
                self._file.truncate(offset)
                os.fsync(self._file.fileno())
                break
            self._chain = self._chained(self._chain, payload)
            payloads.append(payload)
            offset += _size(payload)
        self._file.seek(0, os.SEEK_END)
        return payloads

    def _next(self, data: bytes, offset: int) -> bytes | None:
        """Return the record at `offset`, None when it is torn; raises what `corrupt` makes."""
        rest = memoryview(data)[offset:]
        if not any(rest):
            return None  # the file grew before its bytes reached the disk
        start = 2 * LENGTH_BYTES
        if len(rest) < start:
            return None
        length = int.from_bytes(rest[:LENGTH_BYTES], "big")
        if rest[LENGTH_BYTES:start] == _length_check(length):
            end = start + length + CHECKSUM_BYTES
            if len(rest) < end:
                return None
            payload = bytes(rest[start : start + length])
            if rest[start + length : end] == self._chained(self._chain, payload):
                return payload
            is_torn = self._form.may_tear and len(rest) == end
        else:
            is_torn = self._form.may_tear and _is_torn_head(data, offset)
        if is_torn or self._lacks_last_page(data, offset):
            return None
        raise self._form.corrupt(self._path, offset)

    def _lacks_last_page(self, data: bytes, offset: int) -> bool:
        """Tell whether a record that does not hold is the last, and empty from a page's edge on.

        The file grew before these bytes reached the disk; ended it at that edge, the record would
        be torn as well. Where anything follows, the record was synced, and is damaged.
        """
        edge = _edge_after(offset)
        payload_bytes = len(data) - offset - _size(b"")
        if edge >= len(data) or not 0 <= payload_bytes <= self._form.payload_bytes_max:
            return False
        head = _head(payload_bytes)[: edge - offset]
        return data.startswith(head, offset) and not any(data[edge:])

    def _chained(self, previous: bytes, payload: bytes) -> bytes:
        hashed = blake2b(previous, digest_size=CHECKSUM_BYTES, person=self._form.person)
        hashed.update(payload)
        return hashed.digest()

    @property
    def size_bytes(self) -> int:
        """The size of the file, without what waits to be synced."""
        return self._file.tell()

    @property
    def is_synced(self) -> bool:
        """Whether every record is durable."""
        return not self._waiting

    def append(self, payload: bytes) -> None:
        """Add a record; it is durable after the next `sync` and may be lost before."""
        assert len(payload) <= self._form.payload_bytes_max, "a record is bounded"
        self._waiting.append(payload)

    def sync(self) -> None:
        """Make every record durable; after a failure nothing more can be written."""
        if self._broken:
            raise self._form.failed(self._path, "an earlier write failed")
        if not self._waiting:
            return
        self._broken = True
        chain, frames = self._chain, []
        for payload in self._waiting:
            chain = self._chained(chain, payload)
            frames += [_head(len(payload)), payload, chain]
        with self._errors():
            for piece in self._pieces(b"".join(frames)):
                _write_all(self._file, piece)
                os.fdatasync(self._file.fileno())
        self._chain = chain
        self._waiting.clear()
        self._broken = False

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what is written at once: each piece is durable before the next one is begun."""
        if self._form.may_tear:
            yield data
        else:
            yield from _by_page(data, [_size(one) for one in self._waiting], self._file.tell())

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records, those that wait included, by these, atomically and durably."""
        self._broken = True
        with self._errors():
            self._chain = write_records(self._path, payloads, self._form)
            self._file.close()
            self._file = _open(self._path)
            self._file.seek(0, os.SEEK_END)
        self._waiting.clear()
        self._broken = False

    def close(self) -> None:
        """Let go of the file; what was not synced is lost."""
        self._file.close()


def write_records(path: Path, payloads: list[bytes], form: Form) -> bytes:
    """Put a durable file of these records at `path` at once and return its last checksum."""
    chain = b""
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for payload in payloads:
            hashed = blake2b(chain, digest_size=CHECKSUM_BYTES, person=form.person)
            hashed.update(payload)
            chain = hashed.digest()
            file.writelines([_head(len(payload)), payload, chain])
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
    return chain


@contextmanager
def disk_errors(path: Path, form: Form) -> Iterator[None]:
    """Turn what the disk says into the errors of this kind of file."""
    try:
        yield
    except FileNotFoundError as error:
        raise form.missing(path) from error
    except OSError as error:
        raise form.failed(path, error.strerror or str(error)) from error


def _length_check(length: int) -> bytes:
    return blake2b(length.to_bytes(LENGTH_BYTES, "big"), digest_size=LENGTH_BYTES).digest()


def _is_torn_head(data: bytes, offset: int) -> bool:
    """Tell whether a head that does not hold is the last one, and a sector of it never written.

    What is not written is empty to the end of its sector: the file ended before it, or in it. A
    head that holds further on was synced later, so this one was synced too, and is damaged.
    """
    start = 2 * LENGTH_BYTES
    middle = (offset // SECTOR_BYTES + 1) * SECTOR_BYTES
    is_split = middle < offset + start
    if any(data[offset:middle]) and not (is_split and not any(data[middle:][:SECTOR_BYTES])):
        return False
    for at in range(offset + start + CHECKSUM_BYTES, len(data) - start - CHECKSUM_BYTES + 1):
        if data[at] > len(data) >> 24:
            continue  # the first byte of most lengths is too large already
        length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        fits = at + start + length + CHECKSUM_BYTES <= len(data)
        if fits and data[at + LENGTH_BYTES : at + start] == _length_check(length):
            return False
    return True


def _by_page(data: bytes, sizes: Sequence[int], offset: int) -> Iterator[bytes]:
    """Yield records of these sizes, to be written at `offset`, cut at the edges of pages.

    Also cut is where a record ends that has crossed an edge, so that it is the last one for as
    long as a crash can leave it empty from that edge on.
    """
    start = end = 0
    for size in sizes:
        edge = _edge_after(offset + end) - offset
        end += size
        if end >= edge:
            yield data[start:edge]
            if end > edge:
                yield data[edge:end]
            start = end
    if start < end:
        yield data[start:end]


def _edge_after(offset: int) -> int:
    return (offset // PAGE_BYTES + 1) * PAGE_BYTES


def _head(payload_bytes: int) -> bytes:
    return payload_bytes.to_bytes(LENGTH_BYTES, "big") + _length_check(payload_bytes)


def _size(payload: bytes) -> int:
    return 2 * LENGTH_BYTES + len(payload) + CHECKSUM_BYTES


def _open(path: Path) -> FileIO:
    return path.open("r+b", buffering=0)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of it; an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
