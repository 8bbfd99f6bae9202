"""The supervisor over fake nodes: cheap processes in the place of real ones."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.devnet import supervisor as module
from node.devnet.control import SOCKET_FILE, Request, ask
from node.devnet.errors import (
    DevnetExists,
    DevnetNotRunning,
    DevnetRunning,
    RequestRefused,
    StillRuns,
)
from node.devnet.identity import identity_of
from node.devnet.layout import found
from node.devnet.state_file import DevnetState, read_state, write_state
from node.devnet.status import overview, running_state
from node.devnet.supervisor import Supervisor, Wishes, end_leftovers, locked
from node.home import GENESIS_FILE

PLAIN = Wishes()
FAKE = [sys.executable, "-S", "-E", "-c", "import sys; sys.stdin.read()"]


@asynccontextmanager
async def running(
    folder: Path, nodes: int = 2, wishes: Wishes = PLAIN
) -> AsyncIterator[tuple[Supervisor, list[str], asyncio.Event]]:
    with suppress(DevnetExists):
        found(folder, nodes, 1_700_000_000_000)
    said: list[str] = []
    ended = asyncio.Event()
    supervisor = Supervisor(folder, wishes, SystemClock(), said.append, lambda *_: FAKE)
    task = asyncio.ensure_future(supervisor.run(ended))
    try:
        await until(lambda: len(supervisor.nodes) >= nodes and all_up(supervisor))
        yield supervisor, said, ended
    finally:
        ended.set()
        await asyncio.wait_for(task, 30)


def all_up(supervisor: Supervisor) -> bool:
    return all(node.ward.process is not None for node in supervisor.nodes)


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_nodes_run_are_told_of_and_stop_together(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    async with running(folder, 3) as (_, _said, ended):
        state = running_state(folder)
        assert state.supervisor == identity_of(state.supervisor.pid)
        assert len(state.processes) == 3
        processes = state.processes
        assert processes[1].signal(signal.SIGSTOP)
        answer = await asyncio.to_thread(ask, folder, Request("stop"))
        assert answer.sentence == "The devnet stops."
        began = time.monotonic()
        await until(lambda: not any(process.lives for process in processes))
        assert time.monotonic() - began < 3.0
        assert ended.is_set()
    assert not (folder / SOCKET_FILE).exists()
    assert read_state(folder).processes == []


async def test_a_node_that_dies_is_started_again_and_told_of(tmp_path: Path) -> None:
    async with running(tmp_path / "dn", 1) as (supervisor, said, _):
        process = supervisor.nodes[0].ward.process
        assert process is not None
        assert process.signal(signal.SIGKILL)
        await until(lambda: supervisor.nodes[0].ward.restarts == 1 and all_up(supervisor))
        assert read_state(tmp_path / "dn").nodes[0].restarts == 1
    assert said == ["node 0 ended by SIGKILL; starting it again in 0.5 s."]


async def test_kill_restart_and_add_from_another_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    async with running(folder) as (supervisor, _, _ended):
        await asyncio.to_thread(ask, folder, Request("kill", 1))
        await until(lambda: read_state(folder).nodes[1].phase == "down")
        rows = (await overview(folder)).nodes
        assert [row.pid is None for row in rows] == [False, True]
        answer = await asyncio.to_thread(ask, folder, Request("restart", 1))
        assert answer.pid == read_state(folder).processes[1].pid
        answer = await asyncio.to_thread(ask, folder, Request("add"))
        assert answer.node == 2
        assert len(supervisor.nodes) == 3
        genesis = supervisor.nodes[1].seat.home / GENESIS_FILE
        genesis.rename(folder / "away")
        with pytest.raises(RequestRefused, match=r"no genesis") as refused:
            await asyncio.to_thread(ask, folder, Request("restart", 1))
        assert refused.value.reason == "home.missing"
        assert read_state(folder).nodes[1].phase == "running", "what runs is left alone"
        (folder / "away").rename(genesis)
        for request in (Request("kill", 3), Request("kill"), Request("fly", 0)):
            with pytest.raises(RequestRefused):
                await asyncio.to_thread(ask, folder, request)
    async with running(folder, 3) as (supervisor, _, _ended):
        assert len(supervisor.nodes) == 3, "what was added stays"


async def test_each_node_gets_its_address_and_all_others_as_peers(tmp_path: Path) -> None:
    async with running(tmp_path / "dn", 3) as (supervisor, _, _ended):
        for node in supervisor.nodes:
            line = list(supervisor.node_command(node.seat))
            flags = dict(zip(line[6::2], line[7::2], strict=False))
            assert flags["--p2p-host"] == f"127.0.0.{1 + node.seat.index}"
            others = [each.seat.target for each in supervisor.nodes if each is not node]
            assert flags["--p2p-persistent-peers"].split(",") == others


async def test_a_devnet_that_nobody_runs_is_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    async with running(folder, 1):
        state = read_state(folder)
    gone = identity_of(1)
    assert gone is not None
    stranger = type(gone)(gone.pid, "another boot:1")
    write_state(folder, type(state)(stranger, state.genesis_hash, state.nodes))
    with pytest.raises(DevnetNotRunning):
        running_state(folder)


def test_one_folder_is_for_one_supervisor(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(DevnetRunning), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


async def test_what_a_killed_supervisor_left_behind_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    async with running(folder) as (supervisor, _, _ended):
        processes = read_state(folder).processes
        assert processes[0].signal(signal.SIGSTOP)
        assert await asyncio.to_thread(end_leftovers, folder) == 2
        assert not any(process.lives for process in processes)
        await until(lambda: all_up(supervisor))
    assert end_leftovers(folder) == 0
    assert end_leftovers(tmp_path) == 0


async def test_the_pace_that_was_asked_for_reaches_every_node(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    for wishes, pace in ((Wishes(block_time_ms=70), "70"), (PLAIN, None)):
        async with running(folder, 2, wishes) as (supervisor, _, _ended):
            for node in supervisor.nodes:
                line = list(supervisor.node_command(node.seat))
                flags = dict(zip(line[6::2], line[7::2], strict=False))
                assert flags.get("--block-interval-ms-min") == pace
                assert flags.get("--idle-interval-ms") == pace


async def test_traffic_is_kept_running_and_ends_with_the_devnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def fake(_folder: Path, transfers_per_s: float) -> list[str]:
        asked.append(transfers_per_s)
        return FAKE

    monkeypatch.setattr("node.devnet.supervisor.traffic_command", fake)
    folder = tmp_path / "dn"
    async with running(folder, 1, Wishes(transfers_per_s=7.5)) as (supervisor, said, _):
        traffic = supervisor.traffic
        assert traffic is not None
        await until(lambda: traffic.process is not None)
        first = traffic.process
        assert first is not None and read_state(folder).traffic == first
        assert first in read_state(folder).processes, "what a killed supervisor leaves is ended"
        assert first.signal(signal.SIGKILL)
        await until(lambda: traffic.restarts == 1 and traffic.process is not None)
        again = read_state(folder).traffic
        assert again is not None and again != first
        assert said == ["traffic ended by SIGKILL; starting it again in 0.5 s."]
        assert asked == [7.5]
    assert not again.lives
    assert read_state(folder).traffic is None
    async with running(folder, 1) as (supervisor, _, _ended):
        assert supervisor.traffic is None


async def test_a_devnet_that_cannot_be_told_of_stops_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while a node is started again, and stays full."""
    folder = tmp_path / "dn"
    found(folder, 2, 1_700_000_000_000)
    seen: list[DevnetState] = []

    def write(folder: Path, state: DevnetState) -> None:
        seen.append(state)
        if state.nodes[0].restarts and state.nodes[0].phase != "waiting":
            raise OSError(28, "No space left on device")
        write_state(folder, state)

    monkeypatch.setattr(module, "write_state", write)
    said: list[str] = []
    supervisor = Supervisor(folder, PLAIN, SystemClock(), said.append, lambda *_: FAKE)
    task = asyncio.ensure_future(supervisor.run(asyncio.Event()))
    await until(lambda: len(supervisor.nodes) >= 2 and all_up(supervisor))
    process = supervisor.nodes[0].ward.process
    assert process is not None
    process.signal(signal.SIGKILL)
    done, _ = await asyncio.wait((task,), timeout=20)
    assert done, "it stops"
    assert isinstance(task.exception(), OSError)
    assert "No space left on device" in str(task.exception())
    assert not any(process.lives for state in seen for process in state.processes)
    assert not (folder / SOCKET_FILE).exists()
    assert "node 0 was killed, for it cannot be kept any more" in said[-1]


async def test_one_process_that_does_not_end_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dn"
    found(folder, 2, 1_700_000_000_000)
    ended = asyncio.Event()
    supervisor = Supervisor(folder, PLAIN, SystemClock(), print, lambda *_: FAKE)
    task = asyncio.ensure_future(supervisor.run(ended))
    await until(lambda: len(supervisor.nodes) >= 2 and all_up(supervisor))
    first, second = (node.ward for node in supervisor.nodes)
    processes = [first.process, second.process]

    async def stop(_: float) -> None:
        raise StillRuns("It does not end.")

    with monkeypatch.context() as patch:
        patch.setattr(first, "stop", stop)
        ended.set()
        done, _ = await asyncio.wait((task,), timeout=20)
    assert done and isinstance(task.exception(), StillRuns)
    assert not any(process.lives for process in processes if process is not None)
    assert not (folder / SOCKET_FILE).exists()
