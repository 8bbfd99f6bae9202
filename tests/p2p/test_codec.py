"""What decodes re-encodes to the same bytes, and the network's tags are nobody else's."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.codec import Bytes32, Count, Decoder, Struct, Tag, encode, hash_bytes
from p2p.errors import Malformed, Oversize
from state import crypto


class Pair(Struct):
    """A value to try."""

    number: Count
    name: Bytes32


DECODER: Decoder[Pair] = Decoder(Pair, "pair", 64)
PAIR = Pair(7, bytes(32))


def test_a_value_comes_back() -> None:
    assert DECODER.decode(encode(PAIR)) == PAIR
    assert msgpack.unpackb(encode(PAIR)) == [7, bytes(32)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(PAIR) + b"\x00",
        encode(PAIR)[:-1],
        encode((7, bytes(32), 1)),
        encode({"number": 7, "name": bytes(32)}),
        b"\x92\xcd\x00\x07" + encode(bytes(32)),  # 7 in three bytes
        encode((-1, bytes(32))),
        encode((7, bytes(31))),
        encode((7.0, bytes(32))),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        DECODER.decode(data)


def test_length_is_judged_before_decoding() -> None:
    with pytest.raises(Oversize):
        DECODER.decode(encode(PAIR) + bytes(64))


@given(st.binary(max_size=64))
def test_whatever_decodes_is_canonical(data: bytes) -> None:
    try:
        value = DECODER.decode(data)
    except Malformed:
        return
    assert encode(value) == data


def test_the_networks_tags_are_not_the_chains() -> None:
    ours = {tag.value for tag in Tag}
    assert len(ours) == len(Tag)
    assert not ours & {tag.value for tag in crypto.Tag}
    assert not any(tag.value.startswith(b"p2p/") for tag in crypto.Tag)
    assert len({hash_bytes(tag, b"x") for tag in Tag}) == len(Tag)
