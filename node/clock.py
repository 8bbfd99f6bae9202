"""The only clock of the node: whoever needs the time is handed a Clock and asks it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, in milliseconds; a simulator has another one than the machine."""

    def now_ms(self) -> int:
        """Return the monotonic time: for intervals and timers, with an arbitrary zero."""
        ...

    def now_ns(self) -> int:
        """Return the same time in nanoseconds, for measuring."""
        ...

    def wall_ms(self) -> int:
        """Return the time of day since 1970 in UTC: for headers and for people, never a timer."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the monotonic time."""
        return time.monotonic_ns() // 1_000_000

    def now_ns(self) -> int:
        """Return the monotonic time in nanoseconds."""
        return time.monotonic_ns()

    def wall_ms(self) -> int:
        """Return the time of day since 1970 in UTC."""
        return time.time_ns() // 1_000_000
