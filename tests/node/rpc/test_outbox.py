"""Outboxes: what callers that do not read make the node keep, alone and with others."""

import asyncio
import contextlib
import inspect
import socket
import struct
import tracemalloc
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from node.rpc.catalogue import Method, Parameter
from node.rpc.limits import RpcLimits
from node.rpc.outbox import Outbox, Outboxes
from node.rpc.server import RpcServer

LIMITS = RpcLimits(
    response_bytes_max=100,
    queued_messages_max=4,
    queued_bytes_max=200,
    queued_bytes_total_max=500,
)


def has_room(outbox: Outbox) -> bool:
    return outbox._roomy.is_set()


def test_answers_wait_for_room_and_news_is_cut_off() -> None:
    outbox = Outboxes(LIMITS).open()
    outbox.put(bytes(100))
    assert has_room(outbox)
    outbox.offer(bytes(1))
    assert not has_room(outbox), "the largest answer would not fit"
    outbox.offer(bytes(99))
    assert (outbox.held_bytes, outbox.overflowed.is_set()) == (200, False)
    outbox.offer(bytes(1))
    assert (outbox.held_bytes, outbox.overflowed.is_set()) == (0, True)
    assert has_room(outbox), "who waits for room has to see the close"
    outbox.put(bytes(100))
    assert outbox.held_bytes == 0


def test_messages_are_counted_as_bytes_are() -> None:
    outbox = Outboxes(LIMITS).open()
    for _ in range(4):
        assert has_room(outbox)
        outbox.offer(b"x")
    assert not has_room(outbox)
    outbox.offer(b"x")
    assert outbox.overflowed.is_set()


def test_what_is_larger_than_all_room_waits_alone() -> None:
    outbox = Outboxes(LIMITS).open()
    outbox.offer(bytes(300))
    assert (outbox.held_bytes, outbox.overflowed.is_set()) == (300, False)


async def test_what_is_being_sent_counts_until_it_is_sent() -> None:
    outboxes = Outboxes(LIMITS)
    outbox = outboxes.open()
    sent: list[bytes] = []
    gate = asyncio.Event()

    async def send(message: bytes) -> None:
        await gate.wait()
        sent.append(message)

    sending = asyncio.create_task(outbox.send_all(send))
    outbox.put(bytes(150))
    outbox.put(b"x")
    await asyncio.sleep(0)
    assert (outboxes.held_bytes, has_room(outbox)) == (151, False)
    gate.set()
    await asyncio.wait_for(outbox.room(), 10)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (sent, outboxes.held_bytes) == ([bytes(150), b"x"], 0)
    sending.cancel()


def test_once_all_hold_too_much_the_one_with_most_goes() -> None:
    outboxes = Outboxes(LIMITS)
    small, large, middle = outboxes.open(), outboxes.open(), outboxes.open()
    for outbox, size in ((small, 120), (large, 200), (middle, 180)):
        outbox.put(bytes(size))
    assert outboxes.held_bytes == 500
    small.offer(bytes(1))
    assert [each.overflowed.is_set() for each in (small, large, middle)] == [False, True, False]
    assert outboxes.held_bytes == 301
    outboxes.close(middle)
    assert outboxes.held_bytes == 121


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 120), st.booleans()), max_size=60))
def test_no_order_of_messages_passes_the_bounds(steps: list[tuple[int, int, bool]]) -> None:
    outboxes = Outboxes(LIMITS)
    several = [outboxes.open() for _ in range(5)]
    for which, size, is_news in steps:
        outbox = several[which]
        if is_news:
            outbox.offer(bytes(size))
        elif has_room(outbox):
            outbox.put(bytes(min(size, LIMITS.response_bytes_max)))
        assert all(each.held_bytes <= LIMITS.queued_bytes_max for each in several)
        assert outboxes.held_bytes == sum(each.held_bytes for each in several)
        assert outboxes.held_bytes <= LIMITS.queued_bytes_total_max


WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_BODY = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'
DISCOVER = bytes([0x81, 0x80 | len(_BODY), 0, 0, 0, 0]) + _BODY


async def test_a_websocket_that_never_reads_is_answered_no_more(
    memory_node: Any, serve: Any
) -> None:
    """Every answer weighs some 200 kB; the system's own buffers take a few MiB of them."""
    registry = CollectorRegistry()
    limits = RpcLimits(queued_bytes_max=2**20, response_bytes_max=2**19)
    asked = 400

    def answered() -> float:
        labels = {"method": "rpc.discover", "outcome": "ok"}
        return registry.get_sample_value("sahara_rpc_requests_total", labels) or 0.0

    async with serve(memory_node, limits, registry) as url:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        raw.setblocking(False)
        port = int(url.rpartition(":")[2])
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
        writer.write(WEBSOCKET)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(DISCOVER * asked)
        before = -1.0
        while before < answered():
            before = answered()
            await asyncio.sleep(0.2)
        writer.transport.abort()
    assert 3 <= before < 60


async def test_a_caller_that_is_gone_while_it_does_not_read_leaves_its_place(
    memory_node: Any,
) -> None:
    """It asks for more than waits for it, so its next request waits for room as it leaves."""
    async with Port(memory_node, queued_bytes_max=2**20, response_bytes_max=2**19) as port:
        hub = port.server._hub
        for _ in range(3):
            raw = await port.call(WEBSOCKET)
            await asyncio.get_running_loop().sock_recv(raw, 256)
            await asyncio.get_running_loop().sock_sendall(raw, DISCOVER * 60)
            await until(
                lambda: [not has_room(each.outbox) for each in hub.subscribers.values()] == [True]
            )
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            await until(lambda: not hub.subscribers)
            assert port.outboxes.held_bytes == 0


PING = bytes([0x89, 0x80, 0, 0, 0, 0])
BEGIN = bytes([0x01, 0x80, 0, 0, 0, 0])
GO_ON = bytes([0x00, 0x80, 0, 0, 0, 0])


async def test_frames_that_make_no_message_end_a_websocket(memory_node: Any) -> None:
    async with Port(memory_node) as port:
        raw = await port.call(WEBSOCKET)
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(raw, 256)
        await loop.sock_sendall(raw, BEGIN + GO_ON * 1_000)
        await asyncio.sleep(0.1)
        assert port.server._hub.subscribers
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(raw, GO_ON * 250_000)
        await until(lambda: not port.server._hub.subscribers)


async def test_pings_are_answered_and_a_flood_of_them_ends_a_websocket(memory_node: Any) -> None:
    async with Port(memory_node) as port:
        loop, hub = asyncio.get_running_loop(), port.server._hub
        patient, eager = await port.call(WEBSOCKET), await port.call(WEBSOCKET)
        for raw in (patient, eager):
            assert await loop.sock_recv(raw, 256)
        for _ in range(20):
            await loop.sock_sendall(patient, PING)
            assert await loop.sock_recv(patient, 256) == bytes([0x8A, 0])
        await until(lambda: len(hub.subscribers) == 2)
        await loop.sock_sendall(eager, PING * 200)
        await until(lambda: len(hub.subscribers) == 1)
        await loop.sock_sendall(patient, DISCOVER)
        assert len(await loop.sock_recv(patient, 256)) == 256


LARGE_BYTES = 2**23
PLAIN = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
UNUSUAL = PLAIN + b"X-Other: 1\r\n"


def _answer(size: int) -> str:
    return "a" * size


class Port:
    """A server with a method `test.answer` whose answer is so long, and callers that are bytes."""

    def __init__(self, node: Any, **limits: Any) -> None:
        size = Parameter("size", Any, inspect.Parameter.empty)
        method = Method("test.answer", "Answer at length.", (size,), Any, _answer)
        self.server = RpcServer(node, RpcLimits(**limits), extra=[(method, _answer)])
        self.outboxes = self.server._outboxes
        self._raw: list[socket.socket] = []

    async def __aenter__(self) -> "Port":
        self._port = await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for raw in self._raw:
            raw.close()
        await self.server.stop()

    @property
    def connections(self) -> int:
        assert self.server._server is not None
        return len(self.server._fast) + len(self.server._server.connections)

    async def call(self, data: bytes) -> socket.socket:
        """Send these bytes, and read nothing."""
        raw = socket.socket()
        self._raw.append(raw)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", self._port))
        await loop.sock_sendall(raw, data)
        return raw


def asking(head: bytes, size: int = LARGE_BYTES) -> bytes:
    body = b'{"jsonrpc":"2.0","id":1,"method":"test.answer","params":[%d]}' % size
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def read_all(raw: socket.socket, pause_seconds: float) -> int:
    """Read an answer to its end, slowly; return how many bytes it had."""
    loop, found = asyncio.get_running_loop(), 0
    while data := await loop.sock_recv(raw, 2**19):
        found += len(data)
        if data.endswith(b"}"):
            break
        await asyncio.sleep(pause_seconds)
    return found


async def until(is_so: Any) -> None:
    for _ in range(1_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to that")


def run_on(new_loop: Any, work: Any) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work)


both_loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
both_ways = pytest.mark.parametrize("head", [PLAIN, UNUSUAL])


@both_loops
@both_ways
def test_who_does_not_take_an_answer_is_let_go(
    memory_node: Any, new_loop: Any, head: bytes
) -> None:
    async def work() -> None:
        limits = {"taken_seconds": 0, "taken_bytes_per_second": 2 * LARGE_BYTES}
        async with Port(memory_node, **limits) as port:
            await port.call(asking(head))
            await until(lambda: port.outboxes.held_bytes >= LARGE_BYTES)
            await until(lambda: not port.connections)
            assert port.outboxes.held_bytes == 0

    run_on(new_loop, work())


@both_loops
@both_ways
def test_who_takes_an_answer_slowly_gets_it_all(
    memory_node: Any, new_loop: Any, head: bytes
) -> None:
    async def work() -> None:
        async with Port(memory_node) as port:
            raw = await port.call(asking(head))
            await until(lambda: port.outboxes.held_bytes >= LARGE_BYTES)
            assert await read_all(raw, 0.001) > LARGE_BYTES
            await until(lambda: not port.outboxes.held_bytes)
            assert port.connections == 1

    run_on(new_loop, work())


@both_loops
@both_ways
def test_all_that_nobody_takes_is_bounded(memory_node: Any, new_loop: Any, head: bytes) -> None:
    """Whoever holds the most goes, so that small answers are safe from those who ask for large."""

    async def work() -> None:
        async with Port(memory_node, queued_bytes_total_max=3 * LARGE_BYTES) as port:
            small = await port.call(asking(head, LARGE_BYTES // 2))
            for _ in range(10):
                await port.call(asking(head))
                await asyncio.sleep(0.02)
                assert port.outboxes.held_bytes <= 3 * LARGE_BYTES
            await until(lambda: port.connections == 3)
            assert port.outboxes.held_bytes > 2 * LARGE_BYTES
            assert await read_all(small, 0.0) > LARGE_BYTES // 2

    run_on(new_loop, work())


@both_loops
def test_what_is_left_of_a_websocket_that_closes_has_a_deadline_too(
    memory_node: Any, new_loop: Any
) -> None:
    async def work() -> None:
        limits = {"taken_seconds": 0, "taken_bytes_per_second": 2 * LARGE_BYTES}
        async with Port(memory_node, **limits) as port:
            body = asking(b"").partition(b"\r\n\r\n")[2]
            frame = bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body
            raw = await port.call(WEBSOCKET)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(raw, 1_024)
            await loop.sock_sendall(raw, frame)
            await until(lambda: port.outboxes.held_bytes >= LARGE_BYTES)
            await asyncio.sleep(1)
            assert port.connections == 1, "a WebSocket has its outbox, and no deadline"
            await loop.sock_sendall(raw, bytes([0x88, 0x80, 0, 0, 0, 0]))
            await until(lambda: not port.connections)
            assert port.outboxes.held_bytes == 0

    run_on(new_loop, work())


async def test_an_answer_that_was_taken_is_kept_no_longer(memory_node: Any) -> None:
    """A connection that is kept alive keeps no answer alive."""
    async with Port(memory_node) as port:
        tracemalloc.start()
        try:
            assert await read_all(await port.call(asking(UNUSUAL)), 0.0) > LARGE_BYTES
            await asyncio.sleep(0.05)
            kept_bytes, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept_bytes < LARGE_BYTES // 2 < most_bytes
