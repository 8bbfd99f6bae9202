"""`sahara simulate`: exit codes, JSON, sweeps and replays."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli.simulate import simulate
from node.sim.checkers import NAMES


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def test_a_run_says_everything_on_one_screen_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = run("--views", "20", "--json", str(path))
    assert done.exit_code == 0, done.output
    assert "Nothing broke." in done.output
    assert len(done.output.splitlines()) <= 24
    report = json.loads(path.read_text())
    wanted = (
        "seed options validators byzantine views finalized_height block_interval_delays_p50 "
        "finality_delays_p50 finality_ms_p50 finality_ms_p99 violations forks evidence "
        "evidence_stake_fraction trace_hash seconds"
    )
    assert set(wanted.split()) <= set(report)
    assert report["invariants"] == list(NAMES)


def test_a_fork_with_evidence_is_exit_code_three(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert run("--byzantine", "equivocator:2", "--json", str(path)).exit_code == 3
    evidence = json.loads(path.read_text())["evidence"]
    assert all(row["byzantine"] for row in evidence)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--byzantine", "unheard:1"),
        ("--stakes", "1,2"),
        ("--latency", "nowhere.json"),
        ("--partition", "0|0@1-2"),
        ("--partition", "0,1|2,3@5-1"),
        ("--replay", "report.json", "--seed", "4"),
        ("--sweep", "3", "--replay", "report.json"),
        ("--json", "/nowhere/report.json"),
        ("--plot", "/nowhere/plot.png"),
        ("--views", "0"),
        ("--loss", "2"),
    ],
)
def test_wrong_usage_is_exit_code_two(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.output.strip()


def test_a_sweep_sums_up_its_seeds(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    done = run("--views", "8", "--sweep", "4", "--jobs", "2", "--seed", "10", "--json", str(path))
    assert done.exit_code == 0, done.output
    sweep = json.loads(path.read_text())
    assert [each["seed"] for each in sweep["runs"]] == [10, 11, 12, 13]
    assert sweep["summary"]["nothing_broke"] == 4


def test_a_sweep_with_forks_is_exit_code_three() -> None:
    arguments = ("--views", "8", "--sweep", "2", "--byzantine", "equivocator:2")
    assert run(*arguments).exit_code == 3


def test_a_replay_tells_every_message_and_finds_a_divergence(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run("--views", "6", "--loss", "0.1", "--json", str(path))
    same = run("--replay", str(path))
    assert same.exit_code == 0
    assert "Propose" in same.output
    assert "The trace is that of the report" in same.output
    report = json.loads(path.read_text())
    report["trace_hash"] = "00" * 32
    report["trace_marks"][40][1] = "0" * 16
    path.write_text(json.dumps(report))
    other = run("--replay", str(path))
    assert other.exit_code == 1
    assert f"before record {report['trace_marks'][40][0]}" in other.output


def test_a_replay_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    done = run("--replay", str(path))
    assert done.exit_code == 1
    assert "simulation.wrong_report" in done.output


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    assert run("--views", "4", "--plot", str(path)).exit_code == 0
    assert path.read_text().startswith("<?xml")


def test_a_swarm_draws_its_options_and_its_reports_replay(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    one = tmp_path / "report.json"
    assert run("--swarm", "--sweep", "3", "--seed", "5", "--json", str(path)).exit_code == 0
    assert run("--swarm", "--seed", "6", "--json", str(one)).exit_code == 0
    swarm, alone = json.loads(path.read_text())["runs"], json.loads(one.read_text())
    assert swarm[1]["options"] == alone["options"]
    assert swarm[1]["trace_hash"] == alone["trace_hash"]
    assert len({json.dumps({**each["options"], "seed": 0}) for each in swarm}) == 3
    assert run("--replay", str(one)).exit_code == 0


def test_a_swarm_refuses_options_that_it_draws_itself() -> None:
    done = run("--swarm", "--crash", "0.1")
    assert done.exit_code == 2
    assert "--crash" in done.output
