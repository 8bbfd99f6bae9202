"""Serving snapshots: what a node answers to those who want to begin with one.

Every function reads the disk alone, in a thread beside the event loop, one at a time.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from node.snapshot.errors import (
    SnapshotError,
    SnapshotFailed,
    SnapshotMissing,
    SnapshotRefused,
)
from node.snapshot.folder import MANIFEST, SnapshotFolder, chunk_name, snapshots_in
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
"""Manifests that stay in memory whole, those asked for last."""

Print = tuple[str, int, int]
"""Name, inode and time of a manifest's file: another file has another one."""


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
        self._shelved: OrderedDict[Print, _Shelved] = OrderedDict()
        self._known: dict[Print, Offer | None] = {}
        """What each snapshot is, None for one that is damaged: a manifest is long to read."""

    def offers(self) -> tuple[Offer, ...]:
        """Return the snapshots that are whole, the newest first."""
        found = [offer for _, _, offer in self._listed()[:OFFERS_MAX]]
        return tuple([offer for offer in found if offer is not None])

    def find(self, crown_id: Hash) -> _Shelved | None:
        """Return the snapshot of a crown."""
        for folder, key, offer in self._listed():
            if offer is not None and offer.crown_id == crown_id:
                try:
                    return self._at(folder, key)
                except SnapshotError:
                    return None  # just removed
        return None

    def _listed(self) -> list[tuple[SnapshotFolder, Print, Offer | None]]:
        """Return the snapshots there are now, the newest first, and read those that are new."""
        listed = []
        for folder in snapshots_in(self._folder):
            with suppress(FileNotFoundError, SnapshotMissing, SnapshotFailed):  # just removed
                status = (folder.path / MANIFEST).stat()
                key = (folder.path.name, status.st_ino, status.st_mtime_ns)
                listed.append((folder, key, self._offer(folder, key)))
        self._known = {key: offer for _, key, offer in listed}
        return listed

    def _offer(self, folder: SnapshotFolder, key: Print) -> Offer | None:
        if key in self._known:
            return self._known[key]
        try:
            manifest = self._at(folder, key).manifest
        except SnapshotRefused:
            return None
        return Offer(manifest.height, manifest.crown.id)

    def _at(self, folder: SnapshotFolder, key: Print) -> _Shelved:
        """Return a snapshot with its manifest; raises SnapshotError."""
        found = self._shelved.get(key)
        if found is None:
            found = self._shelved[key] = _Shelved(folder, folder.manifest(self._genesis_hash))
            if len(self._shelved) > SHELF_MAX:
                self._shelved.popitem(last=False)
        self._shelved.move_to_end(key)
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
