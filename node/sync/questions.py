"""A question of block sync that is under way, and what its answer is to be held against."""

from dataclasses import dataclass

from node.sync.messages import SyncRequest
from node.sync.ranges import Range


@dataclass(slots=True)
class Asked:
    """A question under way, or its answer while it is checked."""

    stage: int
    """The number of the stage that asked it."""
    peer: bytes
    request: SyncRequest
    at_ms: int
    part: Range | None = None
    above: int = 0
    """Whoever shows a finalization that is no higher has claimed more than it can show."""
    size_bytes: int = 0
    """The length of the answer."""
