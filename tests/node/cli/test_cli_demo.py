"""`sahara demo` as a command: what bad input gets, and that nothing is started for it."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.demo import demo, window_seconds
from node.demo.profile import reference_price_of
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
