"""Consensus' messages: what decodes encodes to the same bytes, and has one topic."""

import random
from typing import Final

import msgpack

from consensus.messages import MESSAGE_BYTES_MAX, Propose, decode, encode
from fuzz.mutation import mutated
from fuzz.seeds import golden
from node.network.overlay import topic_of
from p2p.topics import LIMITS
from state.errors import Malformed
from state.finality import fits, justify_hash

EPOCH_BLOCKS: Final = 1_000


def seeds() -> list[bytes]:
    """The golden messages."""
    vectors = golden("consensus.txt")
    return [data for name, data in vectors.items() if name.startswith("message")]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change a message."""
    return mutated(data, size_max, chance)


def check(data: bytes) -> None:
    """Decode a message, and read it as the independent reader does."""
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
