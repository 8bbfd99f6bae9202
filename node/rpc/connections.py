"""Connections to the RPC port: how many an address has, how long one is silent, how one is refused.

The same holds while the node waits for a snapshot.

Whose requests are trusted is judged by the address here, and by nothing that the caller says.
"""

import asyncio
import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from node.rpc.dispatch import failure
from node.rpc.errors import InternalError, InvalidRequest
from node.rpc.fastpath import LOGGER
from node.rpc.outbox import Outboxes, Untaken
from p2p.addresses import holder_of
from state.errors import SaharaError

JSON = {"Content-Type": "application/json"}
NAMED = {"Server": "sahara"}
"""In place of the names and versions of libraries, which tell an attacker where to begin."""

WEBSOCKET_RECEIVE_BYTES = 2**14
"""What the system keeps of a WebSocket until it is read; it doubles that for its own records."""

_PORT = re.compile(r":[0-9]*$")
_UNREADABLE = InvalidRequest(
    "This is no HTTP request that the node can read; send JSON-RPC 2.0 by POST /, with headers as "
    "any HTTP client makes them."
)
_FAILED = InternalError("The node failed to answer; its log says why.")


class Reply(web.Response):
    """A response that lets go of its body once it is sent; aiohttp keeps it until the next one."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body."""
        await super().write_eof(data)
        self.body = None


class Handler(web.RequestHandler):
    """aiohttp's handler, which refuses as the rest does, and repeats nothing that it was sent.

    It counts, and gives a deadline to, what the caller does not take.
    """

    untaken: Untaken
    _unheard_bytes_max: int | None = None
    _unheard_bytes = 0

    def hear_messages(self, unheard_bytes_max: int) -> None:
        """From now on it is a WebSocket; so many bytes may come before a message is taken."""
        self._unheard_bytes_max = unheard_bytes_max
        if self.transport is None or self.transport.is_closing():
            return
        raw: Any = self.transport.get_extra_info("socket")
        if raw is not None:
            # What is read at once is parsed at once, and may be tens of thousands of frames.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WEBSOCKET_RECEIVE_BYTES)

    def data_received(self, data: bytes) -> None:
        """Let go of a WebSocket whose frames, however short, make no message, or too many."""
        if self._unheard_bytes_max is not None:
            self._unheard_bytes += len(data)
            if self._unheard_bytes > self._unheard_bytes_max:
                self.force_close()
                return
        super().data_received(data)

    def heard(self) -> None:
        """A message was taken."""
        self._unheard_bytes = 0

    def pause_writing(self) -> None:
        """Count what waits."""
        super().pause_writing()
        self.untaken.begin()

    def resume_writing(self) -> None:
        """Nothing waits any more."""
        super().resume_writing()
        self.untaken.end()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer with a code and a sentence; a failure of our own stands in the log."""
        status = super().handle_error(request, status, exc, message).status
        error = _UNREADABLE if status < 500 else _FAILED
        response = failed(HTTPStatus(status), error, NAMED)
        response.force_close()
        return response


class Listening(web.Server):
    """aiohttp's server, within the limits of one listener; its answers name no library.

    An address beyond loopback, or a /64 of IPv6, has at most so many connections at once, and what
    is more is closed unheard; so is one whose first request does not come in time.
    """

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        outboxes: Outboxes,
        **options: Any,
    ) -> None:
        super().__init__(self._named, request_factory=self._request)
        self._answer = answer
        self._limits = outboxes.limits
        self._outboxes = outboxes
        self._holders: dict[web.RequestHandler, str] = {}
        self._counts: Counter[str] = Counter()
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        # A small body that is compressed can be a large one, and would be that on the event loop.
        fixed = {"access_log": None, "logger": LOGGER, "auto_decompress": False}
        self._options = {**fixed, **options}

    def __call__(self) -> web.RequestHandler:
        """Return what serves one connection, and close it unless a request comes soon."""
        loop = asyncio.get_running_loop()
        handler = Handler(self, loop=loop, **self._options)
        self._silent[handler] = loop.call_later(
            self._limits.request_seconds, self._close_silent, handler
        )
        return handler

    @property
    def silent(self) -> int:
        """How many connections have not sent a whole request yet."""
        return len(self._silent)

    async def stop(self, close_seconds: float) -> None:
        """Close every connection; what is being answered has so long."""
        for timer in self._silent.values():
            timer.cancel()
        await self.shutdown(close_seconds)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count the connection, and close it where its address has enough of them."""
        super().connection_made(handler, transport)
        assert isinstance(handler, Handler), "all are made here"
        handler.untaken = Untaken(self._outboxes, transport)
        address = (transport.get_extra_info("peername") or ("",))[0]
        if is_loopback(address):
            return
        holder = self._holders[handler] = holder_of(address)
        self._counts[holder] += 1
        if self._counts[holder] > self._limits.connections_per_address_max:
            # Not before aiohttp has begun: what ends within this call it takes for a bug.
            asyncio.get_running_loop().call_soon(transport.abort)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget the connection."""
        super().connection_lost(handler, exc)
        assert isinstance(handler, Handler), "all are made here"
        handler.untaken.end()
        holder = self._holders.pop(handler, None)
        if holder is not None:
            self._counts[holder] -= 1
            if not self._counts[holder]:
                del self._counts[holder]
        self._heard(handler)

    def _close_silent(self, handler: web.RequestHandler) -> None:
        del self._silent[handler]
        handler.force_close()

    def _heard(self, handler: web.RequestHandler) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    async def _named(self, request: web.BaseRequest) -> web.StreamResponse:
        self._heard(request.protocol)
        response = await self._answer(request)
        if not response.prepared:
            response.headers.update(NAMED)
            handler_of(request).untaken.answer_bytes = response.content_length or 0
        return response

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self._limits.body_bytes_max,
        )


class Refusal(asyncio.Protocol):
    """Closes a connection beyond the limit at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


def handler_of(request: web.BaseRequest) -> Handler:
    """Return what serves the connection of a request."""
    handler = request.protocol
    assert isinstance(handler, Handler), "all are made here"
    return handler


def host_name(host: str) -> str:
    """Return a header `Host` without its port."""
    return _PORT.sub("", host)


def is_loopback(address: str | None) -> bool:
    """Tell whether an address is one of this machine alone."""
    if address == "127.0.0.1":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def failed(
    status: HTTPStatus, error: SaharaError, headers: dict[str, str] | None = None
) -> web.Response:
    """Return the response that refuses a request: a code and a sentence, as JSON-RPC tells them."""
    return web.Response(status=status, body=failure(error), headers={**JSON, **(headers or {})})
