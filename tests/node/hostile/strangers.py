"""Strangers: whoever connects and never shakes hands. Each function is one attack, for so long.

It returns once the victim has dropped what it must not keep, and asserts that it did.
"""

import asyncio
import contextlib
import os
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable

import aiohttp

from p2p.addresses import Address
from p2p.handshake import Initiator, NodeKey
from tests.node.hostile.peer import Refused, knocking
from tests.node.hostile.victim import Victim

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
FIRST = (b"GET /p2p HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\n")
BOMB_MB = 64
DRIP_S = 0.1
GATE_S = 0.25
"""The gate lets one stranger open four connections a second."""


class Line:
    """A TCP connection that says and hears bytes, and never minds an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        """Send bytes, if anybody listens."""
        if not self.writer.is_closing():
            self.writer.write(data)

    async def hear(self) -> bytes:
        """What comes next; nothing at the end."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read(2**16)
        return b""

    async def is_dropped(self, seconds: float = 20.0) -> bool:
        """Whether the other side ends the connection in time, whatever it says before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.hear():
                    continue
                return True
        return False


@contextlib.asynccontextmanager
async def lines(address: Address, host: str, count: int) -> AsyncIterator[list[Line]]:
    """Some connections at once from one address, cut off at the end."""
    opened: list[Line] = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                place = await asyncio.open_connection(
                    address.host, address.port, local_addr=(host, 0)
                )
                opened.append(Line(*place))
        yield opened
    finally:
        for line in opened:
            line.writer.transport.abort()


def lasting(seconds: float) -> Callable[[], bool]:
    """Tell whether the attack goes on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


async def garbage(victim: Victim, seconds: float) -> None:
    """Random bytes instead of HTTP, at both ports."""
    goes_on, chance = lasting(seconds), random.Random(1)
    while goes_on():
        for address in (victim.p2p, victim.rpc):
            async with lines(address, "127.0.1.1", 4) as opened:
                for line in opened:
                    line.say(chance.randbytes(chance.choice((1, 100, 50_000))) + b"\r\n\r\n")
                assert all(await asyncio.gather(*[line.is_dropped() for line in opened]))
        await asyncio.sleep(GATE_S)


async def garbage_in_the_handshake(victim: Victim, seconds: float) -> None:
    """Random bytes, text and half a handshake after the upgrade."""
    goes_on, chance = lasting(seconds), random.Random(2)
    while goes_on():
        with contextlib.suppress(Refused):
            async with knocking(victim, "127.0.1.2") as socket:
                match chance.randrange(3):
                    case 0:
                        await socket.send_bytes(chance.randbytes(chance.choice((1, 107, 512))))
                    case 1:
                        await socket.send_str("hello")
                    case _:
                        hello = Initiator(NodeKey(b"e" * 32), victim.genesis_hash, os.urandom(32))
                        await socket.send_bytes(hello.hello)
                        await socket.receive()
                        await socket.send_bytes(os.urandom(118))
                async with asyncio.timeout(20):
                    while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                        continue
        await asyncio.sleep(GATE_S)


async def slow_loris(victim: Victim, seconds: float) -> None:
    """Connections that say a byte now and then: before, in and after the headers."""
    said = (b"", UPGRADE % b"/p2p", UPGRADE % b"/p2p" + b"\r\n")
    async with lines(victim.p2p, "127.0.1.3", 12) as opened:
        for at, line in enumerate(opened):
            line.say(said[at % 3])
        await _drip(opened, b"X-Slow: 1\r\n", max(seconds, 1.0))
        assert all(await asyncio.gather(*[line.is_dropped() for line in opened]))


async def slow_headers(victim: Victim, seconds: float) -> None:
    """300 clients of the RPC server who never end headers or body, while others are served."""
    async with lines(victim.rpc, "127.0.1.4", 300) as opened:
        for at, line in enumerate(opened):
            line.say(FIRST[1] + (b"Content-Length: 9999\r\n\r\n" if at % 2 else b""))
        dripping = asyncio.create_task(_drip(opened, b"X: 1\r\n", seconds))
        while not dripping.done():
            async with asyncio.timeout(10):
                assert (await victim.status())["finalized_height"] > 0
            await asyncio.sleep(DRIP_S)
        await dripping


async def _drip(opened: list[Line], data: bytes, seconds: float) -> None:
    goes_on = lasting(seconds)
    while goes_on():
        for line in opened:
            line.say(data)
        await asyncio.sleep(DRIP_S)


async def five_hundred_connections(victim: Victim, seconds: float) -> None:
    """500 connections from one address to the peers' port; four of them may stay a while."""
    goes_on = lasting(seconds)
    while True:
        async with lines(victim.p2p, "127.0.1.5", 500) as opened:
            dropped = await asyncio.gather(*[line.is_dropped(1.0) for line in opened])
            assert sum(dropped) >= len(opened) - 4, f"{sum(dropped)} of {len(opened)} dropped"
        if not goes_on():
            return


async def five_hundred_from_a_friends_host(victim: Victim, seconds: float) -> None:
    """The same from where a persistent peer lives: it takes 32, and its peer is not hurt."""
    async with lines(victim.p2p, "127.0.0.2", 500) as opened:
        dropped = await asyncio.gather(*[line.is_dropped(1.0) for line in opened])
        assert sum(dropped) >= len(opened) - 32, f"{sum(dropped)} of {len(opened)} dropped"
        await asyncio.sleep(seconds)


async def all_handles(victim: Victim, seconds: float) -> None:
    """More connections to the RPC server than the process may have handles; peers are not hurt."""
    async with lines(victim.rpc, "127.0.1.6", 1_200) as opened:
        await asyncio.sleep(seconds)
        assert len(opened) > 1_000


async def churn(victim: Victim, seconds: float) -> None:
    """Connections to the RPC server that begin a request and hang up, as fast as it goes."""
    goes_on = lasting(seconds)
    while goes_on():
        async with lines(victim.rpc, "127.0.1.7", 50) as opened:
            for line in opened:
                line.say(FIRST[1])
            await asyncio.sleep(0)


async def compression_bombs(victim: Victim, seconds: float) -> None:
    """Deflate offered, forced, and as a request's encoding: 64 MB of zeros in 300 kB."""
    squeezer = zlib.compressobj(1)
    bomb = b"".join([squeezer.compress(bytes(2**20)) for _ in range(BOMB_MB)]) + squeezer.flush()
    goes_on = lasting(seconds)
    while True:
        for address, path in ((victim.p2p, b"/p2p"), (victim.rpc, b"/ws")):
            async with lines(address, "127.0.1.8", 1) as (line,):
                line.say(UPGRADE % path + DEFLATE + b"\r\n")
                head = await line.hear()
                assert b" 101 " in head and b"deflate" not in head
                line.say(b"\xc2\xff" + len(bomb).to_bytes(8, "big") + bytes(4) + bomb)
                assert await line.is_dropped()
        async with lines(victim.rpc, "127.0.1.8", 1) as (line,):
            line.say(
                FIRST[1] + b"Content-Encoding: deflate\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb
            )
            answer = await line.hear()
            assert answer.split(b" ")[1] in (b"400", b"413", b"415"), answer[:200]
            assert await line.is_dropped()
        if not goes_on():
            return
        await asyncio.sleep(GATE_S)


async def browsers(victim: Victim, seconds: float) -> None:
    """What a web page, or a name that was bound anew to 127.0.0.1, makes a browser send."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"node.set_pacing","params":[1,1]}'
    foreign = (b"Origin: https://evil.example", b"Origin: null", b"Host: evil.example")
    goes_on = lasting(seconds)
    while True:
        for header in foreign:
            head = b"Host: localhost\r\n" if header.startswith(b"Origin") else b""
            rest = header + b"\r\n" + head
            requests = (
                b"POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (rest, len(body), body),
                b"GET /metrics HTTP/1.1\r\n%s\r\n" % rest,
                (UPGRADE % b"/ws").replace(b"Host: localhost\r\n", rest) + b"\r\n",
            )
            for request in requests:
                async with lines(victim.rpc, "127.0.0.1", 1) as (line,):
                    line.say(request)
                    assert (await line.hear()).split(b" ")[1] == b"403"
        if not goes_on():
            return
