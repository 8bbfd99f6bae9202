"""Hostile strangers on real sockets: the node drops them, keeps what it holds small, and goes on.

Each test attacks node 1 while node 2 is its peer, and ends by showing that the two still talk.
"""

import asyncio
import contextlib
import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from p2p import gate, transport
from p2p.addresses import Address, Target
from p2p.counters import Counters
from p2p.errors import NetworkError
from p2p.gate import Gate
from p2p.handshake import Initiator, NodeKey
from p2p.topics import Topic
from p2p.transport import PATH, Redirected, Transport, Unreachable

GENESIS = b"\x07" * 32
UPGRADE = (
    b"GET /p2p HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@pytest.fixture
async def victim(nodes: Any, until: Any) -> AsyncIterator[Any]:
    """Node 1, which must still talk to its peer when the test is over."""
    one, other = await nodes.pair()
    yield one
    other.network.send(one.id, Topic.CONSENSUS, b"still here")
    await until(lambda: (other.id, Topic.CONSENSUS, b"still here") in one.messages)
    assert one.peers == {other.id}
    assert one.downs == []
    assert one.network.held_bytes == 0


Connect = Callable[[], Any]


@pytest.fixture
async def connect(victim: Any) -> AsyncIterator[Connect]:
    """Open raw connections to the victim, all from one foreign address."""
    writers: list[asyncio.StreamWriter] = []

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            victim.host, victim.network.port, local_addr=("127.0.0.66", 0)
        )
        writers.append(writer)
        return reader, writer

    yield opened
    for writer in writers:
        writer.transport.abort()


async def is_dropped(reader: asyncio.StreamReader, seconds: float = 3.0) -> bool:
    """Whether the other side ends the connection in time, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            while await reader.read(2**16):
                pass
    return True


@pytest.mark.parametrize("seed", range(4))
async def test_garbage(connect: Connect, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await connect()
    writer.write(random.Random(seed).randbytes(100_000))
    assert await is_dropped(reader)
    assert not caplog.records, "or strangers could fill the disk"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /p2p HTTP/1.1\r\nHost: x\r\n\r\n",
        UPGRADE + b"Origin: https://example.org\r\n\r\n",
        UPGRADE.replace(b"websocket", b"\xdb") + b"\r\n",
        UPGRADE.replace(b"AAAA==", b"\xdb==") + b"\r\n",
        UPGRADE + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        UPGRADE + b"".join(b"X%d: x\r\n" % at for at in range(1_000)) + b"\r\n",
        b"GET /" + b"p" * 100_000,
        b"POST /p2p HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    ],
    ids=[
        "root",
        "no-upgrade",
        "origin",
        "no-text",
        "no-key",
        "long-header",
        "many-headers",
        "long-path",
        "body",
    ],
)
async def test_what_no_node_asks_for(
    connect: Connect,
    request_bytes: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(transport, "OPENING_S", 0.5)
    reader, writer = await connect()
    writer.write(request_bytes)
    head = await reader.read(2**16)
    assert b" 101 " not in head
    assert await is_dropped(reader)
    assert not caplog.records, "or strangers could fill the disk"


@pytest.mark.parametrize(
    "asked",
    [
        b"\x16\x03\x01" + b"secret" * 1_800,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        UPGRADE.replace(b"Version: 13", b"Version: 12") + b"\r\n",
        UPGRADE + b"\r\n",
    ],
    ids=["garbage", "page", "version", "upgrade"],
)
async def test_strangers_are_told_little(connect: Connect, asked: bytes) -> None:
    """No banner with versions, and nothing of what could not be read."""
    reader, writer = await connect()
    writer.write(asked)
    said = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(1):
            while not said.endswith(b"\r\n\r\n") and (more := await reader.read(2**16)):
                said += more
    assert said.startswith(b"HTTP/1.")
    assert b"Server: sahara\r\n" in said
    assert len(said) < 400
    assert b"aiohttp" not in said.lower()
    assert b"secret" not in said


@pytest.mark.parametrize("said", [b"", UPGRADE, UPGRADE + b"\r\n"], ids=["mute", "headers", "ws"])
async def test_slow_strangers_have_one_deadline(
    victim: Any, connect: Connect, until: Any, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "OPENING_S", 0.4)
    reader, writer = await connect()
    writer.write(said)

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"X-Slow: 1\r\n" if said != UPGRADE + b"\r\n" else b"")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await is_dropped(reader, 1.5)
    dripping.cancel()
    await until(lambda: "127.0.0.66" not in victim.network._gate._pending)


async def test_five_hundred_connections_from_one_address(
    victim: Any, connect: Connect, until: Any
) -> None:
    gate, counters = victim.network._gate, victim.network.counters
    opened = []
    for wave in range(1, 6):  # no more at once than the kernel queues for us
        opened += await asyncio.gather(*[connect() for _ in range(100)])
        await until(lambda wave=wave: counters.refused.get("p2p.gate", 0) >= 100 * wave - 4)
    assert gate._counted["127.0.0.66"] <= 4
    for _, writer in opened:
        writer.transport.abort()
    await until(lambda: "127.0.0.66" not in gate._counted)


async def test_a_length_that_is_only_claimed_costs_nothing(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(UPGRADE + b"\r\n")
    assert b" 101 " in await reader.read(2**12)
    tracemalloc.start()
    writer.write(b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4) + bytes(50_000))
    assert await is_dropped(reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


async def test_compression_is_never_agreed_to(connect: Connect) -> None:
    reader, writer = await connect()
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    writer.write(UPGRADE + offer)
    head = await reader.read(2**12)
    assert b" 101 " in head and b"extensions" not in head.lower()
    writer.write(b"\xc2\x85" + bytes(4) + b"bombs")  # a compressed message all the same
    assert await is_dropped(reader)


@pytest.mark.parametrize("kind", ["text", "ping", "random", "hello-only", "wrong-network"])
async def test_strangers_that_only_look_like_nodes(victim: Any, kind: str, until: Any) -> None:
    before = sum(victim.network.counters.refused.values())
    async with knocking(victim) as socket:
        match kind:
            case "text":
                await socket.send_str("hello")
            case "ping":
                await socket.ping(b"hello")
            case "random":
                await socket.send_bytes(os.urandom(400))
            case "hello-only":
                await socket.send_bytes(Initiator(NodeKey(b"e" * 32), GENESIS, b"e" * 32).hello)
                await socket.receive()
                await socket.send_bytes(os.urandom(128))
            case "wrong-network":
                other = Initiator(NodeKey(b"e" * 32), b"\x08" * 32, b"e" * 32)
                await socket.send_bytes(other.hello)
        async with asyncio.timeout(3):
            while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
    await until(lambda: sum(victim.network.counters.refused.values()) == before + 1)


@contextlib.asynccontextmanager
async def knocking(victim: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket to the victim, before the handshake."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.66", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.ws_connect(f"http://{victim.host}:{victim.network.port}{PATH}") as socket,
    ):
        yield socket


# --- the dialling side ----------------------------------------------------------------------------


class Dialling:
    """A transport that only dials."""

    def __init__(self) -> None:
        async def never(*_: object) -> None:
            raise AssertionError("nobody was let in")

        self.key = NodeKey(b"\x50" * 32)
        self.transport = Transport(
            self.key, GENESIS, Gate(1), lambda: 0, Counters(), os.urandom, never
        )

    async def __aenter__(self) -> Transport:
        await self.transport.start(None, 0, None)
        return self.transport

    async def __aexit__(self, *_: object) -> None:
        await self.transport.stop()


@contextlib.asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[Address]:
    """A server of the attacker's at 127.0.0.66."""
    server = web.Server(answer, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.66", 0)
    yield Address("127.0.0.66", listener.sockets[0].getsockname()[1])
    listener.close()
    await server.shutdown(0.1)


async def test_a_redirect_is_not_followed(nodes: Any) -> None:
    bait = await nodes.start()

    async def redirect(_: web.BaseRequest) -> web.StreamResponse:
        location = f"http://{bait.host}:{bait.network.port}{PATH}"
        return web.Response(status=302, headers={"Location": location})

    async with serving(redirect) as address, Dialling() as dialling:
        with pytest.raises(Redirected):
            await dialling.dial(address, bait.id)
    assert not bait.network.counters.refused and not bait.peers


@pytest.mark.parametrize("kind", ["page", "headers", "mute", "text", "junk", "closed"])
async def test_who_is_no_node_is_left(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "OPENING_S", 0.5)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if kind == "page":
            return web.Response(text="x" * 10_000_000)
        if kind == "headers":
            return web.Response(headers={f"X{at}": "x" for at in range(500)})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if kind == "text":
            await socket.send_str("hello")
        if kind == "junk":
            await socket.send_bytes(os.urandom(60_000))
        if kind != "closed":
            await asyncio.sleep(1)
        return socket

    async with serving(answer) as address, Dialling() as dialling:
        with pytest.raises(NetworkError) as error:
            await dialling.dial(address, None)
    assert not error.value.is_provable


async def test_nobody_home_and_self(nodes: Any) -> None:
    one = await nodes.start()
    async with Dialling() as dialling:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.99:1"):
            await dialling.dial(Address("127.0.0.99", 1), None)
        line, established = await dialling.dial(one.target.address, one.id)
        assert established.peer_id == one.id
        line.abort()
        with pytest.raises(NetworkError, match="was expected"):
            await dialling.dial(one.target.address, b"?" * 32)


async def test_a_node_that_meets_itself_goes_on(nodes: Any, until: Any) -> None:
    one = await nodes.start()
    wrong = Target(b"?" * 32, one.target.address)
    port = one.network.port
    await one.network.stop()
    await one.fresh(listen_port=port, persistent=(wrong,)).start()
    await until(lambda: one.network.counters.refused.get("p2p.self_dial"))
    assert not one.peers


async def test_a_subnet_that_takes_all_places_loses_its_oldest_to_another(
    victim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PENDING_MAX", 4)
    opened = []
    for host in (*[f"127.20.0.{at}" for at in range(1, 5)], "127.21.0.1"):
        opened.append(
            await asyncio.open_connection(victim.host, victim.network.port, local_addr=(host, 0))
        )
        await asyncio.sleep(0.05)
    assert await is_dropped(opened[0][0], 1.0)
    for reader, writer in opened[1:]:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"404" in await reader.read(2**16), "these have their places"
        writer.transport.abort()
    opened[0][1].transport.abort()
