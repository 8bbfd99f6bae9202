"""Hypothesis strategies for every type with a JSON form, drawn from its shape's bounds alone."""

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from node.rpc.jsonform import FORMS
from node.rpc.kinds import Anything, Choice, Fixed, Leaf, Many, Maybe, OneOf, Packed, Record, Shape
from state.codec import encode

INT64 = 2**63 - 1


def values(shape: Shape) -> st.SearchStrategy[Any]:
    match shape:
        case Leaf():
            return leaves(shape)
        case Many(item, as_tuple, low, high):
            size = {"min_size": low or 0, "max_size": min(high or 3, max(low or 0, 3))}
            found = st.lists(values(item), **size)
            return found.map(tuple) if as_tuple else found
        case Fixed(items):
            return st.tuples(*[values(item) for item in items])
        case Record(struct):
            return records(struct)
        case OneOf(structs):
            return st.one_of([records(struct) for struct in structs])
        case Packed(structs):
            some = st.one_of([records(struct) for struct in structs])
            return some.map(lambda value: msgspec.Raw(encode(value)))
        case Maybe(inner):
            return st.none() | values(inner)
        case Choice(enum):
            return st.sampled_from(list(enum))
        case Anything():
            return st.integers(0, 9) | st.text(max_size=3)


def leaves(leaf: Leaf) -> st.SearchStrategy[Any]:
    low, high = leaf.length_min or 0, leaf.length_max
    match leaf.form:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer" | "decimal":
            return st.integers(
                -INT64 if leaf.low is None else leaf.low, INT64 if leaf.high is None else leaf.high
            )
        case "text" if leaf.pattern is not None:
            return st.from_regex(leaf.pattern, fullmatch=True).filter(
                lambda text: low <= len(text) <= (high or 99)
            )
        case "text":
            letters = st.characters(exclude_categories=["Cs"])
            return st.text(letters, min_size=low, max_size=min(high or 8, max(low, 8)))
        case _:
            return st.binary(min_size=low, max_size=min(high or 8, max(low, 40)))


def records(struct: type[Any]) -> st.SearchStrategy[Any]:
    fields = {
        field.name: values(FORMS.shape(field.type)) for field in msgspec.structs.fields(struct)
    }
    return st.deferred(lambda: st.fixed_dictionaries(fields)).map(lambda each: struct(**each))


@pytest.fixture(scope="session")
def values_of() -> Any:
    """`values_of(kind)` is the strategy for values of an annotated type."""
    return lambda kind: values(FORMS.shape(kind))
