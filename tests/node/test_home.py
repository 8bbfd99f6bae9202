"""Homes: made whole or not at all, private, and consistent in themselves."""

import os
import shutil
from pathlib import Path

import pytest

from node.config import load_config
from node.genesis_file import GenesisInvalid, GenesisMissing, read_genesis, write_genesis
from node.home import (
    HomeExists,
    HomeFailed,
    HomeMissing,
    HomeRefused,
    HomeWishes,
    create_home,
    create_homes,
    note_declared,
    open_home,
)
from node.keystore import (
    LIGHT_COST,
    KeyMissing,
    Passphrase,
    create_key,
    key_info,
    load_key,
    read_passphrase,
)
from node.signer import GuardedSigner, GuardMissing, GuardOfAnother
from state.codec import replace
from state.genesis import Allocation

WORDS = Passphrase("correct horse battery")


def wishes(**changes: object) -> HomeWishes:
    return HomeWishes(**{"time_ms": 5, **changes})  # a test may wish for nonsense


def test_a_devnet_home_runs_unattended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "home"
    fund = Allocation(b"1" * 20, 10**9)
    home, genesis = create_home(path, wishes(funds=[fund]))
    assert open_home(path).genesis() == genesis == home.genesis()
    assert fund in genesis.allocations
    assert {entry.name for entry in path.iterdir()} == {
        *("config.toml", "genesis.toml", "keys", "passphrase", "guard", "guard.lock"),
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["home"]
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "passphrase").stat().st_mode & 0o777 == 0o600
    config = load_config(path, environment={})
    assert config.passphrase_file == path / "passphrase"
    assert config.invariants_every_blocks == 100
    key = load_key(path, config.key_name, read_passphrase(config.passphrase_file))
    assert key.public_key == genesis.validators[0].public_key
    GuardedSigner(key, home.guard_file, genesis.hash).close()


def test_a_passphrase_that_is_given_is_not_kept(tmp_path: Path) -> None:
    create_home(tmp_path / "home", wishes(passphrase=WORDS))
    load_key(tmp_path / "home", "validator", WORDS)
    assert not (tmp_path / "home" / "passphrase").exists()
    assert load_config(tmp_path / "home", environment={}).passphrase_file is None


def test_a_home_of_a_network_that_exists(tmp_path: Path) -> None:
    first, genesis = create_home(tmp_path / "first", wishes())
    second, same = create_home(
        tmp_path / "second", wishes(profile="archive", genesis=first.genesis_file)
    )
    assert same == genesis == second.genesis()
    assert not second.guard_file.exists()
    assert [one.name for one in (second.path / "keys").iterdir()] == ["node.json"]
    _, other = create_home(tmp_path / "third", wishes())
    assert other.hash != genesis.hash
    key = load_key(first.path, "validator", read_passphrase(first.path / "passphrase"))
    with pytest.raises(GuardOfAnother, match="network"):
        GuardedSigner(key, first.guard_file, other.hash)


def test_keys_beyond_the_devnet_are_not_light(tmp_path: Path) -> None:
    home, _ = create_home(tmp_path / "devnet", wishes())
    file = tmp_path / "genesis.toml"
    file.write_text(write_genesis(home.genesis()))
    path = tmp_path / "mainnet"
    create_home(path, wishes(profile="validator", genesis=file, passphrase=WORDS))
    assert key_info(path, "validator").cost != LIGHT_COST
    assert key_info(home.path, "validator").cost == LIGHT_COST


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"profile": "king"}, HomeRefused, "no profile"),
        ({"profile": "../chains/devnet/params"}, HomeRefused, "no profile"),
        ({"profile": "testnet", "passphrase": WORDS}, HomeRefused, "--genesis"),
        ({"profile": "full"}, HomeRefused, "--genesis"),
        ({"genesis": Path("none"), "funds": [Allocation(b"1" * 20, 1)]}, HomeRefused, "--fund"),
        ({"genesis": Path("none")}, GenesisMissing, "no file none"),
        ({"profile": "testnet", "genesis": Path("none")}, HomeRefused, "passphrase"),
        ({"funds": [Allocation(b"1" * 20, 2**63 - 1)]}, GenesisInvalid, "supply"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        create_home(tmp_path / "home", wishes(**changes))
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    create_home(tmp_path / "empty", wishes())
    before = (tmp_path / "empty" / "genesis.toml").read_bytes()
    with pytest.raises(HomeExists):
        create_home(tmp_path / "empty", wishes())
    assert (tmp_path / "empty" / "genesis.toml").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeExists):
        create_home(tmp_path / "file", wishes())
    with pytest.raises(HomeFailed):
        create_home(tmp_path / "file" / "home", wishes())
    with pytest.raises(HomeMissing, match=r"sahara init --home '.*/one of none'$"):
        open_home(tmp_path / "one of none")


def folder_of_keys(path: Path) -> Path:
    create_key(path, "validator", WORDS, LIGHT_COST)
    return path


def network(folder: Path) -> Path:
    home, _ = create_home(folder, wishes())
    return home.genesis_file


def test_a_declared_key_gets_its_home_around_it(tmp_path: Path) -> None:
    genesis = network(tmp_path / "network")
    path = folder_of_keys(tmp_path / "home")
    sealed = (path / "keys" / "validator.json").read_bytes()
    note_declared(path, "validator", read_genesis(genesis))
    home, made = create_home(path, wishes(profile="validator", genesis=genesis))
    assert open_home(path).genesis() == made == read_genesis(genesis)
    assert {entry.name for entry in path.iterdir()} == {
        *("config.toml", "genesis.toml", "keys", "guard", "guard.lock"),
    }
    assert (path / "keys" / "validator.json").read_bytes() == sealed
    assert path.stat().st_mode & 0o777 == 0o700
    GuardedSigner(load_key(path, "validator", WORDS), home.guard_file, made.hash).close()
    with pytest.raises(HomeRefused, match="home already"):
        note_declared(path, "validator", made)


def declared_folder(path: Path, genesis: Path) -> Path:
    note_declared(folder_of_keys(path), "validator", read_genesis(genesis))
    return path


def test_a_declared_folder_that_was_backed_up_gets_no_second_guard(tmp_path: Path) -> None:
    """The note comes back with the copy, and says nothing of what was signed since."""
    genesis = network(tmp_path / "network")
    path, backup = declared_folder(tmp_path / "home", genesis), tmp_path / "backup"
    shutil.copytree(path, backup)
    wish = wishes(profile="validator", genesis=genesis)
    home, _ = create_home(path, wish)
    assert home.guard_file.exists()
    shutil.rmtree(path)
    shutil.copytree(backup, path)
    restored, made = create_home(path, wish)
    assert not restored.guard_file.exists()
    with pytest.raises(GuardMissing, match="--vote-after-loss"):
        GuardedSigner(load_key(path, "validator", WORDS), restored.guard_file, made.hash)


def test_a_declared_folder_may_be_moved_and_before_the_network_begins_copied(
    tmp_path: Path,
) -> None:
    """Nobody votes before the time of genesis; after it, only the very file was never elsewhere."""
    genesis = network(tmp_path / "network")
    for number, (time_ms, move, kept) in enumerate(
        [(4, shutil.copytree, True), (5, shutil.copytree, False), (5, Path.rename, True)]
    ):
        path = tmp_path / f"moved-{number}"
        move(declared_folder(tmp_path / str(number), genesis), path)
        wish = wishes(profile="validator", genesis=genesis, time_ms=time_ms)
        home, _ = create_home(path, wish)
        assert home.guard_file.exists() == kept


def test_a_note_is_for_the_key_that_was_declared_alone(tmp_path: Path) -> None:
    genesis = network(tmp_path / "network")
    path = folder_of_keys(tmp_path / "home")
    create_key(path, "other", WORDS, LIGHT_COST)
    note_declared(path, "other", read_genesis(genesis))
    wish = wishes(profile="validator", genesis=genesis, time_ms=4)
    home, _ = create_home(path, wish)
    assert not home.guard_file.exists()


def test_no_crash_leaves_a_note_beside_a_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds what a crash left, and begins anew around the keys, gets no second guard."""
    genesis = network(tmp_path / "network")
    path = declared_folder(tmp_path / "home", genesis)
    rename = Path.rename

    def die(source: Path, target: Path) -> Path:
        if target == path / "guard.lock":
            raise OSError("the power is gone")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(HomeFailed):
        create_home(path, wishes(profile="validator", genesis=genesis))
    assert (path / "guard").exists()
    assert not (path / "declared").exists()


def test_every_file_of_a_home_is_on_disk_before_the_home_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    home, _ = create_home(tmp_path / "network", wishes())
    declared_folder(tmp_path / "home", home.genesis_file)
    files = [*home.path.rglob("*"), tmp_path / "home" / "declared"]
    holding = [file for file in files if file.is_file() and file.stat().st_size]
    assert len(holding) == 7
    assert [file.name for file in holding if file.stat().st_ino not in synced] == []


def test_a_key_from_a_backup_gets_no_new_guard(tmp_path: Path) -> None:
    """It may have voted, and only its operator can say how far (consensus settled point 10)."""
    genesis = network(tmp_path / "network")
    path = folder_of_keys(tmp_path / "home")
    home, made = create_home(path, wishes(profile="validator", genesis=genesis))
    with pytest.raises(GuardMissing, match="--vote-after-loss"):
        GuardedSigner(load_key(path, "validator", WORDS), home.guard_file, made.hash)


def test_a_key_founds_a_devnet(tmp_path: Path) -> None:
    home, made = create_home(folder_of_keys(tmp_path / "home"), wishes())
    key = load_key(home.path, "validator", WORDS)
    assert made.validators[0].public_key == key.public_key
    GuardedSigner(key, home.guard_file, made.hash).close()


def test_a_folder_of_keys_stays_when_the_home_is_refused(tmp_path: Path) -> None:
    genesis = network(tmp_path / "network")
    path = folder_of_keys(tmp_path / "home")
    note_declared(path, "validator", replace(read_genesis(genesis), chain_id="another"))
    before = {entry.name for entry in path.iterdir()}
    with pytest.raises(HomeRefused, match="declare again"):
        create_home(path, wishes(profile="validator", genesis=genesis))
    assert {entry.name for entry in path.iterdir()} == before
    nameless = tmp_path / "nameless"
    create_key(nameless, "other", WORDS, LIGHT_COST)
    with pytest.raises(KeyMissing):
        create_home(nameless, wishes(profile="validator", genesis=genesis))
    (path / "more").write_text("")
    with pytest.raises(HomeExists):
        create_home(path, wishes(profile="validator", genesis=genesis))


def test_a_devnet_of_several_is_one_network(tmp_path: Path) -> None:
    paths = [tmp_path / "net" / str(number) for number in range(4)]
    fund = Allocation(b"1" * 20, 10**9)
    homes, genesis = create_homes(paths, wishes(funds=[fund]))
    assert sorted(entry.name for entry in (tmp_path / "net").iterdir()) == ["0", "1", "2", "3"]
    genesis.check()
    assert len({entry.public_key for entry in genesis.validators}) == 4
    assert genesis.allocations[-1] == fund
    for home, validator in zip(homes, genesis.validators, strict=True):
        assert open_home(home.path).genesis() == genesis
        key = load_key(home.path, "validator", read_passphrase(home.path / "passphrase"))
        assert key.public_key == validator.public_key
        GuardedSigner(key, home.guard_file, genesis.hash).close()


def test_a_devnet_of_several_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    create_home(tmp_path / "1", wishes())
    paths = [tmp_path / str(number) for number in range(3)]
    with pytest.raises(HomeExists):
        create_homes(paths, wishes())
    with pytest.raises(HomeRefused, match="devnet"):
        create_homes(paths[:1], wishes(profile="testnet", passphrase=WORDS))
    with pytest.raises(GenesisInvalid, match="supply"):
        too_much = [Allocation(b"1" * 20, 2**63 - 1)]
        create_homes([tmp_path / "a", tmp_path / "b"], wishes(funds=too_much))
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]
