"""A session: one aiohttp WebSocket carrying the frames of one connection.

A thin shell: it moves bytes between the socket and the connection, wakes when either has something,
and lets time pass. What ends it is told once, as the code of an error.
"""

import asyncio
import socket as sockets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web

from p2p.connection import Answered, Connection, Departed, Event, Failed, Received, Requested
from p2p.errors import NetworkError, NotConnected, RemoteError, RequestFailed
from p2p.roster import Seat
from p2p.topics import Topic

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
Deliver = Callable[["Session", Received | Requested], None]
Clock = Callable[[], int]

POLL_S: Final = 0.1
WRITE_S: Final = 20.0
"""A peer that takes nothing for so long is gone."""
GOODBYE_S: Final = 0.5
UNSENT_BYTES_MAX: Final = 2**17
"""Bytes the kernel may hold unsent: what lies there can no longer be overtaken by a vote."""
STOPPED: Final = "p2p.stopped"
DISCONNECTED: Final = "p2p.disconnected"


@dataclass(frozen=True, slots=True)
class Line:
    """An open WebSocket, what lies below it, and how to cut it off at once."""

    socket: Socket
    transport: asyncio.Transport
    abort: Callable[[], None]


class NotBinary(RemoteError):
    """Something came that is no binary message: text, a foreign control frame, or too many bytes.

    It came outside the seal, so anybody on the way may have sent it.
    """

    code = "p2p.not_binary"


class Session:
    """One peer's connection over a WebSocket; `run` it until it ends."""

    def __init__(
        self, line: Line, connection: Connection, seat: Seat, clock: Clock, deliver: Deliver
    ) -> None:
        self.seat = seat
        self.connection = connection
        self.peers_reason = ""
        """Why the peer said it left."""
        self.error: NetworkError | None = None
        """What the peer did wrong, if that ended it."""
        self._socket = line.socket
        self._abort = line.abort
        self._clock = clock
        self._deliver = deliver
        self._is_telling = False
        self._wake = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._closing: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        _tune(line.transport)

    # --- what the network asks for ----------------------------------------------------------------

    def send(self, topic: Topic, data: bytes) -> bool:
        """Queue a message; tell whether it stays queued."""
        is_kept = self.connection.notice(topic, data)
        self._dispatch()
        self._wake.set()
        return is_kept

    async def request(self, topic: Topic, data: bytes, timeout_ms: int) -> bytes:
        """Ask and return the answer; raises RequestFailed, QueueFull or NotConnected."""
        if self._closing.done():
            raise NotConnected("The connection to this peer is ending; ask another one.")
        number = self.connection.request(topic, data, timeout_ms, self._clock())
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._wake.set()
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def answer(self, topic: Topic, request_id: int, data: bytes) -> None:
        """Answer a request of the peer."""
        self.connection.answer(topic, request_id, data, self._clock())
        self._wake.set()

    def refuse(self, topic: Topic, request_id: int, code: str) -> None:
        """Refuse a request of the peer."""
        self.connection.refuse(topic, request_id, code)
        self._wake.set()

    def settle(self, topic: Topic, size: int) -> None:
        """A message was dealt with; the peer may send more."""
        self.connection.settle(topic, size)
        self._wake.set()

    def close(self, code: str) -> None:
        """End it soon, and tell the peer why."""
        if not self._closing.done():
            self._closing.set_result(code)

    # --- running ----------------------------------------------------------------------------------

    async def run(self) -> str:
        """Carry bytes until the end; return its code."""
        tasks = [asyncio.create_task(part()) for part in (self._read, self._write, self._poll)]
        code = DISCONNECTED
        try:
            waited: list[asyncio.Future[Any]] = [*tasks, self._closing]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            code = self._ending(tasks)
        finally:
            if not self._closing.done():
                self._closing.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.connection.close(code)
            self._dispatch()
        await self._part(code)
        return code

    def _ending(self, tasks: "list[asyncio.Task[None]]") -> str:
        """Why it ended; bugs of ours are raised."""
        for task in tasks:
            error = task.exception() if task.done() else None
            if isinstance(error, NetworkError):
                self.error = error
                return error.code
            if error is not None and not isinstance(error, OSError | aiohttp.ClientError):
                raise error
        return self._closing.result() if self._closing.done() else DISCONNECTED

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    self.connection.receive_data(message.data, self._clock())
                    self._dispatch()
                    self._wake.set()
                case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED:
                    return
                case _:
                    raise NotBinary(f"A {message.type.name} message came; only binary ones may.")

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (data := self.connection.data_to_send(self._clock())) is not None:
                async with asyncio.timeout(WRITE_S):
                    await self._socket.send_bytes(data)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self.connection.poll(self._clock())
            self._dispatch()
            self._wake.set()

    def _dispatch(self) -> None:
        """Hand out what the connection has to tell, one after the other.

        Whoever is told may send at once, which comes here again: what is left has its turn then,
        else a burst would nest as deep as it is long.
        """
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while (event := self.connection.next_event()) is not None:
                self._tell(event)
        finally:
            self._is_telling = False

    def _tell(self, event: Event) -> None:
        match event:
            case Received() | Requested():
                if not self._closing.done():
                    self._deliver(self, event)
            case Departed():
                self.peers_reason = event.reason
            case Answered() | Failed():
                future = self._waiting.get(event.request_id)
                if future is not None and not future.done():
                    if isinstance(event, Answered):
                        future.set_result(event.data)
                    else:
                        future.set_exception(
                            RequestFailed(
                                f"The peer did not answer ({event.code}); ask another.", event.code
                            )
                        )

    async def _part(self, code: str) -> None:
        """Say goodbye if the peer still listens, and close."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                if not self._socket.closed and code != DISCONNECTED:
                    await self._socket.send_bytes(self.connection.say_goodbye(code))
                await self._socket.close()
        except (OSError, aiohttp.ClientError) as error:
            self.peers_reason = self.peers_reason or type(error).__name__  # it is gone already
        finally:
            self._abort()  # else what a peer never reads would keep it open


def _tune(transport: asyncio.Transport) -> None:
    """Keep little in the kernel, so that the order of sending stays ours."""
    raw = transport.get_extra_info("socket")
    # One that was dropped while its last message of the handshake was read has no socket any more.
    if raw is not None and not transport.is_closing() and hasattr(sockets, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
