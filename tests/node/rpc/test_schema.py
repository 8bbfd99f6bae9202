"""The OpenRPC document says what the server does: every query, every transaction, and no less."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from node.rpc.catalogue import module_methods, node_methods
from node.rpc.jsonform import FORMS
from node.rpc.kinds import type_name
from node.rpc.schema import Schemas, openrpc, reference
from state.modules.all import EVENTS, MESSAGES, MODULES

METHODS = [*node_methods(), *module_methods()]
DOCUMENT = json.loads(json.dumps(openrpc(METHODS)))
REFERENCE = Path(__file__).parents[3] / "docs" / "reference.md"
TYPES: dict[str, Any] = {"integer": int, "string": str, "array": list, "object": dict}


def faults(schema: dict[str, Any], data: Any, schemas: dict[str, Any]) -> list[str]:
    """What JSON Schema finds wrong, for the keywords that our documents use."""
    if "$ref" in schema:
        return faults(schemas[schema["$ref"].removeprefix("#/components/schemas/")], data, schemas)
    if "oneOf" in schema:
        fitting = [each for each in schema["oneOf"] if not faults(each, data, schemas)]
        return [] if len(fitting) == 1 else [f"{data!r} fits {len(fitting)} of oneOf"]
    if "const" in schema:
        return [] if data == schema["const"] else [f"{data!r} is not {schema['const']}"]
    match schema.get("type"):
        case None:
            return []
        case "null":
            return [] if data is None else ["expected null"]
        case "boolean":
            return [] if isinstance(data, bool) else ["expected a boolean"]
        case kind if isinstance(data, bool) or not isinstance(data, TYPES[kind]):
            return [f"{data!r} is no {kind}"]
        case "integer":
            low, high = schema.get("minimum", data), schema.get("maximum", data)
            return [] if low <= data <= high else [f"{data} is out of bounds"]
        case "string":
            fits = re.search(schema.get("pattern", ""), data) and data in schema.get("enum", [data])
            long = schema.get("minLength", 0) <= len(data) <= schema.get("maxLength", len(data))
            return [] if fits and long else [f"{data!r} does not fit {schema}"]
        case "array":
            items = schema["items"]
            each = items if isinstance(items, list) else [items] * len(data)
            low, high = schema.get("minItems", 0), schema.get("maxItems", len(data))
            found = [] if low <= len(data) <= high else ["wrong number of items"]
            return found + [
                fault
                for one, item in zip(each, data, strict=True)
                for fault in faults(one, item, schemas)
            ]
        case _:
            missing = [name for name in schema["required"] if name not in data]
            found = [f"{name} is missing" for name in missing]
            for name, item in data.items():
                known = schema["properties"].get(name)
                found += [f"{name} is unknown"] if known is None else faults(known, item, schemas)
            return found


def refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [ref for item in value.values() for ref in refs(item)]
    return [ref for item in value for ref in refs(item)] if isinstance(value, list) else []


def test_the_document_has_the_structure_of_openrpc() -> None:
    assert re.fullmatch(r"1\.\d+\.\d+", DOCUMENT["openrpc"])
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    names = [method["name"] for method in DOCUMENT["methods"]]
    assert len(set(names)) == len(names)
    for method in DOCUMENT["methods"]:
        assert method["summary"] and {"name", "schema"} == method["result"].keys()
        given_names = [param["name"] for param in method["params"]]
        assert len(set(given_names)) == len(given_names)
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "optional parameters come last"
        assert all("schema" in param for param in method["params"])
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(refs(DOCUMENT)) <= known
    for schema in DOCUMENT["components"]["schemas"].values():
        assert schema["description"] and set(schema["required"]) <= schema["properties"].keys()


def test_the_document_covers_every_query_and_transaction() -> None:
    """A90: whatever a module declares can be found and called."""
    names = {method["name"] for method in DOCUMENT["methods"]}
    assert {query.name for module in MODULES for query in module.queries} <= names
    assert {entry["name"] for entry in DOCUMENT["x-transactions"]} == {
        message.__name__ for message in MESSAGES
    }
    assert {entry["name"] for entry in DOCUMENT["x-events"]} == {type_name(e) for e in EVENTS}
    assert {entry["name"] for entry in DOCUMENT["x-tables"]} == {
        table.name for module in MODULES for table in module.tables
    }
    for entry in DOCUMENT["x-transactions"]:
        message = next(each for each in MESSAGES if each.__name__ == entry["name"])
        schema = DOCUMENT["components"]["schemas"][entry["schema"]["$ref"].rpartition("/")[2]]
        assert list(schema["properties"]) == ["type", *message.__struct_fields__]


@pytest.mark.parametrize("kind", [*MESSAGES, *EVENTS], ids=lambda kind: kind.__name__)
def test_schemas_accept_what_the_forms_write(kind: Any, values_of: Any) -> None:
    schemas = Schemas()
    schema = schemas.of(kind)
    write = FORMS.writer(kind)

    @settings(max_examples=10)
    @given(values_of(kind))
    def check(value: Any) -> None:
        data = json.loads(json.dumps(write(value)))
        assert faults(schema, data, schemas.components) == []
        for name in [name for name in data if name != "type"]:
            assert faults(schema, {**data, name: 0.5}, schemas.components)

    check()


async def test_discover_returns_the_document(memory_node: Any, serve: Any) -> None:
    from node.client import SaharaClient

    async with serve(memory_node) as url, SaharaClient(url) as client:
        document = await client.call("rpc.discover")
        called = {
            method["name"]
            for method in document["methods"]
            if not any(param["required"] for param in method["params"])
        }
        answers = await client.call_many([(name, {}) for name in sorted(called)])
    assert document["methods"] == DOCUMENT["methods"]
    assert {"chain.status", "chain.genesis", "bank.pots"} <= called
    assert len(answers) == len(called)


def test_the_reference_page_is_current() -> None:
    """`python -m node.rpc.schema > docs/reference.md` writes it."""
    assert REFERENCE.read_text() == reference()
