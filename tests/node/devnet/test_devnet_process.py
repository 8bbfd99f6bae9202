"""A node as the demo starts it: a process of its own that is waited for, stopped, and missed."""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node.client import Account, SaharaClient
from node.devnet import process as devnet
from node.devnet.errors import NodeDied, NodeSilent, PortInUse
from node.devnet.process import NodeWishes, start_node, start_nodes
from state.genesis import Allocation

RICH = Account.from_seed(b"r" * 32)
WISHES = NodeWishes((Allocation(RICH.address, 5_000),), block_interval_ms_min=5, idle_interval_ms=5)
ORPHAN_SECONDS_MAX = 3.0

STARTER = """
import asyncio, sys
from pathlib import Path
from node.devnet.process import NodeWishes, start_node

async def main():
    node = await start_node(Path(sys.argv[1]), NodeWishes(()))
    print(node.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_node_starts_funded_answers_and_stops_in_order(tmp_path: Path) -> None:
    node = await start_node(tmp_path / "node", WISHES)
    async with SaharaClient(node.url, genesis_hash=node.genesis_hash) as client:
        assert (await client.query("bank.balance", address=RICH.address)).amount == 5_000
        assert (await client.status()).height >= 1
    assert node.pid != os.getpid()
    assert await node.stop() == 0
    assert await node.stop() == 0
    assert not (node.home / "run.json").exists()
    assert (node.home / devnet.LOG_FILE).read_text()
    assert "exit code 0" in (await node.death()).sentence


async def test_several_nodes_make_one_chain_and_the_death_of_any_is_told(tmp_path: Path) -> None:
    group = await start_nodes([tmp_path / "a", tmp_path / "b"], WISHES)
    try:
        roots = []
        for node in group.nodes:
            async with SaharaClient(node.url, genesis_hash=group.genesis_hash) as client:
                roots.append((await client.header(1)).header.state_root)
        assert roots[0] == roots[1]
        os.kill(group.nodes[1].pid, signal.SIGKILL)
        assert str(tmp_path / "b") in (await group.death()).sentence
    finally:
        await group.stop()


async def test_a_process_that_ends_at_once_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('a long story'); print('no such luck'); sys.exit(3)"
    monkeypatch.setattr(devnet, "command", lambda *_: [sys.executable, "-c", script])
    with pytest.raises(NodeDied, match=r"exit code 3; its log is .*last words: no such luck"):
        await start_node(tmp_path / "node", WISHES)


async def test_a_process_that_never_answers_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    monkeypatch.setattr(devnet, "command", lambda *_: [sys.executable, "-c", sleeper])
    monkeypatch.setattr(devnet, "START_SECONDS_MAX", 1)
    with pytest.raises(NodeSilent, match="did not answer within 1 s"):
        await start_node(tmp_path / "node", WISHES)
    pid = int((tmp_path / "node" / devnet.LOG_FILE).read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_port_in_use_is_told_before_a_home_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port} cannot be had"):
            await start_node(tmp_path / "node", NodeWishes((), rpc_port=port))
    assert not (tmp_path / "node").exists()


def test_a_node_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "node"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", STARTER, str(home)],
        env={**devnet.environment(), "PYTHONPATH": str(devnet.ROOMS_FOLDER)},
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        node = os.pidfd_open(pid)
        try:
            assert select.select([node], [], [], 0.3)[0] == [], "it serves while its starter lives"
            starter.kill()
            starter.wait(30)
            ended = select.select([node], [], [], ORPHAN_SECONDS_MAX)[0] == [node]
            if not ended:
                os.kill(pid, signal.SIGKILL)
        finally:
            os.close(node)
    assert ended
    assert not (home / "run.json").exists()
    assert "stopped" in (home / devnet.LOG_FILE).read_text()


def test_settings_of_another_node_do_not_reach_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAHARA_RPC_PORT", "1")
    monkeypatch.setenv("SAHARA_PURE_PYTHON", "1")
    found = devnet.environment()
    assert "SAHARA_RPC_PORT" not in found
    assert found["SAHARA_PURE_PYTHON"] == "1"
    assert found["PATH"] == os.environ["PATH"]
