"""What a type annotation means outside the state machine, worked out once per type.

Readers, writers and schemas of JSON all derive from the shapes of this file, so that they cannot
disagree about a type.
"""

import types
import typing
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta, Struct


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value and its bounds.

    `form` is null, integer, boolean, text, decimal (an integer as a string), hex, address, or uint
    (big-endian bytes as a decimal string).
    """

    form: str
    low: int | None = None
    high: int | None = None
    length_min: int | None = None
    length_max: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """Items of one shape in order; `as_tuple` tells what Python holds them in."""

    item: "Shape"
    as_tuple: bool
    length_min: int | None = None
    length_max: int | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A tuple of as many items as there are shapes."""

    items: "tuple[Shape, ...]"


@dataclass(frozen=True, slots=True)
class Record:
    """A Struct: an object of its fields, with a `type` when the Struct is tagged."""

    struct: type[Struct]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several tagged Structs, told apart by `type`."""

    structs: tuple[type[Struct], ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value or null."""

    inner: "Shape"


@dataclass(frozen=True, slots=True)
class Choice:
    """A member of an enumeration, by its name in lower case."""

    enum: type[Enum]


@dataclass(frozen=True, slots=True)
class Packed:
    """Canonical bytes of one of several tagged Structs, shown decoded."""

    structs: tuple[type[Struct], ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """JSON as it is."""


Shape = Leaf | Many | Fixed | Record | OneOf | Maybe | Choice | Packed | Anything
Families = dict[type, tuple[type[Struct], ...]]
"""Base classes that stand for all of their registered subclasses; Raw stands for packed ones."""

_FORMS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    str: "text",
    bytes: "hex",
    type(None): "null",
}


def type_name(struct: type[Struct]) -> str | None:
    """Return what `type` says of a tagged Struct: its tag if that is text, else its name."""
    tag = struct.__struct_config__.tag
    if tag is None:
        return None
    return tag if isinstance(tag, str) else struct.__name__


def shape_of(kind: Any, families: Families) -> Shape:
    """Return the shape of an annotation; raises TypeError for one without a JSON form."""
    if typing.get_origin(kind) is Annotated:
        base, *metas = typing.get_args(kind)
        shape = shape_of(base, families)
        for meta in metas:
            if isinstance(meta, Meta):
                shape = _bounded(shape, meta)
        return shape
    if kind in _FORMS:
        return Leaf(_FORMS[kind])
    if kind is Any:
        return Anything()
    if isinstance(kind, type) and kind in families:
        structs = families[kind]
        return Packed(structs) if kind is msgspec.Raw else OneOf(structs)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Choice(kind)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return Record(kind)
    return _composed(kind, families)


def _composed(kind: Any, families: Families) -> Shape:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        if origin is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return Many(shape_of(arguments[0], families), origin is tuple)
        return Fixed(tuple(shape_of(argument, families) for argument in arguments))
    if origin in (Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            inner = shape_of(rest[0], families)
        elif all(isinstance(item, type) and issubclass(item, Struct) for item in rest):
            inner = OneOf(tuple(rest))
        else:
            raise TypeError(f"{kind} has no JSON form: only tagged Structs may stand in a union")
        return inner if len(rest) == len(arguments) else Maybe(inner)
    raise TypeError(f"{kind} has no JSON form")


def _bounded(shape: Shape, meta: Meta) -> Shape:
    if isinstance(shape, Leaf):
        low = meta.ge if meta.gt is None else meta.gt + 1
        high = meta.le if meta.lt is None else meta.lt - 1
        form = (meta.extra or {}).get("json", shape.form)
        return Leaf(
            form,
            shape.low if low is None else int(low),
            shape.high if high is None else int(high),
            shape.length_min if meta.min_length is None else meta.min_length,
            shape.length_max if meta.max_length is None else meta.max_length,
            meta.pattern or shape.pattern,
        )
    if isinstance(shape, Many):
        return replace(shape, length_min=meta.min_length, length_max=meta.max_length)
    return shape
