"""The interface described for machines and people, from the same shapes that read and write it.

`openrpc` is what `rpc.discover` returns; `reference` is docs/reference.md.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.jsonform import FORMS
from node.rpc.kinds import (
    Anything,
    Choice,
    Fixed,
    Leaf,
    Many,
    Maybe,
    OneOf,
    Packed,
    Record,
    Shape,
    type_name,
)
from node.version import VERSION
from state.modules.all import EVENTS, MODULES

OPENRPC_VERSION = "1.3.2"
_DECIMAL = "^-?(0|[1-9][0-9]*)$"
_ADDRESS = "^sah1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{38}$"


class Schemas:
    """JSON Schema of every type met so far, by name, for the `components` of a document."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}
        self._names: dict[str, type] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of an annotation; Structs become references."""
        return self._schema(FORMS.shape(kind))

    def _schema(self, shape: Shape) -> dict[str, Any]:
        match shape:
            case Leaf():
                return _leaf_schema(shape)
            case Many(item, _, low, high):
                bounds = {"minItems": low, "maxItems": high}
                return {"type": "array", "items": self._schema(item), **_given(bounds)}
            case Fixed(items):
                size = len(items)
                each = [self._schema(item) for item in items]
                return {"type": "array", "items": each, "minItems": size, "maxItems": size}
            case Record(struct):
                return self._reference(struct)
            case OneOf(structs) | Packed(structs):
                return {"oneOf": [self._reference(struct) for struct in structs]}
            case Maybe(inner):
                return {"oneOf": [self._schema(inner), {"type": "null"}]}
            case Choice(enum):
                return {"type": "string", "enum": [member.name.lower() for member in enum]}
            case Anything():
                return {}

    def _reference(self, struct: type[Struct]) -> dict[str, Any]:
        name = self._name(struct)
        if name not in self.components:
            self.components[name] = {}
            head = type_name(struct)
            properties = {} if head is None else {"type": {"const": head}}
            required = [] if head is None else ["type"]
            for field in msgspec.structs.fields(struct):
                properties[field.name] = self.of(field.type)
                if field.required:
                    required.append(field.name)
                elif field.default is not msgspec.NODEFAULT:
                    properties[field.name] = {
                        **properties[field.name],
                        "default": FORMS.writer(field.type)(field.default),
                    }
            self.components[name] = {
                "title": struct.__name__,
                "description": _summary(struct),
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": False,
            }
        return {"$ref": f"#/components/schemas/{name}"}

    def _name(self, struct: type[Struct]) -> str:
        """Return a component name: the class's own, or with its module's where two are alike."""
        name = struct.__name__
        if self._names.setdefault(name, struct) is struct:
            return name
        longer = f"{struct.__module__.rpartition('.')[2]}.{name}"
        assert self._names.setdefault(longer, struct) is struct, f"two types are called {longer}"
        return longer


def openrpc(methods: Iterable[Method]) -> dict[str, Any]:
    """Return the OpenRPC document of these methods and of every transaction and event type."""
    schemas = Schemas()
    listed = [_method_object(schemas, method) for method in methods]
    transactions = [
        {
            "name": message.__name__,
            "module": module.name,
            "tag": f"0x{message.__struct_config__.tag:04x}",
            "schema": schemas.of(message),
        }
        for module in MODULES
        for message in module.messages
    ]
    events = [{"name": type_name(event), "schema": schemas.of(event)} for event in EVENTS]
    tables = [
        {
            "name": table.name,
            "prefix": table.prefix.hex(),
            "key": [schemas.of(part.kind) for part in table.shape.parts],
            "row": schemas.of(table.row_type),
        }
        for module in MODULES
        for table in module.tables
    ]
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Sahara Futures node",
            "version": VERSION,
            "description": "JSON-RPC 2.0 over HTTP POST / and WebSocket /ws.",
        },
        "methods": listed,
        "components": {"schemas": dict(sorted(schemas.components.items()))},
        "x-transactions": transactions,
        "x-events": events,
        "x-tables": tables,
    }


def _method_object(schemas: Schemas, method: Method) -> dict[str, Any]:
    params = []
    for parameter in method.parameters:
        schema = schemas.of(parameter.kind)
        if not parameter.required:
            schema = {**schema, "default": FORMS.writer(parameter.kind)(parameter.default)}
        params.append(
            {"name": parameter.name, "required": parameter.required, "schema": schema},
        )
    return {
        "name": method.name,
        "summary": method.summary.partition("\n")[0],
        "description": method.summary,
        "paramStructure": "either",
        "params": params,
        "result": {"name": "result", "schema": schemas.of(method.result)},
        "x-unsafe": method.unsafe,
    }


def _given(bounds: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bounds.items() if value is not None}


def _leaf_schema(leaf: Leaf) -> dict[str, Any]:
    match leaf.form:
        case "integer":
            return {"type": "integer", **_given({"minimum": leaf.low, "maximum": leaf.high})}
        case "null" | "boolean":
            return {"type": leaf.form}
        case "decimal":
            bounds = {"x-minimum": leaf.low, "x-maximum": leaf.high}
            return {
                "type": "string",
                "pattern": _DECIMAL,
                **{name: str(value) for name, value in _given(bounds).items()},
            }
        case "uint":
            return {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}
        case "address":
            return {"type": "string", "pattern": _ADDRESS}
        case "hex":
            low, high = leaf.length_min or 0, leaf.length_max
            times = "*" if not low and high is None else f"{{{low},{'' if high is None else high}}}"
            return {"type": "string", "pattern": f"^([0-9a-f]{{2}}){times}$"}
        case _:
            bounds = {"minLength": leaf.length_min, "maxLength": leaf.length_max}
            pattern = {} if leaf.pattern is None else {"pattern": leaf.pattern}
            return {"type": "string", **_given(bounds), **pattern}


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


# --- the page for people --------------------------------------------------------------------------


def reference() -> str:
    """Return docs/reference.md: every transaction, query, event and method."""
    lines = [
        "# Reference",
        "",
        "Written from the registry by `python -m node.rpc.schema`; a test keeps it current.",
        "Amounts are decimal strings of base units, addresses `sah1...`, other bytes lower-case",
        "hex, enumerations their names.",
        "",
        "## Transactions",
        "",
        "A transaction carries 1 to 64 of these messages; over JSON each has its name as `type`.",
    ]
    for module in MODULES:
        for message in module.messages:
            tag = f"0x{message.__struct_config__.tag:04x}"
            lines += ["", f"### {module.name}: {message.__name__} ({tag})", "", _text(message)]
            lines += _field_lines(message)
    lines += ["", "## Queries"]
    for method in module_methods():
        lines += _method_lines(method)
    lines += ["", "## Methods of the node"]
    for method in node_methods():
        lines += _method_lines(method)
    lines += ["", "## Events"]
    for event in EVENTS:
        lines += ["", f"### {type_name(event)}", "", _text(event), *_field_lines(event)]
    return "\n".join(lines) + "\n"


def _text(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _field_lines(struct: type[Struct]) -> list[str]:
    lines = [""]
    for field in msgspec.structs.fields(struct):
        given = "" if field.required else f", default {_shown(field.type, field.default)}"
        lines.append(f"- `{field.name}`: {phrase(FORMS.shape(field.type))}{given}")
    return lines if len(lines) > 1 else []


def _method_lines(method: Method) -> list[str]:
    lines = ["", f"### {method.name}", "", " ".join(method.summary.split()), ""]
    for each in method.parameters:
        given = "" if each.required else f", default {_shown(each.kind, each.default)}"
        lines.append(f"- `{each.name}`: {phrase(FORMS.shape(each.kind))}{given}")
    lines.append(f"- returns {phrase(FORMS.shape(method.result))}")
    return lines


def _shown(kind: Any, value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "empty"
    return f"`{msgspec.json.encode(FORMS.writer(kind)(value)).decode()}`"


def phrase(shape: Shape) -> str:
    """Return a shape in words, for the reference page and the command line's help."""
    match shape:
        case Leaf():
            return _leaf_phrase(shape)
        case Many(item):
            return f"array of {phrase(item)}"
        case Fixed(items):
            return f"array [{', '.join(phrase(item) for item in items)}]"
        case Record(struct):
            return struct.__name__
        case OneOf(structs):
            return " or ".join(struct.__name__ for struct in structs[:8])
        case Packed():
            return "event"
        case Maybe(inner):
            return f"{phrase(inner)} or null"
        case Choice(enum):
            return _choices(enum)
        case Anything():
            return "JSON"


def _choices(enum: type[Enum]) -> str:
    return " | ".join(member.name.lower() for member in enum)


def _leaf_phrase(leaf: Leaf) -> str:
    if leaf.form in ("integer", "decimal"):
        name = "integer" if leaf.form == "integer" else "decimal string"
        if leaf.low is None and leaf.high is None:
            return name
        high = "" if leaf.high is None else f"{leaf.high:,}"
        return f"{name}, {'' if leaf.low is None else f'{leaf.low:,}'}..{high}"
    if leaf.form == "hex":
        if leaf.length_max is None:
            return "hex bytes"
        exact = leaf.length_min == leaf.length_max
        return f"hex, {leaf.length_max} bytes" if exact else f"hex, <= {leaf.length_max} bytes"
    return {"uint": "unsigned decimal string"}.get(leaf.form, leaf.form)


if __name__ == "__main__":
    print(reference(), end="")
