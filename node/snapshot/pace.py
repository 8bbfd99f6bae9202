"""How fast the chunks of a snapshot come, from all who give them together.

A chunk that is true proves itself, and not that its giver means well: one that comes now and then
would hold a node for days. So whoever gives a snapshot keeps a pace, or another one is tried.
"""

from typing import Final

PACE_SECONDS: Final = 20.0
"""A pace is judged over so long: two answers that take as long as they may (ANSWER_MS_MAX)."""
SLOW_BYTES_S: Final = 2**16
"""Far less than what one honest giver must do for its chunks to come before ANSWER_MS_MAX."""


class Pace:
    """The bytes that came in the present stretch of time."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._bytes = 0

    def took(self, size: int) -> None:
        """Note a chunk that came."""
        self._bytes += size

    def excuse(self, seconds: float, now: float) -> None:
        """Leave out what this node's own disk took, which holds up whoever is asked next."""
        self._since = min(now, self._since + seconds)

    def left_seconds(self, now: float) -> float:
        """Return how long the present stretch goes on."""
        return max(0.0, self._since + PACE_SECONDS - now)

    def is_slow(self, now: float) -> bool:
        """Tell whether a stretch is over in which too little came; the next one then begins."""
        seconds = now - self._since
        if seconds < PACE_SECONDS:
            return False
        is_slow = self._bytes < SLOW_BYTES_S * seconds
        self._since, self._bytes = now, 0
        return is_slow
