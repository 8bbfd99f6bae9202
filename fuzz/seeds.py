"""Where fuzzing begins: the golden vectors of the tests, and examples of every message type."""

import re
from pathlib import Path
from typing import Any, Final

from msgspec import inspect

from tests.state.test_wire_formats import DIFFERENT, GREATEST, LEAST, Example

GOLDEN: Final = Path(__file__).resolve().parents[1] / "tests" / "golden"
_VECTOR = re.compile(r"^(?P<name>[^\n]*?) ?(?P<data>(?:[0-9a-f]{2})+)$", re.MULTILINE)


def golden(file: str) -> dict[str, bytes]:
    """Return the vectors of one golden file by name; those without one are numbered."""
    text = (GOLDEN / file).read_text()
    return {
        found["name"] or str(at): bytes.fromhex(found["data"])
        for at, found in enumerate(_VECTOR.finditer(text))
    }


def examples(kind: type[Any]) -> list[Any]:
    """Return the least, the greatest and a varied value of a Struct type."""
    shape = inspect.type_info(kind)
    return [Example(choice).value(shape) for choice in (LEAST, GREATEST, DIFFERENT)]
