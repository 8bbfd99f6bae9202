"""A node as its own process: it starts, survives kill -9, ends in order, and replays the same."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node import rooms
from node.addresses import format_address
from node.cli import main
from node.client import Account, SyncClient
from node.guard_file import lock_guard
from node.keystore import LIGHT_COST, create_key, key_info, load_key, read_passphrase
from node.run_file import read_run_file
from node.storage.kv import LevelDb
from state.modules.bank import Transfer

ROOT = Path(rooms.__file__).resolve().parents[1]
SAHARA = [sys.executable, "-P", "-c", "from node.cli import main; main(prog_name='sahara')"]
START_SECONDS_MAX = 60


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SAHARA_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def sahara(*arguments: str, **more: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*SAHARA, *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Node:
    """A node process on a home, and a client of it."""

    def __init__(self, home: Path, **more: str) -> None:
        (home / "run.json").unlink(missing_ok=True)
        flags = ["--rpc-port", "0", "--p2p-port", "0"]
        flags += ["--idle-interval-ms", "50", "--block-interval-ms-min", "5"]
        self.process = subprocess.Popen(
            [*SAHARA, "run", "--home", str(home), *flags, "--json"],
            env=environment(**more),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(START_SECONDS_MAX * 20):
            if (home / "run.json").exists() and (found := read_run_file(home)) is not None:
                self.url: str = found["rpc"]
                return
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.05)
        raise AssertionError("the node did not start in time")

    def status(self) -> dict[str, Any]:
        with SyncClient(self.url) as client:
            found: dict[str, Any] = client.call("chain.status")
            return found

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        logged = self.process.communicate(timeout=60)[1]
        return self.process.returncode, logged


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    assert sahara("init", "--home", str(tmp_path / "home"))[0] == 0
    yield tmp_path / "home"


def validator(home: Path) -> Account:
    return load_key(home, "validator", read_passphrase(home / "passphrase")).account()


def test_a_node_lives_through_kill_and_replays_to_the_same_roots(home: Path) -> None:
    account = validator(home)
    node = Node(home)
    with SyncClient(node.url) as client:
        client.execute(account, Transfer(b"1" * 20, 5))
        client.execute(account, Transfer(b"2" * 20, 7))
    before = node.status()
    code, shown, _ = sahara("status", "--home", str(home), "--json")
    told = json.loads(shown)
    assert (code, {*told}) == (0, {*before})
    assert told["finalized_height"] == told["height"] >= before["height"]
    with SyncClient(node.url) as client:
        head = client.call("chain.header", height=told["height"])["header"]
    assert (told["epoch"], told["view"]) >= (head["epoch"], head["view"])
    assert told["peers"] == 0
    assert 2**24 < told["memory_bytes"] < 2**30
    assert node.end(signal.SIGKILL)[0] == -signal.SIGKILL
    stale = sahara("status", "--home", str(home), "--json")  # the file is left over
    assert (stale[0], json.loads(stale[2])["error"]["code"]) == (3, "client.unreachable")

    node = Node(home)
    with SyncClient(node.url) as client:
        header = client.call("chain.header", height=before["height"])
        client.execute(validator(home), Transfer(b"3" * 20, 9))
    assert before["block_id"] in json.dumps(header)
    second = sahara("run", "--home", str(home))
    assert (second[0], second[2].split(":")[0]) == (1, "storage.locked")
    in_use = sahara("verify", "--home", str(home), "--json")
    assert (in_use[0], json.loads(in_use[2])["error"]["code"]) == (1, "storage.locked")
    code, logged = node.end(signal.SIGTERM)
    assert code == 0, logged
    said = [json.loads(line)["message"] for line in logged.splitlines()]
    assert said == ["listening", "serving", "stopped"]
    assert not (home / "run.json").exists()

    runs = [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "SAHARA_PURE_PYTHON": "1"}]
    found = [sahara("verify", "--home", str(home), "--json", **more) for more in runs]
    assert [run[0] for run in found] == [0, 0], found
    compiled, pure = [json.loads(run[1]) for run in found]
    assert (compiled.pop("kernels"), pure.pop("kernels")) == ("compiled", "pure")
    assert compiled == pure
    assert compiled["height"] > before["height"]


WAIT_S = 8


def begun_later(folder: Path, words: Path) -> tuple[Path, int]:
    """Make the network of one validator that begins in a few seconds; return home and time."""
    file, home, claim = str(folder / "later.toml"), folder / "later", str(folder / "claim.toml")
    create_key(home, "validator", read_passphrase(words), LIGHT_COST)
    address = format_address(key_info(home, "validator").address)
    whom = ["--address", address, "--amount", "5000000000000"]
    secret = ["--home", str(home), "--passphrase-file", str(words)]
    at = datetime.now(UTC) + timedelta(seconds=WAIT_S)
    for step in (
        ["genesis", "new", file, "--chain", "devnet", "--time", at.isoformat()],
        ["genesis", "add-account", file, *whom],
        ["genesis", "declare", file, "--stake", "1000000000000", "--to", claim, *secret],
        ["genesis", "add-validator", file, claim],
        ["init", "--home", str(home), "--profile", "testnet", "--genesis", file],
    ):
        done = CliRunner().invoke(main, step)
        assert done.exit_code == 0, done.output
    return home, int(at.timestamp() * 1_000)


def test_a_node_waits_for_the_time_of_its_genesis_and_may_be_stopped_meanwhile(
    home: Path, tmp_path: Path
) -> None:
    later, at_ms = begun_later(tmp_path, home / "passphrase")
    node = Node(later, SAHARA_PASSPHRASE_FILE=str(home / "passphrase"))
    assert node.status()["height"] == 0
    code, logged = node.end(signal.SIGTERM)
    said = [json.loads(line)["message"] for line in logged.splitlines()]
    assert (code, said) == (0, ["awaits genesis", "stopped"]), logged
    node = Node(later, SAHARA_PASSPHRASE_FILE=str(home / "passphrase"))
    assert node.status()["height"] == 0
    account = load_key(later, "validator", read_passphrase(home / "passphrase")).account()
    time.sleep(max(0.0, at_ms / 1_000 - time.time()))
    with SyncClient(node.url) as client:
        client.execute(account, Transfer(b"1" * 20, 5))
        first = client.call("chain.header", height=1)["header"]
    assert at_ms <= first["time_ms"] < at_ms + 5_000
    assert node.end(signal.SIGTERM)[0] == 0


def test_a_full_node_has_no_guard_and_says_nothing_of_votes(home: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    joined = ("--profile", "full", "--genesis", str(home / "genesis.toml"))
    assert sahara("init", "--home", str(full), *joined)[0] == 0
    for _ in range(2):
        code, logged = Node(full).end(signal.SIGTERM)
        assert (code, "vote" in logged) == (0, False), logged
        (full / "journal").unlink()
    assert not [path.name for path in full.iterdir() if path.name.startswith("guard")]
    code, _, said = sahara("run", "--home", str(full), "--vote-after-loss", "0:0")
    assert (code, said.splitlines()[-1].split(":")[0]) == (1, "node.round_unfit")


def test_what_a_node_refuses_to_start_with(home: Path, tmp_path: Path) -> None:
    def refused(*flags: str, **more: str) -> str:
        code, _, said = sahara("run", "--home", str(home), *flags, **more)
        assert (code, "Traceback" in said) == (1, False), said
        return said.splitlines()[-1]

    other = tmp_path / "other"
    sahara("init", "--home", str(other))
    assert refused("--vote-after-loss", "0:7").startswith("node.round_unfit")
    assert refused("--vote-after-loss", "0:0").startswith("guard.exists")
    assert refused("--key-name", "nobody").startswith("keys.missing")
    assert refused("--passphrase-file", str(other / "passphrase")).startswith("keys.wrong")
    assert "SAHARA_RPC_PROT" in refused(SAHARA_RPC_PROT="1")
    (other / "passphrase").chmod(0o644)
    assert refused("--passphrase-file", str(other / "passphrase")).startswith("keys.exposed")

    with lock_guard(home / "guard"):
        assert refused().startswith("guard.locked")
    (home / "guard").rename(home / "kept")
    assert refused().startswith("guard.missing")
    (home / "kept").rename(home / "guard")
    mine = (home / "genesis.toml").read_bytes()
    (home / "genesis.toml").write_bytes((other / "genesis.toml").read_bytes())
    assert refused().startswith("home.wrong_network")
    (home / "genesis.toml").write_bytes(mine.replace(b"sahara-devnet", b"sahara-devnot"))
    assert refused().startswith("home.wrong_network")


def test_a_database_of_another_network(home: Path, tmp_path: Path) -> None:
    """The guard would notice a foreign genesis first; the database does so by itself."""
    Node(home).end(signal.SIGTERM)
    changed = (home / "genesis.toml").read_text().replace("sahara-devnet", "sahara-devnot")
    (home / "genesis.toml").write_text(changed)
    code, _, said = sahara("verify", "--home", str(home))
    assert (code, said.split(":")[0]) == (1, "home.wrong_network")


def test_blocks_that_were_lost_are_missed(home: Path) -> None:
    """Without its database a node would found its chain a second time, against its own votes."""
    node = Node(home)
    with SyncClient(node.url) as client:
        for amount in (5, 6):
            client.execute(validator(home), Transfer(b"1" * 20, amount))
    node.end(signal.SIGTERM)
    (home / "data").rename(home / "lost")
    code, _, said = sahara("run", "--home", str(home))
    assert (code, said.splitlines()[-1].split(":")[0]) == (1, "storage.corrupt")
    assert "blocks were lost" in said


def test_a_changed_block_is_found_by_replay(home: Path) -> None:
    """A result that execution does not give, and a body that the header does not name."""
    node = Node(home)
    with SyncClient(node.url) as client:
        height = client.execute(validator(home), Transfer(b"1" * 20, 5)).height
    assert height is not None
    node.end(signal.SIGTERM)
    database = LevelDb(home / "data", create=False)
    key = b"b" + height.to_bytes(8, "big")
    body = database.get(key)
    assert body is not None
    database.write([(key, body[:-1] + bytes([body[-1] ^ 1]))], [], sync=True)
    database.close()
    code, _, said = sahara("verify", "--home", str(home))
    assert (code, said.split(":")[0]) == (1, "block.invalid")
