"""The systemd unit: systemd reads it without a complaint, and it says what the node needs."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from node.cli import COMMANDS
from node.config import SETTINGS
from node.genesis_file import configs_folder

UNIT = configs_folder() / "systemd" / "sahara.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.RawConfigParser(strict=True, delimiters=("=",), interpolation=None)
    unit.optionxform = str  # systemd's names have capitals
    unit.read(UNIT)
    assert unit.sections() == ["Unit", "Service", "Install"]
    return unit["Service"]


def test_it_starts_the_node_with_its_passphrase_from_a_credential(
    service: configparser.SectionProxy,
) -> None:
    program, command, flag, home, *rest = service["ExecStart"].split()
    assert (Path(program).name, command, flag) == ("sahara", "run", "--home")
    assert command in COMMANDS
    assert rest == ["--log-format", "json"]
    assert service["LoadCredential"].startswith("passphrase:")
    variable, _, path = service["Environment"].partition("=")
    assert variable.removeprefix("SAHARA_").lower() in SETTINGS
    assert path == "%d/passphrase"
    assert service["ReadWritePaths"] == home == f"/var/lib/{service['StateDirectory']}"


def test_it_is_hardened_and_comes_back(service: configparser.SectionProxy) -> None:
    expected = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
        "LimitCORE": "0",
        "Restart": "on-failure",
        "KillSignal": "SIGTERM",
    }
    assert {name: service[name] for name in expected} == expected
    assert int(service["LimitNOFILE"]) >= 4_096
    assert service["User"] != "root"


def test_systemd_has_nothing_to_say(tmp_path: Path, service: configparser.SectionProxy) -> None:
    """Where systemd is not installed, that the unit parses (above) has to be enough."""
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        return
    copy = tmp_path / UNIT.name  # the program need not be installed here
    copy.write_text(UNIT.read_text().replace(service["ExecStart"].split()[0], "/bin/true"))
    assert complaints(analyzer, copy) == []
    copy.write_text(copy.read_text().replace("KillSignal=SIGTERM", "KillSignal=SIGTREM"))
    assert "SIGTREM" in complaints(analyzer, copy)[0]


def complaints(analyzer: str, unit: Path) -> list[str]:
    done = subprocess.run(
        [analyzer, "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in done.stderr.splitlines() if unit.name in line]
