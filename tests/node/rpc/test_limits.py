"""Token buckets and what callers beyond loopback may do."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rpc import connections, limits, server
from node.rpc.limits import RateLimiter, RpcLimits

LIMITS = RpcLimits(requests_per_second=10, requests_burst=20)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    limiter = RateLimiter(LIMITS)
    assert [limiter.take("a", 1, 0.0) for _ in range(20)] == list(range(19, -1, -1))
    assert limiter.take("a", 1, 0.0) == -1
    assert limiter.take("b", 20, 0.0) == 0, "each address has its own"
    assert limiter.take("a", 1, 0.05) == -1
    assert limiter.take("a", 1, 0.11) == 0
    assert limiter.take("a", 20, 100.0) == 0, "no more than the burst is saved up"
    assert limiter.take("c", 21, 100.0) == -1


def test_what_is_owed_comes_in_first() -> None:
    limiter = RateLimiter(LIMITS)
    limiter.charge("a", 50, 0.0)
    assert limiter.take("a", 1, 3.0) == -1
    assert limiter.take("a", 1, 3.11) == 0


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 0.3)), max_size=200))
def test_never_more_than_burst_and_rate(asked: list[tuple[int, float]]) -> None:
    limiter = RateLimiter(LIMITS)
    now, given_out = 0.0, 0
    for count, pause in asked:
        now += pause
        if limiter.take("a", count, now) >= 0:
            given_out += count
        assert given_out <= LIMITS.requests_burst + LIMITS.requests_per_second * now + 1e-6


def test_addresses_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADDRESSES_TRACKED_MAX", 100)
    limiter = RateLimiter(LIMITS)
    for number in range(1_000):
        limiter.take(str(number), 1, 0.0)
    assert len(limiter._buckets) == 100


def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be taken for loopback."""
    for module in (server, connections):
        monkeypatch.setattr(module, "is_loopback", lambda address: False)
    monkeypatch.setattr(server.RpcServer, "_protocol", lambda self: self._server())


async def test_a_subnet_of_ipv6_is_one_address(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has one address of a /64 has all of them."""
    from_elsewhere(monkeypatch)
    named = iter(["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"])
    take, taken_by = RateLimiter.take, []

    def watched(self: RateLimiter, who: str, count: int, now: float) -> int:
        taken_by.append(who)
        return take(self, who, count, now)

    made = connections.Listening.connection_made

    def elsewhere(self: Any, handler: Any, transport: Any) -> None:
        host = next(named)
        monkeypatch.setattr(
            transport,
            "get_extra_info",
            lambda name, default=None: (host, 1) if name == "peername" else default,
        )
        made(self, handler, transport)

    monkeypatch.setattr(RateLimiter, "take", watched)
    monkeypatch.setattr(connections.Listening, "connection_made", elsewhere)
    plain = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]"
    async with serve(memory_node, RpcLimits(connections_per_address_max=2)) as url:
        heard, writers = [], []
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writers.append(writer)
            writer.write(plain)
            try:
                heard.append(bool(await reader.readline()))
            except ConnectionError:
                heard.append(False)
        for writer in writers:
            writer.close()
    assert heard == [True, True, False, True]
    assert len(set(taken_by)) == 2


async def test_one_address_does_not_take_every_connection(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is more than an address may have is closed; who leaves makes room; loopback may."""
    limits = RpcLimits(connections_per_address_max=3)
    plain = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def asked(url: str) -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(plain)
        with suppress(ConnectionError):
            return await reader.readline(), writer
        return b"", writer

    async with serve(memory_node, limits) as url:
        many = [await asked(url) for _ in range(10)]
        assert {line for line, _ in many} == {b"HTTP/1.1 200 OK\r\n"}
        for _, writer in many:
            writer.close()
    from_elsewhere(monkeypatch)
    async with serve(memory_node, limits) as url:
        many = [await asked(url) for _ in range(5)]
        assert [bool(line) for line, _ in many] == [True, True, True, False, False]
        many[0][1].close()
        async with asyncio.timeout(10):
            while not (later := await asked(url))[0]:
                later[1].close()
                await asyncio.sleep(0.01)
        assert not (await asked(url))[0]
        for _, writer in [*many, later]:
            writer.close()


async def test_one_address_does_not_take_every_websocket(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = RpcLimits(websockets_max=5, websockets_per_address_max=2)
    async with serve(memory_node, limits) as url, aiohttp.ClientSession() as session:
        near = [await session.ws_connect(f"{url}/ws") for _ in range(3)]
        from_elsewhere(monkeypatch)
        far = [await session.ws_connect(f"{url}/ws") for _ in range(2)]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await session.ws_connect(f"{url}/ws")
        await far[0].close()
        await near[0].close()
        async with asyncio.timeout(10):
            while True:
                with suppress(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(f"{url}/ws")
                    break
                await asyncio.sleep(0.01)


async def test_callers_from_elsewhere(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody taken for loopback, rates hold, the rest is told, and metrics are closed."""
    from_elsewhere(monkeypatch)
    take = RateLimiter.take  # time stands still: on a busy machine a bucket would fill meanwhile
    monkeypatch.setattr(
        RateLimiter, "take", lambda self, who, count, _: take(self, who, count, 0.0)
    )
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "chain.status"})
    batch = f"[{','.join([body] * 8)}]"
    async with serve(memory_node, LIMITS) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=batch) as response:
            assert response.status == 200
            assert response.headers["X-RateLimit-Remaining"] == "12"
        async with session.post(url, data=batch) as response:
            assert response.headers["X-RateLimit-Remaining"] == "4"
        async with session.post(url, data=batch) as response:
            assert response.status == 429 and response.headers["Retry-After"] == "1"
            refused = json.loads(await response.read())["error"]
        async with session.get(f"{url}/metrics") as response:
            assert response.status == 403
        async with session.get(f"{url}/health") as response:
            assert response.status == 200
        async with session.ws_connect(f"{url}/ws") as socket:
            await socket.send_str(batch)
            limited = json.loads(await socket.receive_str())
    assert refused["data"]["code"] == "rpc.limit_exceeded"
    assert limited["error"]["data"]["code"] == "rpc.limit_exceeded"


async def test_large_answers_and_hidden_requests_take_tokens(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is charged for by what it holds, before it is executed, however it is written."""
    from_elsewhere(monkeypatch)
    take = RateLimiter.take
    monkeypatch.setattr(
        RateLimiter, "take", lambda self, who, count, _: take(self, who, count, 0.0)
    )
    status, asked = memory_node.status, []
    memory_node.status = lambda: asked.append(1) or status()
    hidden = '{"jsonrpc":"2.0","id":1,"\\u006dethod":"chain.status"}'
    large = '{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'

    async with serve(memory_node, LIMITS) as url, aiohttp.ClientSession() as session:

        async def post(body: str) -> tuple[int, str]:
            async with session.post(url, data=body) as response:
                return response.status, response.headers["X-RateLimit-Remaining"]

        assert await post(f"[{','.join([hidden] * 21)}]") == (429, "0")
        assert not asked
        assert await post(f"[{','.join([hidden] * 4)}]") == (200, "15")
        assert await post("{" + " " * 2 * limits.BYTES_PER_TOKEN) == (200, "12")
        assert await post(large) == (200, "11")
        assert await post(hidden) == (429, "0"), "the large answer is owed"
    assert len(asked) == 4
