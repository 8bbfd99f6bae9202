"""Where a replay can begin: at genesis, or at a snapshot after which every block is kept."""

from pathlib import Path

from node.snapshot.errors import SnapshotRefused
from node.snapshot.folder import SnapshotFolder, snapshots_in
from node.storage.chain_store import ChainStore
from state.genesis import Genesis


def snapshots_for(
    store: ChainStore, folder: Path, genesis: Genesis, to_height: int
) -> list[SnapshotFolder]:
    """Return the snapshots from which the blocks kept here lead on to a height, newest first.

    Those that cannot be read are passed over: there may be others.
    """
    found = []
    for snapshot in snapshots_in(folder):
        try:
            crown = snapshot.manifest(genesis.hash).crown
        except SnapshotRefused:
            continue
        if store.floor <= crown.height + 1 <= to_height + 1:
            found.append(snapshot)
    return found
