"""Height-keyed queues: what falls due is served at the end of its block, within a budget.

What the budget does not reach stays at the head of the queue and is served first in the next
block, so nobody needs to run a keeper (architecture 4).
"""

from typing import Any

from state.codec import Struct
from state.tables import State, Table
from state.types import Height


class Due(Struct):
    """An entry of a queue; its key says when and what."""


class DueQueue:
    """Entries (height, id) of one module, in order of height, then id."""

    __slots__ = ("_table",)

    def __init__(self, table: Table[Any, Due]) -> None:
        self._table = table

    def push(self, state: State, height: Height, entry: bytes) -> None:
        """Let `entry` fall due at `height`."""
        self._table.put(state, (height, entry), Due())

    def drop(self, state: State, height: Height, entry: bytes) -> None:
        """Take an entry out of the queue again."""
        self._table.delete(state, (height, entry))

    def take(self, state: State, height: Height, *, limit: int) -> list[bytes]:
        """Remove and return at most `limit` entries that are due at `height` or were before."""
        found = []
        for (due, entry), _ in self._table.scan(state, limit=limit):
            if due > height:
                break
            found.append((due, entry))
        for key in found:
            self._table.delete(state, key)
        return [entry for _, entry in found]
