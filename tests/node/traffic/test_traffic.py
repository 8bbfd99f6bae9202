"""Traffic: its parts over a chain in memory, and all of it over four nodes, one of them killed."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import IO, Any

import pytest
from click.testing import CliRunner

from node.cli.devnet import devnet
from node.client import RoamingClient, Unreachable
from node.demo.errors import StepFailed
from node.demo.profile import BUCKETS
from node.devnet.process import ROOMS_FOLDER, environment
from node.devnet.state_file import read_state
from node.traffic.following import following
from node.traffic.rounds import plan_of
from node.traffic.run import for_ever, trimming
from node.traffic.transfers import SENDERS, Transfers, senders_of

SECONDS_MAX = 60.0


def client_of(node: Any, *urls: str) -> RoamingClient:
    return RoamingClient(lambda: urls, genesis_hash=node.genesis.hash)


def thread_heaps(pid: int) -> int:
    """Return how many heaps of glibc a process has besides its first, by what it has mapped.

    Each takes 64 MiB of addresses, aligned to as many, and opens only the beginning of them.
    """
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    maps = [(line.split()[0], line.split()[1], len(line.split()) > 5) for line in lines]
    found = 0
    for (opened, rights, named), (closed, none, _) in pairwise(maps):
        start, end = (int(word, 16) for word in (opened.split("-")[0], closed.split("-")[1]))
        is_whole = end - start == 2**26 and start % 2**26 == 0
        found += is_whole and rights == "rw-p" and none == "---p" and not named
    return found


async def test_the_heap_is_trimmed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trims = 0

    def trim() -> bool:
        nonlocal trims
        trims += 1
        return True

    monkeypatch.setattr("node.traffic.run.TRIM_SECONDS", 0.0)
    monkeypatch.setattr("node.traffic.run.heap.trim", trim)
    task = asyncio.create_task(trimming())
    await reached(lambda: trims >= 3)
    task.cancel()
    await asyncio.wait((task,))


async def reached(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_transfers_keep_their_pace_and_outlive_refusals(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, client_of(memory_node, url) as client:
        transfers = Transfers(client, senders_of(1), per_s=400.0)
        await transfers.fund(memory_node.accounts[0])
        task = asyncio.create_task(transfers.run())
        await reached(lambda: transfers.sent >= 3 * SENDERS)
        task.cancel()
        await asyncio.wait((task,), timeout=30)
        assert task.done()
        assert transfers.refused == 0
        poor = Transfers(client, senders_of(2), per_s=400.0)
        task = asyncio.create_task(poor.run())
        await reached(lambda: poor.refused >= SENDERS)
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,), timeout=30)
        assert task.done()


async def test_heights_are_followed_from_node_to_node(make_node: Any, serve: Any) -> None:
    lost, other = make_node(), make_node()
    for _ in range(2):
        other.step()
    async with serve(other) as url:
        async with serve(lost) as lost_url:
            client = client_of(lost, lost_url, url)
            follower = following(client)
            heights = await follower.__aenter__()
            assert heights.height == 1
            lost.step()
            assert await asyncio.wait_for(heights.reach(2), SECONDS_MAX) == 2
        assert await asyncio.wait_for(heights.reach(3), SECONDS_MAX) == 3
        other.step()
        assert await asyncio.wait_for(heights.reach(4), SECONDS_MAX) == 4
        await follower.__aexit__(None, None, None)
        await client.close()


async def test_what_fails_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.traffic.run.PAUSE_SECONDS", 0.0)
    said: list[str] = []
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        match tries:
            case 1:
                raise Unreachable("gone")
            case 2:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
            case 3:
                raise ZeroDivisionError

    async def fails() -> None:
        raise StepFailed("selling", "bank.insufficient_funds", "too little")

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(for_ever("work", work, said.append), SECONDS_MAX)
    assert said[0] == "work: client.unreachable: gone"
    assert "bank.insufficient_funds" in said[1]
    assert tries == 3


def test_every_round_has_demand_of_its_own_in_every_bucket() -> None:
    seed = 2**61
    plans = [plan_of(seed, number) for number in range(3)]
    for plan in plans:
        assert plan.seed == seed, "one cast"
        for trace in plan.traces:
            assert {trace.bucket_of(call.time, BUCKETS) for call in trace.calls} >= {0, BUCKETS - 1}
    assert plans[0].traces != plans[1].traces != plans[2].traces


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def test_traffic_goes_on_while_a_node_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "dn"
    log = home / "traffic.log"

    def lines(word: str) -> list[str]:
        with suppress(FileNotFoundError):
            return [line for line in log.read_text().splitlines() if word in line]
        return []

    def ask(*words: str) -> Any:
        found = CliRunner().invoke(devnet, [*words, "--home", str(home), "--json"])
        assert found.exit_code == 0, found.output
        return json.loads(found.output)

    def height() -> int:
        with suppress(AssertionError):  # it is only just starting
            return max(row["height"] or 0 for row in ask("status")["nodes"])
        return 0

    line = [sys.executable, "-m", "node", "devnet", "--home", str(home), "--json"]
    options = ["--validators", "4", "--block-time", "50", "--traffic", "--transfers", "20"]
    told: list[Any] = []

    def listen(out: IO[str]) -> None:
        told.extend(one["traffic"] for one in map(json.loads, out) if "traffic" in one)

    with subprocess.Popen(
        [*line, *options], cwd=ROOMS_FOLDER, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        listener = Thread(target=listen, args=(process.stdout,), daemon=True)
        listener.start()
        try:
            until(lambda: height() > 30)  # the first round has begun
            ask("kill", "0")  # the node that is asked, while everything goes on
            killed_at = height()
            until(lambda: bool(lines("round ")))
            # A table shows the last line that the traffic said, so it need not show each of them.
            until(lambda: any("transfers sent" in row["says"] for row in told))
            assert height() > killed_at
            calls = [int(line.split()[2]) for line in lines("round ")]
            assert max(calls) > 100
            traffic = read_state(home).traffic
            assert traffic is not None
            # calls were signed in threads; where these have heaps of their own, gaps add up in each
            assert thread_heaps(traffic.pid) == 0
            lived = traffic.lives
            assert lived
            process.terminate()
            assert process.wait(SECONDS_MAX) == 0
        finally:
            process.kill()
            listener.join(SECONDS_MAX)
    assert not traffic.lives
    assert all(row["phase"] in ("running", "down") for row in told)
