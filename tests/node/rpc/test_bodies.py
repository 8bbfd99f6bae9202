"""Bodies over HTTP: what is compressed, large, or slow costs the node little."""

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rpc.bodies import SMALL_BYTES, Bodies
from node.rpc.errors import LimitExceeded
from node.rpc.limits import RpcLimits

CALL = b'{"jsonrpc":"2.0","id":1,"method":"chain.status"}'
LIMITS = RpcLimits(
    body_bytes_max=200_000, bodies_bytes_total_max=500_000, bodies_bytes_per_address_max=300_000
)


async def refused(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, json.loads(await response.read())["error"]["data"]["code"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
async def test_a_body_that_is_written_in_another_way_is_not_unpacked(
    memory_node: Any, serve: Any, coding: str
) -> None:
    """What would be 100 MB unpacked is refused as soon as its head is there."""
    data = gzip.compress(bytes(10**8), 1)
    async with serve(memory_node) as url, aiohttp.ClientSession() as session:
        head = {"Content-Encoding": coding}
        async with session.post(url, data=data, headers=head, compress=False) as response:
            found = await refused(response)
        async with session.post(
            url, data=CALL, headers={"Content-Encoding": "Identity"}
        ) as response:
            assert response.status == 200
    assert found == (415, "rpc.encoding_not_allowed")


async def test_what_says_it_is_compressed_and_is_not_is_no_fault_of_the_node(
    memory_node: Any, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(memory_node) as url, aiohttp.ClientSession() as session:
        head = {"Content-Encoding": "gzip"}
        async with session.post(url, data=b"abcd", headers=head) as response:
            assert response.status == 415
    assert not caplog.records


async def test_bodies_that_never_end_are_bounded(memory_node: Any, serve: Any) -> None:
    """Small ones are served whatever the large ones do, and who leaves makes room."""
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
    async with serve(memory_node, LIMITS) as url, aiohttp.ClientSession() as session:
        held = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(head + bytes(1_000))
            held.append((reader, writer))
            await asyncio.sleep(0.05)
        assert (await held[2][0].readline()).startswith(b"HTTP/1.1 429")
        large = b" " * 199_000 + CALL
        async with session.post(url, data=large) as response:
            assert await refused(response) == (429, "rpc.limit_exceeded")
        async with session.post(url, data=CALL) as response:
            assert response.status == 200
        held[0][1].close()
        async with asyncio.timeout(10):
            while True:
                await asyncio.sleep(0.05)
                async with session.post(url, data=large) as response:
                    if response.status == 200:
                        break
        for _, writer in held:
            writer.close()


def test_an_address_has_a_share_and_loopback_has_none() -> None:
    bodies = Bodies(LIMITS)
    with bodies.read("a", 150_000), bodies.read("a", 150_000), bodies.read("a", SMALL_BYTES):
        with pytest.raises(LimitExceeded), bodies.read("a", SMALL_BYTES + 1):
            pass
        with bodies.read("b", None):
            assert bodies.held_bytes == LIMITS.bodies_bytes_total_max
            with pytest.raises(LimitExceeded), bodies.read(None, SMALL_BYTES + 1):
                pass
        with bodies.read(None, 200_000):
            pass
    assert (bodies.held_bytes, bodies._held) == (0, {})


async def test_so_many_values_are_no_request(memory_node: Any, serve: Any) -> None:
    """They would take the event loop for as long as hundreds of requests."""
    many = b"{" + b",".join(b'"%d":1' % number for number in range(20_002)) + b"}"
    fewer = b"{" + b",".join(b'"%d":1' % number for number in range(20_001)) + b"}"
    async with serve(memory_node) as url, aiohttp.ClientSession() as session:
        found = []
        for body in (many, fewer):
            async with session.post(url, data=body) as response:
                found.append((await refused(response))[1])
    assert found == ["rpc.limit_exceeded", "rpc.invalid_request"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 200_000)),
        max_size=20,
    )
)
def test_no_order_of_bodies_passes_the_bounds(wanted: list[tuple[str | None, int | None]]) -> None:
    bodies, opened = Bodies(LIMITS), []
    for number, (holder, size) in enumerate(wanted):
        reading = bodies.read(holder, size)
        try:
            reading.__enter__()
        except LimitExceeded:
            continue
        opened.append(reading)
        assert bodies.held_bytes <= LIMITS.bodies_bytes_total_max
        for name in ("a", "b"):
            assert bodies._held[name] <= LIMITS.bodies_bytes_per_address_max
        if number % 3 == 0:
            opened.pop(0).__exit__(None, None, None)
    for reading in opened:
        reading.__exit__(None, None, None)
    assert bodies.held_bytes == 0
