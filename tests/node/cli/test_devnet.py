"""`sahara devnet` as a command: what is refused, and four real nodes from founding to the stop."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.cli.devnet import devnet, prepare
from node.devnet.layout import found
from node.devnet.process import ROOMS_FOLDER, environment
from node.devnet.state_file import DevnetState, read_state
from node.genesis_file import read_genesis
from node.home import GENESIS_FILE

STOP_SECONDS_MAX = 3.0


def said(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(devnet, arguments)
    return found.exit_code, found.output


@contextmanager
def running(home: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-m", "node", "devnet", "--home", str(home), "--json", *options]
    with subprocess.Popen(
        line, cwd=ROOMS_FOLDER, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def status(home: Path) -> list[dict[str, Any]]:
    code, text = said("status", "--home", str(home), "--json")
    nodes: list[dict[str, Any]] = json.loads(text)["nodes"] if code == 0 else []
    return nodes


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def at_least(home: Path, nodes: int, height: int) -> bool:
    rows = status(home)
    return len(rows) == nodes and all((row["finalized_height"] or -1) >= height for row in rows)


def all_gone(state: DevnetState) -> bool:
    return not any(process.lives for process in state.processes)


def test_four_validators_agree_lose_one_get_it_back_and_stop_together(tmp_path: Path) -> None:
    home = tmp_path / "dn"
    with running(home, "--validators", "4", "--block-time", "50") as process:
        until(lambda: at_least(home, 4, 5))
        rows = status(home)
        assert [row["index"] for row in rows] == [0, 1, 2, 3]
        for row in rows:
            assert len(row["roots"]) == min(16, row["finalized_height"] + 1)
            assert row["roots"][str(row["finalized_height"])] == row["state_root"]
            assert row["rss_mb"] > 10
            assert row["home"] == str(home / f"node-{row['index']}")
        roots: dict[str, set[str]] = {}
        for row in rows:
            for height, root in row["roots"].items():
                roots.setdefault(height, set()).add(root)
        assert all(len(found) == 1 for found in roots.values())
        assert said("kill", "2", "--home", str(home))[0] == 0
        reached = max(row["finalized_height"] or 0 for row in status(home))
        code, text = said("restart", "2", "--home", str(home), "--json")
        assert (code, json.loads(text)["node"]) == (0, 2)
        until(lambda: at_least(home, 4, reached + 3))
        state = read_state(home)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - began < STOP_SECONDS_MAX
        assert all_gone(state)
    assert said("status", "--home", str(home))[0] == 3


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "dn"
    with running(home, "--validators", "1", "--block-time", "50") as process:
        until(lambda: at_least(home, 1, 1))
        assert said("--home", str(home), "--fresh")[1].startswith("devnet.running: ")
        state = read_state(home)
        handles = [os.pidfd_open(each.pid) for each in state.processes]
        process.kill()
        process.wait(30)
        for handle in handles:
            assert select.select([handle], [], [], STOP_SECONDS_MAX)[0]
            os.close(handle)
    assert all_gone(state)
    code, text = said("stop", "--home", str(home))
    assert (code, text.split(":")[0]) == (3, "devnet.not_running")


def test_what_cannot_be_done_is_told_with_its_exit_code(tmp_path: Path) -> None:
    home = str(tmp_path / "dn")
    assert said("status", "--home", home) == said("--home", home, "status")
    code, text = said("status", "--home", home, "--json")
    assert (code, json.loads(text)["error"]["code"]) == (1, "devnet.missing")
    for words in (["kill"], ["kill", "x"], ["--validators", "0"], ["--block-time", "-1"], ["fly"]):
        assert said(*words, "--home", home)[0] == 2
    (tmp_path / "thesis.tex").touch()
    code, text = said("--home", str(tmp_path), "--fresh")
    assert (code, text.split(":")[0]) == (1, "devnet.exists")
    assert (tmp_path / "thesis.tex").exists()


def test_a_devnet_goes_on_with_the_validators_it_has(tmp_path: Path) -> None:
    home = tmp_path / "dn"
    found(home, 2, 1_700_000_000_000)
    code, text = said("--home", str(home), "--validators", "3")
    assert (code, text.split(":")[0]) == (1, "devnet.exists")
    assert "2 validators" in text


def test_a_fresh_devnet_takes_the_place_of_the_one_that_is_there(tmp_path: Path) -> None:
    home = tmp_path / "dn"
    prepare(home, 2, fresh=True)
    first = read_genesis(home / "node-0" / GENESIS_FILE).hash
    prepare(home, None, fresh=False)
    assert read_genesis(home / "node-0" / GENESIS_FILE).hash == first, "it goes on"
    prepare(home, 3, fresh=True)
    founded = read_genesis(home / "node-2" / GENESIS_FILE)
    assert founded.hash != first
    assert len(founded.validators) == 3


@pytest.mark.parametrize("name", ["status", "stop", "kill", "restart", "add", "traffic"])
def test_every_command_shows_an_example(name: str) -> None:
    code, text = said(name, "--help")
    assert code == 0
    assert f"sahara devnet {name}" in text
