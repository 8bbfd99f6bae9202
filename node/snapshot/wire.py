"""What nodes ask each other for to begin with a snapshot, and the answers; on the topic SYNC.

Every answer is checked by itself: a manifest folds to a root, steps lead from set to set, a chunk
hashes to its mark. So whoever gives a false one has proved what it is.
"""

from contextlib import suppress
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from consensus.messages import Block
from node.snapshot.form import (
    MANIFEST_BYTES_MAX,
    STEPS_MAX,
    Manifest,
    Offer,
    Step,
    check_form,
)
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

offers_answers: Decoder[OffersAnswer] = Decoder(OffersAnswer)
manifest_answers: Decoder[ManifestAnswer] = Decoder(ManifestAnswer)
crown_answers: Decoder[CrownAnswer] = Decoder(CrownAnswer)
steps_answers: Decoder[StepsAnswer] = Decoder(StepsAnswer)
chunk_answers: Decoder[ChunkAnswer] = Decoder(ChunkAnswer)


class _Formed(msgspec.Struct, array_like=True):
    """A manifest of any version, of which the form alone is known."""

    form: int


class _FormedAnswer(msgspec.Struct, array_like=True, tag=17):
    """An answer with such a manifest."""

    manifest: _Formed


OFFERS_BYTES_MAX: Final = 2**12
CHUNK_ANSWER_BYTES_MAX: Final = CHUNK_BYTES_MAX + ROOM_BYTES

_formed = msgspec.msgpack.Decoder(_FormedAnswer)


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest of an answer; raises Malformed, or FormUnknown for another version's."""
    try:
        return manifest_answers.decode(data, bytes_max=MANIFEST_BYTES_MAX + ROOM_BYTES).manifest
    except Malformed:
        with suppress(msgspec.DecodeError):
            check_form(_formed.decode(data).manifest.form)
        raise
