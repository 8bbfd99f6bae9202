"""The state tree's pages in the node's database, under a prefix of their own."""

from node.storage.kv import Reader, Row
from state.tree import Writes

TREE_PREFIX = b"t"
"""Every page's key in the database begins with this byte."""


class TreeNodes:
    """Reads pages of the stored version for state.tree.Tree (its NodeStore)."""

    def __init__(self, store: Reader) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        """Return the stored page, None when there is none; raises StorageError."""
        return self._store.get(TREE_PREFIX + key)


def tree_rows(writes: Writes) -> tuple[list[Row], list[bytes]]:
    """Return what Tree.commit gave as puts and deletes for the block's batch."""
    puts, deletes = writes
    return [(TREE_PREFIX + key, page) for key, page in puts], [TREE_PREFIX + key for key in deletes]
