"""Chunks: the rows of the state cut into subtrees of the state tree, each provable by itself.

A mark names a subtree by the bits of path at which it starts, and by its hash. Marks that tile the
whole tree fold to its root, so that one comparison proves all of them; from then on a chunk is
whatever rows hash to its mark. Rows left out, added or altered give another hash, and rows of
another chunk do not belong at its place.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from cython_ext import tree_parts as kernel
from state.codec import Decoder, Struct
from state.errors import Malformed
from state.types import Hash

CHUNK_BYTES: Final = 2**20
"""A subtree with more bytes of rows is cut in two, unless it is a single row."""
CHUNK_BYTES_MAX: Final = 2**22
"""No chunk is longer: a lone row may pass CHUNK_BYTES, but stays far below this."""
CHUNKS_MAX: Final = 2**16
LEVELS: Final = 256

Row = tuple[bytes, bytes]


class Mark(Struct):
    """A subtree: `level` bits of path, padded with zeros to whole bytes, and its hash."""

    level: Annotated[int, Meta(ge=0, le=LEVELS - 1)]
    prefix: Annotated[bytes, Meta(max_length=LEVELS // 8)]
    digest: Hash


class Chunk(Struct):
    """The rows of one subtree in ascending order of their keys."""

    rows: tuple[tuple[bytes, bytes], ...]


_chunks: Decoder[Chunk] = Decoder(Chunk)


def fold(marks: Sequence[Mark]) -> Hash:
    """Return the root over subtrees; raises Malformed unless they tile the tree from end to end.

    Whoever cuts a tree cuts only where more than one leaf stands, so every node above the marks is
    a hash over two sides; a mark that claims otherwise leads to another root.
    """
    open_nodes: list[tuple[int, bytes]] = []
    end = 0
    for mark in marks:
        unused = 8 * len(mark.prefix) - mark.level
        start = int.from_bytes(mark.prefix, "big") << (LEVELS - 8 * len(mark.prefix))
        size = 1 << (LEVELS - mark.level)
        if not 0 <= unused < 8 or start != end or start % size:
            raise Malformed("The marks do not tile the state tree; ask another peer.")
        end += size
        level, digest = mark.level, mark.digest
        # a right side closes its node: the left one of the same level is the last that is open
        while level and end >> (LEVELS - level) & 1 == 0:
            if not open_nodes or open_nodes[-1][0] != level:
                raise Malformed("The marks do not tile the state tree; ask another peer.")
            level, digest = level - 1, kernel.node_hash(open_nodes.pop()[1], digest)
        open_nodes.append((level, digest))
    if end != 1 << LEVELS:
        raise Malformed("The marks do not reach to the end of the state tree; ask another peer.")
    return open_nodes[0][1]


def read_chunk(mark: Mark, data: bytes) -> tuple[Row, ...]:
    """Return the rows of a chunk; raises Malformed unless they are all rows of this subtree."""
    rows = _chunks.decode(data, bytes_max=CHUNK_BYTES_MAX).rows
    if any(low[0] >= high[0] for low, high in pairwise(rows)):
        raise Malformed("The rows of a chunk do not ascend; ask another peer.")
    try:
        digest = kernel.root_of(rows, mark.level, mark.prefix)
    except ValueError as error:
        raise Malformed("A chunk holds a row of another place; ask another peer.") from error
    if digest != mark.digest:
        raise Malformed("The rows of a chunk do not hash to its mark; ask another peer.")
    return rows
