"""Bodies of the last proposals, kept for whoever lacks something of them.

What each peer may draw from one body is bounded: a question is short and its answer may be long.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from node.network.sketches import Parts, PartsWanted, is_ascending
from state.types import Hash

BODIES_MAX: Final = 16
BODIES_BYTES_MAX: Final = 2**25
DRAWS_MAX: Final = 3
"""How many times its own length a peer may draw from one body: what it lacked, then all of it."""


@dataclass(slots=True)
class _Kept:
    """One body, how long it is, and how much of it each peer has drawn."""

    wires: tuple[bytes, ...]
    size_bytes: int
    drawn_bytes: dict[bytes, int] = field(default_factory=dict)


class Shelf:
    """The transactions of the newest proposals, by block."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hash, _Kept] = OrderedDict()
        self._bytes = 0
        self.drawn_wires = 0
        """Transactions that others have drawn from here."""

    def __len__(self) -> int:
        """Return how many bodies are kept."""
        return len(self._kept)

    def __contains__(self, block_id: Hash) -> bool:
        """Tell whether the body of a block is kept."""
        return block_id in self._kept

    def put(self, block_id: Hash, wires: tuple[bytes, ...]) -> None:
        """Keep a body, the newest alone if it is long enough."""
        if block_id in self._kept:
            return
        size = sum([len(wire) for wire in wires])
        self._kept[block_id] = _Kept(wires, size)
        self._bytes += size
        while len(self._kept) > BODIES_MAX or (
            self._bytes > BODIES_BYTES_MAX and len(self._kept) > 1
        ):
            self._bytes -= self._kept.popitem(last=False)[1].size_bytes

    def draw(self, peer: bytes, wanted: PartsWanted) -> Parts:
        """Return what a peer asks for; nothing where it is not kept, or was drawn too often."""
        nothing = Parts(wanted.block_id, wanted.indices, ())
        kept = self._kept.get(wanted.block_id)
        if kept is None or not is_ascending(wanted.indices, len(kept.wires)):
            return nothing
        wires = tuple([kept.wires[at] for at in wanted.indices]) or kept.wires
        drawn = kept.drawn_bytes.get(peer, 0) + sum([len(wire) for wire in wires])
        if drawn > DRAWS_MAX * kept.size_bytes:
            return nothing
        kept.drawn_bytes[peer] = drawn
        self.drawn_wires += len(wires)
        return Parts(wanted.block_id, wanted.indices, wires)
