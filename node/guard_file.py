"""The guard's file: records that only grow, under an exclusive lock (node/storage/record_file.py).

What a crash leaves half-written at the end was never signed for anyone, and is dropped; damage
anywhere else is an error.

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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Protocol

from node.errors import NodeError
from node.storage.record_file import Form, RecordFile, disk_errors, write_records

PAYLOAD_BYTES_MAX: Final = 1_024


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
        """Add a record, durable after the next `sync`."""
        ...

    def sync(self) -> None:
        """Make every record durable."""
        ...

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def _missing(path: Path) -> GuardMissing:
    return GuardMissing(
        f"There is no guard file {path}, so nobody knows what this key has signed. Restore it, or "
        "start once with --vote-after-loss EPOCH:VIEW, above every vote it can have sent."
    )


def _failed(path: Path, reason: str) -> GuardFailed:
    return GuardFailed(
        f"The guard file {path} cannot be read or written ({reason}); free space or mend the disk "
        "or its permissions, then restart."
    )


def _corrupt(path: Path, offset: int) -> GuardCorrupt:
    return GuardCorrupt(
        f"The guard file {path} is damaged at byte {offset}; restore an exact copy of its newest "
        "state. Never sign with an older one."
    )


GUARD_FORM = Form(b"guard", PAYLOAD_BYTES_MAX, False, _missing, _failed, _corrupt)


class GuardFile(RecordFile):
    """The guard's records on disk, under an exclusive lock."""

    def __init__(self, path: Path) -> None:
        self._lock = lock_guard(path)
        try:
            super().__init__(path, GUARD_FORM)
        except GuardError:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let go of the file and of its lock."""
        super().close()
        self._lock.close()


def guard_errors(path: Path) -> AbstractContextManager[None]:
    """Turn what the disk says into errors of the guard."""
    return disk_errors(path, GUARD_FORM)


def write_guard(path: Path, payloads: list[bytes]) -> None:
    """Put a durable guard of these records at `path` at once."""
    write_records(path, payloads, GUARD_FORM)


def lock_guard(path: Path) -> BinaryIO:
    """Return the open lock file; the lock ends with it, also when the process is killed."""
    with guard_errors(path):
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
