"""What answers while an empty home waits for a snapshot."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from node.client import SaharaClient, Unreachable
from node.consensus_metrics import Nowhere, StandingCollector
from node.metrics import about_process
from node.rpc import connections
from node.rpc.limits import RpcLimits
from node.rpc.server import HostUnusable, PortInUse
from node.rpc.waiting import WaitingRoom
from node.snapshot.metrics import StateSyncCollector
from node.snapshot.progress import StateSync


def room_of(progress: StateSync, limits: RpcLimits | None = None) -> WaitingRoom:
    registry = about_process()
    registry.register(StateSyncCollector(progress))
    registry.register(StandingCollector(Nowhere(), lambda: progress.is_active))
    return WaitingRoom(progress, registry, limits or RpcLimits())


@asynccontextmanager
async def waiting(limits: RpcLimits | None = None) -> AsyncIterator[int]:
    """A room at a port of its own."""
    room = room_of(StateSync(), limits)
    try:
        yield await room.start("127.0.0.1", 0)
    finally:
        await room.stop()


async def said(port: int, sent: bytes) -> tuple[bytes, asyncio.StreamWriter]:
    """Send bytes, and return the first line of the answer, if there is one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    with suppress(ConnectionError):
        return await reader.readline(), writer
    return b"", writer


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_an_operator_sees_how_far_it_is() -> None:
    progress = StateSync()
    progress.choose(41_000, 12)
    progress.enter("fetches")
    progress.chunks_here, progress.chunk_bytes = 5, 700
    room = room_of(progress)
    url = f"http://127.0.0.1:{await room.start('127.0.0.1', 0)}"
    try:
        assert await get(f"{url}/health") == (200, '{"ok": true}')
        assert await get(f"{url}/ready") == (503, '{"ready": false}')
        status, page = await get(f"{url}/metrics")
        strange = [
            await get(f"{url}/metrics", Host="evil.example"),
            await get(f"{url}/metrics", Origin="http://evil.example"),
        ]
        async with SaharaClient(url) as client:
            with pytest.raises(Unreachable, match=r"has 5 of the 12 chunks .* height 41000"):
                await client.status()
            with pytest.raises(Unreachable):
                async with client.subscribe("blocks"):
                    pass
        status_called, error = await get(f"{url}/")
        with pytest.raises(PortInUse):
            await room_of(progress).start("127.0.0.1", int(url.rpartition(":")[2]))
        with pytest.raises(HostUnusable):
            await room_of(progress).start("no.such.host.invalid", 0)
    finally:
        await room.stop()
    assert status == 200 and {*page.splitlines()} >= {
        "sahara_state_sync_active 1.0",
        'sahara_state_sync_stage{stage="fetches"} 1.0',
        'sahara_state_sync_stage{stage="done"} 0.0',
        'sahara_state_sync_chunks{which="here"} 5.0',
        'sahara_state_sync_chunks{which="all"} 12.0',
        "sahara_state_sync_height 41000.0",
        "sahara_state_sync_bytes_total 700.0",
        'sahara_consensus_mode{mode="syncs"} 1.0',
        'sahara_consensus_mode{mode="votes"} 0.0',
    }
    assert [answer[0] for answer in strange] == [403, 403]
    told: Any = json.loads(error)
    assert (status_called, told["error"]["data"]["code"]) == (503, "node.beginning")


@pytest.mark.parametrize("stage", ["asks", "walks", "restores"])
def test_every_stage_has_a_sentence(stage: str) -> None:
    progress = StateSync()
    progress.enter(stage)
    assert progress.is_active and progress.sentence().endswith(".")


@pytest.mark.parametrize(
    "sent", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nX: \0\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
async def test_what_is_no_request_is_refused_as_anywhere_and_names_no_library(sent: bytes) -> None:
    async with waiting() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert int(head.split()[1]) == 400
    assert b"Server: sahara\r\n" in head + b"\r\n"
    assert not any(name in (head + body).lower() for name in (b"aiohttp", b"python"))
    assert json.loads(body)["error"]["data"]["code"] == "rpc.invalid_request"


async def test_one_address_does_not_take_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    monkeypatch.setattr(connections, "is_loopback", lambda address: False)
    async with waiting(RpcLimits(connections_per_address_max=3)) as port:
        many = [await said(port, plain) for _ in range(5)]
        assert [bool(line) for line, _ in many] == [True, True, True, False, False]
        for _, writer in many:
            writer.close()


async def test_connections_are_bounded_and_the_silent_give_theirs_back() -> None:
    """What the handles are needed for is the snapshot."""
    plain = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with waiting(RpcLimits(connections_max=2, request_seconds=0.3)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.01)
        refused, writer = await said(port, plain)
        writer.close()
        async with asyncio.timeout(10):
            assert [await reader.read() for reader, _ in held] == [b"", b""]
            while not (found := await said(port, plain))[0]:
                found[1].close()
        for _, writer in (*held, found):
            writer.close()
    assert (refused, found[0]) == (b"", b"HTTP/1.1 200 OK\r\n")
