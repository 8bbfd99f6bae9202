"""One process kept running: back-off, kill, restart, and an end by force."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node.devnet import ward as module
from node.devnet.errors import NodeIsDown, StillRuns
from node.devnet.identity import ProcessIdentity
from node.devnet.ward import Phase, Ward, how

STEADY = "import sys; sys.stdin.read()"
DEAF = (
    "import signal, sys; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\n"
    "while 1: signal.pause()"
)
BROKEN = "import sys; print('no such luck'); sys.exit(3)"


@asynccontextmanager
async def kept(folder: Path, script: str) -> AsyncIterator[tuple[Ward, list[str]]]:
    said: list[str] = []
    line = [sys.executable, "-S", "-E", "-c", script]
    ward = Ward("node 0", lambda: line, folder / "log", said.append, lambda: None)
    task = asyncio.ensure_future(ward.keep())
    try:
        await asyncio.wait_for(ward.started(), 10)
        yield ward, said
    finally:
        await ward.stop(0.0)
        task.cancel()
        await asyncio.wait((task,), timeout=30)
        assert task.done()


async def until(holds: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_what_ends_by_itself_is_started_again_later_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS_MAX", 0.1)
    monkeypatch.setattr(module, "BACKOFF_SECONDS_MIN", 0.025)
    async with kept(tmp_path, BROKEN) as (ward, said):
        ward._pause_seconds = 0.025
        await until(lambda: ward.restarts >= 4)
    assert said[0].startswith("node 0 ended with exit code 3; starting it again in 0.025 s.")
    assert said[0].endswith("Its last words: no such luck")
    assert [line.partition(" in ")[2].split(" ")[0] for line in said[:4]] == [
        *("0.025", "0.05", "0.1", "0.1")
    ]


async def test_whoever_ran_for_long_is_started_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEADY_SECONDS", 0.0)
    async with kept(tmp_path, STEADY) as (ward, said):
        ward._pause_seconds = 16.0
        assert ward.process is not None
        assert ward.process.signal(signal.SIGKILL)
        await until(lambda: ward.restarts == 1 and ward.phase is Phase.RUNNING)
    assert said == ["node 0 ended by SIGKILL; starting it again in 0.5 s."]


async def test_what_was_killed_stays_down_until_it_is_restarted(tmp_path: Path) -> None:
    async with kept(tmp_path, STEADY) as (ward, said):
        first = ward.process
        await ward.kill()
        await until(lambda: ward.phase is Phase.DOWN)
        assert first is not None
        assert not first.lives
        with pytest.raises(NodeIsDown):
            await ward.kill()
        await asyncio.sleep(0.1)
        assert ward.process is None
        await ward.restart()
        assert ward.process not in (None, first)
        assert ward.restarts == 0
    assert said == [
        "node 0 was killed, and stays down until it is restarted.",
        "node 0 was started again.",
    ]


async def test_one_that_waits_is_killed_or_restarted_at_once(tmp_path: Path) -> None:
    async with kept(tmp_path, BROKEN) as (ward, _):
        ward._pause_seconds = 60.0
        await until(lambda: ward.phase is Phase.WAITING)
        await asyncio.wait_for(ward.restart(), 5)
        ward._pause_seconds = 60.0
        await until(lambda: ward.restarts == 2)
        await asyncio.wait_for(ward.kill(), 5)
        await until(lambda: ward.phase is Phase.DOWN)


async def test_one_that_runs_is_restarted_as_another_process(tmp_path: Path) -> None:
    async with kept(tmp_path, STEADY) as (ward, _):
        first = ward.process
        await ward.restart()
        assert ward.process not in (None, first)
        assert ward.restarts == 0


async def test_one_that_does_not_listen_or_is_suspended_is_ended_by_force(tmp_path: Path) -> None:
    async with kept(tmp_path, DEAF) as (ward, _):
        await until(lambda: "deaf" in (tmp_path / "log").read_text())
        process = ward.process
        assert process is not None
        assert process.signal(signal.SIGSTOP)
        began = time.monotonic()
        await ward.stop(0.2)
        assert 0.2 <= time.monotonic() - began < 2.0
        assert not process.lives


async def test_one_whose_keeper_fails_is_ended_with_it(tmp_path: Path) -> None:
    """As on a disk that is full: nobody would see the process end, and nothing is left to stop."""
    seen: list[ProcessIdentity] = []
    said: list[str] = []

    def changed() -> None:
        assert ward.process is not None
        seen.append(ward.process)
        raise OSError(28, "No space left on device")

    line = [sys.executable, "-S", "-E", "-c", DEAF]
    ward = Ward("node 0", lambda: line, tmp_path / "log", said.append, changed)
    keeping = asyncio.ensure_future(ward.keep())
    await asyncio.wait((keeping,), timeout=10)
    assert isinstance(keeping.exception(), OSError)
    assert ward.process is None
    assert not seen[0].lives
    assert said == [
        "node 0 was killed, for it cannot be kept any more: [Errno 28] No space left on device"
    ]
    async with asyncio.timeout(5):
        await ward.stop(2.0)


async def test_waiting_for_the_end_of_a_process_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the system cannot end, as one that waits for a disk, is named."""
    monkeypatch.setattr(module, "KILL_SECONDS_MAX", 0.1)
    async with kept(tmp_path, STEADY) as (ward, _):
        with monkeypatch.context() as patch:
            patch.setattr(ProcessIdentity, "signal", lambda *_: True)
            async with asyncio.timeout(5):
                with pytest.raises(StillRuns, match="node 0"):
                    await ward.stop(0.1)


def test_ends_are_told_in_words() -> None:
    assert (how(3), how(-9)) == ("with exit code 3", "by SIGKILL")
