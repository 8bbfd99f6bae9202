"""What the terminal of a devnet shows: a table for people, lines for pipes, JSON for programs."""

import io
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from node.devnet.identity import identity_of
from node.devnet.view import COLUMNS, LineView, TableView, table_of, view_of
from node.devnet.ward import Phase, Ward
from node.devnet.watch import Sight

LOG = "50 transfers sent, 5.0 a second"


def node(index: int, *, answers: bool) -> Any:
    sight = Sight()
    if answers:
        sight.height, sight.finality_ms, sight.peers, sight.mode = 41 + index, 123, 3, "votes"
        sight.blocks.append((time.monotonic(), 500))
    ward = SimpleNamespace(phase=Phase.RUNNING, process=identity_of(os.getpid()))
    seat = SimpleNamespace(index=index, url=f"http://127.0.0.1:{4180 + 10 * index}")
    return SimpleNamespace(seat=seat, ward=ward, sight=sight)


def traffic(folder: Path) -> Ward:
    log = folder / "traffic.log"
    log.write_text(f"earlier\n{LOG}\n")
    return Ward("traffic", list, log, lambda _: None, lambda: None)


def test_the_table_has_height_finality_peers_rate_and_memory(tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table_of([node(0, answers=True), node(1, answers=False)], traffic(tmp_path)))
    head, first, other, *below = console.export_text().splitlines()
    assert all(name in head for name in COLUMNS)
    assert {"height", "finality", "peers", "tx/s", "memory"} <= set(COLUMNS)
    assert all(word in first for word in ("votes", "41", "123 ms", "3", "100.0", " MB", ":4180"))
    assert other.split().count("-") == 5, "who does not answer has dashes"
    assert LOG in below[0] and "earlier" not in below[0]


def test_programs_get_one_object_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = view_of(as_json=True)
    assert isinstance(view, LineView)
    view.say("node 1 was added.")
    view.show([node(0, answers=True)], traffic(tmp_path))
    view.show([node(0, answers=True)], None)  # too soon after the last one
    view.close()
    said, shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == {"event": "node 1 was added."}
    (row,) = shown["nodes"]
    assert (row["height"], row["finality_ms"], row["peers"], row["tx_per_s"]) == (41, 123, 3, 100.0)
    assert row["rss_mb"] > 1
    assert shown["traffic"]["says"] == LOG


def test_a_pipe_gets_lines_and_a_terminal_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = view_of(as_json=False)
    view.show([node(0, answers=True), node(1, answers=False)], None)
    assert capsys.readouterr().out == "heights 41 -  tx/s 100.0\n"
    table = TableView()
    table.say("[node] 1 was [killed]")
    table.show([node(0, answers=True)], traffic(tmp_path))
    table.close()
    out = capsys.readouterr().out
    assert "[node] 1 was [killed]" in out and "finality" in out
