"""A disk that forgets: what was not synced may be lost at a crash, and its sectors may be garbage.

Records are framed by a checksum that chains to the one before, as in the node's own files, so a
reader stops at the first record that the crash damaged. What was synced is never lost: a disk that
loses that, too, is the matter of a lost journal (consensus settled point 10).
"""

from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from random import Random

CHECKSUM_BYTES = 8


class PowerFailed(Exception):
    """The machine lost power while it synced a file."""


class Fate(Enum):
    """What becomes of a record when power fails as it is synced; the ones before it are kept."""

    LOST = "it and all that follow are gone"
    GARBAGE = "its sector holds garbage"
    KEPT = "it is durable, and nothing that rests on it was done"


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One record of a file, counted from 1, whose sync the power does not outlast."""

    file: str
    record: int
    fate: Fate


@dataclass
class DiskFaults:
    """How often a disk misbehaves, and the chance that decides; or the one point where it does."""

    chance: Random
    probability: float = 0.0
    enabled: bool = True
    point: CrashPoint | None = None

    def strikes(self) -> bool:
        """Tell whether something goes wrong this time."""
        return self.enabled and self.probability > 0 and self.chance.random() < self.probability


@dataclass
class SimulatedFile:
    """An append-only file of records, some of them not yet synced."""

    faults: DiskFaults
    name: str = ""
    written: int = 0
    """How many records were ever appended."""
    _doomed: CrashPoint | None = None
    _stored: list[bytes] = field(default_factory=list)
    _synced: int = 0
    size_bytes: int = 0
    """The bytes of all records."""
    syncs: int = 0

    @property
    def is_synced(self) -> bool:
        """Whether everything that was written is durable."""
        return self._synced == len(self._stored)

    def append(self, payload: bytes) -> None:
        """Write a record into the cache of the operating system."""
        before = self._stored[-1][:CHECKSUM_BYTES] if self._stored else b""
        self._stored.append(_checksum(before, payload) + payload)
        self.written += 1
        self.size_bytes += CHECKSUM_BYTES + len(payload)

    def sync(self) -> None:
        """Make everything written durable; raises PowerFailed when a fault strikes."""
        if self._synced == len(self._stored):
            return
        self.syncs += 1
        if self._is_struck():
            raise PowerFailed
        self._synced = len(self._stored)

    def _is_struck(self) -> bool:
        """Tell whether power fails now, before the sync, or after it where the record is kept."""
        point = self.faults.point
        if point is None or point.file != self.name:
            return self.faults.strikes()
        first = self.written - (len(self._stored) - self._synced) + 1
        if not first <= point.record <= self.written:
            return False
        self.faults.point = None
        self._doomed = point
        if point.fate is Fate.KEPT:
            self._synced = len(self._stored)
        return True

    def crash(self, corrupt: bool) -> None:
        """Lose a random part of what was not synced; pending sectors may hold garbage."""
        pending = len(self._stored) - self._synced
        point, self._doomed = self._doomed, None
        if point is not None and point.fate is not Fate.KEPT:
            kept = point.record - (self.written - pending) - 1
            corrupt = point.fate is Fate.GARBAGE
        else:
            kept = self.faults.chance.randint(0, pending)
        garbage = corrupt and kept < pending
        survivors = self._stored[: self._synced + kept]
        if garbage:
            victim = bytearray(self._stored[self._synced + kept])
            victim[self.faults.chance.randrange(len(victim))] ^= 0x5A
            survivors.append(bytes(victim))
        self._stored = survivors

    def read(self) -> list[bytes]:
        """Return the records up to the first damaged one, and cut the file off there."""
        found: list[bytes] = []
        before = b""
        for stored in self._stored:
            payload = stored[CHECKSUM_BYTES:]
            if stored[:CHECKSUM_BYTES] != _checksum(before, payload):
                break
            before = stored[:CHECKSUM_BYTES]
            found.append(payload)
        assert len(found) >= self._synced, "what was synced is never lost"
        self._stored = self._stored[: len(found)]
        self._synced = len(found)
        return found

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records at once, as a rename of a synced draft does."""
        written = self.written
        self._stored = []
        self.size_bytes = 0
        for payload in payloads:
            self.append(payload)
        self.written = written  # nothing of it is new
        self._synced = len(self._stored)

    def __len__(self) -> int:
        """The number of records written."""
        return len(self._stored)


def _checksum(before: bytes, payload: bytes) -> bytes:
    return blake2b(before + payload, digest_size=CHECKSUM_BYTES).digest()
