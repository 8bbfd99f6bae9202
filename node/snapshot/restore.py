"""Restoring: from a snapshot to a database, every piece of it checked before it is believed.

The database grows beside its place and is moved there when it is whole, so that a crash leaves
either none or all of it. The crown's block is executed over the restored state: what it changed
makes the head, on which consensus goes on.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consensus.messages import Block
from node.application import genesis_header
from node.bodies import Bodies, VerifiedWires
from node.keystore import sync_folder
from node.snapshot.errors import SnapshotFailed, SnapshotRefused
from node.snapshot.folder import SnapshotFolder
from node.snapshot.form import Manifest, Step
from node.snapshot.walk import Checkpoint, Walk
from node.storage.chain_store import ChainStore, Commit, StoredRows, header_row
from node.storage.finality_store import FinalityStore, Head
from node.storage.kv import KeyValueStore, LevelDb, Row
from state.errors import InvalidBlock, Malformed
from state.execute import apply_block, block_input
from state.finality import Finalization, Header, boundary_height, justify_hash, set_hash
from state.genesis import Genesis
from state.modules import staking
from state.modules.all import MESSAGES
from state.tables import Base, State
from state.transaction import TransactionDecoder
from state.tree import EMPTY_ROOT, Tree, TreeCorrupt
from state.types import ZERO_HASH

DRAFT_SUFFIX: Final = ".restoring"

Progress = Callable[[int, int], None]
"""Told how many chunks of how many are restored."""


def restore(
    source: SnapshotFolder,
    database: Path,
    genesis: Genesis,
    checkpoint: Checkpoint | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Head:
    """Make a database of a snapshot, whole or not at all, and return its head.

    Raises SnapshotRefused for one that does not prove what it claims, SnapshotMissing for one that
    is not whole, and SnapshotFailed where there is a database already.
    """
    if database.exists():
        raise SnapshotFailed(
            f"There is a database at {database} already; restore into a home that has none."
        )
    draft = database.with_name(database.name + DRAFT_SUFFIX)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        store = LevelDb(draft, create=True)
        try:
            head = restore_into(source, store, genesis, checkpoint, progress)
        finally:
            store.close()
        _sync_files(draft)
        sync_folder(draft)
        draft.rename(database)
        sync_folder(database.parent)
    except OSError as error:
        raise SnapshotFailed(
            f"The database at {database} cannot be made ({error.strerror}). Check that the disk "
            "has room and that this user may write there."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return head


def _sync_files(folder: Path) -> None:
    """Make the files of a closed database durable: only its last write was."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def restore_into(
    source: SnapshotFolder,
    store: KeyValueStore,
    genesis: Genesis,
    checkpoint: Checkpoint | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Head:
    """Fill an empty store from a snapshot; what it holds after an error is good for nothing."""
    manifest = source.manifest(genesis.hash)
    walk = Walk(genesis, checkpoint)
    finality = FinalityStore(store)
    store.write(_genesis_rows(finality, walk, genesis), (), sync=False)
    crown, is_final = manifest.crown, False
    for step in source.steps():
        progress(0, len(manifest.marks))
        if walk.epoch == crown.epoch and step.boundary == crown:
            walk.check_crown(crown, manifest.finalization)  # the crown itself ends its epoch
            is_final = True
        elif walk.epoch >= crown.epoch:
            raise SnapshotRefused("The snapshot has steps of epochs after its own; take another.")
        store.write(_step_rows(finality, walk, step), (), sync=False)
    if walk.epoch != crown.height // genesis.params.staking.epoch_blocks:
        raise SnapshotRefused("The snapshot does not tell how every epoch ended; take another.")
    if not is_final:
        walk.check_crown(crown, manifest.finalization)
    tree = _restore_rows(source, manifest, store, progress)
    progress(len(manifest.marks), len(manifest.marks))
    head = _restore_head(manifest, source.block(), tree, store, genesis)
    progress(len(manifest.marks), len(manifest.marks))
    return head


def _genesis_rows(finality: FinalityStore, walk: Walk, genesis: Genesis) -> list[Row]:
    header = genesis_header(genesis)
    head = _boundary(header, None)
    return [
        *finality.take_rows(head, None),
        *finality.epoch_rows(head, [(0, walk.trust.validators)]),
        header_row(head),
    ]


def _step_rows(finality: FinalityStore, walk: Walk, step: Step) -> list[Row]:
    """Take a step, and return what is kept of it for ever."""
    following = walk.take(step)
    head = _boundary(step.boundary, step.finalization)
    for proposal, justify in step.links:
        finality.keep_link(proposal, justify)
    return [
        *finality.take_rows(head, step.justify),
        *finality.epoch_rows(head, [(walk.epoch, following)]),
        header_row(head),
    ]


def _boundary(header: Header, finalization: Finalization | None) -> Head:
    """Return a boundary block as it is kept; what came of executing it is asked of heads alone."""
    return Head(header, header.id, ZERO_HASH, ZERO_HASH, False, finalization)


def _restore_rows(
    source: SnapshotFolder, manifest: Manifest, store: KeyValueStore, progress: Progress
) -> Tree:
    """Write every row and the tree over them, and return the tree."""
    tree = Tree(store, EMPTY_ROOT, ZERO_HASH, prefix=b"t")
    last = len(manifest.marks) - 1
    for index, rows in enumerate(source.rows(manifest)):
        progress(index, len(manifest.marks))
        version = manifest.crown.parent_id if index == last else (index + 1).to_bytes(32, "big")
        tree.update(tree.version, version, rows)
        puts, deletes = tree.commit(version)
        puts += [(b"s" + key, value) for key, value in rows]
        store.write(puts, deletes, sync=False)
    if tree.root != manifest.crown.state_root:
        raise TreeCorrupt("The restored state has another root than its chunks; report it.")
    return tree


def _restore_head(
    manifest: Manifest, block: Block, tree: Tree, store: KeyValueStore, genesis: Genesis
) -> Head:
    """Execute the crown's block over the restored state, and make it the head."""
    crown, params = manifest.crown, genesis.params
    if block.header != crown or justify_hash(block.justify) != crown.justify_hash:
        raise SnapshotRefused("The snapshot's block is not its head's; take another snapshot.")
    bodies = Bodies(TransactionDecoder(MESSAGES, genesis.hash), params.fees, VerifiedWires({}))
    below = State(Base(StoredRows(store)))
    try:
        content = bodies.checked(crown, block.body)
        executed = apply_block(
            below,
            block_input(crown, block.justify, content.body, content.transactions),
            genesis.hash,
            every_invariant=True,
        )
    except (InvalidBlock, Malformed) as error:
        raise SnapshotRefused(f"The snapshot's block cannot stand. {error.sentence}") from error
    changes, outcomes_root = executed.state.changes(), executed.result.root
    block_id = crown.id
    root = tree.update(tree.version, block_id, changes)
    changed = bool(content.body.transactions or content.body.evidence or executed.result.events)
    head = Head(crown, block_id, root, outcomes_root, changed, manifest.finalization)
    sets = [(crown.epoch + 1, staking.members_of(below, crown.epoch + 1))]
    if set_hash(sets[0][1]) != crown.next_validators_hash:
        raise SnapshotRefused("The restored state names another next set than the snapshot's head.")
    store.write(FinalityStore(store).set_rows(sets), (), sync=False)
    if crown.height == boundary_height(crown.epoch, params.staking.epoch_blocks):
        epochs = (crown.epoch + 1, crown.epoch + 2)
        sets = [(epoch, staking.members_of(executed.state, epoch)) for epoch in epochs]
    else:
        sets = []
    chain = ChainStore(store, genesis)
    chain.begin_at(crown.height)
    chain.commit(
        Commit(
            head,
            block.justify,
            block.body,
            executed.result,
            [transaction.id for transaction in content.transactions],
            changes,
            sets,
        )
    )
    return head
