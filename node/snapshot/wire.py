"""What nodes ask each other for to begin with a snapshot, and the answers; on the topic SYNC.

Every answer is checked by itself: a manifest folds to a root, steps lead from set to set, a chunk
hashes to its mark. So whoever gives a false one has proved what it is.
"""

from typing import Annotated, Final

from msgspec import Meta

from consensus.messages import MESSAGE_BYTES_MAX, Block
from node.snapshot.form import MANIFEST_BYTES_MAX, STEPS_BYTES_MAX, STEPS_MAX, Manifest, Offer, Step
from state.chunks import CHUNK_BYTES_MAX, LEVELS
from state.codec import Decoder, Struct
from state.errors import Malformed
from state.finality import Epoch
from state.types import Hash

OFFERS_MAX: Final = 16
"""Snapshots that one node tells of, the newest."""
ROOM_BYTES: Final = 64
"""Around what an answer carries."""


class OffersRequest(Struct, tag=16):
    """Ask which snapshots there are."""


class OffersAnswer(Struct, tag=16):
    """The snapshots of a node, the newest first."""

    offers: Annotated[tuple[Offer, ...], Meta(max_length=OFFERS_MAX)]


class ManifestRequest(Struct, tag=17):
    """Ask for the manifest of a snapshot."""

    crown_id: Hash


class ManifestAnswer(Struct, tag=17):
    """The manifest that was asked for."""

    manifest: Manifest


class CrownRequest(Struct, tag=18):
    """Ask for the block that proves a snapshot's state."""

    crown_id: Hash


class CrownAnswer(Struct, tag=18):
    """The block that was asked for."""

    block: Block


class StepsRequest(Struct, tag=19):
    """Ask how epochs ended, from one on."""

    epoch: Epoch
    count: Annotated[int, Meta(ge=1, le=STEPS_MAX)]


class StepsAnswer(Struct, tag=19):
    """How epochs ended; none where the first of them has not."""

    steps: Annotated[tuple[Step, ...], Meta(max_length=STEPS_MAX)]


class ChunkRequest(Struct, tag=20):
    """Ask for the rows of one subtree of a snapshot's state."""

    crown_id: Hash
    level: Annotated[int, Meta(ge=0, le=LEVELS - 1)]
    prefix: Annotated[bytes, Meta(max_length=LEVELS // 8)]


class ChunkAnswer(Struct, tag=20):
    """The chunk that was asked for, encoded."""

    data: Annotated[bytes, Meta(max_length=CHUNK_BYTES_MAX)]


SnapshotRequest = OffersRequest | ManifestRequest | CrownRequest | StepsRequest | ChunkRequest
SnapshotAnswer = OffersAnswer | ManifestAnswer | CrownAnswer | StepsAnswer | ChunkAnswer

_decoders: Final[dict[type[Struct], Decoder[SnapshotAnswer]]] = {
    kind: Decoder(kind)
    for kind in (OffersAnswer, ManifestAnswer, CrownAnswer, StepsAnswer, ChunkAnswer)
}
_bytes_max: Final[dict[type[Struct], int]] = {
    OffersAnswer: 2**12,
    ManifestAnswer: MANIFEST_BYTES_MAX,
    CrownAnswer: MESSAGE_BYTES_MAX,
    StepsAnswer: STEPS_BYTES_MAX,
    ChunkAnswer: CHUNK_BYTES_MAX + ROOM_BYTES,
}


def read_answer(kind: type[Struct], data: bytes) -> SnapshotAnswer:
    """Return an answer of the kind that was asked for, within its bounds; raises Malformed."""
    return _decoders[kind].decode(data, bytes_max=_bytes_max[kind])


def require(answer: object, kind: type[Struct]) -> None:
    """Raise Malformed unless an answer is of a kind."""
    if not isinstance(answer, kind):
        raise Malformed(f"The answer is no {kind.__name__}; ask another peer.")
