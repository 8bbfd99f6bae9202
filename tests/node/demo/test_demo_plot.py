"""The picture: written as PNG or SVG, and one clear sentence where matplotlib is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from node.demo.errors import PlotUnavailable
from node.demo.plot import MarketHistory, Moment, draw_plot, shortened

HISTORY = MarketHistory(
    name="chat $x$",
    moments=tuple(
        Moment(height, 60 * height, 4_000 + height, 4_000 if height % 2 else None, 5, 20 * height)
        for height in range(10, 70)
    ),
    window_first=20,
    window_last=60,
    budget_lots=2_000,
    settlement_price=4_140,
    tick_index=1_000,
)


def test_suffix_decides_between_png_and_svg(tmp_path: Path) -> None:
    draw_plot([HISTORY, replace(HISTORY, name="code")], tmp_path / "r.png")
    draw_plot([HISTORY], tmp_path / "r.svg")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "r.svg").read_bytes()


def test_markets_that_saw_little_or_nothing_are_drawn_too(tmp_path: Path) -> None:
    quiet = replace(HISTORY, moments=(Moment(9, 0, 0, None, 0, 0),), settlement_price=None)
    draw_plot([quiet, replace(HISTORY, moments=())], tmp_path / "quiet.png")
    draw_plot([], tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()


def test_missing_matplotlib_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotUnavailable, match=r"pip install 'sahara-node\[plot\]'"):
        draw_plot([HISTORY], tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()


def test_long_names_leave_room_for_the_legend() -> None:
    assert shortened("a" * 24) == "a" * 24
    assert shortened("a" * 25) == "a" * 23 + "…"
