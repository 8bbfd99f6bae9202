"""Which process is meant: a process id alone may have gone to another process meanwhile.

Linux: a process is known by its id and the time it started, both from /proc, and by the boot that
this time counts from. Signals go through a pidfd, which stays with the process that was checked.
"""

import os
import resource
import select
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
DEAD = ("Z", "X")
STATE_FIELD = 0
START_FIELD = 19
"""Of /proc/PID/stat, counted after the name, which may hold blanks and brackets itself."""

BYTES_PER_MB = 1_000_000


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process of this machine, and no later one of the same id."""

    pid: int
    started: str
    """Boot and clock ticks since then."""

    @property
    def lives(self) -> bool:
        """Whether this very process runs; one that waits to be reaped does not."""
        return identity_of(self.pid) == self

    @property
    def rss_mb(self) -> float | None:
        """Resident memory in 10^6 bytes, None when it does not run."""
        try:
            pages = int((PROC / str(self.pid) / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return None
        if not self.lives:
            return None
        return round(pages * resource.getpagesize() / BYTES_PER_MB, 1)

    def signal(self, number: int) -> bool:
        """Send a signal to this very process, and tell whether it was there."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.lives:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, seconds: float) -> bool:
        """Tell whether this process ends within so many seconds."""
        with suppress(OSError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.lives:
                    return bool(select.select([handle], [], [], seconds)[0])
            finally:
                os.close(handle)
        return True


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return who has this id now, None when nobody does."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (OSError, ValueError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[STATE_FIELD] in DEAD:
        return None
    return ProcessIdentity(pid, f"{BOOT_ID.read_text().strip()}:{fields[START_FIELD]}")
