"""The transport: listening and dialling, up to the end of the handshake.

Before the handshake nothing of a stranger is trusted and little is spent on it: the gate decides
when the connection opens, one deadline covers HTTP headers, upgrade and handshake, and headers,
messages and redirects are held to what our own nodes send. Compression is never agreed to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import aiohttp
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from p2p.addresses import Address
from p2p.channel import SEAL_BYTES
from p2p.counters import Counters, count
from p2p.errors import NetworkError, RemoteError
from p2p.gate import Gate, Place
from p2p.handshake import Established, HandshakeRefused, Initiator, NodeKey, Responder
from p2p.noise import quiet_logger
from p2p.session import Clock, Line, Socket
from p2p.wire import FRAME_BYTES_MAX

PATH: Final = "/p2p"
OPENING_S: Final = 5.0
"""From the first byte to the end of the handshake, in either direction."""
CONNECT_S: Final = 3.0
SOCKET_BYTES_MAX: Final = FRAME_BYTES_MAX + SEAL_BYTES + 1
"""aiohttp refuses a message of exactly its bound too."""
HEADER_BYTES_MAX: Final = 1_024
HEADERS_MAX: Final = 32
BACKLOG: Final = 128
ANONYMOUS: Final = {hdrs.SERVER: "sahara"}
"""Instead of aiohttp's own banner, which names versions."""

Welcome = Callable[[Line, Established, str, Place | None], Awaitable[None]]
"""Runs an inbound connection until it ends: the line, who it is, the host, its place."""


class Redirected(RemoteError):
    """The other side sent us elsewhere, which no node does."""

    code = "p2p.redirected"


class Unreachable(RemoteError):
    """Nobody answered as a node does; it may be down, or the address wrong."""

    code = "p2p.unreachable"


class _Handler(RequestHandler):
    """aiohttp's handler, which tells whoever is no node nothing: neither what runs here nor why."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer with a status and no word more; aiohttp repeats what it could not read."""
        response = super().handle_error(request, status, exc, message)
        response = web.Response(status=response.status, headers=ANONYMOUS)
        response.force_close()
        return response


class _Gatekeeper(web.Server):
    """aiohttp's server, which lets in whom the gate lets in, and not for long without a name."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        gate: Gate,
        clock: Clock,
        counters: Counters,
    ) -> None:
        super().__init__(handler)
        self._options: dict[str, Any] = {
            "access_log": None,
            "logger": quiet_logger("p2p.http"),
            "keepalive_timeout": 0.0,
            "lingering_time": 0.0,
            "max_line_size": HEADER_BYTES_MAX,
            "max_field_size": HEADER_BYTES_MAX,
            "max_headers": HEADERS_MAX,
        }
        self._gate = gate
        self._clock = clock
        self._counters = counters
        self.places: dict[RequestHandler, tuple[Place, asyncio.TimerHandle]] = {}
        self._open: dict[Place, asyncio.Transport] = {}

    def admit(self, transport: asyncio.Transport) -> RequestHandler | None:
        """Give a connection its place and a handler, or drop it unread."""
        peer = transport.get_extra_info("peername")
        place = self._gate.enter(peer[0], self._clock()) if peer else None
        for displaced in self._gate.take_displaced():
            count(self._counters.refused, "p2p.gate")
            self._open[displaced].abort()
        if place is None:
            count(self._counters.refused, "p2p.gate")
            transport.abort()
            return None
        handler = _Handler(self, loop=asyncio.get_running_loop(), **self._options)
        timer = asyncio.get_running_loop().call_later(OPENING_S, transport.abort)
        self.places[handler] = (place, timer)
        self._open[place] = transport
        return handler

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Give the place back."""
        super().connection_lost(handler, exc)
        place, timer = self.places.pop(handler, (None, None))
        if place is not None and timer is not None:
            timer.cancel()
            self._gate.leave(place)
            del self._open[place]


class _Doorman(asyncio.Protocol):
    """Stands before aiohttp: a connection that is not let in costs no more than its socket."""

    def __init__(self, keeper: _Gatekeeper) -> None:
        self._keeper = keeper

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over, or drop it."""
        stream = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        handler = self._keeper.admit(stream)
        if handler is not None:
            stream.set_protocol(handler)
            handler.connection_made(stream)


class _DialledSocket(aiohttp.ClientWebSocketResponse):
    """aiohttp's client socket, which keeps hold of what lies below it."""

    transport: asyncio.Transport

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        connection = self._response.connection
        assert connection is not None and connection.transport is not None
        self.transport = connection.transport

    def abort(self) -> None:
        """Cut the connection off at once."""
        self.transport.abort()
        self._response.close()


class Transport:
    """Listens and dials for one node; `randomness(n)` returns n random bytes."""

    def __init__(
        self,
        key: NodeKey,
        genesis_hash: bytes,
        gate: Gate,
        clock: Clock,
        counters: Counters,
        randomness: Callable[[int], bytes],
        welcome: Welcome,
    ) -> None:
        self._key = key
        self._genesis_hash = genesis_hash
        self._clock = clock
        self._counters = counters
        self._randomness = randomness
        self._welcome = welcome
        self._gate = gate
        self._keeper: _Gatekeeper | None = None
        self._server: asyncio.Server | None = None
        self._client: aiohttp.ClientSession | None = None

    async def start(self, host: str | None, port: int, dial_from: str | None) -> int | None:
        """Listen (unless `host` is None) and get ready to dial; return the port.

        Raises OSError when the address is taken.
        """
        if host is not None:
            keeper = _Gatekeeper(self._accept, self._gate, self._clock, self._counters)
            self._keeper = keeper
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Doorman(keeper), host, port, backlog=BACKLOG
            )
            port = self._server.sockets[0].getsockname()[1]
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=True, local_addr=(dial_from, 0) if dial_from else None
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            ws_response_class=_DialledSocket,
            trace_configs=[trace],
            skip_auto_headers=[hdrs.USER_AGENT],
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        return port if host is not None else None

    async def stop(self) -> None:
        """Close the listener, every connection and the client."""
        if self._server is not None:
            self._server.close()
        if self._keeper is not None:
            await self._keeper.shutdown(0.5)
            for place, timer in self._keeper.places.values():
                timer.cancel()
                self._gate.leave(place)
            self._keeper.places.clear()
        if self._client is not None:
            await self._client.close()

    async def dial(self, address: Address, expected_id: bytes | None) -> tuple[Line, Established]:
        """Connect and shake hands; raises Unreachable or a leaf of HandshakeRefused."""
        try:
            async with asyncio.timeout(OPENING_S):
                socket = await self._connect(address)
                return await self._introduce(socket, expected_id)
        except (OSError, aiohttp.ClientError, ValueError) as error:
            raise Unreachable(f"No node answered at {address}: {_why(error)}.") from error

    async def _connect(self, address: Address) -> "_DialledSocket":
        assert self._client is not None, "started"
        socket = await self._client.ws_connect(
            f"http://{address}{PATH}",
            max_msg_size=SOCKET_BYTES_MAX,
            autoping=False,
            timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
        )
        assert isinstance(socket, _DialledSocket)
        return socket

    async def _introduce(
        self, socket: "_DialledSocket", expected_id: bytes | None
    ) -> tuple[Line, Established]:
        initiator = Initiator(self._key, self._genesis_hash, self._randomness(32), expected_id)
        is_done = False
        try:
            await socket.send_bytes(initiator.hello)
            last, established = initiator.receive_data(await _receive(socket))
            await socket.send_bytes(last)
            is_done = True
            return Line(socket, socket.transport, socket.abort), established
        finally:
            if not is_done:
                socket.abort()

    async def _accept(self, request: web.BaseRequest) -> web.StreamResponse:
        """Upgrade, shake hands, and run the connection until it ends."""
        if request.path != PATH or hdrs.ORIGIN in request.headers:
            count(self._counters.refused, "p2p.not_a_node")
            text = "Nodes talk here, and nobody else.\n"
            return web.Response(status=404, text=text, headers=ANONYMOUS)
        socket = web.WebSocketResponse(
            compress=False, autoping=False, max_msg_size=SOCKET_BYTES_MAX, timeout=0.5
        )
        socket.headers.update(ANONYMOUS)
        try:
            await socket.prepare(request)
        except (web.HTTPException, ValueError):
            # aiohttp would repeat what was asked for, and chokes on what is no text
            count(self._counters.refused, "p2p.not_a_node")
            return web.Response(status=400, headers=ANONYMOUS)
        transport, host = request.transport, request.remote
        if transport is None or host is None:
            return socket
        try:
            responder = Responder(self._key, self._genesis_hash, self._randomness(32))
            await socket.send_bytes(responder.receive_hello(await _receive(socket)))
            established = responder.receive_identity(await _receive(socket))
        except (NetworkError, OSError, aiohttp.ClientError) as error:
            code = error.code if isinstance(error, NetworkError) else Unreachable.code
            count(self._counters.refused, code)
            transport.abort()
            return socket
        place, timer = self._keeper_places.get(request.protocol, (None, None))
        if timer is not None:
            timer.cancel()
        await self._welcome(Line(socket, transport, transport.abort), established, host, place)
        return socket

    @property
    def _keeper_places(self) -> dict[RequestHandler, tuple[Place, asyncio.TimerHandle]]:
        return self._keeper.places if self._keeper is not None else {}


async def _receive(socket: Socket) -> bytes:
    """The next message of the handshake."""
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.BINARY:
        raise HandshakeRefused(f"A {message.type.name} message came instead of the handshake.")
    data: bytes = message.data
    return data


async def _refuse_redirect(*_: object) -> None:
    raise Redirected("The address answered with a redirect; nodes never send one.")


def _why(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
