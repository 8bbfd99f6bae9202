"""Processes on loopback: who comes late, or was away for long, syncs, and then votes again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.home import NODE_KEY, Home, HomeWishes, create_home, create_homes
from node.keystore import key_info
from node.sync.core import BEHIND_HEIGHTS
from tests.node.network import test_processes
from tests.node.network.test_processes import COUNT, Process, until

PORT = 5_000 + os.getpid() % 500
FAR_HEIGHTS = 5 * BEHIND_HEIGHTS
"""What is little farther than a sync's bound an engine may fetch by itself before one begins."""
PATIENCE = 240.0
"""Seconds for what takes a few: five processes may share their machine with many others."""


def quicken(node: Process) -> None:
    """Let a node make blocks as fast as they go."""
    with node.client() as client:
        assert client.call("node.set_pacing", block_interval_ms_min=1, idle_interval_ms=5)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Process]]:
    """Four validators and one that only follows; nobody is started."""
    monkeypatch.setattr(test_processes, "PORT", PORT)
    paths = [tmp_path / f"n{number}" for number in range(COUNT + 1)]
    time_ms = time.time_ns() // 10**6
    create_homes(paths[:COUNT], HomeWishes(time_ms=time_ms))
    founded = Home(paths[0]).genesis_file
    create_home(paths[COUNT], HomeWishes(time_ms=time_ms, genesis=founded))
    targets = [
        f"{key_info(path, NODE_KEY).public_key.hex()}@127.0.0.{1 + number}:{PORT}"
        for number, path in enumerate(paths)
    ]
    made = [
        Process(number, path, ",".join(targets[:number] + targets[number + 1 :]))
        for number, path in enumerate(paths)
    ]
    yield made
    for node in made:
        if node.process is not None:
            node.end(signal.SIGKILL)


def synced(node: Process) -> None:
    """The node has synced once, and says so."""
    until(lambda: "sync ends" in node.log(), PATIENCE)
    assert node.log().count("sync begins") == node.log().count("sync ends")
    status = node.status()
    assert status is not None and not status["is_syncing"]
    assert status["sync_target_height"] > BEHIND_HEIGHTS


def test_who_was_away_syncs_and_votes_again_and_who_joins_follows(nodes: list[Process]) -> None:
    *early, away, follower = nodes
    for node in (*early, away):
        node.start()
    until(lambda: min(node.height() for node in (*early, away)) >= 3, PATIENCE)
    for node in early:
        quicken(node)
    assert away.end(signal.SIGKILL) == -signal.SIGKILL
    goal = early[0].height() + BEHIND_HEIGHTS + 10  # less than what jails it
    until(lambda: min(node.height() for node in early) >= goal, PATIENCE)
    away.start()
    until(lambda: away.height() >= goal, PATIENCE)
    until(lambda: away.log().count("sync begins") == away.log().count("sync ends"), PATIENCE)
    until(lambda: min(node.height() for node in early) >= FAR_HEIGHTS, PATIENCE)
    follower.start("--no-state-sync")
    until(lambda: follower.height() >= FAR_HEIGHTS, PATIENCE)
    synced(follower)
    assert early[0].end(signal.SIGKILL) == -signal.SIGKILL
    voters = [away, *early[1:]]  # three of four: nothing is final without the vote of each of them
    at = max(node.height() for node in voters)
    until(lambda: min(node.height() for node in (*voters, follower)) >= at + 5, PATIENCE)
    common = min(node.height() for node in (*voters, follower))
    assert len({str(node.header(common)) for node in (*voters, follower)}) == 1
