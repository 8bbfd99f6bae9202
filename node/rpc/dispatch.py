"""JSON-RPC 2.0 without a transport: bytes of a request in, bytes of the response out.

What can be answered at once is; what has to wait comes back as a coroutine. The requests of a batch
are begun in their order, and those that wait do so side by side. A batch that takes long lets the
event loop go on in between; while it goes on, other batches stand in line, and the line has an end.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from time import perf_counter
from typing import Any
from weakref import WeakSet

import msgspec
from prometheus_client import CollectorRegistry

from node.rpc.backend import Backend
from node.rpc.bound import BoundMethod, Caller, RequestCounts
from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.errors import (
    Forbidden,
    InvalidRequest,
    LimitExceeded,
    MethodNotFound,
    ParseError,
    RpcError,
    error_object,
)
from node.rpc.limits import SLICE_SECONDS, RpcLimits
from node.rpc.methods import NodeMethods
from state.errors import SaharaError

Answer = bytes | None | Coroutine[Any, Any, bytes | None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_MISSING: Any = object()


class _Place:
    """A place in the line of the batches that wait; whoever is gone stands there no more."""

    __slots__ = ("__weakref__",)


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
        self._methods: dict[str, BoundMethod] = {}
        node = NodeMethods(backend)
        for method in node_methods():
            self._add(method, partial(method.function, node))
        for method in module_methods():
            self._add(method, partial(_query, backend, method.name))
        for method, function in extra:
            self._add(method, function)
        self._document = document([bound.method for bound in self._methods.values()])
        self._add(Method("rpc.discover", _DISCOVER, (), Any, self._discover), self._discover)
        self._long_batch = asyncio.Lock()
        self._line: WeakSet[_Place] = WeakSet()
        self._counts = RequestCounts(self._methods)
        registry.register(self._counts)

    def _add(self, method: Method, invoke: Callable[..., Any]) -> None:
        assert method.name not in self._methods, f"{method.name} is there twice"
        self._methods[method.name] = BoundMethod(method, invoke)

    def _discover(self) -> dict[str, Any]:
        return self._document

    async def answer(self, body: bytes, caller: Caller) -> bytes | None:
        """Return the response to a request or batch, or None when none is due."""
        return await _made(self.begin(body, caller))

    async def answer_read(self, data: Any, caller: Caller) -> bytes | None:
        """Return the response to what was read, as `answer` does."""
        return await _made(self.begin_read(data, caller))

    def begin(self, body: bytes, caller: Caller) -> Answer:
        """Return the response if it needs no waiting, else a coroutine that returns it."""
        try:
            data = self.read(body)
        except RpcError as error:
            return failure(error)
        return self.begin_read(data, caller)

    def read(self, body: bytes) -> Any:
        """Return the JSON of a body; raises ParseError, or LimitExceeded before it is read."""
        # Each value but the first of its object or array follows a comma; some stand in texts.
        if body.count(b",") > self._limits.values_max:
            raise LimitExceeded(
                f"The body holds more than {self._limits.values_max} commas, and so about as many "
                "values; split it."
            )
        started = perf_counter()
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ParseError(f"The body is no JSON: {error}; send one JSON value.") from error
        finally:
            self._counts.seconds += perf_counter() - started

    def begin_read(self, data: Any, caller: Caller) -> Answer:
        """Return the response to what was read, as `begin` does."""
        started = perf_counter()
        answer = self._begin_batch(data, caller) if type(data) is list else self._one(data, caller)
        self._counts.seconds += perf_counter() - started
        return answer

    def cost(self, data: Any) -> int:
        """Return how many requests are executed at most for what was read."""
        return max(1, len(data)) if type(data) is list else 1

    def _begin_batch(self, batch: list[Any], caller: Caller) -> Answer:
        if not batch:
            return failure(InvalidRequest("The batch is empty; put at least one request into it."))
        if len(batch) > self._limits.batch_requests_max:
            return failure(
                LimitExceeded(
                    f"The batch holds {len(batch)} requests and {self._limits.batch_requests_max} "
                    "are allowed; split it."
                )
            )
        if len(self._line) >= self._limits.batches_waiting_max:
            return failure(_LINE_FULL)
        answers: list[Answer] = []
        # First slices of many batches would again be one long piece, and be kept while they wait.
        if self._line or not self._go_on(batch, answers, caller):
            place = _Place()
            self._line.add(place)
            return self._rest(batch, answers, caller, place)
        if any(inspect.iscoroutine(answer) for answer in answers):
            return _gather(answers)
        return _joined(answers)

    def _go_on(self, batch: list[Any], answers: list[Answer], caller: Caller) -> bool:
        """Begin the requests that have no answer yet, for one slice; tell whether none is left."""
        until = perf_counter() + SLICE_SECONDS
        size = sum(len(answer) for answer in answers if isinstance(answer, bytes))
        while len(answers) < len(batch):
            request = batch[len(answers)]
            if size > self._limits.response_bytes_max:
                answers.append(failure(_TOO_LARGE, _id_of(request)))
                continue
            answer = self._one(request, caller)
            answers.append(answer)
            size += len(answer) if isinstance(answer, bytes) else 0
            if perf_counter() >= until:
                break
        return len(answers) == len(batch)

    async def _rest(
        self, batch: list[Any], answers: list[Answer], caller: Caller, place: _Place
    ) -> bytes | None:
        """Begin what is left of a batch, and let others have their turn between slices.

        One long batch goes on at a time: many side by side would again be one long piece.
        """
        is_done = False
        try:
            async with self._long_batch:
                while not is_done:
                    await asyncio.sleep(0)
                    started = perf_counter()
                    is_done = self._go_on(batch, answers, caller)
                    self._counts.seconds += perf_counter() - started
        finally:
            self._line.discard(place)
            if not is_done:  # nobody waits for the answer any more
                for answer in answers:
                    if inspect.iscoroutine(answer):
                        answer.close()
        return await _gather(answers)

    def _one(self, request: Any, caller: Caller) -> Answer:
        bound: BoundMethod | None = None
        try:
            name, params = _parse(request)
            bound = self._methods.get(name)
            if bound is None:
                raise MethodNotFound(f"There is no method '{name[:64]}'; rpc.discover lists all.")
            if bound.method.unsafe and not caller.trusted:
                raise Forbidden(f"{name} answers on loopback only; call it on the node's machine.")
            if bound.is_async:
                return self._later(bound, request, params, caller)
            value = bound.call(params, caller)
        except SaharaError as error:
            return self._failed(bound, request, error)
        return self._succeeded(bound, request, value)

    async def _later(
        self, bound: BoundMethod, request: dict[str, Any], params: Any, caller: Caller
    ) -> bytes | None:
        try:
            return self._succeeded(bound, request, await bound.call(params, caller))
        except SaharaError as error:
            return self._failed(bound, request, error)

    def _succeeded(self, bound: BoundMethod, request: dict[str, Any], value: Any) -> bytes | None:
        bound.successes += 1
        request_id = request.get("id", _MISSING)
        if request_id is _MISSING:
            return None
        return _encode({"jsonrpc": "2.0", "id": request_id, "result": bound.write(value)})

    def _failed(self, bound: BoundMethod | None, request: Any, error: SaharaError) -> bytes | None:
        if bound is None:
            self._counts.unknown += 1
        else:
            bound.failures += 1
        if isinstance(error, InvalidRequest) or "id" in request:
            return failure(error, _id_of(request))
        return None


async def _made(answer: Answer) -> bytes | None:
    return answer if answer is None or isinstance(answer, bytes) else await answer


async def _gather(answers: Iterable[Answer]) -> bytes | None:
    """Wait for the answers of a batch side by side, so that submissions share verification."""
    waiting = [answer for answer in answers if inspect.iscoroutine(answer)]
    found = iter(await asyncio.gather(*waiting))
    return _joined([next(found) if inspect.iscoroutine(each) else each for each in answers])


def _joined(answers: Iterable[Answer]) -> bytes | None:
    responses = [answer for answer in answers if isinstance(answer, bytes)]
    return b"[" + b",".join(responses) + b"]" if responses else None


def failure(error: SaharaError, request_id: Any = None) -> bytes:
    """Return the response that reports an error."""
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": error_object(error)})


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
_LINE_FULL = LimitExceeded("Too many batches wait for their turn; send this one later.")
_DISCOVER = "Return this interface as an OpenRPC document."
