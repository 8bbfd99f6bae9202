"""Rolling back: a stopped node's database returns to an earlier final height, in one batch.

The state of that height is made anew beside the database, from a snapshot or genesis and the blocks
after it; then the rows that differ, and the blocks above, change at once. Blocks below stay, and
whatever proves anything. So does the guard: votes that were sent are not taken back.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from node.errors import NodeError
from node.replay import Replayed, replay
from node.snapshot.basis import snapshots_for
from node.snapshot.folder import SnapshotFolder
from node.snapshot.restore import restore_into
from node.storage.chain_store import ChainStore
from node.storage.kv import KeyValueStore, LevelDb
from node.storage.rewind import rewind
from state.genesis import Genesis
from state.types import PublicKey

DRAFT_SUFFIX: Final = ".rolling-back"


class RollbackRefused(NodeError):
    """The node cannot go back to that height."""

    code: ClassVar[str] = "rollback.refused"


def roll_back(
    database: Path,
    snapshots: Path,
    genesis: Genesis,
    height: int,
    voter: PublicKey | None,
) -> Iterator[Replayed]:
    """Return a database to a height; yields the heights that are executed again for it.

    `voter` is the key whose guard stays in the home, None where there is none. Raises
    RollbackRefused, before anything is changed, where it cannot or must not be done.
    """
    store = LevelDb(database, create=False)
    draft_path = database.with_name(database.name + DRAFT_SUFFIX)
    try:
        basis = _basis(ChainStore(store, genesis), snapshots, genesis, height, voter)
        shutil.rmtree(draft_path, ignore_errors=True)
        draft = LevelDb(draft_path, create=True)
        try:
            yield from _executed(store, draft, basis, genesis, height)
            rewind(store, draft, genesis)
        finally:
            draft.close()
    finally:
        store.close()
        shutil.rmtree(draft_path, ignore_errors=True)


def _executed(
    store: KeyValueStore,
    draft: KeyValueStore,
    basis: SnapshotFolder | None,
    genesis: Genesis,
    height: int,
) -> Iterator[Replayed]:
    if basis is not None:
        restore_into(basis, draft, genesis)
    for step in replay(ChainStore(store, genesis), genesis, draft, height):
        if not step.agrees:
            raise RollbackRefused(
                f"Block {step.height}, executed again, gives another root than the chain states; "
                "keep the home and report it."
            )
        yield step


def _basis(
    store: ChainStore, snapshots: Path, genesis: Genesis, height: int, voter: PublicKey | None
) -> SnapshotFolder | None:
    """Return the snapshot to begin with, None for genesis; raises RollbackRefused."""
    head = store.head
    if head is None or height >= head.header.height:
        at = 0 if head is None else head.header.height
        raise RollbackRefused(f"The chain here ends at height {at}; give one below that.")
    lowest = _lowest(store, snapshots, genesis)
    if lowest is None or height < lowest:
        raise RollbackRefused(_too_low(store, height, lowest))
    if store.header(height).finalization is None:
        raise RollbackRefused(
            f"Block {height} is final through a descendant, which would go; give height "
            f"{_certified_below(store, height)}, which has a certificate of its own."
        )
    members = store.finality.members(head.header.epoch)
    if voter is not None and members is not None and [m.public_key for m in members] == [voter]:
        raise RollbackRefused(
            "This node is the only validator: nobody else has the blocks above, and its guard "
            "rightly lets it make no others in their place. Restore a backup of the whole home."
        )
    found = snapshots_for(store, snapshots, genesis, height)
    return found[0] if found else None


def _lowest(store: ChainStore, snapshots: Path, genesis: Genesis) -> int | None:
    """Return the lowest height that can be reached from what is kept here, None for none at all.

    To reach a height takes a state at or below it, every block between, and a certificate.
    """
    assert store.head is not None, "told of a chain"
    head_height = store.head.header.height
    found = snapshots_for(store, snapshots, genesis, head_height)
    if store.floor <= 1:
        first = 1
    elif found:
        first = max(store.floor, found[-1].manifest(genesis.hash).crown.height)
    else:
        return None
    certified = (h for h in range(first, head_height) if store.header(h).finalization is not None)
    return next(certified, None)


def _too_low(store: ChainStore, height: int, lowest: int | None) -> str:
    """Say why a height below the lowest one cannot be reached, and which one can."""
    if lowest is not None:
        return (
            f"Height {height} cannot be reached: the lowest that the blocks and snapshots kept "
            f"here lead to is {lowest}. Give that or one above it, or sync this node anew."
        )
    return (
        f"Height {height} cannot be reached, and no other: blocks are kept from {store.floor} on, "
        "but no snapshot of a state from which they lead on to a certified block below the head. "
        "Sync this node anew: move data/ away and start it."
    )


def _certified_below(store: ChainStore, height: int) -> int:
    """Return the next height below with a certificate of its own; the lowest one has it."""
    while store.header(height).finalization is None:
        height -= 1
    return height
