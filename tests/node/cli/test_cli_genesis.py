"""`sahara genesis`, as two operators and whoever assembles their network meet it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.addresses import format_address
from node.cli import main
from node.cli.genesis import genesis
from node.genesis_file import read_genesis
from node.keystore import LIGHT_COST, create_key, key_info, read_passphrase

ADDRESS = format_address(bytes(range(20)))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["genesis", *[str(word) for word in arguments]])


def told(*arguments: object) -> Any:
    done = invoke(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words"
    path.write_text("correct horse battery\n")
    path.chmod(0o600)
    return path


def test_a_network_of_two(tmp_path: Path, words: Path) -> None:
    file = tmp_path / "genesis.toml"
    begun = told("new", file, "--chain", "testnet", "--time", "2030-01-01T12:00:00+01:00")
    assert begun["time"] == "2030-01-01T11:00:00.000Z"
    assert (begun["genesis_hash"], begun["validators"]) == (None, 0)
    written = []
    for name, stake in (("alice", 3 * 10**12), ("bob", 10**12)):
        home, to = tmp_path / name, tmp_path / f"{name}.toml"
        create_key(home, "validator", read_passphrase(words), LIGHT_COST)
        address = format_address(key_info(home, "validator").address)
        told("add-account", file, "--address", address, "--amount", 4 * 10**12)
        asked = ["--home", home, "--stake", stake, "--passphrase-file", words, "--to", to]
        declared = told("declare", file, *asked)
        assert (declared["account"], declared["terms_hash"]) == (address, begun["terms_hash"])
        written.append(to)
    made = told("add-validator", file, *written)
    assert (made["validators"], made["stake"], made["accounts"]) == (2, str(4 * 10**12), 2)
    assert made["supply"] == {"sahara": str(8 * 10**12)}
    valid = told("validate", file)
    expected = read_genesis(file).hash.hex()
    assert told("hash", file) == {"genesis_hash": expected}
    assert {**made, "state_root": valid["state_root"]} == valid
    assert valid["genesis_hash"] == expected
    rows = told("show", file, "--validators")
    assert [row["power_percent"] for row in rows] == ["75.00", "25.00"]
    assert told("show", file) == made
    assert expected in invoke("hash", file).stdout
    for home, carried in (("alice", False), ("bob", True)):
        if carried:  # only the keys reach the second machine: nobody knows whether they voted
            (tmp_path / home / "declared").unlink()
        asked = ["--home", str(tmp_path / home), "--profile", "testnet", "--genesis", str(file)]
        done = CliRunner().invoke(main, ["init", *asked, "--json"])
        joined = json.loads(done.stdout)
        assert (joined["genesis_hash"], joined["is_validator"]) == (expected, True)
        assert joined["next"].endswith("EPOCH:VIEW") == carried
        assert (tmp_path / home / "guard").exists() != carried


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["new", "genesis.toml", "--chain", "devnet"], "genesis.exists"),
        (["new", "x", "--chain", "devnet", "--time", "soon"], "genesis.invalid"),
        (["new", "x", "--chain", "devnet", "--time", "2030-01-01T12:00:00"], "genesis.invalid"),
        (["new", "x", "--chain", "devnet", "--time", "1969-01-01T12:00:00Z"], "genesis.invalid"),
        (["new", "none/x", "--chain", "devnet"], "system.refused"),
        (["add-account", "none", "--address", ADDRESS, "--amount", "1"], "genesis.missing"),
        (["add-account", "genesis.toml", "--address", "x", "--amount", "1"], "address.malformed"),
        (["add-validator", "genesis.toml", "none"], "genesis.missing"),
        (["add-validator", "genesis.toml", "genesis.toml"], "genesis.invalid"),
        (["declare", "genesis.toml", "--home", "x", "--stake", "1", "--to", "y"], "keys.missing"),
        (["validate", "genesis.toml"], "genesis.invalid"),
        (["hash", "genesis.toml"], "genesis.invalid"),
        (["show", "none"], "genesis.missing"),
    ],
)
def test_refusals_have_a_code_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told("new", "genesis.toml", "--chain", "devnet")
    before = Path("genesis.toml").read_bytes()
    plain = invoke(*arguments)
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr.startswith(f"{code}: ")
    coded = invoke(*arguments, "--json")
    assert json.loads(coded.stderr)["error"]["code"] == code
    assert Path("genesis.toml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["genesis.toml"]


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (
        ["new", "x"],
        ["new", "x", "--chain", "moonnet"],
        ["add-account", "x", "--address", ADDRESS, "--amount", 0],
        ["declare", "x", "--to", "y", "--stake", 1, "--commission-bps", 10_001],
        ["add-validator", "x"],
    ):
        assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize("name", genesis.commands)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    shown = invoke(name, "--help")
    assert "Example:" in shown.output
    assert "--json" in shown.output


def test_a_time_beyond_the_calendar_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    told("new", file, "--chain", "devnet")
    text = file.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("time_ms")]
    file.write_text(text.replace(line, f"time_ms = {2**62}"))
    assert told("show", file)["time"] == f"{2**62} ms after 1970"
