"""JSON-RPC as a client sees it, without a transport: typed arguments to bytes, bytes to values."""

from collections.abc import Sequence
from typing import Any

import msgspec

from node.client.errors import Refused, Unreachable
from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.errors import InvalidParams
from node.rpc.jsonform import FORMS, FormError, Reader, Writer

BATCH_MAX = 256

Call = tuple[str, dict[str, Any]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Typed:
    """The writers and reader of one method."""

    __slots__ = ("method", "read", "writers")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.writers: dict[str, Writer] = {
            each.name: FORMS.writer(each.kind) for each in method.parameters
        }
        self.read: Reader = FORMS.reader(method.result)


METHODS: dict[str, Typed] = {
    method.name: Typed(method) for method in [*node_methods(), *module_methods()]
}


def typed(name: str) -> Typed:
    """Return the forms of a method; raises Refused when no module declares it."""
    known = METHODS.get(name)
    if known is None:
        raise Refused(
            {
                "code": -32601,
                "message": f"There is no method {name}; `sahara query --help` lists all.",
                "data": {"code": "rpc.method_not_found"},
            }
        )
    return known


def written(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return typed arguments as JSON; TypeError for one that the method does not take."""
    method = typed(name)
    params = {}
    for key, value in arguments.items():
        if key not in method.writers:
            raise TypeError(f"{name} takes {', '.join(method.writers) or 'nothing'}, not {key}")
        params[key] = method.writers[key](value)
    return params


def value_of(name: str, result: Any) -> Any:
    """Return the typed value of a result; raises Unreachable when it is not what we know."""
    try:
        return typed(name).read(result)
    except FormError as error:
        told: InvalidParams = error.located("result")
        raise Unreachable(
            f"The node answers {name} in a form that this client does not know ({told.sentence}); "
            "use the client of the node's version."
        ) from error


def request(name: str, params: dict[str, Any]) -> bytes:
    """Return the bytes of a single request."""
    return _encode({"jsonrpc": "2.0", "id": 0, "method": name, "params": params})


def batch(calls: Sequence[Call]) -> bytes:
    """Return the bytes of a batch; ids are places in it."""
    return _encode(
        [
            {"jsonrpc": "2.0", "id": index, "method": name, "params": params}
            for index, (name, params) in enumerate(calls)
        ]
    )


def result_of(body: bytes) -> Any:
    """Return the result of a single response; raises Refused or Unreachable."""
    response = _parsed(body)
    if isinstance(response, dict) and "result" in response:
        return response["result"]
    raise _error_of(response)


def results_of(body: bytes, count: int) -> list[Any | Refused]:
    """Return results or refusals of a batch in the order of its calls."""
    responses = _parsed(body)
    if not isinstance(responses, list):
        raise _error_of(responses)
    found: dict[int, Any] = {}
    for response in responses:
        if not isinstance(response, dict):
            raise Unreachable("The answer is no JSON-RPC batch; is this the node's RPC port?")
        error = None if "result" in response else _error_of(response)
        found[response.get("id", -1)] = response["result"] if error is None else error
    if len(found) != count or any(index not in found for index in range(count)):
        raise Unreachable("The node left calls of a batch unanswered; send it again.")
    return [found[index] for index in range(count)]


def not_serving(url: str, body: bytes) -> Unreachable:
    """Return the error of a node that has no chain yet to ask about, with what it says of that."""
    return Unreachable(f"{url} does not serve yet. {_error_of(_parsed(body)).sentence}")


def _parsed(body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise Unreachable(
            f"The answer is no JSON ({error}); is this the node's RPC port?"
        ) from error


def _error_of(response: Any) -> Refused:
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        return Refused(response["error"])
    raise Unreachable("The answer is no JSON-RPC response; is this the node's RPC port?")
