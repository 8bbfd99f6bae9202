"""What answers while an empty home waits for a snapshot."""

import json
from typing import Any

import aiohttp
import pytest

from node.client import SaharaClient, Unreachable
from node.consensus_metrics import Nowhere, StandingCollector
from node.metrics import about_process
from node.rpc.limits import RpcLimits
from node.rpc.server import HostUnusable, PortInUse
from node.rpc.waiting import WaitingRoom
from node.snapshot.metrics import StateSyncCollector
from node.snapshot.progress import StateSync


def room_of(progress: StateSync) -> WaitingRoom:
    registry = about_process()
    registry.register(StateSyncCollector(progress))
    registry.register(StandingCollector(Nowhere(), lambda: progress.is_active))
    return WaitingRoom(progress, registry, RpcLimits())


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
