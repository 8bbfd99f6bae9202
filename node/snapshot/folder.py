"""Snapshots as folders: HOME/snapshots/HEIGHT, whole or not at all.

    manifest          crown, finalization, marks
    block             the crown's block
    steps-00000       steps of epochs in a row, a page a file
    chunk-00000       rows, a chunk a file, in the order of the marks

A snapshot is written beside its place and moved there when every file of it is synced. Nothing
read from one is believed before it was checked, whoever wrote it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.messages import MESSAGE_BYTES_MAX, Block
from node.keystore import sync_folder
from node.snapshot.errors import SnapshotFailed, SnapshotMissing, SnapshotRefused
from node.snapshot.form import (
    MANIFEST_BYTES_MAX,
    STEPS_BYTES_MAX,
    Manifest,
    Step,
    read_block,
    read_manifest,
    read_steps,
)
from state.chunks import CHUNK_BYTES_MAX, Row, read_chunk
from state.errors import Malformed
from state.types import Hash

MANIFEST: Final = "manifest"
BLOCK: Final = "block"
STEPS_PREFIX: Final = "steps-"
DRAFT: Final = ".draft"
FETCHING_SUFFIX: Final = ".fetching"
DRAFTS_MAX: Final = 2
"""Snapshots half fetched that stay on disk, those written last: one may be gone on with."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Name the path when the disk refuses."""
    try:
        yield
    except FileNotFoundError as error:
        raise SnapshotMissing(
            f"There is no {error.filename}; a snapshot is a folder with a file `{MANIFEST}`, whole "
            "as `sahara snapshot create` made it."
        ) from error
    except OSError as error:
        raise SnapshotFailed(
            f"The snapshot at {path} cannot be read or written ({error.strerror}). Check that the "
            "disk has room and that this user may write there."
        ) from error


@dataclass(frozen=True, slots=True)
class SnapshotFolder:
    """One snapshot on disk, or the draft of one."""

    path: Path

    # --- writing ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the folder, empty."""
        with disk_errors(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(mode=0o700, parents=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, synced."""
        path = self.path / name
        draft = path.with_suffix(DRAFT)
        with disk_errors(path), draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)

    def remove_steps(self) -> None:
        """Remove all pages of steps."""
        with disk_errors(self.path):
            for path in self.path.glob(STEPS_PREFIX + "*"):
                path.unlink()

    def finish(self, place: Path) -> "SnapshotFolder":
        """Move a draft to its place, which replaces what stood there, and return it there."""
        with disk_errors(place):
            sync_folder(self.path)
            SnapshotFolder(place).remove()
            self.path.rename(place)
            sync_folder(place.parent)
        return SnapshotFolder(place)

    def remove(self) -> None:
        """Remove the folder: the manifest first, so that no part of it passes for a whole."""
        manifest = self.path / MANIFEST
        with disk_errors(self.path):
            if manifest.exists():
                manifest.unlink()
                sync_folder(self.path)
        shutil.rmtree(self.path, ignore_errors=True)

    # --- reading ---------------------------------------------------------------------------------

    def manifest(self, genesis_hash: Hash) -> Manifest:
        """Return the manifest; raises SnapshotRefused when it does not prove its marks."""
        data = self.read(MANIFEST, MANIFEST_BYTES_MAX)
        with self._named(MANIFEST):
            return read_manifest(data, genesis_hash)

    def block(self) -> Block:
        """Return the crown's block."""
        data = self.read(BLOCK, MESSAGE_BYTES_MAX)
        with self._named(BLOCK):
            return read_block(data)

    def steps(self) -> Iterator[Step]:
        """Yield the steps of all epochs before the crown's."""
        page = 0
        while (self.path / steps_name(page)).exists():
            data = self.read(steps_name(page), STEPS_BYTES_MAX)
            with self._named(steps_name(page)):
                yield from read_steps(data)
            page += 1

    def rows(self, manifest: Manifest) -> Iterator[tuple[Row, ...]]:
        """Yield the rows of chunk after chunk; raises SnapshotRefused at one that is not true."""
        for index, mark in enumerate(manifest.marks):
            data = self.read(chunk_name(index), CHUNK_BYTES_MAX)
            with self._named(chunk_name(index)):
                rows = read_chunk(mark, data)
            yield rows

    def read(self, name: str, bytes_max: int) -> bytes:
        """Return a file; raises SnapshotRefused when it is longer than any honest one."""
        path = self.path / name
        with disk_errors(path), path.open("rb") as file:
            data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise SnapshotRefused(
                f"{path} is longer than {bytes_max} bytes; take another snapshot."
            )
        return data

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        with disk_errors(self.path):
            return sum([entry.stat().st_size for entry in self.path.iterdir()])

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except Malformed as error:
            raise SnapshotRefused(f"{self.path / name}: {error.sentence}") from error


def chunk_name(index: int) -> str:
    """Return the name of a chunk's file."""
    return f"chunk-{index:05}"


def steps_name(page: int) -> str:
    """Return the name of a page of steps."""
    return f"{STEPS_PREFIX}{page:05}"


def snapshots_in(folder: Path) -> list[SnapshotFolder]:
    """Return the whole snapshots of a folder, the newest first."""
    if not folder.is_dir():
        return []
    found = [
        entry
        for entry in folder.iterdir()
        if entry.name.isdecimal() and (entry / MANIFEST).is_file()
    ]
    return [SnapshotFolder(path) for path in sorted(found, key=lambda p: int(p.name), reverse=True)]


def keep_newest(folder: Path, count: int, height_max: int = 2**63) -> None:
    """Remove all snapshots of a folder but the newest ones up to a height; raises SnapshotError.

    Those above are of blocks that were rolled back; they are nobody's successors, and stay until
    the chain has passed them again.
    """
    with disk_errors(folder):
        found = [each for each in snapshots_in(folder) if int(each.path.name) <= height_max]
    for old in found[count:]:
        old.remove()


def keep_drafts(folder: Path, draft: SnapshotFolder) -> None:
    """Remove all snapshots half fetched but the one that is fetched now, and the last before it."""
    others = [other for other in _half_fetched(folder) if other != draft]
    for other in others[DRAFTS_MAX - 1 :]:
        other.remove()


def remove_drafts(folder: Path) -> None:
    """Remove all snapshots half fetched, now that another one is whole."""
    for draft in _half_fetched(folder):
        draft.remove()


def remove_leftovers(folder: Path) -> None:
    """Remove what a process left that went down in the midst of it, while no other writes there.

    The last snapshot that was half fetched stays: it may be gone on with.
    """
    for path in folder.glob("*" + DRAFT):
        SnapshotFolder(path).remove()
    for draft in _half_fetched(folder)[1:]:
        draft.remove()


def _half_fetched(folder: Path) -> list[SnapshotFolder]:
    """Return the drafts of snapshots that were fetched, the last one first."""
    found = [*folder.glob("*" + FETCHING_SUFFIX)]
    with disk_errors(folder):
        found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [SnapshotFolder(path) for path in found]
