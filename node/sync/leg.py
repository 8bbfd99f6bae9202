"""One epoch on the way up: its finalization, why that was made, the headers under it, its blocks.

A leg stands on a proven block. The one that goes on stands on the tip; the one ahead of it stands
on the last block of the epoch, which is proven and not executed yet. What it needs is verified in
the same way, for the set of the next epoch is known. What must not be kept or made durable before
the blocks below waits until it is this leg's turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from node.sync.checks import ProvenBlock, Quorum, is_again
from node.sync.descent import Descent, Place, contradiction
from node.sync.effects import Descend, KeepLink
from node.sync.messages import FinalAnswer
from node.sync.ranges import Ranges
from state.finality import Header, Justify, Proposal, boundary_height

CLOSE_HEIGHTS: Final = 8
"""What the engine fetches by itself once the sync ends."""
FINAL_WAIT_MS: Final = 1_000
"""After the first finalization, better ones are waited for so long."""


class Stage(Enum):
    """What is being done."""

    IDLE = "the engine runs"
    FINAL = "a finalization is looked for"
    LINKS = "it is of a boundary that was proposed again: why"
    HEADERS = "headers come down to the tip"
    BLOCKS = "blocks come up from the tip"


@dataclass(slots=True)
class Search:
    """What came of asking for finalizations."""

    asked: set[bytes] = field(default_factory=set)
    next_ms: int = 0
    """Nobody is asked before."""
    best: FinalAnswer | None = None
    since_ms: int = 0
    """When the first came that leads on."""
    heard_ms: int | None = None
    """When the first came, whether it leads on or not."""


class Leg:
    """The way through one epoch, or through what is left of it."""

    def __init__(self, quorum: Quorum, base: Place, number: int) -> None:
        self.quorum = quorum
        self.base = base
        self.number = number
        """The number of its stage; what was asked in another one comes too late."""
        self.stage = Stage.FINAL
        self.search = Search()
        self.link: Proposal | None = None
        self.brief: set[bytes] = set()
        """Who gave fewer headers than it was asked for: others come first, however quick it is."""
        self.ranges = Ranges(1, ())
        self.kept: list[KeepLink | Descend] = []
        """What is to be done once it is this leg's turn."""
        self._descent: Descent | None = None

    @property
    def descent(self) -> Descent:
        """The way down, once there is a finalization."""
        assert self._descent is not None, "a finalization was found"
        return self._descent

    @property
    def epoch(self) -> int:
        """The epoch that it leads through."""
        return self.quorum.epoch

    @property
    def last_height(self) -> int:
        """The height of the epoch's last block."""
        return boundary_height(self.epoch, self.quorum.epoch_blocks)

    @property
    def end(self) -> Place | None:
        """The epoch's last block, once it is proven and every block below it is asked for."""
        if self.stage is not Stage.BLOCKS or not self.descent.is_last_segment:
            return None
        goal = self.descent.goal
        return goal if goal.height == self.last_height and self.ranges.is_asked else None

    @property
    def is_handed_on(self) -> bool:
        """Whether every block of it was handed on."""
        is_last = self.stage is Stage.BLOCKS and self.descent.is_last_segment
        return is_last and self.ranges.is_handed_on

    # --- a finalization and why it was made -------------------------------------------------------

    def take_final(self, found: FinalAnswer, now_ms: int) -> None:
        """Note a verified finalization, if it leads far enough."""
        height, search = found.header.height, self.search
        if search.heard_ms is None:
            search.heard_ms = now_ms
        if height <= self.base.height + CLOSE_HEIGHTS and height != self.last_height:
            return
        if height <= self.base.height:
            return
        if search.best is None:
            search.since_ms = now_ms
        if search.best is None or height > search.best.header.height:
            search.best = found

    def choice(self, now_ms: int, *, is_waiting: bool) -> FinalAnswer | None:
        """Return the finalization to go for, once no better one need be waited for."""
        best = self.search.best
        if best is None:
            return None
        is_last = best.header.height == self.last_height
        is_over = not is_waiting or now_ms >= self.search.since_ms + FINAL_WAIT_MS
        return best if is_last or is_over else None

    def go_for(self, final: FinalAnswer) -> Stage:
        """Begin the way down from a finalization; return the stage that follows."""
        self._descent = Descent(final, self.base)
        subject = final.finalization.subject
        if subject.view == final.header.view:
            return Stage.HEADERS
        self.link = subject
        return Stage.LINKS

    def take_link(self, justify: Justify) -> tuple[KeepLink, Stage]:
        """Go on from a proposal to the one whose certificate let it be made (settled 4)."""
        proposal, parent = self.link, justify.parent
        assert proposal is not None, "it was asked for"
        if not is_again(proposal, justify) or parent is None:
            raise contradiction("a boundary was proposed again without a certificate")
        keep = KeepLink(proposal, justify)
        if parent.subject.view == self.descent.final.header.view:
            self.link = None
            return keep, Stage.HEADERS
        self.link = parent.subject
        return keep, Stage.LINKS

    # --- headers and blocks -----------------------------------------------------------------------

    def take_headers(self, headers: Sequence[Header]) -> Descend | None:
        """Take headers; return what is final now, and stands on the base, once they lead there."""
        if not self.descent.take(headers):
            return None
        self.ranges = Ranges(self.descent.first, self.descent.ids)
        subject = self.descent.final.finalization.subject
        return Descend(subject.epoch, subject.view)

    def pop(self, bytes_max: int, count_max: int) -> list[ProvenBlock]:
        """Hand on the lowest blocks that are here, the last one with its finalization."""
        found = self.ranges.pop(bytes_max, count_max)
        final = self.descent.final.finalization
        if found and found[-1].block_id == final.subject.block_id:
            found[-1] = ProvenBlock(found[-1].block_id, found[-1].block, final)
        return found
