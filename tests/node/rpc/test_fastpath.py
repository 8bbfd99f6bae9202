"""The lean HTTP path: plain requests stay on it, everything else reaches aiohttp unharmed."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from node.rpc import server as rpc_server
from node.rpc.fastpath import FastConnection, PlainHeads
from node.rpc.limits import RpcLimits
from state.codec import encode
from state.modules.bank import Transfer
from state.transaction import Body

BODY = b'{"jsonrpc":"2.0","id":1,"method":"chain.status"}'
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)
PLAIN = HEAD + b"\r\n" + BODY


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went over to aiohttp, for each connection that did."""
    seen: list[bytes] = []
    original = FastConnection._hand_over

    def spy(self: FastConnection, data: bytes) -> None:
        seen.append(data)
        original(self, data)

    monkeypatch.setattr(FastConnection, "_hand_over", spy)
    return seen


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def response(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    status = int(head.split(b" ")[1])
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    body = await reader.readexactly(int(length or 0))
    return status, json.loads(body) if body.startswith((b"{", b"[")) else body


async def test_plain_requests_stay(memory_node: Any, serve: Any, handed_over: Any) -> None:
    async with serve(memory_node) as url, dial(url) as (reader, writer):
        for extra in (b"", b"Accept: */*\r\nUser-Agent: x\r\n", b"Connection: keep-alive\r\n"):
            for _ in range(3):
                writer.write(HEAD + extra + b"\r\n" + BODY)
                status, answer = await response(reader)
                assert status == 200 and answer["result"]["height"] == 1
        note = BODY.replace(b'"id":1,', b"")
        writer.write(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(note) + note
        )
        assert await response(reader) == (204, b"")
    assert handed_over == []


UNUSUAL: list[tuple[bytes, int]] = [
    (HEAD + b"X-Other: 1\r\n\r\n" + BODY, 200),
    (HEAD + b"Connection: close\r\n\r\n" + BODY, 200),
    (PLAIN.replace(b"localhost", b"evil.example"), 403),
    (HEAD + b"Origin: http://evil.example\r\n\r\n" + BODY, 403),
    (HEAD + b"Accept: a\r\nAccept: b\r\n\r\n" + BODY, 200),
    (PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
    (PLAIN.replace(b"POST / ", b"POST /x "), 404),
    (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (PLAIN.replace(b"Host: localhost\r\n", b""), 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\n\r\n" + BODY, 400),
    (PLAIN.replace(b"Content-Length: 48", b"Content-Length: +48"), 400),
    (PLAIN.replace(b"Content-Length: 48", b"Content-Length: 0x30"), 400),
    (PLAIN.replace(b"Content-Length: 48", b"Content-Length : 48"), 400),
    (b"nonsense\r\n\r\n", 400),
    (b"\x00" * 50 + b"\r\n\r\n", 400),
    (HEAD + b"User-Agent: " + b"x" * 3_000 + b"\r\n\r\n" + BODY, 200),
    (HEAD + b"User-Agent: \xc3\xa9\r\n\r\n" + BODY, 200),
]


@pytest.mark.parametrize(("data", "expected"), UNUSUAL)
async def test_unusual_requests_go_to_aiohttp(
    memory_node: Any, serve: Any, handed_over: Any, data: bytes, expected: int
) -> None:
    async with serve(memory_node) as url, dial(url) as (reader, writer):
        writer.write(data)
        status, answer = await response(reader)
    assert (status, handed_over) == (expected, [data])
    assert isinstance(answer, dict) or status == 400, "docs/api.md: all but 400 is JSON"


async def test_requests_in_pieces_and_at_once(memory_node: Any, serve: Any) -> None:
    for cut in (1, 10, len(HEAD), len(HEAD) + 2, len(PLAIN) - 1):
        async with serve(memory_node) as url, dial(url) as (reader, writer):
            writer.write(PLAIN[:cut])
            await asyncio.sleep(0.01)
            writer.write(PLAIN[cut:])
            assert (await response(reader))[0] == 200
            writer.write(PLAIN * 3)
            assert [(await response(reader))[0] for _ in range(3)] == [200] * 3


async def test_plain_requests_then_a_websocket(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, dial(url) as (reader, writer):
        writer.write(PLAIN)
        assert (await response(reader))[0] == 200
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")


async def test_answers_that_wait_keep_their_order(memory_node: Any, serve: Any) -> None:
    """A submission waits; what is sent behind it is answered behind it."""
    alice, bob, _ = memory_node.accounts
    body = Body(alice.address, 1, 100, 10**6, (Transfer(bob.address, 1),))
    wire, tx_id = alice.sign_body(body, memory_node.genesis.hash)
    assert encode(body) in wire
    admitted = memory_node.submit

    async def slowly(data: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return await admitted(data)

    memory_node.submit = slowly
    asked = json.dumps(
        {"jsonrpc": "2.0", "id": "tx", "method": "tx.submit", "params": {"wire": wire.hex()}}
    ).encode()
    first = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(asked) + asked
    async with serve(memory_node) as url, dial(url) as (reader, writer):
        writer.write(first)
        await asyncio.sleep(0.005)
        writer.write(PLAIN)
        answers = [await response(reader) for _ in range(2)]
    assert answers[0] == (200, {"jsonrpc": "2.0", "id": "tx", "result": tx_id.hex()})
    assert answers[1][1]["id"] == 1


async def test_a_caller_that_does_not_read_is_not_answered_for_ever(memory_node: Any) -> None:
    """Answers stop when the peer's window is full, so that the server's memory is bounded."""
    server = rpc_server.RpcServer(memory_node)
    url = f"http://127.0.0.1:{await server.start()}"
    asked = BODY.replace(b"chain.status", b"rpc.discover")
    answered: list[int] = []
    begin = server._dispatcher.begin

    def counted(body: bytes, caller: Any) -> Any:
        answer = begin(body, caller)
        answered.append(len(answer))
        return answer

    server._dispatcher.begin = counted
    async with dial(url) as (reader, writer):
        writer.transport.pause_reading()
        for _ in range(100):
            writer.write(HEAD + b"\r\n" + asked)
            await asyncio.sleep(0.001)
        (fast,) = server._fast.values()
        assert fast._blocked and 1 < len(answered) < 100
        assert fast._transport.get_write_buffer_size() <= 2 * max(answered)
        writer.transport.resume_reading()
        answers = [(await response(reader))[0] for _ in range(100)]
        assert answers == [200] * 100, "all are answered once it reads"
    await server.stop()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("waits", [False, True])
def test_a_fault_ends_the_connection_and_not_the_node(
    memory_node: Any, new_loop: Any, waits: bool, caplog: Any
) -> None:
    """Event loops report faults to a handler by which the node ends: these must not reach it."""
    reported: list[Any] = []

    async def broken(wire: bytes) -> bytes:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    def status() -> None:
        raise ZeroDivisionError

    memory_node.submit, memory_node.status = broken, status
    asked = b'{"jsonrpc":"2.0","id":1,"method":"tx.submit","params":["00"]}' if waits else BODY
    data = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(asked) + asked

    async def work() -> Any:
        server = rpc_server.RpcServer(memory_node)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, c: None if server.took(c) else reported.append(c))
        url = f"http://127.0.0.1:{await server.start()}"
        async with dial(url) as (reader, writer):
            writer.write(data)
            answer = await response(reader)
            assert await reader.read() == b""
        await server.stop()
        return answer

    with asyncio.Runner(loop_factory=new_loop) as runner:
        status_code, answer = runner.run(work())
    gc.collect()
    assert (status_code, answer["error"]["code"]) == (500, -32603)
    assert reported == [] and "ZeroDivisionError" in caplog.text


async def test_idle_connections_are_closed(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node, RpcLimits(idle_seconds=0)) as url, dial(url) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 5) == b""


@pytest.mark.parametrize(("data", "expected"), [(b"POST / HT", b""), (PLAIN[:-5], b"HTTP/1.1 408")])
async def test_requests_that_never_end_are_cut_off(
    memory_node: Any, serve: Any, data: bytes, expected: bytes
) -> None:
    limits = RpcLimits(request_seconds=0.1, close_seconds=0.1)
    async with serve(memory_node, limits) as url, dial(url) as (reader, writer):
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 5)
    assert answer[:12] == expected
    assert memory_node.status().height == 1


async def test_connections_are_forgotten(memory_node: Any) -> None:
    server = rpc_server.RpcServer(memory_node)
    url = f"http://127.0.0.1:{await server.start()}"
    async with dial(url) as (reader, writer):
        writer.write(PLAIN)
        await response(reader)
        assert len(server._fast) == 1
    await asyncio.sleep(0.01)
    assert server._fast == {}
    async with dial(url) as (reader, _):
        await asyncio.sleep(0.01)
        await server.stop()
        assert await reader.read() == b""


@given(st.binary(max_size=80))
def test_no_bytes_upset_the_head_parser(data: bytes) -> None:
    heads = PlainHeads(lambda host: host == "localhost", 1_000)
    for head in (data, b"POST / HTTP/1.1\r\n" + data, HEAD + data):
        assert -1 <= heads.body_length(head) <= 1_000
