"""Wire formats: every message and event encodes as it always did.

tests/golden/wire_formats.txt holds, per type, its tag, its name, and a digest over the names of its
fields and three examples: all fields as small as their bounds allow, as large, and all different.
So fields that change places, another bound, a member of an enumeration, or another tag are seen
here, and are a decision: clients, signatures and old blocks depend on them. Who has decided writes
the file anew with

    PYTHONPATH=. python tests/state/test_wire_formats.py > tests/golden/wire_formats.txt
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgpack
import pytest
from msgspec import Meta, Struct, defstruct, inspect

from state.codec import Decoder, encode
from state.modules.all import EVENTS, MESSAGES
from state.types import INT_MAX

GOLDEN = Path(__file__).parents[1] / "golden" / "wire_formats.txt"
LEAST, GREATEST, DIFFERENT = range(3)
MANY = 3
"""Items of the longest list in an example, whatever its bound."""


class Example:
    """Makes one value of a type: the least, the greatest, or one whose parts all differ."""

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._number = 0
        self.names: list[str] = []

    def value(self, kind: Any) -> Any:
        """The example of a type."""
        match kind:
            case inspect.Metadata():
                return self.value(kind.type)
            case inspect.StructType():
                self.names += [field.name for field in kind.fields]
                return kind.cls(*[self.value(field.type) for field in kind.fields])
            case inspect.UnionType():
                types = kind.types
                return self.value(types[0 if self._choice == LEAST else -1])
            case inspect.TupleType():
                return tuple([self.value(item) for item in kind.item_types])
            case inspect.VarTupleType():
                low = kind.min_length or 0
                high = MANY if kind.max_length is None else min(kind.max_length, low + MANY)
                count = self._of(low, high, min(low + 2, high))
                return tuple([self.value(kind.item_type) for _ in range(count)])
        return self._scalar(kind)

    def _scalar(self, kind: Any) -> Any:
        self._number += 1
        match kind:
            case inspect.BoolType():
                return self._of(False, True, bool(self._number % 2))
            case inspect.IntType():
                low = 0 if kind.ge is None else kind.ge
                high = INT_MAX if kind.le is None else kind.le
                return self._of(low, high, min(max(low, 1) + self._number, high))
            case inspect.BytesType():
                low = kind.min_length or 0
                high = low + MANY if kind.max_length is None else kind.max_length
                some = bytes((self._number % 256,)) * max(low, min(high, 2))
                return self._of(bytes(low), b"\xff" * high, some)
            case inspect.StrType():
                low = kind.min_length or 0
                high = low + MANY if kind.max_length is None else kind.max_length
                some = ("n" + str(self._number)).ljust(low, "n")[:high]
                return self._of("a" * low, "z" * high, some)
            case inspect.EnumType():
                members = list(kind.cls)
                return self._of(members[0], members[-1], members[self._number % len(members)])
        raise AssertionError(f"{kind} has no example yet; add the case")

    def _of(self, least: Any, greatest: Any, different: Any) -> Any:
        return (least, greatest, different)[self._choice]


def examples(kind: type[Struct]) -> list[bytes]:
    """The canonical bytes of a type's three examples."""
    info = inspect.type_info(kind)
    return [encode(Example(choice).value(info)) for choice in (LEAST, GREATEST, DIFFERENT)]


def names(kind: type[Struct]) -> list[str]:
    """The names of a type's fields and their fields: what tells two of one type apart."""
    example = Example(DIFFERENT)
    example.value(inspect.type_info(kind))
    return example.names


def line(kind: type[Struct]) -> str:
    """What the golden file says of a type."""
    tag = kind.__struct_config__.tag
    shown = f"{tag:#06x}" if isinstance(tag, int) else str(tag)
    digest = hashlib.sha256(encode((names(kind), examples(kind)))).hexdigest()
    return f"{shown} {kind.__name__} {digest}"


def lines() -> list[str]:
    """Messages by tag, then events by tag."""
    messages = sorted(MESSAGES, key=line)
    return [line(kind) for kind in (*messages, *EVENTS)]


TYPES: list[type[Struct]] = [*MESSAGES, *EVENTS]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_the_encoding_is_pinned(kind: type[Struct]) -> None:
    assert line(kind) in GOLDEN.read_text().splitlines()


def test_the_list_is_whole_and_in_order() -> None:
    """A type that went away still stands in old blocks, so its line may not simply vanish."""
    assert [each.split()[:2] for each in GOLDEN.read_text().splitlines()] == [
        each.split()[:2] for each in lines()
    ]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_an_example_decodes_and_an_independent_reader_sees_its_fields(kind: type[Struct]) -> None:
    decoder: Decoder[Any] = Decoder(kind)
    for data in examples(kind):
        assert encode(decoder.decode(data)) == data
        read = msgpack.unpackb(data, raw=False)
        assert read[0] == kind.__struct_config__.tag
        assert len(read) == len(kind.__struct_fields__) + 1


def test_whatever_changes_on_the_wire_changes_the_line() -> None:
    """The negative control: every change to a type that its bytes or meaning show."""
    small, large = Annotated[int, Meta(ge=0, le=9)], Annotated[int, Meta(ge=0, le=10)]
    fields = [
        [("one", small), ("two", small)],
        [("two", small), ("one", small)],
        [("one", small), ("two", large)],
        [("one", small), ("two", bool)],
        [("one", small)],
        [("one", small), ("two", tuple[small, ...])],
    ]
    made = [defstruct("T", each, tag=1, array_like=True) for each in fields]
    other_tag = defstruct("T", fields[0], tag=2, array_like=True)
    assert len({line(kind) for kind in (*made, other_tag)}) == len(made) + 1


if __name__ == "__main__":
    print("\n".join(lines()))
