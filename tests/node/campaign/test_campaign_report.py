"""The report as JSON, as a screen, and as a picture."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from node.campaign.findings import Finding
from node.campaign.pace import spread_of
from node.campaign.plot import draw_plot
from node.campaign.report import (
    Join,
    Load,
    Machine,
    NodeFigures,
    Report,
    Wishes,
    report_json,
)
from node.campaign.screen import FINDINGS_SHOWN_MAX, report_screen
from node.campaign.strike import Strike


def report(findings: int) -> Report:
    return Report(
        passed=not findings,
        findings=[Finding(1.0, "campaign.fork", f"Fork {at}.") for at in range(findings)],
        wishes=Wishes(seed=9),
        seconds=20.0,
        blocks=30,
        strikes=[Strike("wipe", (2,), 5.0, 8.0, 3.2, 1.5, 10, 12, 2.0)],
        load=Load(10, 9, 2, 1, {"mempool.full": 1}, 36),
        interval=spread_of([200.0, 210.0, 900.0]),
        finality=spread_of([]),
        recovery=spread_of([3_200.0]),
        nodes=[NodeFigures(0, 1, 30, 1, 70.0, 75.0)],
        warnings={"follows without a vote": 1},
        machine=Machine(2, 3.5, 12.0),
        joins=[Join("blocks", 2_000, 12.5, 160.0, 800.0), Join("snapshot", 2_010, 3.5)],
        heights={"0": [(0.0, 0), (10.0, None), (20.0, 30)]},
    )


def shown(one: Report) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(report_screen(one))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_screen_tells_verdict_failures_and_figures() -> None:
    text = shown(report(0))
    for words in ("PASSED", "seed 9", "wipe", "3.2 s", "9 final", "without a vote"):
        assert words in text
    for words in ("2000 by blocks in 12.5 s, 160 blocks/s, 800 tr", "2010 by snapshot in 3.5 s "):
        assert words in text
    assert "FAILED" not in text


def test_what_was_found_stands_on_the_screen_bounded() -> None:
    text = shown(report(FINDINGS_SHOWN_MAX + 3))
    assert "FAILED" in text
    assert "Fork 0." in text
    assert f"Fork {FINDINGS_SHOWN_MAX}." not in text
    assert "and 3 more" in text


def test_the_json_holds_everything() -> None:
    found = json.loads(report_json(report(1)))
    assert found["findings"][0]["code"] == "campaign.fork"
    assert found["strikes"][0]["recovered_seconds"] == 3.2
    assert found["heights"]["0"][1] == [10.0, None]
    assert found["wishes"]["kinds"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"heights.{suffix}"
    draw_plot(report(0), path)
    head = path.read_bytes()[:200]
    assert head.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
