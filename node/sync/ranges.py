"""Which blocks are still to be had: ranges of proven ids, asked of many, handed on in order.

A range is asked of one peer, and of a second one when the first is late or nothing else is left to
ask for; the first answer counts. An answer may hold only the first blocks of its range: the rest is
asked for again. Ranges are asked for only while all that is under way and waits has room.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from node.sync.checks import ProvenBlock
from node.sync.messages import BLOCKS_MAX, RANGE_BYTES_MAX
from p2p.topics import MIB
from state.types import Hash

BYTES_MAX: Final = 32 * MIB
"""What is under way, each range at its longest, and what waits for its execution.

Second askers come on top: half of it again.
"""
ASKS_MAX: Final = 8
"""Ranges under way; where one block is longer than a range may be, this many of those."""
ASKERS_MAX: Final = 2
"""Peers that are asked for one range at the same time."""
RANGE_BYTES: Final = MIB
"""What a range should hold, by the length of the blocks before it."""
FIRST_BLOCKS: Final = 8
LATE_MS: Final = 1_000
"""A range that takes longer is asked of a second peer."""

assert BYTES_MAX >= 2 * ASKS_MAX * RANGE_BYTES_MAX, "half of it may wait"


@dataclass(slots=True)
class Range:
    """Blocks of consecutive heights: asked of whom and since when, and what came."""

    height: int
    count: int
    askers: dict[bytes, int] = field(default_factory=dict)
    blocks: deque[ProvenBlock] | None = None
    size_bytes: int = 0


class Ranges:
    """The blocks of consecutive heights whose ids are proven."""

    def __init__(self, height: int, ids: Sequence[Hash]) -> None:
        self._first = height
        self._ids = ids
        self._ranges: list[Range] = []
        """In order, without gaps from the lowest that was not handed on."""
        self._next = height
        """The lowest height that belongs to no range yet."""
        self._block_bytes = RANGE_BYTES // FIRST_BLOCKS
        self.held_bytes = 0
        """Bytes of answers that were not handed on wholly."""

    @property
    def last(self) -> int:
        """The highest height."""
        return self._first + len(self._ids) - 1

    def ids(self, part: Range) -> Sequence[Hash]:
        """Return the ids of a range."""
        at = part.height - self._first
        return self._ids[at : at + part.count]

    # --- asking -----------------------------------------------------------------------------------

    def wanted(
        self, now_ms: int, below: "Ranges | None" = None, *, is_end: bool = True
    ) -> Range | None:
        """Return the range that should be asked for next, the lowest first; None for now.

        Those `below` count against the same bounds. Where more follows there is no `is_end`, at
        which second peers are asked at once.
        """
        waiting = [one for one in self._ranges if one.blocks is None]
        is_free = self._has_room(below)
        for one in waiting:  # the lowest one always, for everything else waits for it
            if not one.askers and (is_free or (below is None and one is self._ranges[0])):
                return one
        if is_free and self._next <= self.last:
            return self._grow()
        for one in waiting:  # near the end, and whatever is late, of a second peer as well
            is_late = bool(one.askers) and min(one.askers.values()) + LATE_MS <= now_ms
            if 0 < len(one.askers) < ASKERS_MAX and (is_late or (is_free and is_end)):
                return one
        return None

    def _has_room(self, below: "Ranges | None") -> bool:
        """Tell whether one more range may be under way, each at its longest."""
        asks, planned = self._load
        if below is not None:
            asks, planned = asks + below._load[0], planned + below._load[1]
        return asks < ASKS_MAX and planned + RANGE_BYTES_MAX <= BYTES_MAX

    @property
    def _load(self) -> tuple[int, int]:
        """Questions under way, and bytes that are here or may come."""
        asked = [one for one in self._ranges if one.blocks is None and one.askers]
        asks = sum([len(one.askers) for one in asked])
        return asks, self.held_bytes + len(asked) * RANGE_BYTES_MAX

    @property
    def is_asked(self) -> bool:
        """Whether every block was asked for, once at least."""
        return self._next > self.last

    @property
    def is_handed_on(self) -> bool:
        """Whether nothing is left to be handed on."""
        return self.is_asked and not self._ranges

    def _grow(self) -> Range:
        room = max(1, RANGE_BYTES // max(1, self._block_bytes))
        count = min(room, BLOCKS_MAX, self.last - self._next + 1)
        part = Range(self._next, count)
        self._ranges.append(part)
        self._next += count
        return part

    def asked(self, part: Range, peer: bytes, now_ms: int) -> None:
        """Note whom a range was asked of."""
        part.askers[peer] = now_ms

    @staticmethod
    def failed(part: Range, peer: bytes) -> None:
        """A peer that was asked does not bring the range."""
        part.askers.pop(peer, None)

    def take(self, part: Range, blocks: Sequence[ProvenBlock], size: int) -> bool:
        """Take what was brought for a range; tell whether it is new."""
        if part.blocks is not None:
            return False
        missing = part.count - len(blocks)
        if missing:
            rest = Range(part.height + len(blocks), missing)
            self._ranges.insert(self._ranges.index(part) + 1, rest)
            part.count = len(blocks)
        part.askers.clear()
        part.blocks = deque(blocks)
        part.size_bytes = size
        self.held_bytes += size
        self._block_bytes = (self._block_bytes + size // len(blocks)) // 2
        return True

    # --- handing on -------------------------------------------------------------------------------

    def pop(self, bytes_max: int, count_max: int) -> list[ProvenBlock]:
        """Hand on the lowest blocks, as far as they are here; one block whatever its size."""
        found: list[ProvenBlock] = []
        size = 0
        while self._ranges and self._ranges[0].blocks is not None and len(found) < count_max:
            part = self._ranges[0]
            assert part.blocks is not None
            size += part.blocks[0].size_bytes
            if found and size > bytes_max:
                break
            found.append(part.blocks.popleft())
            if not part.blocks:
                self.held_bytes -= part.size_bytes
                del self._ranges[0]
        return found
