"""The commands of snapshots, rollback and verification, on homes that no process runs in."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.cli import main
from node.genesis_file import write_genesis
from node.home import Home
from node.storage.kv import LevelDb
from node.storage.pruning import Pruner
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

HEIGHT = 2 * EPOCH_BLOCKS + 5


def sahara(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)


def answer(*arguments: object) -> Any:
    done = sahara(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def failure(*arguments: object) -> tuple[str, str]:
    done = sahara(*arguments, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stderr)["error"]
    return found["code"], found["sentence"]


def empty_home(path: Path) -> Home:
    path.mkdir()
    home = Home(path)
    home.genesis_file.write_text(write_genesis(GENESIS))
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = empty_home(tmp_path / "home")
    store = LevelDb(made.data, create=True)
    Chain(store).grow(HEIGHT)
    store.close()
    return made


def prune(home: Home, floor: int) -> None:
    store = LevelDb(home.data, create=False)
    pruner = Pruner(store, GENESIS)
    while pruner.step(floor):
        pass
    store.close()


def test_from_one_home_into_another(home: Home, tmp_path: Path) -> None:
    assert answer("snapshot", "list", "--home", home.path) == []
    made = answer("snapshot", "create", "--home", home.path)
    assert made["height"] == HEIGHT - 1 and made["size_bytes"] > 1_000
    assert answer("snapshot", "list", "--home", home.path) == [made]
    assert str(HEIGHT - 1) in sahara("snapshot", "list", "--home", home.path).stdout
    other = empty_home(tmp_path / "other")
    done = answer("snapshot", "restore", made["path"], "--home", other.path)
    verified = answer("verify", "--home", home.path)
    assert (done["height"], done["state_root"]) == (HEIGHT, verified["state_root"])
    assert done["block_id"] == made["crown_id"]
    assert (verified["from_height"], verified["basis"]) == (0, "genesis")
    again = answer("verify", "--home", other.path)
    assert (again["from_height"], again["basis"], again["agrees"]) == (HEIGHT, "state", True)
    assert again["state_root"] == verified["state_root"]
    code, sentence = failure("snapshot", "restore", made["path"], "--home", other.path)
    assert code == "snapshot.failed" and "already" in sentence


def test_restoring_holds_to_what_is_trusted(home: Home, tmp_path: Path) -> None:
    made = answer("snapshot", "create", "--home", home.path)
    other = empty_home(tmp_path / "other")
    store = LevelDb(home.data, create=False)
    boundary = Chain(store).store.header(EPOCH_BLOCKS)
    store.close()
    into = ("snapshot", "restore", made["path"], "--home", other.path, "--trust")
    assert failure(*into, f"1:{'0' * 64}")[0] == "snapshot.refused"
    assert failure(*into, "1")[0] == "snapshot.refused"
    assert not other.data.exists()
    assert answer(*into, f"1:{boundary.block_id.hex()}")["height"] == HEIGHT
    assert failure("snapshot", "restore", tmp_path, "--home", other.path)[0] == "snapshot.missing"
    assert failure("snapshot", "create", "--home", empty_home(tmp_path / "third").path)[0] == (
        "storage.missing"
    )


def test_verify_says_from_where(home: Home, tmp_path: Path) -> None:
    whole = answer("verify", "--home", home.path)
    kept = tmp_path / "kept"
    shutil.copytree(home.path, kept)
    answer("rollback", "--home", kept, "--to", EPOCH_BLOCKS + 3)
    made = answer("snapshot", "create", "--home", kept)
    home.snapshots.mkdir()
    shutil.copytree(made["path"], home.snapshots / Path(made["path"]).name)
    prune(home, EPOCH_BLOCKS + 3)
    found = answer("verify", "--home", home.path)
    assert (found["from_height"], found["basis"]) == (EPOCH_BLOCKS + 3, "snapshot")
    assert found["height"] == HEIGHT and found["state_root"] == whole["state_root"]
    prune(home, EPOCH_BLOCKS + 5)  # the block after the snapshot's is gone
    found = answer("verify", "--home", home.path)
    assert (found["from_height"], found["basis"]) == (HEIGHT, "state")
    assert found["state_root"] == whole["state_root"]


@pytest.mark.parametrize(
    ("prefix", "code"),
    [(b"s", "tree.corrupt"), (b"b", "block.invalid"), (b"h", "block.invalid")],
)
def test_verify_finds_what_was_changed_in_a_pruned_home(
    home: Home, prefix: bytes, code: str
) -> None:
    prune(home, EPOCH_BLOCKS + 5)
    store = LevelDb(home.data, create=False)
    start = prefix if prefix == b"s" else prefix + (EPOCH_BLOCKS + 6).to_bytes(8, "big")
    key, value = next(store.scan(start, None))
    if prefix == b"s":
        value = value[:-1] + bytes([value[-1] ^ 1])
    else:  # the one before in its place
        value = store.get(prefix + (EPOCH_BLOCKS + 5).to_bytes(8, "big")) or b""
    store.write([(key, value)], (), sync=True)
    store.close()
    assert failure("verify", "--home", home.path)[0] == code


def test_rollback_says_what_it_did_or_why_not(home: Home) -> None:
    assert failure("rollback", "--home", home.path, "--to", HEIGHT)[0] == "rollback.refused"
    done = answer("rollback", "--home", home.path, "--to", EPOCH_BLOCKS + 1)
    assert done["executed_blocks"] == EPOCH_BLOCKS + 1
    verified = answer("verify", "--home", home.path)
    assert verified["height"] == done["height"] == EPOCH_BLOCKS + 1
    assert verified["state_root"] == done["state_root"]
    assert sahara("rollback", "--home", home.path).exit_code == 2


def test_a_home_in_use_is_left_alone(home: Home) -> None:
    store = LevelDb(home.data, create=False)
    for command in (("rollback", "--to", 3), ("snapshot", "create"), ("verify",)):
        assert failure(*command, "--home", home.path)[0] == "storage.locked"
    store.close()
