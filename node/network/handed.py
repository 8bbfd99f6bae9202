"""Proposals that consensus was handed, and when each is handed over again, should that be of use.

A leader sends its proposal again to whoever has not voted, and an engine may have lost the first:
its epoch had not begun, or it was just starting. But to rebuild one takes as long as its body is,
so the same is done again ever less often, whatever its leader repeats.
"""

from typing import Final

from node.network.sketches import Sketch
from state.finality import Proposal

AGAIN_MS: Final = 1_200
"""So long after the first time a proposal is not handed over again."""
ROUNDS_MAX: Final = 4
"""The time doubles so often, with every time."""

Place = tuple[int, int, int]
"""An epoch, a view, and the index of the validator that proposes in it."""
_Shape = tuple[Proposal, bool, bool]
"""A proposal, whether its justification came with it, and whether its body did."""


class Handed:
    """What was handed over, by place, until its view has passed."""

    def __init__(self) -> None:
        self._places: dict[Place, dict[_Shape, tuple[int, int]]] = {}
        """How often each was, and from when on it may be again."""

    def __len__(self) -> int:
        """Return of how many places there is something."""
        return len(self._places)

    def add(self, sketch: Sketch, now_ms: int) -> None:
        """Note that a proposal was handed over."""
        shapes = self._places.setdefault(place_of(sketch), {})
        rounds, _ = shapes.get(_shape(sketch), (0, 0))
        shapes[_shape(sketch)] = min(rounds + 1, ROUNDS_MAX), now_ms + (AGAIN_MS << rounds)

    def has(self, sketch: Sketch, now_ms: int) -> bool:
        """Tell whether a proposal was handed over, so that it is too soon to do it again."""
        found = self._places.get(place_of(sketch), {}).get(_shape(sketch))
        return found is not None and now_ms < found[1]

    def at(self, place: Place) -> set[Proposal]:
        """Return the proposals of a place."""
        return {proposal for proposal, _, _ in self._places.get(place, ())}

    def renew(self) -> None:
        """An epoch has begun: what came too early for it may be handed over again at once."""
        for shapes in self._places.values():
            for shape, (rounds, _) in shapes.items():
                shapes[shape] = rounds, 0

    def forget(self, below: tuple[int, int]) -> None:
        """Drop whatever is of an earlier epoch or view."""
        for place in [at for at in self._places if at[:2] < below]:
            del self._places[place]


def place_of(sketch: Sketch) -> Place:
    """Return the place of a proposal."""
    return sketch.proposal.epoch, sketch.proposal.view, sketch.vote.validator


def _shape(sketch: Sketch) -> _Shape:
    return sketch.proposal, sketch.justify is None, sketch.outline is None
