"""Outboxes: what a WebSocket that does not read makes the node keep, alone and with others."""

import asyncio
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from node.rpc.limits import RpcLimits
from node.rpc.outbox import Outbox, Outboxes

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


async def test_a_websocket_that_never_reads_is_answered_no_more(
    memory_node: Any, serve: Any
) -> None:
    """Every answer weighs some 200 kB; the system's own buffers take a few MiB of them."""
    registry = CollectorRegistry()
    limits = RpcLimits(queued_bytes_max=2**20, response_bytes_max=2**19)
    asked = 400
    head = b"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    body = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'
    frame = bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body

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
        writer.write(b"GET /ws HTTP/1.1\r\n" + head + key + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(frame * asked)
        before = -1.0
        while before < answered():
            before = answered()
            await asyncio.sleep(0.2)
        writer.transport.abort()
    assert 3 <= before < 60
