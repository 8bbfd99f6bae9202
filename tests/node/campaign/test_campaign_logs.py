"""Logs are read for what must not stand in them."""

import logging
from pathlib import Path

import pytest

from node.campaign.findings import Findings
from node.campaign.log_check import read_logs, secrets_of
from node.campaign.member import Member, seat_in_space
from node.home import GENESIS_FILE, HomeWishes, create_home
from node.logs import HumanFormatter

CLEAN = (
    "10:00:00.000 info    serving rpc=x\n10:00:01.000 warning peer lost peer=aa\n"
    "10:00:02.000 info    began with a snapshot height=101 state_root=aa\n"
)


@pytest.fixture
def member(tmp_path: Path) -> Member:
    home = tmp_path / "node-0"
    create_home(home, HomeWishes(time_ms=1_700_000_000_000))
    return Member(seat_in_space(0, home), [], {}, Findings(), None)


def test_a_clean_log_is_clean_and_its_warnings_are_counted(member: Member) -> None:
    findings = Findings()
    member.log_file.write_text(CLEAN * 2)
    assert read_logs([member], findings) == {"began with a snapshot": 2, "peer lost": 2}
    assert findings.found == []


@pytest.mark.parametrize(
    "line", ["10:00:00.000 error   halted code=x", "Traceback (most recent call last):"]
)
def test_errors_and_tracebacks_are_found(member: Member, line: str) -> None:
    findings = Findings()
    member.log_file.write_text(f"{CLEAN}{line}\n")
    read_logs([member], findings)
    assert [finding.code for finding in findings.found] == ["campaign.error_logged"]


@pytest.mark.parametrize(("level", "found"), [("warning", 0), ("error", 1), ("critical", 1)])
def test_levels_are_read_as_the_node_writes_them(member: Member, level: str, found: int) -> None:
    findings = Findings()
    record = logging.LogRecord(
        "sahara", logging.getLevelName(level.upper()), "", 0, "it broke", None, None
    )
    member.log_file.write_text(HumanFormatter().format(record) + "\n")
    assert read_logs([member], findings) == ({} if found else {"it broke": 1})
    assert [finding.code for finding in findings.found] == ["campaign.error_logged"] * found


@pytest.mark.parametrize("text", ["", '{"level": "error", "message": "halted"}\n'])
def test_a_log_that_cannot_be_read_is_not_clean(member: Member, text: str) -> None:
    findings = Findings()
    member.log_file.write_text(text)
    read_logs([member], findings)
    assert [finding.code for finding in findings.found] == ["campaign.log_unreadable"]


def test_a_home_without_a_validators_key_has_its_other_secrets(tmp_path: Path) -> None:
    founder, home = tmp_path / "founder", tmp_path / "full"
    create_home(founder, HomeWishes(time_ms=1_700_000_000_000))
    late = HomeWishes(profile="full", time_ms=1, genesis=founder / GENESIS_FILE)
    create_home(home, late)
    assert {*secrets_of(home)} == {"passphrase", "node key"}


@pytest.mark.parametrize("name", ["passphrase", "validator key", "node key"])
def test_every_secret_of_a_home_is_found(member: Member, name: str) -> None:
    findings = Findings()
    secret = secrets_of(member.seat.home)[name]
    member.log_file.write_text(f"{CLEAN}10:00:00.000 info    told it={secret}\n")
    read_logs([member], findings)
    assert [finding.code for finding in findings.found] == ["campaign.secret_logged"]
    assert secret not in findings.found[0].sentence


def test_a_wiped_node_keeps_what_an_operator_keeps(member: Member) -> None:
    home = member.seat.home
    (home / "data").mkdir()
    (home / "data" / "x").write_text("x")
    (home / "journal").write_text("x")
    member.wipe()
    left = {entry.name for entry in home.iterdir()}
    assert left == {"keys", "genesis.toml", "config.toml", "passphrase"}
