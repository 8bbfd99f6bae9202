"""JSON-RPC 2.0 without a transport: bytes of a request in, bytes of the response out."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from node.rpc.backend import Backend
from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.errors import (
    Forbidden,
    InvalidParams,
    InvalidRequest,
    LimitExceeded,
    MethodNotFound,
    ParseError,
    error_object,
)
from node.rpc.jsonform import FORMS, FormError, Reader, Writer
from node.rpc.limits import RpcLimits
from node.rpc.methods import NodeMethods
from state.errors import SaharaError

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from, as far as it decides what may be asked."""

    trusted: bool
    """On loopback, or the operator lets everybody call unsafe methods."""

    subscriber: Any = None
    """The subscriber behind a WebSocket; None over HTTP."""


class BoundMethod:
    """A method with its readers and writer, and the function that answers it."""

    __slots__ = (
        "_defaults",
        "_invoke",
        "_readers",
        "_required",
        "_write",
        "failed",
        "method",
        "ok",
    )

    def __init__(
        self, method: Method, invoke: Callable[..., Any], write: Writer, counter: Counter
    ) -> None:
        self.method = method
        self._invoke = invoke
        self._write = write
        self._readers: dict[str, Reader] = {
            each.name: FORMS.reader(each.kind) for each in method.parameters
        }
        self._defaults = {
            each.name: each.default for each in method.parameters if not each.required
        }
        self._required = [each.name for each in method.parameters if each.required]
        self.ok = counter.labels(method.name, "ok")
        self.failed = counter.labels(method.name, "error")

    def call(self, params: Any, caller: Caller) -> Any:
        """Return the JSON result, or an awaitable of the value to be given to `finish`."""
        if self.method.per_subscriber:
            return self._write(self.method.function(_subscriber(caller), **self.arguments(params)))
        answer = self._invoke(**self.arguments(params))
        return answer if inspect.isawaitable(answer) else self._write(answer)

    async def finish(self, answer: Awaitable[Any]) -> Any:
        """Return the JSON result of an asynchronous method."""
        return self._write(await answer)

    def arguments(self, params: Any) -> dict[str, Any]:
        """Return typed arguments; raises InvalidParams."""
        if type(params) is list:
            if len(params) > len(self._readers):
                raise InvalidParams(
                    f"{self.method.name} takes at most {len(self._readers)} parameters.", "params"
                )
            params = dict(zip(self._readers, params, strict=False))
        values = dict(self._defaults)
        for name, data in params.items():
            read = self._readers.get(name)
            if read is None:
                known = ", ".join(self._readers) or "no parameters"
                raise InvalidParams(
                    f"{name}: {self.method.name} has no such parameter; it takes {known}.", name
                )
            try:
                values[name] = read(data)
            except FormError as error:
                raise error.located(name) from error
        for name in self._required:
            if name not in values:
                raise InvalidParams(f"{name}: this parameter is missing.", name)
        return values


class Dispatcher:
    """Answers requests and batches by calling the methods of one node."""

    def __init__(
        self,
        backend: Backend,
        limits: RpcLimits,
        registry: CollectorRegistry,
        document: Callable[[Iterable[Method]], dict[str, Any]],
        extra: Iterable[tuple[Method, Callable[..., Any]]] = (),
    ) -> None:
        self._limits = limits
        self._requests = Counter(
            "sahara_rpc_requests",
            "RPC requests answered.",
            ["method", "outcome"],
            registry=registry,
        )
        self._unknown = self._requests.labels("unknown", "error")
        self._seconds = Histogram(
            "sahara_rpc_batch_seconds", "Seconds to answer a request or batch.", registry=registry
        )
        node = NodeMethods(backend)
        self._methods: dict[str, BoundMethod] = {}
        for method in node_methods():
            self._add(method, partial(method.function, node))
        for method in module_methods():
            self._add(method, partial(_query, backend, method.name))
        for method, function in extra:
            self._add(method, function)
        self._document = document([bound.method for bound in self._methods.values()])
        self._add(Method("rpc.discover", _DISCOVER, (), Any, self._discover), self._discover)

    def _add(self, method: Method, invoke: Callable[..., Any]) -> None:
        assert method.name not in self._methods, f"{method.name} is there twice"
        write = FORMS.writer(method.result)
        self._methods[method.name] = BoundMethod(method, invoke, write, self._requests)

    def _discover(self) -> dict[str, Any]:
        return self._document

    async def answer(self, body: bytes, caller: Caller) -> bytes | None:
        """Return the response to a request or batch, or None when none is due."""
        started = perf_counter()
        try:
            data = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return failure(ParseError(f"The body is no JSON: {error}; send one JSON value."))
        if type(data) is list:
            response = await self._answer_batch(data, caller)
        else:
            response = await self.answer_one(data, caller)
        self._seconds.observe(perf_counter() - started)
        return response

    def cost(self, body: bytes) -> int:
        """Return how many requests a body asks for at most, without decoding it."""
        return 1 if body.lstrip()[:1] != b"[" else max(1, body.count(b'"method"'))

    async def _answer_batch(self, batch: list[Any], caller: Caller) -> bytes | None:
        if not batch:
            return failure(InvalidRequest("The batch is empty; put at least one request into it."))
        if len(batch) > self._limits.batch_requests_max:
            return failure(
                LimitExceeded(
                    f"The batch holds {len(batch)} requests and {self._limits.batch_requests_max} "
                    "are allowed; split it."
                )
            )
        responses: list[bytes] = []
        size = 0
        for request in batch:
            if size > self._limits.response_bytes_max:
                responses.append(failure(_TOO_LARGE, _id_of(request)))
                continue
            response = await self.answer_one(request, caller)
            if response is not None:
                responses.append(response)
                size += len(response)
        return b"[" + b",".join(responses) + b"]" if responses else None

    async def answer_one(self, request: Any, caller: Caller) -> bytes | None:
        """Return the response to one decoded request, or None for a notification."""
        bound: BoundMethod | None = None
        try:
            name, params = _parse(request)
            bound = self._methods.get(name)
            if bound is None:
                raise MethodNotFound(f"There is no method '{name[:64]}'; rpc.discover lists all.")
            if bound.method.unsafe and not caller.trusted:
                raise Forbidden(f"{name} answers on loopback only; call it on the node's machine.")
            result = bound.call(params, caller)
            if inspect.isawaitable(result):
                result = await bound.finish(result)
        except SaharaError as error:
            (self._unknown if bound is None else bound.failed).inc()
            if isinstance(error, InvalidRequest) or "id" in request:
                return failure(error, _id_of(request))
            return None
        bound.ok.inc()
        request_id = request.get("id", _MISSING)
        if request_id is _MISSING:
            return None
        return _encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def failure(error: SaharaError, request_id: Any = None) -> bytes:
    """Return the response that reports an error."""
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": error_object(error)})


def _subscriber(caller: Caller) -> Any:
    if caller.subscriber is None:
        raise InvalidRequest("Subscriptions need a WebSocket; connect to /ws and ask there.")
    return caller.subscriber


def _query(backend: Backend, name: str, **arguments: Any) -> Any:
    return backend.query(name, arguments)


def _parse(request: Any) -> tuple[str, Any]:
    """Return method and params; raises InvalidRequest."""
    if type(request) is not dict:
        raise InvalidRequest("A request is an object with jsonrpc, method, params and id.")
    if request.get("jsonrpc") != "2.0":
        raise InvalidRequest('The member jsonrpc must be the string "2.0".')
    name = request.get("method")
    if type(name) is not str:
        raise InvalidRequest("The member method must be a string.")
    params = request.get("params", _NO_PARAMS)
    if type(params) is not dict and type(params) is not list:
        raise InvalidRequest("The member params must be an object or an array, or be left out.")
    if "id" in request and not _is_id(request["id"]):
        raise InvalidRequest("The member id must be a string, a number or null.")
    return name, params


def _is_id(value: Any) -> bool:
    return value is None or type(value) in (str, int, float)


def _id_of(request: Any) -> Any:
    value = request.get("id") if type(request) is dict else None
    return value if _is_id(value) else None


_NO_PARAMS: dict[str, Any] = {}
_TOO_LARGE = LimitExceeded("The responses of this batch are too large; ask for less at once.")
_DISCOVER = "Return this interface as an OpenRPC document."
