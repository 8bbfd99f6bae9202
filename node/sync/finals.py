"""What is proven of heights above the tip, and when that is little enough to end the sync.

A finalization that was verified stays true, whoever showed it and whatever it was asked for. What
peers claim decides nothing here: the sync ends once nothing that is proven lies far ahead and those
who may prove more had time to.
"""

from collections.abc import Container
from typing import Final

from node.sync.leg import CLOSE_HEIGHTS, FINAL_WAIT_MS, Leg
from node.sync.messages import FinalAnswer
from node.sync.sources import Sources

CLOSE_MS: Final = 8_000
"""So long after it came near to all that is proven, a sync ends, whatever is still asked or shown.

Else peers who answer late, and a chain that grows meanwhile, would hold the engine for ever.
"""
STRANGERS_MS: Final = 1_000
"""Who has proven nothing lately is waited for so long, once in a sync.

Once only: where epochs are short, others might make the next one in each such time.
"""


class Finals:
    """The highest verified finalizations of the epochs whose sets are known, and the way out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._finals: dict[int, FinalAnswer] = {}
        self._near_ms: int | None = None
        """Since when this sync is near to all that is proven."""
        self._first_ms: int | None = None
        """When it was so for the first time."""
        self.target = 0
        """The height of the highest verified finalization."""

    def take(self, found: FinalAnswer) -> None:
        """Keep a verified finalization, if it is the highest of its epoch."""
        header = found.header
        self.target = max(self.target, header.height)
        held = self._finals.get(header.epoch)
        if held is None or held.header.height < header.height:
            self._finals[header.epoch] = found

    def of(self, epoch: int) -> FinalAnswer | None:
        """Return the highest one of an epoch, and forget those of epochs that are over."""
        for old in [one for one in self._finals if one < epoch - 1]:
            del self._finals[old]
        return self._finals.get(epoch)

    def is_behind(self, height: int) -> bool:
        """Tell whether what is proven lies so far above a height that it takes a sync."""
        return self.target - height > self._limit

    def is_over(
        self, leg: Leg, sources: Sources, height: int, now_ms: int, waiting: Container[bytes]
    ) -> bool:
        """Tell whether nobody need be waited for who may prove more than the engine finds.

        Those who have proven something are heard, and one answer is enough for a deadline.
        """
        if self.is_behind(height):
            return False
        search, above = leg.search, leg.base.height + CLOSE_HEIGHTS
        if self._near_ms is None:
            self._near_ms = now_ms
        if self._first_ms is None:
            self._first_ms = now_ms
        known = sources.proven(above, now_ms)
        if not known:
            return not sources.claimants(above) or now_ms >= self._first_ms + STRANGERS_MS
        if search.heard_ms is None:
            return False
        is_heard = all(peer in search.asked and peer not in waiting for peer in known)
        return is_heard or now_ms >= search.heard_ms + FINAL_WAIT_MS

    def is_due(self, height: int, now_ms: int) -> bool:
        """Tell whether a sync is near to all that is proven for so long that it is to end."""
        if self.is_behind(height):
            self._near_ms = None
        return self._near_ms is not None and now_ms >= self._near_ms + CLOSE_MS

    def end(self) -> None:
        """The sync has ended: the next one has its own time."""
        self._near_ms = self._first_ms = None
