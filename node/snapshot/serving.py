"""Serving snapshots: what a node answers to those who want to begin with one.

Every function reads the disk alone, in a thread beside the event loop, one at a time.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from node.snapshot.errors import SnapshotError
from node.snapshot.folder import SnapshotFolder, chunk_name, snapshots_in
from node.snapshot.form import Manifest, Offer
from node.snapshot.make import steps_from
from node.snapshot.wire import (
    OFFERS_MAX,
    ChunkAnswer,
    ChunkRequest,
    CrownAnswer,
    CrownRequest,
    ManifestAnswer,
    ManifestRequest,
    OffersAnswer,
    OffersRequest,
    SnapshotAnswer,
    StepsAnswer,
    StepsRequest,
)
from node.storage.finality_store import FinalityView
from state.chunks import CHUNK_BYTES_MAX
from state.types import Hash

SHELF_MAX: Final = 4
"""Manifests that stay in memory, those asked for last."""


class _Shelved:
    """A snapshot that is served: its manifest, and where each subtree's chunk lies."""

    def __init__(self, folder: SnapshotFolder, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.places = {
            (mark.level, mark.prefix): index for index, mark in enumerate(manifest.marks)
        }


class Shelf:
    """The snapshots of a folder, read when somebody asks for them."""

    def __init__(self, folder: Path, genesis_hash: Hash) -> None:
        self._folder = folder
        self._genesis_hash = genesis_hash
        self._shelved: OrderedDict[str, _Shelved] = OrderedDict()

    def offers(self) -> tuple[Offer, ...]:
        """Return the snapshots that are whole, the newest first."""
        found = [self._at(folder) for folder in snapshots_in(self._folder)[:OFFERS_MAX]]
        return tuple(
            [
                Offer(each.manifest.height, each.manifest.crown.id)
                for each in found
                if each is not None
            ]
        )

    def find(self, crown_id: Hash) -> _Shelved | None:
        """Return the snapshot of a crown."""
        for folder in snapshots_in(self._folder):
            found = self._at(folder)
            if found is not None and found.manifest.crown.id == crown_id:
                return found
        return None

    def _at(self, folder: SnapshotFolder) -> _Shelved | None:
        """Read a snapshot's manifest, once; None where it is damaged or just removed."""
        name = folder.path.name
        found = self._shelved.get(name)
        if found is None:
            try:
                found = _Shelved(folder, folder.manifest(self._genesis_hash))
            except SnapshotError:
                return None
            self._shelved[name] = found
            if len(self._shelved) > SHELF_MAX:
                self._shelved.popitem(last=False)
        self._shelved.move_to_end(name)
        return found


Handler = Callable[[Any], SnapshotAnswer | None]


def snapshot_handlers(
    finality: FinalityView, folder: Path, genesis_hash: Hash
) -> Mapping[type[Any], Handler]:
    """Return what serves the snapshots of a folder, by the kind of request."""
    shelf = Shelf(folder, genesis_hash)
    return {
        OffersRequest: partial(offers_of, shelf),
        ManifestRequest: partial(manifest_of, shelf),
        CrownRequest: partial(crown_of, shelf),
        StepsRequest: partial(steps_of, finality),
        ChunkRequest: partial(chunk_of, shelf),
    }


def offers_of(shelf: Shelf, _: OffersRequest) -> OffersAnswer:
    """Return which snapshots there are."""
    return OffersAnswer(shelf.offers())


def manifest_of(shelf: Shelf, asked: ManifestRequest) -> ManifestAnswer | None:
    """Return the manifest of a snapshot that is here."""
    found = shelf.find(asked.crown_id)
    return None if found is None else ManifestAnswer(found.manifest)


def crown_of(shelf: Shelf, asked: CrownRequest) -> CrownAnswer | None:
    """Return the block that proves a snapshot's state."""
    found = shelf.find(asked.crown_id)
    try:
        return None if found is None else CrownAnswer(found.folder.block())
    except SnapshotError:
        return None  # removed meanwhile


def steps_of(finality: FinalityView, asked: StepsRequest) -> StepsAnswer:
    """Return how epochs ended, as far as they have."""
    return StepsAnswer(tuple(steps_from(finality, asked.epoch, asked.count)))


def chunk_of(shelf: Shelf, asked: ChunkRequest) -> ChunkAnswer | None:
    """Return one chunk as it lies on disk."""
    found = shelf.find(asked.crown_id)
    index = None if found is None else found.places.get((asked.level, asked.prefix))
    if found is None or index is None:
        return None
    try:
        return ChunkAnswer(found.folder.read(chunk_name(index), CHUNK_BYTES_MAX))
    except SnapshotError:
        return None  # removed meanwhile
