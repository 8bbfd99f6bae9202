"""Canonical bytes: the one encoding of everything that is signed, hashed, stored or sent.

MessagePack, typed by msgspec Structs written as arrays in field order. Whatever decodes re-encodes
to the same bytes, or it is refused: so long-form integers, maps, unknown fields and trailing bytes
never get past this file. Types declare no float, so none can enter.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from state.errors import Malformed

T = TypeVar("T")

ENCODED_BYTES_MAX = 2**26
"""No value is larger than this, whatever its type: room for the fullest body that parameters allow
and for what executing it returned. What strangers send is held to far tighter bounds."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value with declared bounds whose canonical form is the array of its fields in order."""


encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
"""Return the canonical bytes of a Struct, tuple, integer, string or byte string."""


replace = msgspec.structs.replace
"""Return a copy of a Struct with some fields changed; bounds are checked when it is stored."""


class Decoder(Generic[T]):
    """Decodes canonical bytes of one type, and refuses everything else as `Malformed`."""

    __slots__ = ("_decoder", "_name")

    def __init__(self, kind: object) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(kind)
        self._name: str = getattr(kind, "__name__", str(kind))

    def decode(self, data: bytes | msgspec.Raw, *, bytes_max: int = ENCODED_BYTES_MAX) -> T:
        """Return the value that `data` encodes; raises Malformed unless `data` is canonical."""
        if memoryview(data).nbytes > bytes_max:
            raise Malformed(f"{self._name} is larger than {bytes_max} bytes; send a smaller one.")
        try:
            value: T = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"These bytes are no {self._name}: {error}.") from error
        if encode(value) != bytes(data):
            raise Malformed(
                f"These bytes are no canonical {self._name}: shortest integers, arrays in field "
                "order and nothing after the end were expected; encode the value again."
            )
        return value

    def check(self, value: T) -> None:
        """Raise msgspec.ValidationError or OverflowError unless every field is in its bounds."""
        self._decoder.decode(encode(value))

    def trusted(self, data: bytes) -> T:
        """Return the value of bytes that this node encoded itself, bounds checked, form not."""
        value: T = self._decoder.decode(data)
        return value
