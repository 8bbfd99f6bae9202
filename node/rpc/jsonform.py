"""Values as JSON and back: one writer and one reader per type, built once and then only called.

Amounts are decimal strings, addresses `sah1...`, other byte strings lower-case hex, enumerations
their names in lower case, other integers JSON numbers, Structs objects, and tagged Structs carry
their name as `type`. Readers accept exactly what writers write.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from node.addresses import BadAddress, format_address, parse_address
from node.rpc.errors import InvalidParams
from node.rpc.kinds import (
    Anything,
    Choice,
    Families,
    Fixed,
    Leaf,
    Many,
    Maybe,
    OneOf,
    Packed,
    Record,
    Shape,
    shape_of,
    type_name,
)
from state.codec import encode
from state.context import Event
from state.modules.all import EVENTS, MESSAGES
from state.registry import Message

Writer = Callable[[Any], Any]
Reader = Callable[[Any], Any]
S = TypeVar("S", bound=Struct)

INTEGER_DIGITS_MAX = 40
"""Enough for 128 bits; longer texts are refused before they are converted."""

NAMES_SHOWN_MAX = 12

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)")


class FormError(Exception):
    """What is wrong with a JSON value, and where: path parts are added on the way out."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path: list[str] = []

    def at(self, part: str) -> "FormError":
        """Return the error as seen from one level further out."""
        self.path.append(part)
        return self

    def located(self, root: str) -> InvalidParams:
        """Return the refusal that names the whole path."""
        path = root + "".join(reversed(self.path))
        return InvalidParams(f"{path}: {self.sentence}", path)


class Forms:
    """The JSON forms of one set of transaction and event types."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._writers: dict[type, Writer] = {}
        self._readers: dict[type, Reader] = {}

    def shape(self, kind: Any) -> Shape:
        """Return the shape of an annotation; raises TypeError for one without a JSON form."""
        return shape_of(kind, self._families)

    def writer(self, kind: Any) -> Writer:
        """Return the function from a value of `kind` to JSON."""
        write = self._writer(self.shape(kind))
        return write or _as_it_is

    def reader(self, kind: Any) -> Reader:
        """Return the function from JSON to a value of `kind`; it raises FormError."""
        return self._reader(self.shape(kind))

    def read(self, kind: type[S], data: Any, root: str = "") -> S:
        """Return the value of `kind` that `data` is the JSON form of; raises InvalidParams."""
        try:
            value: S = self.reader(kind)(data)
        except FormError as error:
            raise error.located(root) from error
        return value

    # --- writing ---------------------------------------------------------------------------------

    def _writer(self, shape: Shape) -> Writer | None:
        """Return a writer, or None when JSON takes the value as it is."""
        match shape:
            case Leaf(form):
                return _LEAF_WRITERS[form]
            case Many(item):
                one = self._writer(item)
                return list if one is None else lambda values: [one(value) for value in values]
            case Fixed(items):
                each = [self._writer(item) or _as_it_is for item in items]
                return lambda values: [
                    write(value) for write, value in zip(each, values, strict=True)
                ]
            case Record(struct):
                return self._record_writer(struct)
            case OneOf(structs):
                return self._union_writer(structs)
            case Maybe(inner):
                write = self._writer(inner) or _as_it_is
                return lambda value: None if value is None else write(value)
            case Choice():
                return _write_choice
            case Packed(structs):
                decoder: Any = msgspec.msgpack.Decoder(_union(structs))
                unpacked = self._union_writer(structs)
                return lambda raw: unpacked(decoder.decode(raw))
            case Anything():
                return None

    def _record_writer(self, struct: type[Struct]) -> Writer:
        known = self._writers.get(struct)
        if known is not None:
            return known
        fields: list[tuple[str, Writer | None]] = []
        head = type_name(struct)

        def write(value: Any) -> dict[str, Any]:
            written = {} if head is None else {"type": head}
            for name, one in fields:
                item = getattr(value, name)
                written[name] = item if one is None else one(item)
            return written

        self._writers[struct] = write
        for field in msgspec.structs.fields(struct):
            fields.append((field.name, self._writer(self.shape(field.type))))
        assert head is None or "type" not in dict(fields), f"{struct.__name__}: `type` is taken"
        return write

    def _union_writer(self, structs: tuple[type[Struct], ...]) -> Writer:
        writers = {struct: self._record_writer(struct) for struct in structs}

        def write(value: Any) -> Any:
            # A value of a type that is not registered is shown as what it is made of.
            kind = type(value)
            return (writers.get(kind) or self._record_writer(kind))(value)

        return write

    # --- reading ---------------------------------------------------------------------------------

    def _reader(self, shape: Shape) -> Reader:
        match shape:
            case Leaf():
                return _leaf_reader(shape)
            case Many():
                return _many_reader(shape, self._reader(shape.item))
            case Fixed(items):
                return _fixed_reader([self._reader(item) for item in items])
            case Record(struct):
                return self._record_reader(struct)
            case OneOf(structs):
                return self._union_reader(structs)
            case Maybe(inner):
                read = self._reader(inner)
                return lambda data: None if data is None else read(data)
            case Choice(enum):
                return _choice_reader(enum)
            case Packed(structs):
                unpacked = self._union_reader(structs)
                return lambda data: msgspec.Raw(encode(unpacked(data)))
            case Anything():
                return _as_it_is

    def _record_reader(self, struct: type[Struct]) -> Reader:
        known = self._readers.get(struct)
        if known is not None:
            return known
        readers: dict[str, Reader] = {}
        required: list[str] = []
        head = type_name(struct)

        def read(data: Any) -> Any:
            if type(data) is not dict:
                raise FormError(f"expected an object with {', '.join(readers) or 'no members'}")
            values = {}
            for name, item in data.items():
                one = readers.get(name)
                if one is not None:
                    try:
                        values[name] = one(item)
                    except FormError as error:
                        raise error.at(f".{name}") from None
                elif name != "type" or head is None or item != head:
                    raise FormError(_unknown(name, [*readers])).at(f".{name}")
            for name in required:
                if name not in values:
                    raise FormError("is missing").at(f".{name}")
            return struct(**values)

        self._readers[struct] = read
        for field in msgspec.structs.fields(struct):
            readers[field.name] = self._reader(self.shape(field.type))
            if field.required:
                required.append(field.name)
        return read

    def _union_reader(self, structs: tuple[type[Struct], ...]) -> Reader:
        readers = {type_name(struct) or "": self._record_reader(struct) for struct in structs}

        def read(data: Any) -> Any:
            name = data.get("type") if type(data) is dict else None
            one = readers.get(name) if isinstance(name, str) else None
            if one is None:
                some = ", ".join(sorted(readers)[:NAMES_SHOWN_MAX])
                more = "" if len(readers) <= NAMES_SHOWN_MAX else ", ... (rpc.discover lists all)"
                raise FormError(f"expected an object whose `type` is one of {some}{more}")
            return one(data)

        return read


def _as_it_is(value: Any) -> Any:
    return value


def _unknown(name: str, known: list[str]) -> str:
    return f"there is no such member; expected {', '.join(known) or 'none'}"


def _union(structs: tuple[type[Struct], ...]) -> Any:
    union: Any = structs[0]
    for struct in structs[1:]:
        union = union | struct
    return union


def _write_choice(value: Enum) -> str:
    return value.name.lower()


def _write_uint(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


_LEAF_WRITERS: dict[str, Writer | None] = {
    "null": None,
    "integer": None,
    "boolean": None,
    "text": None,
    "decimal": str,
    "hex": bytes.hex,
    "address": format_address,
    "uint": _write_uint,
}


def _leaf_reader(leaf: Leaf) -> Reader:
    match leaf.form:
        case "null":
            return _read_null
        case "boolean":
            return _read_boolean
        case "integer":
            return lambda data: _within(leaf, _read_integer(data))
        case "decimal":
            return lambda data: _within(leaf, _read_decimal(data))
        case "text":
            return _text_reader(leaf)
        case "address":
            return _read_address
        case "uint":
            return _uint_reader(leaf)
        case _:
            return lambda data: _sized(leaf, _read_hex(data))


def _read_null(data: Any) -> None:
    if data is not None:
        raise FormError("expected null")


def _read_boolean(data: Any) -> bool:
    if type(data) is not bool:
        raise FormError("expected true or false")
    return data


def _read_integer(data: Any) -> int:
    if type(data) is not int:
        raise FormError("expected an integer, written as a JSON number without fraction")
    return data


def _read_decimal(data: Any) -> int:
    if (
        type(data) is not str
        or len(data) > INTEGER_DIGITS_MAX
        or not _DECIMAL.fullmatch(data)
        or data == "-0"
    ):
        raise FormError('expected an integer as a decimal string, such as "1000"')
    return int(data)


def _within(leaf: Leaf, value: int) -> int:
    if leaf.low is not None and value < leaf.low:
        raise FormError(f"{value} is below {leaf.low}, the least that is allowed")
    if leaf.high is not None and value > leaf.high:
        raise FormError(f"{value} is above {leaf.high}, the most that is allowed")
    return value


def _text_reader(leaf: Leaf) -> Reader:
    pattern = None if leaf.pattern is None else re.compile(leaf.pattern)

    def read(data: Any) -> str:
        if type(data) is not str:
            raise FormError("expected a string")
        if pattern is not None and not pattern.search(data):
            raise FormError(f"expected a string that matches {leaf.pattern}")
        return str(_sized(leaf, data))

    return read


def _read_hex(data: Any) -> bytes:
    if type(data) is str and len(data) % 2 == 0:
        try:
            value = bytes.fromhex(data)
        except ValueError:
            value = b""
        if value.hex() == data:
            return value
    raise FormError("expected bytes as lower-case hexadecimal digits, two a byte, without 0x")


def _sized(leaf: Leaf, value: Any) -> Any:
    size, unit = len(value), "characters" if isinstance(value, str) else "bytes"
    low, high = leaf.length_min, leaf.length_max
    if (low is not None and size < low) or (high is not None and size > high):
        wanted = " and ".join(
            f"{word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound
        )
        raise FormError(f"has {size} {unit}, expected {low if low == high else wanted}")
    return value


def _read_address(data: Any) -> bytes:
    if type(data) is not str:
        raise FormError("expected an address, a string that starts with sah1")
    if data != data.lower():
        raise FormError("expected an address in lower case")
    try:
        return parse_address(data)
    except BadAddress as error:
        raise FormError(error.sentence) from error


def _uint_reader(leaf: Leaf) -> Reader:
    size = leaf.length_max
    assert size is not None and size == leaf.length_min, "a uint has a fixed size"

    def read(data: Any) -> bytes:
        value = _read_decimal(data)
        if value < 0 or value >= 1 << 8 * size:
            raise FormError(f"expected 0 or more, and less than 2 to the power {8 * size}")
        return value.to_bytes(size, "big")

    return read


def _many_reader(shape: Many, one: Reader) -> Reader:
    low, high = shape.length_min or 0, shape.length_max
    hold: Callable[[list[Any]], Any] = tuple if shape.as_tuple else _as_it_is

    def read(data: Any) -> Any:
        if type(data) is not list:
            raise FormError("expected an array")
        if len(data) < low or (high is not None and len(data) > high):
            most = "" if high is None else f" and at most {high}"
            raise FormError(f"has {len(data)} items, expected at least {low}{most}")
        return hold(_read_each(data, [one] * len(data)))

    return read


def _fixed_reader(readers: list[Reader]) -> Reader:
    def read(data: Any) -> tuple[Any, ...]:
        if type(data) is not list or len(data) != len(readers):
            raise FormError(f"expected an array of {len(readers)} items")
        return tuple(_read_each(data, readers))

    return read


def _read_each(data: list[Any], readers: list[Reader]) -> list[Any]:
    values: list[Any] = []
    try:
        for one, item in zip(readers, data, strict=True):
            values.append(one(item))
    except FormError as error:
        raise error.at(f"[{len(values)}]") from None
    return values


def _choice_reader(enum: type[Enum]) -> Reader:
    members = {member.name.lower(): member for member in enum}

    def read(data: Any) -> Enum:
        member = members.get(data) if isinstance(data, str) else None
        if member is None:
            raise FormError(f"expected one of {', '.join(members)}")
        return member

    return read


FORMS = Forms({Message: MESSAGES, Event: EVENTS, msgspec.Raw: EVENTS})
"""The forms of every type that the registered modules declare."""
