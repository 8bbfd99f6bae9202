"""Making a snapshot while the node runs: from one moment's view of the database, piece by piece.

The stored rows are those after the block before the head, and the head is the block whose header
proves them. The head must be directly final: nobody else's word would prove it.
"""

from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from consensus.messages import Block
from node.snapshot.cutting import Bins, cut
from node.snapshot.errors import SnapshotNotNow
from node.snapshot.folder import (
    BLOCK,
    DRAFT,
    MANIFEST,
    SnapshotFolder,
    chunk_name,
    steps_name,
)
from node.snapshot.form import (
    FORM,
    LINKS_BYTES_MAX,
    LINKS_MAX,
    STEPS_BYTES,
    STEPS_MAX,
    Manifest,
    Step,
    Steps,
)
from node.storage.chain_store import ChainView
from node.storage.finality_store import FinalityView, Head
from node.storage.kv import KeyValueStore
from state.chunks import CHUNKS_MAX, Mark, fold
from state.codec import encode
from state.finality import Finalization, Justify, Proposal
from state.genesis import Genesis
from state.tree import TreeCorrupt
from state.types import Hash

LINKS_READ_MAX: Final = 1_024
"""Links of an epoch that are looked through from the boundary's first view on."""
Link = tuple[Proposal, Justify]
Making = Generator[SnapshotFolder | None, None, None]
"""A snapshot under way, piece by piece."""

PIECE_ROWS: Final = 2_000
"""Rows sorted in one piece of work, some milliseconds."""


def make_snapshot(store: KeyValueStore, genesis: Genesis, folder: Path) -> Making:
    """Make a snapshot in HOME/snapshots; yields None after each piece, and the snapshot at last.

    The first piece takes hold of the moment and is done at once. Raises SnapshotNotNow where no
    state is proven yet, or the head only through a descendant, and SnapshotFailed. A draft that is
    given up half way is removed.
    """
    with store.snapshot() as reader:
        view = ChainView(reader)
        head = view.head
        if head is None or head.header.height < 1:
            raise SnapshotNotNow("There is no block yet that proves a state; try again later.")
        if head.finalization is None:
            raise SnapshotNotNow(
                "The newest block is final through a descendant only; try again after the next one."
            )
        height = head.header.height - 1
        draft = SnapshotFolder(folder / f"{height}{DRAFT}")
        draft.begin()
        try:
            yield None
            marks: list[Mark] = []
            for piece in _write_chunks(view, draft):
                marks += piece
                yield None
            if len(marks) > CHUNKS_MAX or fold(marks) != head.header.state_root:
                raise TreeCorrupt(
                    f"The rows of the state after {height} do not have the root that the chain "
                    "states, so no snapshot of them was kept; sync this node anew."
                )
            ended = head.header.height // genesis.params.staking.epoch_blocks
            for page, steps in enumerate(_pages(view.finality, ended)):
                draft.write(steps_name(page), encode(Steps(tuple(steps))))
                yield None
            _write_head(view, head, head.finalization, genesis.hash, draft, marks)
            yield draft.finish(folder / str(height))
        finally:
            draft.remove()


def _write_chunks(view: ChainView, draft: SnapshotFolder) -> Iterator[list[Mark]]:
    """Sort the rows, then write chunk by chunk; yields the marks of each piece of work."""
    bins = Bins(draft.path)
    rows = view.rows()
    while piece := list(islice(rows, PIECE_ROWS)):
        for key, value in piece:
            bins.add(key, value)
        yield []
    for index, (mark, data) in enumerate(cut(bins)):
        draft.write(chunk_name(index), data)
        yield [mark]


def _write_head(
    view: ChainView,
    head: Head,
    finalization: Finalization,
    genesis_hash: Hash,
    draft: SnapshotFolder,
    marks: list[Mark],
) -> None:
    """Write the crown's block and, last of all, the manifest."""
    justify = view.finality.justify(head.header.justify_hash)
    body = view.body_data(head.header.height)
    if justify is None or body is None:
        raise SnapshotNotNow("The newest block is not kept whole here; try after the next one.")
    draft.write(BLOCK, encode(Block(head.header, justify, body)))
    manifest = Manifest(FORM, genesis_hash, head.header, finalization, tuple(marks))
    draft.write(MANIFEST, encode(manifest))


def _pages(finality: FinalityView, ended: int) -> Iterator[list[Step]]:
    """Yield the steps of all epochs that have ended, page by page."""
    start = 0
    while start < ended:
        page = list(steps_from(finality, start, min(STEPS_MAX, ended - start)))
        if not page:
            raise SnapshotNotNow(f"How epoch {start} ended is not kept here; sync this node anew.")
        yield page
        start += len(page)


def steps_from(finality: FinalityView, epoch: int, count: int) -> Iterator[Step]:
    """Yield how this epoch and those after it ended, up to a count and STEPS_BYTES.

    The first may be longer than that.
    """
    size = 0
    for number in range(epoch, epoch + count):
        step = _step(finality, number)
        if step is None:
            return
        step_bytes = len(encode(step))
        if size and size + step_bytes > STEPS_BYTES:
            return
        size += step_bytes
        yield step


def _step(finality: FinalityView, epoch: int) -> Step | None:
    """Return how an epoch ended, None where it has not, or is not known to have."""
    boundary = finality.boundary(epoch + 1)
    members, following = finality.members(epoch), finality.members(epoch + 1)
    if boundary is None or boundary.finalization is None or members is None or following is None:
        return None
    justify = finality.justify(boundary.header.justify_hash)
    if justify is None:
        return None
    header, final = boundary.header, boundary.finalization
    links = _links(finality, header.view, final.subject)
    same = following == members
    return Step(header, justify, final, () if same else following, tuple(links))


def _links(finality: FinalityView, first_view: int, final: Proposal) -> list[Link]:
    """Return the proposals that lead from a boundary's first one to the final one.

    None where they are not kept, or too many or too long for a step; the finalization proves the
    block alone.
    """
    kept = {
        link[0].view: link
        for link in finality.links(final.epoch, first_view, LINKS_READ_MAX)
        if link[0].block_id == final.block_id
    }
    found: list[Link] = []
    at, size = final.view, 0
    while at != first_view:
        if at not in kept or len(found) == LINKS_MAX:
            return []
        found.append(kept[at])
        size += sum([len(encode(part)) for part in kept[at]])
        if size > LINKS_BYTES_MAX:
            return []
        at = found[-1][0].parent_view
    return found[::-1]
