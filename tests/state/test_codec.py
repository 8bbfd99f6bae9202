"""What decodes re-encodes to the same bytes; everything else is refused."""

from typing import Annotated

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from state.codec import Decoder, Struct, encode
from state.errors import Malformed


class Pair(Struct):
    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    data: Annotated[bytes, Meta(max_length=64)]
    names: tuple[str, ...] = ()


pairs: Decoder[Pair] = Decoder(Pair)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=64), st.lists(st.text(max_size=8), max_size=4))
def test_round_trip_and_independent_reader(number: int, data: bytes, names: list[str]) -> None:
    wire = encode(Pair(number, data, tuple(names)))
    assert pairs.decode(wire) == Pair(number, data, tuple(names))
    assert msgpack.unpackb(wire, raw=False) == [number, data, names]
    assert msgpack.packb([number, data, names], use_bin_type=True) == wire


@given(st.binary(max_size=80))
def test_whatever_decodes_is_canonical(noise: bytes) -> None:
    try:
        value = pairs.decode(noise)
    except Malformed:
        return
    assert encode(value) == noise


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x93\x01\xc4\x00",
        b"\x93\xcc\x01\xc4\x00\x90",
        b"\x93\xcd\x00\x01\xc4\x00\x90",
        b"\x93\x01\xc5\x00\x00\x90",
        b"\xdc\x00\x03\x01\xc4\x00\x90",
        b"\x92\x01\xc4\x00",
        b"\x94\x01\xc4\x00\x90\x01",
        b"\x93\x01\xc4\x00\x90\x00",
        b"\x93\xff\xc4\x00\x90",
        b"\x93\xca\x3f\x80\x00\x00\xc4\x00\x90",
        b"\x83\xa6number\x01\xa4data\xc4\x00\xa5names\x90",
        b"\x93\xcf\x80\x00\x00\x00\x00\x00\x00\x00\xc4\x00\x90",
        b"\x93\x01\xc4\x41" + bytes(65) + b"\x90",
        b"\x93\x01\xc4\x00" + b"\x91" * 100_000,
        b"\x93\x01\xc4\x00\x91\xa2\xf3\x28",
        b"\x93\x01\xc4\x00\xdd\xff\xff\xff\xff",
        b"\x93\x01\xc4\x00\x91\xc7\x01\x05\x00",
    ],
    ids=[
        "empty",
        "truncated",
        "long integer",
        "longer integer",
        "long bytes",
        "long array",
        "missing field",
        "extra field",
        "trailing byte",
        "negative",
        "float",
        "map",
        "too large",
        "over length",
        "too deep",
        "no utf-8",
        "longer than the input",
        "extension",
    ],
)
def test_refused(wire: bytes) -> None:
    with pytest.raises(Malformed):
        pairs.decode(wire)


def test_declared_size_is_checked_before_decoding() -> None:
    wire = encode(Pair(1, bytes(60)))
    assert pairs.decode(wire, bytes_max=len(wire)).number == 1
    with pytest.raises(Malformed, match="larger than"):
        pairs.decode(wire, bytes_max=len(wire) - 1)
