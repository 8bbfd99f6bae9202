"""The guard's file: append-only records under an exclusive lock, synced one by one.

Each record is

    length (4 bytes) || checksum of the length (4) || payload || checksum (16)

where the checksum covers the payload and the checksum before it: a record that is changed, missing
or out of place breaks the chain. What a crash leaves half-written at the end was never signed for
anyone, and is dropped; damage anywhere else is an error.

GuardError                     NodeError (node/errors.py)
├── GuardRefused               guard.refused     already voted otherwise: never retried, never fatal
├── GuardMissing               guard.missing
├── GuardExists                guard.exists
├── GuardLocked                guard.locked
├── GuardCorrupt               guard.corrupt
├── GuardOfAnother             guard.other_key
└── GuardFailed                guard.failed      the disk refuses: the node must stop
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Protocol

from node.errors import NodeError
from node.keystore import sync_folder

PAYLOAD_BYTES_MAX: Final = 1_024
LENGTH_BYTES: Final = 4
CHECKSUM_BYTES: Final = 16


class GuardError(NodeError):
    """The guard does not let the node sign."""

    code: ClassVar[str] = "guard.error"


class GuardRefused(GuardError):
    """The vote would contradict one that was signed before."""

    code: ClassVar[str] = "guard.refused"


class GuardMissing(GuardError):
    """There is no guard file where one was expected."""

    code: ClassVar[str] = "guard.missing"


class GuardExists(GuardError):
    """There is a guard file where a new one was to be made."""

    code: ClassVar[str] = "guard.exists"


class GuardLocked(GuardError):
    """Another process signs with this guard."""

    code: ClassVar[str] = "guard.locked"


class GuardCorrupt(GuardError):
    """The guard file does not hold what was written to it."""

    code: ClassVar[str] = "guard.corrupt"


class GuardOfAnother(GuardError):
    """The guard file belongs to another key or network."""

    code: ClassVar[str] = "guard.other_key"


class GuardFailed(GuardError):
    """The disk refuses to make a vote durable."""

    code: ClassVar[str] = "guard.failed"


class GuardStore(Protocol):
    """Where a guard keeps its records: a file, or what stands for one in a simulation."""

    payloads: list[bytes]
    """What was there when it was opened."""

    @property
    def size_bytes(self) -> int:
        """How large it has become."""
        ...

    def append(self, payload: bytes) -> None:
        """Make a record durable."""
        ...

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class GuardFile:
    """Records on disk, under an exclusive lock, synced one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_guard(path)
        self._chain = b""
        self._broken = False
        with ExitStack() as on_error:
            on_error.callback(self._lock.close)
            with disk_errors(path):
                self._file = on_error.enter_context(_open(path))
                self.payloads = self._read()
            on_error.pop_all()

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
            self._chain = _chained(self._chain, payload)
            payloads.append(payload)
            offset += _size(payload)
        self._file.seek(0, os.SEEK_END)
        return payloads

    def _next(self, data: bytes, offset: int) -> bytes | None:
        """Return the record at `offset`, None when it is torn; raises GuardCorrupt."""
        rest = memoryview(data)[offset:]
        if not any(rest):
            return None  # the file grew before its bytes reached the disk
        start = 2 * LENGTH_BYTES
        if len(rest) < start:
            return None
        length = int.from_bytes(rest[:LENGTH_BYTES], "big")
        if rest[LENGTH_BYTES:start] != _length_check(length):
            raise self._corrupt(offset)
        end = start + length + CHECKSUM_BYTES
        if len(rest) < end:
            return None
        payload = bytes(rest[start : start + length])
        if rest[start + length : end] != _chained(self._chain, payload):
            raise self._corrupt(offset)
        return payload

    def _corrupt(self, offset: int) -> GuardCorrupt:
        return GuardCorrupt(
            f"The guard file {self._path} is damaged at byte {offset}; restore an exact copy of "
            "its newest state. Never sign with an older one."
        )

    def append(self, payload: bytes) -> None:
        """Make a record durable; after a failure nothing more can be appended."""
        if self._broken:
            raise GuardFailed(f"The guard file {self._path} could not be written; restart.")
        self._broken = True
        chain = _chained(self._chain, payload)
        with disk_errors(self._path):
            _write_all(self._file, _framed(payload, chain))
            os.fdatasync(self._file.fileno())
        self._chain = chain
        self._broken = False

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self._file.tell()

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        self._broken = True
        with disk_errors(self._path):
            self._chain = write_new(self._path, payloads)
            self._file.close()
            self._file = _open(self._path)
            self._file.seek(0, os.SEEK_END)
        self._broken = False

    def close(self) -> None:
        """Let go of the file and of its lock."""
        self._file.close()
        self._lock.close()


def lock_guard(path: Path) -> BinaryIO:
    """Return the open lock file; the lock ends with it, also when the process is killed."""
    with disk_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise GuardLocked(
            f"Another process signs with {path}; two that vote with one key contradict each "
            "other. Stop the other one first."
        ) from error
    return lock


def _length_check(length: int) -> bytes:
    return blake2b(length.to_bytes(LENGTH_BYTES, "big"), digest_size=LENGTH_BYTES).digest()


def _chained(previous: bytes, payload: bytes) -> bytes:
    return blake2b(previous + payload, digest_size=CHECKSUM_BYTES, person=b"guard").digest()


def _framed(payload: bytes, checksum: bytes) -> bytes:
    length = len(payload)
    assert length <= PAYLOAD_BYTES_MAX, "a record is small"
    return length.to_bytes(LENGTH_BYTES, "big") + _length_check(length) + payload + checksum


def _size(payload: bytes) -> int:
    return 2 * LENGTH_BYTES + len(payload) + CHECKSUM_BYTES


def _open(path: Path) -> FileIO:
    return path.open("r+b", buffering=0)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of it; an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def write_new(path: Path, payloads: list[bytes]) -> bytes:
    """Put a durable file of these records at `path` at once and return its last checksum."""
    chain = b""
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for payload in payloads:
            chain = _chained(chain, payload)
            file.write(_framed(payload, chain))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
    return chain


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says into errors with the path and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise GuardMissing(
            f"There is no guard file {path}, so nobody knows what this key has signed. Restore "
            "it, or start once with --vote-after-loss EPOCH:VIEW, above every vote it can have "
            "sent."
        ) from error
    except OSError as error:
        raise GuardFailed(
            f"The guard file {path} cannot be read or written ({error.strerror}); free space or "
            "mend the disk or its permissions, then start again."
        ) from error
