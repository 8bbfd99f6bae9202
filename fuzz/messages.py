"""What nodes of validators, and who syncs, say: what decodes encodes to the same bytes."""

import random
from collections.abc import Callable
from functools import partial
from typing import Final

import msgpack

from consensus.messages import MESSAGE_BYTES_MAX, Propose, decode, encode
from fuzz.mutation import mutated
from fuzz.seeds import golden
from node.network import sketches
from node.network.overlay import topic_of
from node.sync.messages import (
    BlocksRequest,
    FinalRequest,
    HeadersRequest,
    decode_answer,
    decode_request,
)
from p2p.topics import LIMITS
from state.codec import encode as encode_state
from state.errors import Malformed
from state.finality import fits, justify_hash

EPOCH_BLOCKS: Final = 1_000
READERS: Final[tuple[Callable[[bytes], object], ...]] = (
    partial(sketches.decode, bytes_max=MESSAGE_BYTES_MAX),
    decode_request,
    decode_answer,
)


def seeds() -> list[bytes]:
    """The golden messages."""
    vectors = golden("consensus.txt")
    asked = (FinalRequest(1), HeadersRequest(b"h" * 32, 9), BlocksRequest(7, 3))
    said = [data for name, data in vectors.items() if name.startswith("message")]
    return [*said, *[encode_state(one) for one in asked]]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change a message."""
    return mutated(data, size_max, chance)


def check(data: bytes) -> None:
    """Decode a message, and read it as the independent reader does."""
    for read in READERS:
        try:
            found = read(data)
        except Malformed as error:
            assert error.sentence.endswith("."), error
        else:
            assert encode_state(found) == data
    try:
        message = decode(data)
    except Malformed as error:
        assert error.sentence.endswith("."), error
        return
    assert encode(message) == data
    assert len(data) <= MESSAGE_BYTES_MAX
    assert len(data) <= LIMITS[topic_of(message, len(data))].message_bytes_max
    fields = msgpack.unpackb(data)
    assert fields[0] == type(message).__struct_config__.tag
    if isinstance(message, Propose):
        fits(message.proposal, message.header, EPOCH_BLOCKS)
        assert message.justify is None or len(justify_hash(message.justify)) == 32
