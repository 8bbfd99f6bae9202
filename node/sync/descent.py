"""The way down from a verified finalization to a proven block: headers, each under its child's id.

Of an epoch that may be long only so much is kept: the ids of at most SEGMENT heights above that
block, and of every SEGMENT-th height above those. Once the blocks of a segment are final here, the
next one is gone down again from its own upper end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.inputs import Tip
from node.errors import ConsensusHalted
from node.sync.messages import HEADERS_MAX, FinalAnswer, HeadersRequest
from state.finality import Header
from state.types import Hash

SEGMENT: Final = 4_096


@dataclass(frozen=True, slots=True)
class Place:
    """A proven block."""

    height: int
    block_id: Hash

    @classmethod
    def of(cls, tip: Tip) -> "Place":
        """Return the place of the tip."""
        return cls(tip.header.height, tip.block_id)


class Descent:
    """From one finalization down to a proven block, segment by segment, the lowest first."""

    def __init__(self, final: FinalAnswer, base: Place) -> None:
        self.final = final
        self.goal = Place(final.header.height, final.finalization.subject.block_id)
        self._goals = [self.goal]
        self._begin(base)

    def _begin(self, base: Place) -> None:
        self._base = base
        self._ids: list[Hash] = []
        self._below: Header | None = None
        """The lowest header that is proven."""

    @property
    def ids(self) -> Sequence[Hash]:
        """The ids from above the base up to the lowest goal, once `take` has found the base."""
        return self._ids

    @property
    def first(self) -> int:
        """The height of the first of the ids."""
        return self._base.height + 1

    def _next(self) -> Place:
        """Return the highest header that is still to be had."""
        below = self._below
        return self._goals[-1] if below is None else Place(below.height - 1, below.parent_id)

    def request(self) -> tuple[HeadersRequest, int]:
        """Return what to ask for, and the height that it begins at."""
        at = self._next()
        count = min(HEADERS_MAX, at.height - self._base.height)
        return HeadersRequest(at.block_id, count), at.height

    def take(self, headers: Sequence[Header]) -> bool:
        """Take the headers that were asked for; tell whether they lead to the base.

        Raises ConsensusHalted where a quorum has finalized what cannot be.
        """
        base = self._base
        for header in headers:
            at = self._next()
            if header.height != at.height or header.epoch != self.final.header.epoch:
                raise contradiction("the headers below a finalization are of wrong heights")
            if (at.height - base.height) % SEGMENT == 0 and at.height < self._goals[-1].height:
                self._goals.append(at)
                self._ids = []
            self._ids.append(at.block_id)
            self._below = header
        at = self._next()
        if at.height > base.height:
            return False
        if at.block_id != base.block_id:
            raise contradiction("a finalization contradicts a block that is final here")
        self._ids.reverse()
        return True

    def reached(self, tip: Place) -> bool:
        """Note a new tip; tell whether the lowest goal is reached."""
        if tip.height < self._goals[-1].height:
            return False
        assert tip == self._goals[-1], "the blocks lead where the headers do"
        self._goals.pop()
        if self._goals:
            self._begin(tip)
        return True

    @property
    def is_last_segment(self) -> bool:
        """Whether nothing but the finalization itself is still to be reached."""
        return len(self._goals) == 1

    @property
    def is_done(self) -> bool:
        """Whether the finalization itself is reached."""
        return not self._goals


def contradiction(what: str) -> ConsensusHalted:
    """Return the error for what a quorum has finalized and cannot be."""
    return ConsensusHalted(
        f"Block sync cannot go on: {what}. Keep this home as it is, and compare it with those of "
        "other validators."
    )
