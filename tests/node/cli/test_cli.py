"""The root command, keys and init, as a person or a script meets them."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node import keystore, rooms
from node.addresses import format_address, parse_address
from node.cli import COMMANDS, main
from node.cli.connection import show
from node.genesis_file import read_genesis
from node.home import HomeWishes, create_home, open_home
from node.keystore import (
    LIGHT_COST,
    Passphrase,
    create_key,
    key_info,
    load_key,
    read_passphrase,
)
from state import crypto
from state.modules.staking import CreateValidator

ROOT = Path(rooms.__file__).resolve().parents[1]
ALICE = format_address(bytes(range(20)))


def invoke(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=text)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words"
    path.write_text("correct horse battery\n")
    path.chmod(0o600)
    return path


def test_help_is_fast_because_it_imports_nothing() -> None:
    script = (
        "import sys\nfrom node.cli import main\n"
        "try:\n    main(['--help'], prog_name='sahara')\nexcept SystemExit:\n"
        "    heavy = {'aiohttp', 'msgspec', 'plyvel', 'node.config'} & {*sys.modules}\n"
        "    sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    shown = invoke(name, "--help")
    assert shown.exit_code == 0
    groups = ("genesis", "keys", "tx", "query", "snapshot")
    assert re.search(r"Examples?:", shown.output) or name in groups
    assert "--json" in shown.output or name in groups


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (["nonsense"], ["init", "--nonsense"], ["run", "--rpc-port", "x"]):
        assert invoke(*arguments).exit_code == 2
    assert invoke("--version").output.startswith("sahara ")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("nonsense", "No such command 'nonsense'."),
        ("devnet kill x", "Invalid value for 'NODE': 'x' is not a valid integer range."),
        ("tx status 00", "ID: has 1 bytes, expected 32"),
        ("status --home . --node http://127.0.0.1:1", "--home and --node both name a node"),
    ],
)
def test_wrong_usage_has_a_code_and_is_json_where_json_was_asked_for(
    line: str, sentence: str
) -> None:
    plain, as_json = invoke(*line.split()), invoke(*line.split(), "--json")
    assert (plain.exit_code, as_json.exit_code, plain.stdout, as_json.stdout) == (2, 2, "", "")
    assert plain.stderr.startswith(f"usage.wrong: {sentence}")
    assert "Help: sahara" in plain.stderr
    error = json.loads(as_json.stderr)["error"]
    assert error["code"] == "usage.wrong"
    assert error["sentence"].startswith(sentence)


def test_wrong_usage_is_no_json_where_json_is_a_file(tmp_path: Path) -> None:
    shown = invoke("demo", "--speed", "x", "--json", str(tmp_path / "report"))
    assert shown.exit_code == 2
    assert shown.stderr.startswith("usage.wrong: Invalid value for '--speed'")


def test_a_foreign_package_ends_it_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rooms, "ROOMS", ("json",))
    shown = invoke("keys", "list")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("node.wrong_installation: the package `json`")


def test_tables_are_never_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "a" * 300, "key": "b" * 300}, {"name": "c", "key": "d"}], as_json=False)
    _, wide, narrow = capsys.readouterr().out.splitlines()
    assert wide.split() == ["a" * 300, "b" * 300]
    assert narrow.split() == ["c", "d"]


@pytest.mark.parametrize("command", ["keys create bob", "tx bank burn --amount 1 --from alice"])
def test_nobody_is_there_to_give_a_passphrase(tmp_path: Path, command: str) -> None:
    create_key(tmp_path, "alice", Passphrase("correct horse"), LIGHT_COST)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "node", *command.split(), "--home", str(tmp_path)],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,  # without a terminal to ask on
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("keys.bad_passphrase: Nobody gave the passphrase of")
    assert len(done.stderr.splitlines()) == 1


def test_keys(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore.create_key, "__defaults__", (LIGHT_COST,))
    home = ["--home", str(tmp_path / "home")]
    made = invoke("keys", "create", "alice", "--passphrase-file", str(words), "--json", *home)
    alice = json.loads(made.stdout)
    folders = (tmp_path / "home", tmp_path / "home" / "keys")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]
    typed = invoke("keys", "create", "bob", *home, text="correct bob\ncorrect bob\n")
    assert typed.exit_code == 0
    listed = json.loads(invoke("keys", "list", "--json", *home).stdout)
    assert [key["name"] for key in listed] == ["alice", "bob"]
    assert listed[0] == alice == json.loads(invoke("keys", "show", "alice", "--json", *home).stdout)
    key = load_key(tmp_path / "home", "alice", read_passphrase(words))
    assert alice["address"] == format_address(key.address)
    for shown in (made, typed):
        assert "correct" not in shown.output


def test_a_key_proves_that_it_is_held(tmp_path: Path, words: Path) -> None:
    """What `keys prove` prints is what `tx staking create-validator` takes, for this network."""
    home = tmp_path / "home"
    create_home(home, HomeWishes(time_ms=5, passphrase=read_passphrase(words)))
    asked = ["--validator", ALICE, "--home", str(home), "--passphrase-file", str(words)]
    shown = json.loads(invoke("keys", "prove", "validator", *asked, "--json").stdout)
    key, proof = bytes.fromhex(shown["public_key"]), bytes.fromhex(shown["proof"])
    message = CreateValidator(parse_address(shown["validator"]), key, proof, 1, 0, 0)
    (claim,) = message.claims(open_home(home).genesis().hash)
    assert crypto.verify(*claim)
    assert shown["public_key"] == key_info(home, "validator").public_key.hex()
    by_file = [*asked, "--genesis", str(open_home(home).genesis_file), "--json"]
    assert json.loads(invoke("keys", "prove", "validator", *by_file).stdout) == shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["keys", "show", "nobody"], "keys.missing"),
        (["keys", "prove", "nobody", "--validator", ALICE], "home.missing"),
        (["keys", "prove", "nobody", "--validator", "sah1x"], "address.malformed"),
        (["keys", "show", "../x"], "keys.bad_name"),
        (["keys", "create", "alice", "--passphrase-file", "none"], "keys.bad_passphrase"),
        (["keys", "create", "alice"], "keys.bad_passphrase"),
        (["init", "--profile", "testnet"], "home.refused"),
        (["init", "--fund", f"{ALICE}=1.5"], "home.refused"),
        (["init", "--fund", f"{ALICE}=0"], "home.refused"),
        (["init", "--fund", "sah1x=5"], "address.malformed"),
        (["init", "--genesis", "none"], "genesis.missing"),
        (["run"], "home.missing"),
        (["verify"], "home.missing"),
    ],
)
def test_refusals_are_one_sentence_with_a_code(
    tmp_path: Path, arguments: list[str], code: str
) -> None:
    home = ["--home", str(tmp_path / "home")]
    plain = invoke(*arguments, *home)
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr.splitlines()[-1].startswith(f"{code}: ")
    assert "Traceback" not in plain.stderr
    coded = invoke(*arguments, *home, "--json")
    assert coded.exit_code == 1
    assert json.loads(coded.stderr.splitlines()[-1])["error"]["code"] == code
    assert not list(tmp_path.iterdir())


def test_what_the_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = invoke("run", "--home", str(tmp_path / "file" / "home"))
    assert shown.exit_code == 1
    assert "Traceback" not in shown.stderr


def test_status_asks_the_node_of_a_home(tmp_path: Path) -> None:
    none = invoke("status", "--home", str(tmp_path / "none"))
    assert (none.exit_code, none.stderr.split(":")[0]) == (1, "home.missing")
    home = ["--home", str(tmp_path / "home")]
    assert invoke("init", *home).exit_code == 0
    idle = invoke("status", *home, "--json")
    assert (idle.exit_code, idle.stdout) == (3, "")
    assert json.loads(idle.stderr)["error"]["code"] == "node.not_running"
    assert invoke("status", *home, "--node", "http://127.0.0.1:1").exit_code == 2


def test_init_founds_a_network_and_joins_one(tmp_path: Path, words: Path) -> None:
    first = tmp_path / "first"
    made = invoke("init", "--home", str(first), "--fund", f"{ALICE}=7", "--json")
    told = json.loads(made.stdout)
    genesis = read_genesis(first / "genesis.toml")
    assert (told["genesis_hash"], told["chain_id"]) == (genesis.hash.hex(), "sahara-devnet")
    assert genesis.allocations[-1].amount == 7
    assert genesis.time_ms > 1_700_000_000_000
    again = invoke("init", "--home", str(first))
    assert (again.exit_code, again.stderr.split(":")[0]) == (1, "home.exists")
    second = ["--home", str(tmp_path / "second"), "--passphrase-file", str(words)]
    joined = invoke("init", "--genesis", str(first / "genesis.toml"), "--json", *second)
    assert json.loads(joined.stdout)["genesis_hash"] == told["genesis_hash"]
    assert (told["is_validator"], json.loads(joined.stdout)["is_validator"]) == (True, False)
    load_key(tmp_path / "second", "validator", read_passphrase(words))
