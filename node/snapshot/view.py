"""A snapshot at a glance, for operators: its height, what proves it, its size and place."""

from node.snapshot.folder import SnapshotFolder
from state.codec import Struct
from state.genesis import Genesis
from state.types import Hash, Height


class SnapshotView(Struct):
    """A snapshot on this node's disk, where it lies, and its crown: the block above `height`.

    The header of that one holds the root of the state after `height`.
    """

    height: Height
    crown_id: Hash
    size_bytes: Height
    path: str


def view_of(folder: SnapshotFolder, genesis: Genesis) -> SnapshotView:
    """Return a snapshot at a glance; raises SnapshotError where it is none of this network."""
    manifest = folder.manifest(genesis.hash)
    return SnapshotView(manifest.height, manifest.crown.id, folder.size_bytes, str(folder.path))
