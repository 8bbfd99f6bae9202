"""The progress view: a live panel on a terminal, sparse plain lines elsewhere."""

import io
import sys

import pytest
from rich.console import Console

from node.demo.progress import ModelProgress, ProgressView, Status

CHAT = ModelProgress("chat[/]", 2_434, 1_200, 1_100, 900, 4_750, 310, 2_000)
STATUS = Status("calls", 12, 75, 31, (CHAT, ModelProgress("code", 2_232)))


def shown(*statuses: Status, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal, color_system=None)
    with ProgressView(console) as view:
        for status in statuses:
            view.show(status)
        view.say("done [sic]")
    return out.getvalue()


def test_plain_line_tells_everything() -> None:
    line, last = shown(STATUS).splitlines()
    assert line == (
        "calls | height 31 | 12 s of about 75 s | "
        "chat[/]: 1200/2434 sent, 1100 claimed, 900 counted, mark 4,750  OI 310/2,000 | "
        "code: 0/2232 sent, 0 claimed, 0 counted, not listed yet"
    )
    assert last == "done [sic]"


def test_plain_lines_come_at_a_new_stage_or_after_a_while_only() -> None:
    statuses = [Status("set up", second, 75) for second in range(12)]
    lines = shown(*statuses, Status("calls", 11, 75)).splitlines()
    assert [line.split(" | ")[::2] for line in lines[:-1]] == [
        ["set up", "0 s of about 75 s"],
        ["set up", "5 s of about 75 s"],
        ["set up", "10 s of about 75 s"],
        ["calls", "11 s of about 75 s"],
    ]


def test_terminal_shows_a_panel_with_both_models() -> None:
    text = shown(STATUS, terminal=True)
    for needle in ("Sahara Futures demo", "chat[/]", "code", "1,200", "310 / 2,000", "height 31"):
        assert needle in text


def test_nothing_goes_to_standard_output_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView() as view:
        view.show(STATUS)
        view.say("one sentence")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "one sentence" in captured.err
    assert sys.stderr.isatty() is False
