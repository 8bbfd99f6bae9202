"""A disk that is full: the node stops in order and says so, loses nothing, and goes on with room.

The limit on the size of a file stands for the end of the disk: what is written past it fails in the
middle of a record, as it does there.
"""

import asyncio
import json
import resource
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from node.client import Account, SaharaClient
from node.devnet.layout import Seat, free_port, p2p_host
from node.devnet.process import LOG_FILE, NodeWishes, command, spawn, wait_ready
from node.genesis_file import read_genesis
from node.home import GENESIS_FILE, Home, HomeWishes, create_home
from node.replay import replay
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb, MemoryStore
from state.genesis import Allocation
from state.modules.bank import Transfer

PAYER = Account.from_seed(b"p" * 32)
CODES = ("storage.failed", "journal.failed", "guard.failed")
ROOM_BYTES = 3_000
"""How far a file may still grow when the disk is full."""
WAIT_S = 60.0


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[tuple[Process, SaharaClient]]:
    """The node of a home, and a client of it; killed at the end if it has not ended by itself."""
    seat = Seat(0, home, 0, free_port(p2p_host(0), []))
    settings = {**NodeWishes(()).settings(), "--log-format": "json"}
    process = await spawn(command(seat, [seat], settings), home / LOG_FILE)
    try:
        genesis_hash = read_genesis(home / GENESIS_FILE).hash
        url = await wait_ready(home, process, genesis_hash)
        async with SaharaClient(url, genesis_hash=genesis_hash) as client:
            yield process, client
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), WAIT_S)


async def until_height(client: SaharaClient, height: int) -> None:
    end = time.monotonic() + WAIT_S
    while (await client.status()).finalized_height < height:
        assert time.monotonic() < end, "it does not go on"
        await asyncio.sleep(0.02)


def halted(home: Path) -> dict[str, Any]:
    """What the node said at the end."""
    lines = [json.loads(line) for line in (home / LOG_FILE).read_text().splitlines()]
    found: dict[str, Any] = next(line for line in lines if line["message"] == "halted")
    return found


@pytest.mark.parametrize("file", ["journal", "data/*.log"])
async def test_it_stops_says_so_and_goes_on_with_room(tmp_path: Path, file: str) -> None:
    home = tmp_path / "home"
    funds = [Allocation(PAYER.address, 10**15)]
    create_home(home, HomeWishes(time_ms=time.time_ns() // 10**6, funds=funds))
    async with running(home) as (process, client):
        await until_height(client, 5)
        sent = await client.execute(PAYER, Transfer(b"r" * 20, 7))
        paths = [*home.glob(file)] or [home / "journal"]
        size = max(path.stat().st_size for path in paths)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + ROOM_BYTES, -1))
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 1
    last = halted(home)
    assert last["code"] in CODES, last
    assert "restart" in json.dumps(last) or "start the node again" in json.dumps(last)

    async with running(home) as (process, client):
        status = await client.status()
        await until_height(client, status.finalized_height + 5)
        assert (await client.call("tx.status", tx_id=sent.tx_id.hex()))["stage"] == "final"
        assert int((await client.query("bank.balance", address=b"r" * 20)).amount) == 7
        process.terminate()
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    genesis = read_genesis(home / GENESIS_FILE)
    store = ChainStore(LevelDb(Home(home).data, create=False), genesis)
    steps = list(replay(store, genesis, MemoryStore()))
    store.close()
    assert all(step.agrees for step in steps)
    assert len(steps) > 10
