"""The short form of a campaign, as its command: real validators, and a verdict that can be lost.

In namespaces where this user may make them, else on loopback with what is possible there.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from node import rooms
from node.campaign.pace import SAMPLES_MIN
from node.campaign.spaces import why_not
from node.campaign.strike import BEHIND_MAX

ROOT = Path(rooms.__file__).resolve().parents[1]
PLACE = [] if why_not() is None else ["--loopback"]
COMMAND = [sys.executable, "-m", "node", "devnet", "campaign", *PLACE]
SECONDS_MAX = 240.0
QUICK = ("--hold-max", "2", "--recovery-max", "60", "--block-time", "100", "--rate", "15")
"""Patient, for a test may share its machine: a process alone takes 20 s to start then."""


def campaign(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [*COMMAND, *QUICK, "--home", str(tmp_path / "net"), "--json", str(report), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert report.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(report.read_text())


def test_a_network_holds_through_the_short_form(tmp_path: Path) -> None:
    code, report = campaign(tmp_path, "--seconds", "20", "--seed", "11")
    assert report["findings"] == []
    assert code == 0
    assert report["passed"]
    assert len(report["strikes"]) >= 2
    load = report["load"]
    assert load["acknowledged"] > 50
    assert load["answers_compared"] == 4 * load["acknowledged"]
    assert {node["height"] > 10 for node in report["nodes"]} == {True}


def test_the_pace_is_kept_over_bad_links_and_a_late_node_joins(tmp_path: Path) -> None:
    links = [] if PLACE else ["--delay", "50", "--loss", "1"]
    words = ("--seconds", "10", "--kind", "none", "--block-time", "200", "--join", "12")
    code, report = campaign(tmp_path, *words, *links)
    assert report["findings"] == []
    assert code == 0
    assert report["strikes"] == []
    assert report["finality"]["samples"] >= SAMPLES_MIN
    if links:
        assert report["finality"]["p50"] >= 3 * 50, "a block is final after three delays"
    assert len(report["joins"]) == 2
    for join in report["joins"]:
        assert join["way"] == "blocks", "so young a chain has no snapshot"
        assert join["height"] >= 12 - BEHIND_MAX
        assert join["seconds"] > 0


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    home = tmp_path / "net"
    running = subprocess.Popen(
        [*COMMAND, *QUICK, "--home", str(home), "--seconds", "600", "--kind", "none"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "4 nodes make blocks.\n"
            nodes = [pid for pid in pids() if str(home) in words_of(pid)]
            assert len(nodes) == 4
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=150.0)
        finally:
            running.kill()
    assert running.returncode == 1
    assert not [pid for pid in pids() if str(home) in words_of(pid)]


def pids() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def words_of(pid: str) -> str:
    """The command line of a process that is not this test's own; empty when it is gone."""
    try:
        words = (Path("/proc") / pid / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return "" if "campaign" in words.split("\0")[:6] else words
