"""How far an empty home is with the snapshot that it begins with."""

from dataclasses import dataclass
from typing import Final

STAGES: Final = ("asks", "walks", "fetches", "restores", "done", "failed")
"""Asks who has a snapshot; walks from genesis to its crown; fetches its chunks; restores it.

Where no snapshot served it `failed`: the node then fetches blocks from genesis on.
"""


@dataclass(slots=True)
class StateSync:
    """Where a state sync is; `stage` is none of STAGES in a node that needed none."""

    stage: str = ""
    height: int = 0
    """Of the snapshot that is fetched."""

    chunks: int = 0
    """Those that it has."""

    chunks_here: int = 0
    chunk_bytes: int = 0
    """Bytes of chunks that peers gave since the start."""

    @property
    def is_active(self) -> bool:
        """Whether the node still waits for a snapshot."""
        return self.stage in ("asks", "walks", "fetches", "restores")

    def enter(self, stage: str) -> None:
        """Go on to a stage."""
        assert stage in STAGES, stage
        self.stage = stage

    def choose(self, height: int, chunks: int) -> None:
        """Begin to fetch the snapshot of a height."""
        self.enter("walks")
        self.height, self.chunks, self.chunks_here = height, chunks, 0

    def sentence(self) -> str:
        """Say where it is."""
        match self.stage:
            case "walks":
                return f"It checks how the chain came to its snapshot at height {self.height}."
            case "fetches":
                return (
                    f"It has {self.chunks_here} of the {self.chunks} chunks of a snapshot at "
                    f"height {self.height}."
                )
            case "restores":
                return f"It restores a snapshot at height {self.height}."
        return "It asks its peers for a snapshot."
