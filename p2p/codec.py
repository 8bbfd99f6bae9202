"""Canonical bytes of everything that peers say: MessagePack arrays in field order, or refused.

The same rules as for what the chain stores, written again here because the network knows nothing of
the chain: whatever decodes re-encodes to the same bytes, so long-form integers, maps, unknown
fields and trailing bytes never get past this file.
"""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta

import cython_ext
from p2p.errors import Malformed, Oversize

T = TypeVar("T")

Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A digest or a public key."""
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""A signature."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""An integer that never goes below zero."""


class Tag(Enum):
    """Domain-separation tags of the network, all under `p2p/`, at most 16 bytes; never reused."""

    TRANSCRIPT = b"p2p/transcript"
    RESPONDER = b"p2p/responder"
    INITIATOR = b"p2p/initiator"
    ANNOUNCE = b"p2p/announce"
    ANNOUNCE_NODE = b"p2p/node"
    BUCKET = b"p2p/bucket"
    BOOK = b"p2p/book"


assert all(len(tag.value) <= 16 for tag in Tag), "personalisation holds 16 bytes"
assert all(tag.value.startswith(b"p2p/") for tag in Tag), "disjoint from the chain's tags"


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value with declared bounds whose canonical form is the array of its fields in order."""


encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
"""Return the canonical bytes of a Struct, tuple, integer, string or byte string."""


def hash_bytes(tag: Tag, data: bytes) -> bytes:
    """Return H(tag, data), 32 bytes: BLAKE2b-256 with the tag as its personalisation."""
    return cython_ext.tagged_hash(tag.value, data)


class Decoder(Generic[T]):
    """Decodes canonical bytes of one type, and refuses everything else as `Malformed`."""

    __slots__ = ("_bytes_max", "_decoder", "_name")

    def __init__(self, kind: object, name: str, bytes_max: int) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(kind)
        self._name = name
        self._bytes_max = bytes_max

    def decode(self, data: bytes) -> T:
        """Return the value that `data` encodes; raises Oversize or Malformed."""
        if len(data) > self._bytes_max:
            raise Oversize(
                f"A {self._name} of {len(data)} bytes; at most {self._bytes_max} were expected."
            )
        try:
            value: T = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"These bytes are no {self._name}: {error}.") from error
        if encode(value) != data:
            raise Malformed(
                f"These bytes are no canonical {self._name}: shortest integers, arrays in field "
                "order and nothing after the end were expected."
            )
        return value
