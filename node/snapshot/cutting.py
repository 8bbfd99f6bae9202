"""Cutting the state into chunks: rows sorted by their paths in the tree, a subtree at a time.

The database holds rows in the order of keys, and the tree in that of their hashes. Rows are first
sorted into bins by the first byte of their path, in memory or, when that grows, in a file for each;
then each subtree that is small enough becomes a chunk. Which subtrees those are follows from the
rows alone, so every node cuts one state alike.

A running node does this beside its blocks, so memory is a few chunks, however large the state is.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cython_ext import tree_parts as kernel
from node.snapshot.folder import disk_errors
from state.chunks import CHUNK_BYTES, Chunk, Mark, Row
from state.codec import encode

BIN_LEVEL: Final = 8
BINS: Final = 2**BIN_LEVEL
BINS_BYTES_MAX: Final = 2**20
"""Rows that wait in memory; then they go to files."""
PATH_BYTES: Final = 32

_lengths = struct.Struct(">II")
Placed = bytes
"""A row behind its path, as it waits in its bin: one object where path, key and value were four."""


class Bins:
    """Rows by the first byte of their path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = [bytearray() for _ in range(BINS)]
        self._waiting_bytes = 0
        self.sizes = [0] * BINS
        self.counts = [0] * BINS

    def add(self, key: bytes, value: bytes) -> None:
        """Take in a row."""
        path = kernel.path_of(key)
        first = path[0]
        row = self._waiting[first]
        row += path
        row += _lengths.pack(len(key), len(value))
        row += key
        row += value
        size = row_bytes(key, value)
        self.sizes[first] += size
        self.counts[first] += 1
        self._waiting_bytes += size
        if self._waiting_bytes >= BINS_BYTES_MAX:
            self._spill()

    def _spill(self) -> None:
        for number, rows in enumerate(self._waiting):
            if rows:
                with disk_errors(self._folder), self._path(number).open("ab") as file:
                    file.write(rows)
                rows.clear()
        self._waiting_bytes = 0

    def _path(self, number: int) -> Path:
        return self._folder / f"bin-{number:03}"

    def take(self, first: int, stop: int) -> list[Placed]:
        """Return the rows of some bins in the order of their paths, and forget them."""
        found: list[Placed] = []
        for number in range(first, stop):
            path = self._path(number)
            if path.exists():
                with disk_errors(path):
                    found += _rows_in(path.read_bytes())
                    path.unlink()
            found += _rows_in(bytes(self._waiting[number]))
            self._waiting[number].clear()
        found.sort()
        return found


def row_bytes(key: bytes, value: bytes) -> int:
    """Return what a row counts for when chunks are measured."""
    return len(key) + len(value) + 8


def _rows_in(data: bytes) -> Iterator[Placed]:
    at = 0
    while at < len(data):
        end = at + PATH_BYTES + _lengths.size + sum(_lengths.unpack_from(data, at + PATH_BYTES))
        yield data[at:end]
        at = end


def _row_of(placed: Placed) -> Row:
    key_size, _ = _lengths.unpack_from(placed, PATH_BYTES)
    start = PATH_BYTES + _lengths.size
    return placed[start : start + key_size], placed[start + key_size :]


def cut(bins: Bins) -> Iterator[tuple[Mark, bytes]]:
    """Yield every chunk with its mark, in the order of the tree."""
    yield from _cut_bins(bins, 0, 0)


def _cut_bins(bins: Bins, level: int, prefix: int) -> Iterator[tuple[Mark, bytes]]:
    """Cut a subtree of one bin or several, by their sizes alone as far as possible."""
    first, stop = prefix << (BIN_LEVEL - level), (prefix + 1) << (BIN_LEVEL - level)
    small = sum(bins.sizes[first:stop]) <= CHUNK_BYTES or sum(bins.counts[first:stop]) < 2
    if small or level == BIN_LEVEL:
        yield from _cut_rows(bins.take(first, stop), level, prefix)
        return
    yield from _cut_bins(bins, level + 1, 2 * prefix)
    yield from _cut_bins(bins, level + 1, 2 * prefix + 1)


def _cut_rows(rows: list[Placed], level: int, prefix: int) -> Iterator[tuple[Mark, bytes]]:
    """Cut a subtree by its rows, which are forgotten as they become chunks."""
    size = sum([len(row) - PATH_BYTES for row in rows])
    if size <= CHUNK_BYTES or len(rows) < 2:
        yield _chunk(rows, level, prefix)
        return
    middle = sum([not row[level >> 3] >> (7 - (level & 7)) & 1 for row in rows])
    lower, upper = rows[:middle], rows[middle:]
    rows.clear()
    yield from _cut_rows(lower, level + 1, 2 * prefix)
    yield from _cut_rows(upper, level + 1, 2 * prefix + 1)


def _chunk(placed: list[Placed], level: int, prefix: int) -> tuple[Mark, bytes]:
    """Make the chunk of a subtree; its rows are taken from the list one by one."""
    length = (level + 7) >> 3
    bits = (prefix << (8 * length - level)).to_bytes(length, "big")
    rows: list[Row] = []
    while placed:
        rows.append(_row_of(placed.pop()))
    digest = kernel.root_of(rows, level, bits)
    rows.sort()
    return Mark(level, bits, digest), encode(Chunk(tuple(rows)))
