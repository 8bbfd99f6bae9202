"""`sahara simulate`: exit codes, JSON, sweeps and replays."""

import json
from pathlib import Path
from typing import Any

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


def test_a_screen_stays_one_with_a_hundred_validators() -> None:
    done = run("--validators", "100", "--byzantine", "silent:32", "--views", "1")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    (healed,) = [number for number, line in enumerate(lines) if "healed" in line]
    assert " more, final again" in " ".join(lines[healed : healed + 2])
    assert len(lines) <= 24


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
        ("--jitter", "nan"),
        ("--loss", "nan"),
        ("--bandwidth", "inf"),
        ("--bandwidth", "nan"),
        ("--bandwidth", "1e-300"),
        ("--latency", "nan"),
        ("--latency", "1.2.3"),
        ("--latency", "-5"),
        ("--latency", "\u0663"),
        ("--latency", "/dev/zero"),
        ("--stakes", "\u0663,1,1,1"),
        ("--stakes", "1," * 20_000 + "1"),
        ("--stakes", "1,1,1," + "9" * 5_000),
        ("--byzantine", "silent:" + "9" * 5_000),
        ("--byzantine", "silent:NaN%"),
        ("--byzantine", "silent:101%"),
        ("--byzantine", "equivocator:0"),
        ("--byzantine", "silent:1,twins:0.0%"),
        ("--byzantine", "silent:1,,twins:1"),
        ("--byzantine", "silent:20%,silent:20%"),
        ("--partition", ""),
        ("--partition", "0|1@3-4;2|3@4-5"),
        ("--partition", "0|1@3-" + "9" * 40),
        ("--partition", ";".join(f"0|1@{view}-{view}" for view in range(2_000))),
        ("--epoch-length", "1"),
        ("--epoch-length", "9" * 30),
        ("--sweep", "0"),
        ("--sweep", "2", "--seed", str(2**63 - 1)),
        ("--jobs", "2"),
        ("--app", "full", "--churn", "0.5"),
        ("--swarm", "--views", "3"),
        ("--json", ""),
        ("--json", "/"),
        ("--plot", "plot.unheard"),
        ("--plot", "plot.svg", "--sweep", "2"),
        ("--plot", "plot.svg", "--json", "report.json"),
        ("--replay", "nowhere.json"),
        ("--replay", "/"),
        ("--replay", "/dev/zero"),
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_wrong_usage_is_exit_code_two_and_a_short_sentence(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert 20 < len(done.output.strip()) < 600
    assert "Traceback" not in done.output
    assert "$." not in done.output
    assert not list(tmp_path.iterdir()), "nothing is left of what was refused"


def test_a_report_that_cannot_be_written_in_the_end_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    arguments = ("--views", "4", "--sweep", "2", "--json", str(tmp_path / "sweep.json"))
    done = run(*arguments)
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    kept = json.loads(done.stdout[done.stdout.index('{\n  "runs": [') :])
    assert [each["seed"] for each in kept["runs"]] == [1, 2]


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


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", "\0"])
def test_a_replay_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    done = run("--replay", str(path))
    assert done.exit_code == 2
    assert "simulation.wrong_report" in done.output


DOCTORED: dict[str, Any] = {
    "verdict": "The chain forked, and the evidence names who did it.",
    "exit_code": 3,
    "violations": [{"invariant": "agreement", "view": 3, "text": "height 2: two"}],
    "finalized_height": 99,
    "evidence": [],
    "byzantine": [],
    "finality_delays_p50": 1.0,
    "validators": [1, 2, 3, 4],
    "invariants": [],
    "trace_records": 7,
    "liveness.progressed": False,
    "options.loss": 0.2,
    "application.late_votes": 0,
    "application.slashed": [],
}


def test_a_replay_finds_whatever_was_altered_in_a_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    given = ("--views", "12", "--app", "full", "--byzantine", "double-voter:1")
    assert run(*given, "--json", str(path)).exit_code == 0
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, "seconds": 1e9}))
    assert run("--replay", str(path)).exit_code == 0
    for name, value in DOCTORED.items():
        altered = json.loads(json.dumps(report))
        *above, last = name.split(".")
        place = altered
        for each in above:
            place = place[each]
        assert place[last] != value, name
        place[last] = value
        path.write_text(json.dumps(altered))
        done = run("--replay", str(path))
        assert done.exit_code == 1, name
        assert name in done.output or "The trace differs" in done.output, name
    path.write_text(json.dumps({**report, "remark": "added"}))
    assert run("--replay", str(path)).exit_code == 2


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
