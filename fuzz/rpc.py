"""JSON-RPC: any body gets an answer of the specified form, the same alone as in a batch."""

import asyncio
import atexit
import json
import random
from typing import Any, Final

from prometheus_client import CollectorRegistry

from fuzz.mutation import mutated
from node.rpc import errors
from node.rpc.bound import Caller
from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.dispatch import Dispatcher
from node.rpc.limits import RpcLimits
from node.rpc.schema import openrpc
from tests.node.conftest import MemoryNode

NUMBERS: Final = {
    *(errors.PARSE_ERROR, errors.INVALID_REQUEST, errors.METHOD_NOT_FOUND, errors.INVALID_PARAMS),
    *(errors.REFUSED, errors.NOT_FOUND, errors.LIMIT_EXCEEDED, errors.FORBIDDEN),
}
LIMITS: Final = RpcLimits(batch_requests_max=16, response_bytes_max=2**16)
NODE: Final = MemoryNode()
NODE.automatic = False
DISPATCHER: Final = Dispatcher(NODE, LIMITS, CollectorRegistry(), openrpc)
LOOP: Final = asyncio.new_event_loop()
atexit.register(LOOP.close)
CALLERS: Final = (Caller(trusted=True), Caller(trusted=False))
METHODS: Final[list[Method]] = [*node_methods(), *module_methods()]


def seeds() -> list[bytes]:
    """A request of every method, by name and by place, and what is odd about requests."""
    requests: list[Any] = []
    for at, method in enumerate(METHODS):
        named = {one.name: _guess(one.name) for one in method.parameters}
        for params in (named, list(named.values())):
            requests.append({"jsonrpc": "2.0", "id": at, "method": method.name, "params": params})
    odd: list[Any] = [
        *({"jsonrpc": "2.0", "method": "chain.status"}, {"jsonrpc": "1.0", "id": 1}, [], [1], 1),
        *({"jsonrpc": "2.0", "id": None, "method": "rpc.discover"}, requests[:3], requests * 2),
    ]
    return [json.dumps(one).encode() for one in (*requests, *odd)]


def _guess(name: str) -> Any:
    """A value that a parameter of this name may well take."""
    account = NODE.accounts[0].address.hex()
    numbers = ("height", "index", "epoch", "view", "limit", "number")
    if name in numbers or name.endswith(("_id", "_height")):
        return 1
    return account if "address" in name or "account" in name else "00" * 32


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change a request; sometimes its method for another one."""
    if chance.randrange(6) == 0:
        try:
            request = json.loads(data)
            request["method"] = chance.choice(METHODS).name
            return json.dumps(request).encode()[:size_max]
        except (ValueError, TypeError, RecursionError):
            return mutated(data, size_max, chance)
    return mutated(data, size_max, chance)


def check(data: bytes) -> None:
    """Ask as a caller on loopback, then as one from elsewhere."""
    for caller in CALLERS:
        answer = ask(data, caller)
        if answer is None:
            continue
        assert len(answer) <= LIMITS.response_bytes_max * LIMITS.batch_requests_max
        found = json.loads(answer)
        try:
            asked = json.loads(data)
        except (ValueError, RecursionError):
            asked = None
        if isinstance(asked, list) and isinstance(found, list):
            assert 0 < len(found) <= len(asked) <= LIMITS.batch_requests_max
        for response in found if isinstance(found, list) else [found]:
            _form(response)
        is_read = isinstance(found, dict) and not _is_parse_error(found)
        if isinstance(asked, dict) and is_read:
            _alone_as_in_a_batch(data, answer, caller)


def ask(data: bytes, caller: Caller) -> bytes | None:
    """Return the answer, and leave the node as it was."""
    try:
        return LOOP.run_until_complete(DISPATCHER.answer(data, caller))
    finally:
        NODE._pending.clear()


def _form(response: Any) -> None:
    """A response has an id, and a result or an error of a declared kind, and nothing else."""
    assert response["jsonrpc"] == "2.0" and "id" in response
    if "error" not in response:
        assert set(response) == {"jsonrpc", "id", "result"}
        return
    assert set(response) == {"jsonrpc", "id", "error"}
    error = response["error"]
    assert error["code"] in NUMBERS, error
    assert isinstance(error["message"], str) and error["message"], error
    assert isinstance(error["data"]["code"], str) and "." in error["data"]["code"], error


def _is_parse_error(response: Any) -> bool:
    """Tell whether the body was no JSON to the node, whatever Python makes of it."""
    return bool(response.get("error", {}).get("code") == errors.PARSE_ERROR)


def _alone_as_in_a_batch(data: bytes, answer: bytes, caller: Caller) -> None:
    """A request is answered the same in a batch of one."""
    assert ask(b"[" + data + b"]", caller) == b"[" + answer + b"]"
