"""Bodies of the last proposals, kept for whoever lacks something of them.

What each peer may draw from one body is bounded: a question is short and its answer may be long.
Bodies of views that have not come lie apart, where the nearest view wins: whoever leads a later one
pushes nothing out that others need now.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from node.network.sketches import Parts, PartsWanted, is_ascending
from state.types import Hash

BODIES_MAX: Final = 16
BODIES_BYTES_MAX: Final = 2**25
AHEAD_MAX: Final = 8
AHEAD_BYTES_MAX: Final = 2**24
DRAWS_MAX: Final = 3
"""How many times its own length a peer may draw from one body: what it lacked, then all of it."""


@dataclass(slots=True)
class _Kept:
    """One body, how long it is, and how much of it each peer has drawn."""

    wires: tuple[bytes, ...]
    size_bytes: int
    drawn_bytes: dict[bytes, int] = field(default_factory=dict)
    view: int = 0
    """The view that is to come, of what lies apart."""


class Shelf:
    """The transactions of the newest proposals, by block."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hash, _Kept] = OrderedDict()
        self._ahead: dict[Hash, _Kept] = {}  # the nearest view first
        self._bytes = 0
        self.drawn_wires = 0
        """Transactions that others have drawn from here."""

    def __len__(self) -> int:
        """Return how many bodies are kept."""
        return len(self._kept) + len(self._ahead)

    def __contains__(self, block_id: Hash) -> bool:
        """Tell whether the body of a block is kept."""
        return block_id in self._kept or block_id in self._ahead

    def put(self, block_id: Hash, wires: tuple[bytes, ...], *, view_ahead: int = 0) -> None:
        """Keep a body, the newest alone if it is long enough; `view_ahead` if that has not come."""
        if block_id in self:
            return
        body = _Kept(wires, sum([len(wire) for wire in wires]), view=view_ahead)
        if not view_ahead:
            self._keep(block_id, body)
            return
        bodies = sorted([*self._ahead.items(), (block_id, body)], key=lambda one: one[1].view)
        self._ahead, room_bytes = {}, AHEAD_BYTES_MAX
        for at, one in bodies:
            if len(self._ahead) < AHEAD_MAX and one.size_bytes <= room_bytes:
                self._ahead[at] = one
                room_bytes -= one.size_bytes

    def come_to(self, view: int) -> None:
        """A view has come, and with it the bodies of it and of those before."""
        for block_id in [at for at, body in self._ahead.items() if body.view <= view]:
            self._keep(block_id, self._ahead.pop(block_id))

    def forget_ahead(self) -> None:
        """The epoch is over, and its views that have not come never will."""
        self._ahead.clear()

    def _keep(self, block_id: Hash, body: _Kept) -> None:
        self._kept[block_id] = body
        self._bytes += body.size_bytes
        while len(self._kept) > BODIES_MAX or (
            self._bytes > BODIES_BYTES_MAX and len(self._kept) > 1
        ):
            self._bytes -= self._kept.popitem(last=False)[1].size_bytes

    def draw(self, peer: bytes, wanted: PartsWanted) -> Parts:
        """Return what a peer asks for; nothing where it is not kept, or was drawn too often."""
        nothing = Parts(wanted.block_id, wanted.indices, ())
        kept = self._kept.get(wanted.block_id) or self._ahead.get(wanted.block_id)
        if kept is None or not is_ascending(wanted.indices, len(kept.wires)):
            return nothing
        wires = tuple([kept.wires[at] for at in wanted.indices]) or kept.wires
        drawn = kept.drawn_bytes.get(peer, 0) + sum([len(wire) for wire in wires])
        if drawn > DRAWS_MAX * kept.size_bytes:
            return nothing
        kept.drawn_bytes[peer] = drawn
        self.drawn_wires += len(wires)
        return Parts(wanted.block_id, wanted.indices, wires)
