"""Key shapes: how a table's key becomes bytes whose order is the order of the key.

Integers are big-endian, fixed-size byte strings stand as they are, and text carries a length byte,
so that no key of a table is the start of another. A key of one part is that part's value itself;
a key of several parts is a tuple.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Generic, Protocol, TypeVar, cast

from msgspec import Meta

from state.types import INT_MAX, Address, Hash

K = TypeVar("K")


class Part(Protocol):
    """One component of a key; `kind` is the annotated type that its JSON form derives from."""

    @property
    def kind(self) -> Any:
        """The type of the component's values."""
        ...

    def pack(self, value: Any) -> bytes:
        """Return the bytes of `value`."""
        ...

    def unpack(self, data: bytes, offset: int) -> tuple[Any, int]:
        """Return the value at `offset` and the offset behind it."""
        ...


class Integer:
    """An unsigned integer of a fixed number of bytes, big-endian."""

    __slots__ = ("_size", "kind")

    def __init__(self, size: int) -> None:
        self._size = size
        self.kind: Any = Annotated[int, Meta(ge=0, le=min((1 << 8 * size) - 1, INT_MAX))]

    def pack(self, value: int) -> bytes:
        """Return the integer big-endian; raises OverflowError when it does not fit."""
        return value.to_bytes(self._size, "big")

    def unpack(self, data: bytes, offset: int) -> tuple[int, int]:
        """Return the integer at `offset` and the offset behind it."""
        end = offset + self._size
        return int.from_bytes(data[offset:end], "big"), end


class Fixed:
    """A byte string of a fixed size: a hash, an address, a public key."""

    __slots__ = ("_size", "kind")

    def __init__(self, size: int, kind: Any = None) -> None:
        self._size = size
        self.kind: Any = kind or Annotated[bytes, Meta(min_length=size, max_length=size)]

    def pack(self, value: bytes) -> bytes:
        """Return the bytes as they are."""
        assert len(value) == self._size, f"this key part holds {self._size} bytes"
        return value

    def unpack(self, data: bytes, offset: int) -> tuple[bytes, int]:
        """Return the byte string at `offset` and the offset behind it."""
        end = offset + self._size
        return data[offset:end], end


TEXT_BYTES_MAX = 255
"""What a length byte can say."""


TEXTS_CACHED_MAX = 4_096


@lru_cache(maxsize=TEXTS_CACHED_MAX)
def _pack_text(value: str) -> bytes:
    """Most text in keys is one of a few denominations."""
    data = value.encode()
    return bytes((len(data),)) + data


class Text:
    """A UTF-8 string of at most TEXT_BYTES_MAX bytes behind a length byte."""

    kind: Any = str

    def pack(self, value: str) -> bytes:
        """Return length and bytes of the string."""
        return _pack_text(value)

    def unpack(self, data: bytes, offset: int) -> tuple[str, int]:
        """Return the string at `offset` and the offset behind it."""
        end = offset + 1 + data[offset]
        return data[offset + 1 : end].decode(), end


U8_KEY = Integer(1)
U16_KEY = Integer(2)
U32_KEY = Integer(4)
U64_KEY = Integer(8)
HASH_KEY = Fixed(32, Hash)
ADDRESS_KEY = Fixed(20, Address)
TEXT_KEY = Text()


def _pair_packer(
    prefix: bytes, pack_first: Callable[[Any], bytes], pack_second: Callable[[Any], bytes]
) -> Callable[[Any], bytes]:
    def pack(key: tuple[Any, Any]) -> bytes:
        first, second = key
        return prefix + pack_first(first) + pack_second(second)

    return pack


class KeyShape(Generic[K]):
    """The parts of a key in order; K is the part's type, or a tuple type for several parts."""

    __slots__ = ("_only", "_parts")

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._only = parts[0] if len(parts) == 1 else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The components in order."""
        return self._parts

    def pack(self, key: K) -> bytes:
        """Return the bytes of a whole key."""
        return self.packer(b"")(key)

    def packer(self, prefix: bytes) -> Callable[[K], bytes]:
        """Return a function from a whole key to `prefix` and its bytes.

        Every read and write of the state packs a key, so the common shapes get code of their own.
        """
        packs = [part.pack for part in self._parts]
        if len(packs) == 1:
            only = packs[0]
            return lambda key: prefix + only(key)
        if len(packs) == 2:
            return _pair_packer(prefix, packs[0], packs[1])

        def pack(key: Any) -> bytes:
            parts = [part(value) for part, value in zip(packs, key, strict=True)]
            return prefix + b"".join(parts)

        return pack

    def pack_part(self, values: tuple[Any, ...]) -> bytes:
        """Return the bytes of the first parts of a key: what a scan starts with."""
        return b"".join(
            [part.pack(value) for part, value in zip(self._parts, values, strict=False)]
        )

    def unpack(self, data: bytes) -> K:
        """Return the key that `data` packs."""
        values = []
        offset = 0
        for part in self._parts:
            value, offset = part.unpack(data, offset)
            values.append(value)
        assert offset == len(data), "a key ends where its last part ends"
        return cast(K, values[0] if self._only is not None else tuple(values))
