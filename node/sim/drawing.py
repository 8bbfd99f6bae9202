"""Random values of any message: edges first, and byte strings that the state knows."""

import random
import re
from typing import Any

from msgspec import inspect

from state.codec import Struct, replace
from state.types import INT_MAX

TEXTS = ("sahara", "gold", "D", "x", "\u00e4", "\u2028")


class Draw:
    """Random values of msgspec types; byte strings are often ones that the state knows."""

    def __init__(self, seed: str, known: list[bytes]) -> None:
        self._chance = random.Random(seed)
        self._known = known

    def value(self, kind: Any) -> Any:
        """A value within the declared bounds of a type."""
        match kind:
            case inspect.Metadata():
                return self.value(kind.type)
            case inspect.VarTupleType():
                low = kind.min_length or 0
                high = 4 if kind.max_length is None else kind.max_length
                count = self._chance.choice([low, min(low + 1, high), min(low + 3, high)])
                return tuple([self.value(kind.item_type) for _ in range(count)])
            case inspect.TupleType():
                return tuple([self.value(item) for item in kind.item_types])
            case inspect.StructType():
                return kind.cls(*[self.value(field.type) for field in kind.fields])
            case inspect.UnionType():
                return self.value(self._chance.choice(kind.types))
        return self._scalar(kind)

    def _scalar(self, kind: Any) -> Any:
        chance = self._chance
        match kind:
            case inspect.IntType():
                low = 0 if kind.ge is None else kind.ge
                high = INT_MAX if kind.le is None else kind.le
                edges = [low, high, min(low + 1, high), min(high, 10**9), min(high, 7)]
                return max(low, chance.choice([*edges, chance.randint(low, high)]))
            case inspect.BytesType():
                low, high = kind.min_length or 0, kind.max_length or 0
                fitting = [data for data in self._known if low <= len(data) <= high]
                if fitting and chance.random() < 0.7:
                    return chance.choice(fitting)
                return chance.randbytes(chance.choice([low, min(high, low + 40)]))
            case inspect.StrType():
                low, high = kind.min_length or 0, kind.max_length or 8
                texts = [text * count for text in TEXTS for count in (low, 1, high)]
                return chance.choice(
                    [
                        text
                        for text in texts
                        if low <= len(text) <= high and re.search(kind.pattern or "", text)
                    ]
                )
            case inspect.EnumType():
                return chance.choice(list(kind.cls))
            case inspect.BoolType():
                return chance.random() < 0.5
        raise AssertionError(f"no values of {kind} are drawn yet; add the case")

    def bent(self, value: Any) -> Any:
        """A copy of a Struct with one part of it, however deep, drawn anew."""
        info = inspect.type_info(type(value))
        assert isinstance(info, inspect.StructType)
        field = self._chance.choice(info.fields)
        part = getattr(value, field.encode_name)
        if isinstance(part, Struct) and self._chance.random() < 0.8:
            return replace(value, **{field.encode_name: self.bent(part)})
        if isinstance(part, tuple) and part and isinstance(part[0], Struct):
            at = self._chance.randrange(len(part))
            changed = (*part[:at], self.bent(part[at]), *part[at + 1 :])
            return replace(value, **{field.encode_name: changed})
        return replace(value, **{field.encode_name: self.value(field.type)})
