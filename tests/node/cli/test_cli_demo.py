"""`sahara demo` as a command: what bad input gets, and that nothing is started for it."""

import socket
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from node.cli import demo as command
from node.cli.demo import demo, show, window_seconds
from node.demo.errors import DemandOverCap, PlotUnavailable
from node.demo.profile import (
    REFERENCE_PRICE_MAX,
    DemoPlan,
    reference_price_of,
    require_under_cap,
)
from node.demo.report import Report
from node.demo.run import Result
from node.demo.trace import Trace, TraceCall, read_traces

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:17:03.9799600,4808,10\n"


def said(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(demo, arguments)
    return found.exit_code, found.output


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    trace = tmp_path / "conv.csv"
    trace.write_text(HEADER + GOOD + "2023-11-16 18:17:04.0,12\n")
    code, text = said("--trace", str(trace), "--json", str(tmp_path / "r.json"))
    assert code == 1
    assert text.startswith("trace.bad_row: ")
    assert "conv.csv line 3" in text and "--skip-bad" in text
    assert not (tmp_path / "r.json").exists()


def test_a_missing_trace_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    assert said("--trace", str(tmp_path / "none.csv"))[1].startswith("trace.not_found: ")
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "conv.csv", tmp_path / "a" / "conv.csv"):
        path.write_text(HEADER + GOOD)
    twice = ("--trace", str(tmp_path / "conv.csv"), "--trace", str(tmp_path / "a" / "conv.csv"))
    assert said(*twice)[1].startswith("trace.duplicate_name: ")


def test_a_port_in_use_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, text = said("--port", port, "--json", str(tmp_path / "r.json"))
    assert code == 1
    assert f"devnet.port_in_use: Port {port} cannot be had" in text


def test_demand_beyond_the_price_cap_is_refused_or_gets_a_higher_reference(tmp_path: Path) -> None:
    trace = tmp_path / "big.csv"
    trace.write_text(HEADER + "2023-11-16 18:17:03.0,4294967295,10\n")
    found = ("--trace", str(trace), "--json", str(tmp_path / "r.json"))
    code, text = said(*found, "--reference-price", "20000")
    assert code == 1
    assert text.startswith("demo.demand_over_cap: The demand for big comes to 4294967 ticks")
    assert "--reference-price of at least 429497" in text
    assert reference_price_of(read_traces([trace])) == 2_000_000
    trace.write_text(HEADER + GOOD)
    assert reference_price_of(read_traces([trace])) == 20_000


def test_two_greatest_rows_fit_and_what_no_reference_can_hold_asks_for_less(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "big.csv"
    row = "2023-11-16 18:17:03.0,4294967295,4294967295\n"
    trace.write_text(HEADER + row + row)
    read = read_traces([trace])
    require_under_cap(DemoPlan(tuple(read), 5.0, reference_price=reference_price_of(read)))
    huge = Trace("huge", (TraceCall(0, 2**32, 0, 2**32),) * 20_000, 1)
    with pytest.raises(DemandOverCap) as caught:
        require_under_cap(DemoPlan((huge,), 5.0, reference_price=reference_price_of([huge])))
    assert f"more than {REFERENCE_PRICE_MAX} is not to be had" in str(caught.value)
    assert "--reference-price" in str(caught.value) and "price cap" in str(caught.value)


@pytest.mark.parametrize("speed", ["nan", "inf", "-inf", "1e-300", "0", "-1", "1e7"])
def test_a_speed_out_of_range_is_told_the_range(speed: str) -> None:
    code, text = said(f"--speed={speed}")
    assert code == 2
    assert "0.001 to 1,000,000" in " ".join(text.split())


def test_a_window_of_more_than_a_day_is_told_the_least_speed() -> None:
    year = Trace("a", (TraceCall(0, 1, 0, 1), TraceCall(31_536_000, 1, 0, 1)), 1)
    with pytest.raises(click.UsageError, match=r"--speed of at least 365,"):
        window_seconds([year], 364.0)
    assert window_seconds([year], 365.0) == 86_400


def test_brackets_in_sentences_and_paths_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_plot(*_: Any) -> None:
        raise PlotUnavailable

    monkeypatch.setattr(command, "draw_plot", no_plot)
    path = tmp_path / "run[red].json"
    report = Report(
        models={},
        pnl={},
        trading_fees={},
        pnl_sum="0",
        supply_conserved=True,
        state_root="",
        height=1,
        seconds=1.0,
        checks={},
    )
    show(Result(report=report, histories=[], home=tmp_path / "[x]"), path, "png")
    text = capsys.readouterr().out
    assert "pip install 'sahara-node[plot]'" in text
    assert f"report   {path}" in text and f"home     {tmp_path / '[x]'}" in text


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_out_of_range_is_wrong_usage(port: str) -> None:
    assert said(f"--port={port}")[0] == 2


def test_port_zero_takes_a_free_one(tmp_path: Path) -> None:
    """The missing trace is refused, which is past the reading of options."""
    assert "trace.not_found" in said("--port", "0", "--trace", str(tmp_path / "none.csv"))[1]


@pytest.mark.parametrize(
    "wrong", [("--speed", "0"), ("--payers", "0"), ("--plot", "gif"), ("x",), ("--trace", "t") * 17]
)
def test_wrong_usage_ends_with_two(wrong: tuple[str, ...]) -> None:
    assert said(*wrong)[0] == 2


def test_speed_sets_the_windows_wall_time() -> None:
    short = Trace("a", (TraceCall(0, 1, 0, 1), TraceCall(30_000, 1, 0, 1)), 1_000)
    long = Trace("b", (TraceCall(0, 1, 0, 1), TraceCall(1_200_000, 1, 0, 1)), 10_000)
    assert window_seconds([short, long], None) == 60
    assert window_seconds([short, long], 2.0) == 60
    assert window_seconds([short], 2.0) == 15
    assert window_seconds([short], 1_000.0) == 5
