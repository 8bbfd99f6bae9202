"""A lean way through HTTP/1.1 for the plainest requests from loopback: a whole POST / in one piece.

It keeps no state between requests and parses nothing unusual. Whatever is not exactly such a
request (another path or method, an unknown header, a body in several pieces, two requests at once)
hands its connection over to aiohttp for good, bytes and all. So there is one lenient parser, and it
is not ours.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from node.rpc.dispatch import Answer, failure
from node.rpc.errors import InternalError
from node.rpc.outbox import Outboxes, Untaken
from p2p.noise import quiet_logger

LOGGER = quiet_logger("node.rpc.http")

HEAD_BYTES_MAX = 2_048
HEADS_KNOWN_MAX = 1_024

_START = b"POST / HTTP/1.1\r\n"
_BLANK = b"\r\n\r\n"
_PASSED_OVER = (b"accept", b"accept-encoding", b"user-agent", b"content-type")
"""Headers that change nothing about a JSON-RPC request."""

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_BROKEN = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n"
)
_BUG = failure(InternalError("Answering failed by a fault of the node; its log tells more."))
_EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


class PlainHeads:
    """What the heads of plain requests say; the same head is parsed once."""

    def __init__(self, accepts_host: Callable[[str], bool], body_bytes_max: int) -> None:
        self._accepts_host = accepts_host
        self._body_bytes_max = body_bytes_max
        self._known: dict[bytes, int] = {}

    def body_length(self, head: bytes) -> int:
        """Return the length of the body that a head announces, or -1 when it is not plain."""
        length = self._known.get(head)
        if length is None:
            length = self._parse(head)
            if len(self._known) >= HEADS_KNOWN_MAX:
                self._known.clear()
            self._known[head] = length
        return length

    def _parse(self, head: bytes) -> int:
        if len(head) > HEAD_BYTES_MAX or not head.startswith(_START):
            return -1
        length = -1
        seen: dict[bytes, None] = {}
        for line in head[len(_START) :].split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name, value = name.lower(), value.strip(b" ")
            if not colon or name in seen or not _is_plain(value):
                return -1
            seen[name] = None
            if name == b"content-length":
                if not value.isdigit() or len(value) > 9:
                    return -1
                length = int(value)
            elif name == b"host":
                if not self._accepts_host(value.decode("ascii")):
                    return -1
            elif name == b"connection":
                if value.lower() != b"keep-alive":
                    return -1
            elif name not in _PASSED_OVER:
                return -1
        if b"host" not in seen or length > self._body_bytes_max:
            return -1
        return length


class FastConnection(asyncio.Protocol):
    """One connection from loopback, until it asks for anything unusual."""

    __slots__ = (
        "_begin",
        "_blocked",
        "_fallback",
        "_heads",
        "_held",
        "_idle_seconds",
        "_last",
        "_loop",
        "_on_end",
        "_outboxes",
        "_task",
        "_timer",
        "_transport",
        "_untaken",
    )

    def __init__(
        self,
        begin: Callable[[bytes], Answer],
        heads: PlainHeads,
        fallback: Callable[[], asyncio.Protocol],
        on_end: Callable[["FastConnection"], None],
        idle_seconds: int,
        outboxes: Outboxes,
    ) -> None:
        self._begin = begin
        self._heads = heads
        self._fallback = fallback
        self._on_end = on_end
        self._idle_seconds = idle_seconds
        self._outboxes = outboxes
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._untaken: Any = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._blocked = False
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to watch for idleness."""
        self._transport = transport
        self._untaken = Untaken(self._outboxes, self._transport)
        self._last = self._loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._untaken.end()
        self._end()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Close the connection from this side."""
        self._transport.close()

    def pause_writing(self) -> None:
        """Answer no more requests while the peer does not read its answers."""
        self._blocked = True
        self._transport.pause_reading()
        self._untaken.begin()

    def resume_writing(self) -> None:
        """Go on, unless an answer is still being made."""
        self._blocked = False
        self._untaken.end()
        if self._task is None:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """Answer one whole plain request, or hand the connection over."""
        if self._task is not None or self._blocked:
            self._held += data  # read before the pause took hold: at most what one read returns
            return
        end = data.find(_BLANK, 0, HEAD_BYTES_MAX)
        body_at = end + len(_BLANK)
        if end < 0 or self._heads.body_length(data[:end]) != len(data) - body_at:
            self._hand_over(data)
            return
        self._last = self._loop.time()
        answered = False
        try:
            answer = self._begin(data[body_at:])
            answered = True
        finally:
            if not answered:
                self._apologize()  # the loop's exception handler logs what went wrong
        if answer is None or isinstance(answer, bytes):
            self._reply(answer)
        else:
            self._transport.pause_reading()
            self._task = self._loop.create_task(self._finish(answer))
            self._task.add_done_callback(_report)

    async def _finish(self, answer: Coroutine[Any, Any, bytes | None]) -> None:
        answered = False
        try:
            response = await answer
            answered = True
        finally:
            self._task = None
            if not answered and not self._transport.is_closing():
                self._apologize()
        if not self._transport.is_closing():
            self._reply(response)
            if not self._blocked:
                self._go_on()

    def _go_on(self) -> None:
        """Take what came in meanwhile, then read again."""
        held, self._held = self._held, b""
        self._transport.resume_reading()
        if held:
            self.data_received(held)

    def _apologize(self) -> None:
        """Tell the caller that answering it failed for a reason of ours, and hang up."""
        self._transport.write(_BROKEN % len(_BUG) + _BUG)
        self._transport.close()

    def _reply(self, response: bytes | None) -> None:
        if response is None:
            self._transport.write(_EMPTY)
        else:
            self._untaken.answer_bytes = len(response)
            self._transport.write(_OK % len(response) + response)

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp go on with this connection, from these bytes on."""
        self._end()
        handler = self._fallback()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(data)

    def _watch(self) -> None:
        idle = self._loop.time() - self._last
        if idle >= self._idle_seconds and self._task is None:
            self._transport.close()
        else:
            wait = max(1.0, self._idle_seconds - idle)
            self._timer = self._loop.call_later(wait, self._watch)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._on_end(self)


def is_of_a_caller(context: dict[str, Any]) -> bool:
    """Tell whether what an event loop reports broke one caller's connection and nothing else."""
    return isinstance(context.get("protocol"), FastConnection)


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        LOGGER.error("answering failed", exc_info=error)


def _is_plain(value: bytes) -> bool:
    """Whether a header's value is printable ASCII without surprises."""
    return value.isascii() and value.decode("ascii").isprintable()
