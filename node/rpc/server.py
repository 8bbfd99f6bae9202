"""The RPC server: HTTP POST / and WebSocket /ws for JSON-RPC, and three pages for operators.

A listener on loopback answers loopback only, and refuses requests whose Host is another name or
which carry the Origin of a web page: otherwise any page in the operator's browser could call it.
"""

import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socket import gaierror
from typing import Any, ClassVar

from aiohttp import WSCloseCode, WSMsgType, web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from node.rpc.backend import Backend
from node.rpc.bodies import Bodies
from node.rpc.bound import Caller
from node.rpc.catalogue import Method
from node.rpc.connections import (
    JSON,
    NAMED,
    Listening,
    Refusal,
    Reply,
    failed,
    handler_of,
    host_name,
    is_loopback,
)
from node.rpc.dispatch import Answer, Dispatcher, failure
from node.rpc.errors import (
    EncodingNotAllowed,
    Forbidden,
    InvalidRequest,
    LimitExceeded,
    PathNotFound,
    RpcError,
    VerbNotAllowed,
)
from node.rpc.fastpath import LOGGER, FastConnection, PlainHeads, is_of_a_caller
from node.rpc.limits import BYTES_PER_TOKEN, RateLimiter, RpcLimits
from node.rpc.outbox import Outbox, Outboxes
from node.rpc.schema import openrpc
from node.rpc.subscriptions import Hub, Subscriber
from p2p.addresses import holder_of
from state.errors import SaharaError

SLOW_CONSUMER = 4008
"""The close code of a WebSocket whose subscriber did not keep up."""

CLOSE_SECONDS = 1.0
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_TRUSTED = Caller(trusted=True)
_CODED = EncodingNotAllowed("A body is sent as it is, without a Content-Encoding.")
_NO_WEBSOCKET = InvalidRequest("This path is a WebSocket's: ask for an upgrade (RFC 6455, 4.1).")
_TAKEN = LimitExceeded("All WebSockets, or all of this address, are taken; come back later.")


class PortInUse(SaharaError):
    """The RPC port is taken, or the address is not this machine's."""

    code: ClassVar[str] = "rpc.port_in_use"


class HostUnusable(SaharaError):
    """The setting rpc_host is neither an address nor the name of one."""

    code: ClassVar[str] = "rpc.host_unusable"


@contextmanager
def naming_address(host: str, port: int) -> Iterator[None]:
    """Turn what the system says of an address into HostUnusable or PortInUse."""
    try:
        yield
    except gaierror as error:
        raise HostUnusable(
            f"rpc_host is '{host}', which is no address of this machine ({error.strerror}); "
            "use 127.0.0.1, 0.0.0.0, or an address that this machine has."
        ) from error
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise PortInUse(
            f"Cannot listen on {host}:{port} ({error.strerror}); stop what listens there or "
            "choose another rpc_port or rpc_host."
        ) from error


class RpcServer:
    """Serves one backend; `start` returns the port, `wait` raises what broke it, `stop` ends it."""

    def __init__(
        self,
        backend: Backend,
        limits: RpcLimits | None = None,
        registry: CollectorRegistry | None = None,
        extra: Iterable[tuple[Method, Callable[..., Any]]] = (),
    ) -> None:
        self._backend = backend
        self._limits = limits or RpcLimits()
        self._registry = registry or CollectorRegistry()
        self._dispatcher = Dispatcher(backend, self._limits, self._registry, openrpc, extra)
        self._hub = Hub(backend)
        self._outboxes = Outboxes(self._limits)
        self._rates = RateLimiter(self._limits)
        self._bodies = Bodies(self._limits)
        self._sockets = Gauge(
            "sahara_rpc_websockets", "WebSockets that are open.", registry=self._registry
        )
        self._on_loopback = True
        self._heads = PlainHeads(self._accepts_host, self._limits.body_bytes_max)
        self._fast: dict[int, FastConnection] = {}
        self._server: Listening | None = None
        self._listener: asyncio.Server | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port; raises PortInUse."""
        self._on_loopback = host in LOOPBACK_NAMES or is_loopback(host)
        loop = asyncio.get_running_loop()
        self._server = Listening(
            self._answer,
            self._outboxes,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=self._limits.close_seconds,
        )
        with naming_address(host, port):
            self._listener = await loop.create_server(self._protocol, host, port, backlog=1_024)
        self._following = asyncio.create_task(self._hub.run())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def wait(self) -> None:
        """Return when the server was stopped; raises what broke the feed of blocks."""
        assert self._following is not None, "start comes first"
        with suppress(asyncio.CancelledError):
            await asyncio.shield(self._following)

    def took(self, context: dict[str, Any]) -> bool:
        """Log what an event loop reports if it broke one caller's connection; tell whether so.

        A fault while answering somebody ends that connection, never the node.
        """
        if not is_of_a_caller(context):
            return False
        LOGGER.error("answering failed", exc_info=context.get("exception"))
        return True

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._following is not None:
            self._following.cancel()
        if self._listener is not None:
            self._listener.close()
        for fast in list(self._fast.values()):
            fast.close()
        if self._server is not None:
            await self._server.stop(self._limits.close_seconds)

    # --- HTTP ------------------------------------------------------------------------------------

    def _protocol(self) -> asyncio.Protocol:
        assert self._server is not None, "start makes the server before it listens"
        if len(self._server.connections) + len(self._fast) >= self._limits.connections_max:
            return Refusal()
        if not self._on_loopback:
            return self._server()
        fast = FastConnection(
            self._begin,
            self._heads,
            self._server,
            self._forget,
            self._limits.idle_seconds,
            self._outboxes,
        )
        self._fast[id(fast)] = fast
        return fast

    def _begin(self, body: bytes) -> Answer:
        return self._dispatcher.begin(body, _TRUSTED)

    def _forget(self, fast: FastConnection) -> None:
        self._fast.pop(id(fast), None)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return failed(HTTPStatus.FORBIDDEN, refusal)
        path = request.path
        if path == "/":
            if request.method != "POST":
                return failed(
                    HTTPStatus.METHOD_NOT_ALLOWED,
                    VerbNotAllowed("JSON-RPC requests are sent by POST."),
                    {"Allow": "POST"},
                )
            return await self._post(request)
        if request.method == "GET":
            match path:
                case "/ws":
                    return await self._websocket(request)
                case "/health":
                    return web.json_response({"ok": True})
                case "/ready":
                    ready = self._backend.ready()
                    return web.json_response({"ready": ready}, status=200 if ready else 503)
                case "/metrics":
                    return self._metrics(request)
        return failed(
            HTTPStatus.NOT_FOUND,
            PathNotFound("There is POST /, and GET /ws, /health, /ready and /metrics."),
        )

    async def _post(self, request: web.BaseRequest) -> web.Response:
        if (request.content_length or 0) > self._limits.body_bytes_max:
            early = failed(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            early.force_close()  # nobody reads what follows
            return early
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            coded = failed(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _CODED)
            coded.force_close()
            return coded
        holder = self._holder(request)
        try:
            with self._bodies.read(holder, request.content_length):
                async with asyncio.timeout(self._limits.request_seconds):
                    body = await request.read()
        except LimitExceeded as error:
            full = failed(HTTPStatus.TOO_MANY_REQUESTS, error, {"Retry-After": "1"})
            full.force_close()
            return full
        except TimeoutError:
            late = failed(HTTPStatus.REQUEST_TIMEOUT, self._too_late())
            late.force_close()
            return late
        except web.HTTPRequestEntityTooLarge:
            return failed(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
        headers = dict(JSON)
        caller = self._caller(request)
        if holder is None:
            response = await self._dispatcher.answer(body, caller)
        else:
            try:
                response, left = await self._answer_paid(holder, body, caller)
            except LimitExceeded as error:
                headers |= {"X-RateLimit-Remaining": "0", "Retry-After": "1"}
                return failed(HTTPStatus.TOO_MANY_REQUESTS, error, headers)
            headers["X-RateLimit-Remaining"] = str(left)
        if response is None:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return Reply(body=response, headers=headers)

    def _metrics(self, request: web.BaseRequest) -> web.Response:
        if not self._caller(request).trusted:
            return failed(HTTPStatus.FORBIDDEN, Forbidden("Metrics answer on loopback only."))
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    # --- who may call ----------------------------------------------------------------------------

    def _refusal(self, request: web.BaseRequest) -> Forbidden | None:
        headers = request.headers
        origin = headers.get("Origin")
        if origin is not None and origin not in self._limits.origins:
            return Forbidden("Web pages of this origin may not call; list it in rpc_origins.")
        if self._on_loopback and not self._accepts_host(headers.get("Host", "")):
            return Forbidden("This Host is not loopback; list its name in rpc_hosts.")
        return None

    def _accepts_host(self, host: str) -> bool:
        name = host_name(host)
        return name in LOOPBACK_NAMES or name in self._limits.hosts

    def _caller(self, request: web.BaseRequest, subscriber: Subscriber | None = None) -> Caller:
        trusted = self._limits.unsafe_from_anywhere or is_loopback(request.remote)
        return Caller(trusted, subscriber)

    def _holder(self, request: web.BaseRequest) -> str | None:
        """Return who has a share of its own in what is limited, None for loopback."""
        return None if is_loopback(request.remote) else holder_of(request.remote or "")

    async def _answer_paid(
        self, holder: str, body: bytes, caller: Caller
    ) -> tuple[bytes | None, int]:
        """Return the answer and the tokens left; raises LimitExceeded where there are too few.

        They are taken for the body before it is read, and for every request of a batch before one
        is executed: text that is not read yet can hide how many there are. What the answer weighs
        is known last, and is owed.
        """
        loop = asyncio.get_running_loop()
        left = self._take(holder, 1 + len(body) // BYTES_PER_TOKEN)
        try:
            data = self._dispatcher.read(body)
        except RpcError as error:
            return failure(error), left
        left = self._take(holder, self._dispatcher.cost(data) - 1)
        response = await self._dispatcher.answer_read(data, caller)
        self._rates.charge(holder, len(response or b"") // BYTES_PER_TOKEN, loop.time())
        return response, left

    def _take(self, holder: str, count: int) -> int:
        left = self._rates.take(holder, count, asyncio.get_running_loop().time())
        if left < 0:
            raise self._too_fast()
        return left

    def _too_large(self) -> LimitExceeded:
        return LimitExceeded(
            f"The body is larger than {self._limits.body_bytes_max} bytes; send a smaller one."
        )

    def _too_late(self) -> LimitExceeded:
        return LimitExceeded(
            f"The body did not come within {self._limits.request_seconds:g} s; send it at once."
        )

    def _too_fast(self) -> LimitExceeded:
        return LimitExceeded(
            f"More than {self._limits.requests_per_second} requests a second came from this "
            "address, or fewer that are large; slow down, and read X-RateLimit-Remaining."
        )

    # --- WebSocket -------------------------------------------------------------------------------

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        limits, subscribers = self._limits, self._hub.subscribers
        holder = self._holder(request)
        held = sum(each.holder == holder for each in subscribers.values())
        if len(subscribers) >= limits.websockets_max or (
            holder is not None and held >= limits.websockets_per_address_max
        ):
            return failed(HTTPStatus.SERVICE_UNAVAILABLE, _TAKEN)
        socket = web.WebSocketResponse(
            heartbeat=30.0,
            max_msg_size=min(limits.message_bytes_max, limits.body_bytes_max),
            compress=False,
            autoping=False,
            timeout=limits.close_seconds,
        )
        socket.headers.update(NAMED)
        outbox, untaken = self._outboxes.open(), handler_of(request).untaken
        untaken.leave_to_outbox()
        subscriber = Subscriber(self._backend, limits, outbox, holder)
        subscribers[id(subscriber)] = subscriber
        self._sockets.inc()
        sending = asyncio.create_task(
            outbox.send_all(lambda message: socket.send_frame(message, WSMsgType.TEXT))
        )
        watching = asyncio.create_task(_cut_off_when_slow(socket, outbox, request, sending))
        try:
            try:
                await socket.prepare(request)
            except (web.HTTPException, ValueError):
                # aiohttp would repeat what was asked for, and chokes on what is no text
                return failed(HTTPStatus.BAD_REQUEST, _NO_WEBSOCKET)
            await self._listen(socket, request, subscriber)
        finally:
            self._sockets.dec()
            del subscribers[id(subscriber)]
            sending.cancel()
            if not outbox.overflowed.is_set():
                watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
            self._outboxes.close(outbox)
            untaken.take_back()
        return socket

    async def _listen(
        self, socket: web.WebSocketResponse, request: web.BaseRequest, subscriber: Subscriber
    ) -> None:
        handler, loop, pings = handler_of(request), asyncio.get_running_loop(), 0
        handler.hear_messages(2 * self._limits.message_bytes_max)
        since = loop.time()
        async for message in socket:
            handler.heard()
            match message.type:
                case WSMsgType.TEXT:
                    if not await self._hear(message.data.encode(), request, subscriber):
                        return
                case WSMsgType.PING | WSMsgType.PONG:
                    pings += 1
                    if pings > self._limits.pings_per_second and loop.time() < since + 1:
                        handler.force_close()
                        return
                    if loop.time() >= since + 1:
                        since, pings = loop.time(), 0
                    if message.type is WSMsgType.PING:
                        _pong(request.transport, message.data)
                case _:
                    await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"send text")
                    return

    async def _hear(self, body: bytes, request: web.BaseRequest, subscriber: Subscriber) -> bool:
        """Answer a message; tell whether the WebSocket goes on."""
        caller, holder = self._caller(request, subscriber), subscriber.holder
        # Waiting here for room holds back the caller that does not read its answers.
        await subscriber.outbox.room()
        if subscriber.outbox.overflowed.is_set():
            return False
        if holder is not None:
            try:
                response, _ = await self._answer_paid(holder, body, caller)
            except LimitExceeded as error:
                response = failure(error)
        else:
            response = await self._dispatcher.answer(body, caller)
        if response is not None:
            subscriber.outbox.put(response)
        return True


def _pong(transport: asyncio.Transport | None, data: bytes) -> None:
    """Answer a ping (RFC 6455, 5.5.3) unless its sender does not read: nothing waits for that."""
    if transport is not None and not transport.get_write_buffer_size():
        transport.write(bytes([0x8A, len(data)]) + data)


async def _cut_off_when_slow(
    socket: web.WebSocketResponse,
    outbox: Outbox,
    request: web.BaseRequest,
    sending: "asyncio.Task[None]",
) -> None:
    await outbox.overflowed.wait()
    sending.cancel()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=SLOW_CONSUMER, message=b"too slow: subscribe again")
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
