"""Logs are read for what must not stand in them."""

from pathlib import Path

import pytest

from node.campaign.findings import Findings
from node.campaign.log_check import read_logs, secrets_of
from node.campaign.member import Member, seat_in_space
from node.home import HomeWishes, create_home

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
