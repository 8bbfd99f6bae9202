"""A door into a namespace: a port on this side's loopback that leads to one on the other's."""

import asyncio
from contextlib import suppress

from node.campaign.spaces import Space, socket_in

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 65_536


class Door:
    """Carries connections of clients to the node of a namespace, past all cuts and delays."""

    def __init__(self, space: Space, port: int) -> None:
        self._space = space
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen, and return the URL that leads to the node."""
        self._server = await asyncio.start_server(self._come_in, LOOPBACK, 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{LOOPBACK}:{port}"

    async def stop(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _come_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection has a task"
        self._open.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._carry(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = socket_in(self._space)
        try:
            await asyncio.get_running_loop().sock_connect(inside, (LOOPBACK, self._port))
        except OSError:
            inside.close()
            raise
        inner_reader, inner_writer = await asyncio.open_connection(sock=inside)
        ways = [
            asyncio.ensure_future(_pump(reader, inner_writer)),
            asyncio.ensure_future(_pump(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            inner_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
