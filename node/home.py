"""A node's home: the folder that holds everything of one node on one network.

    config.toml      settings (node/config.py)
    genesis.toml     the network (node/genesis_file.py)
    keys/            sealed keys (node/keystore.py)
    passphrase       of keys that were made when nobody gave one
    guard            what the key has signed (node/signer.py)
    data/            blocks and state (node/storage)
    snapshots/       snapshots of the state (node/snapshot)
    peers            addresses of other nodes (p2p/peerbook.py)
    declared         until the home is made: on which terms which key file was declared

A home is made whole or not at all, and only its owner may enter it. A folder that holds keys and
nothing else becomes a home around them: a validator's key is older than the genesis that names it.
Such a key gets a guard only when it was declared for that network, and its file is the very one of
then or the network has not begun: a key that came from a backup may have voted, and a new guard
would not know (consensus settled point 10).
"""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import ClassVar

from node.config import CONFIG_FILE
from node.errors import NodeError
from node.genesis_file import (
    checked,
    configs_folder,
    read_genesis,
    read_profile,
    write_genesis,
)
from node.genesis_steps import terms_hash, write_new, write_over
from node.keystore import (
    COST,
    KEYS_FOLDER,
    LIGHT_COST,
    Passphrase,
    create_key,
    key_info,
    key_path,
    sync_folder,
    write_secret,
)
from node.signer import create_guard
from state.genesis import Allocation, Genesis
from state.types import PublicKey

GENESIS_FILE = "genesis.toml"
PASSPHRASE_FILE = "passphrase"
VALIDATOR_KEY = "validator"
NODE_KEY = "node"
"""The key under keys/ that names the node among its peers; its public key is the node id."""

PROFILES = ("devnet", "testnet", "validator", "full", "archive")
"""The files of configs/node, by which a home's settings begin."""

VALIDATING = ("devnet", "testnet", "validator")
"""Profiles whose nodes hold a validator's key."""

FOUNDED = "devnet"
"""The only profile without --genesis, and the one whose keys are light."""

DECLARED_FILE = "declared"
PASSPHRASE_RANDOM_BYTES = 24


class HomeMissing(NodeError):
    """There is no home where one was expected."""

    code: ClassVar[str] = "home.missing"


class HomeExists(NodeError):
    """There is something where a new home was to be made."""

    code: ClassVar[str] = "home.exists"


class HomeFailed(NodeError):
    """The file system refuses to hold a home there."""

    code: ClassVar[str] = "home.failed"


class HomeRefused(NodeError):
    """The wishes for a new home do not fit each other."""

    code: ClassVar[str] = "home.refused"


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of a node lies."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.path / CONFIG_FILE

    @property
    def genesis_file(self) -> Path:
        """The network."""
        return self.path / GENESIS_FILE

    @property
    def guard_file(self) -> Path:
        """What the validator's key has signed."""
        return self.path / "guard"

    @property
    def journal_file(self) -> Path:
        """What consensus must not forget of the rounds that are not final yet."""
        return self.path / "journal"

    @property
    def data(self) -> Path:
        """The database."""
        return self.path / "data"

    @property
    def snapshots(self) -> Path:
        """Snapshots that were made here, or fetched from peers."""
        return self.path / "snapshots"

    def genesis(self) -> Genesis:
        """Return the network of this home; raises GenesisMissing or GenesisInvalid."""
        return read_genesis(self.genesis_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeWishes:
    """What a new home shall be."""

    profile: str = FOUNDED
    time_ms: int
    """The present, since 1970 in UTC: when a network begins that is founded with the home."""

    genesis: Path | None = None
    """The genesis file of a network that exists; without it one is founded."""

    funds: Sequence[Allocation] = ()
    """Allocations besides the validator's own, when a network is founded."""

    passphrase: Passphrase | None = None
    """Of the validator's new key; for a devnet, one is made up and kept in the home if left out."""


def open_home(path: Path) -> Home:
    """Return the home at `path`; raises HomeMissing."""
    home = Home(path)
    if not home.genesis_file.is_file():
        raise HomeMissing(
            f"There is no home at {path} (no {GENESIS_FILE}); make one: "
            f"sahara init --home {quote(str(path))}"
        )
    return home


def create_home(path: Path, wishes: HomeWishes) -> tuple[Home, Genesis]:
    """Make a home, whole or not at all, and return it with its network.

    Raises HomeExists, HomeRefused, HomeFailed, and what keys and genesis files raise.
    """
    keys = _keys_in(path)
    _check(path, wishes, keys)
    with _drafts([path]) as (draft,):
        begun = _begin(draft, wishes, keys)
        genesis = _genesis(wishes, [begun])
        never_voted = (
            keys is None
            or wishes.genesis is None
            or _declared(keys, begun.public_key, genesis, wishes.time_ms)
        )
        _finish(draft, begun, genesis, with_guard=never_voted)
        if keys is None:
            _place(draft, path)
        else:
            _join(draft.path, path)
    return Home(path), genesis


def create_homes(paths: Sequence[Path], wishes: HomeWishes) -> tuple[list[Home], Genesis]:
    """Found a devnet with a validator in each of these new folders, and return it with its homes.

    Each home is made whole or not at all. Raises what `create_home` raises.
    """
    if wishes.genesis is not None or wishes.profile != FOUNDED:
        raise HomeRefused("Only a devnet is founded at once; leave out --genesis and --profile.")
    for path in paths:
        _check(path, wishes, None)
    with _drafts(paths) as drafts:
        begun = [_begin(draft, wishes, None) for draft in drafts]
        genesis = _genesis(wishes, begun)
        for draft, start in zip(drafts, begun, strict=True):
            _finish(draft, start, genesis, with_guard=True)
        for draft, path in zip(drafts, paths, strict=True):
            _place(draft, path)
    return [Home(path) for path in paths], genesis


def note_declared(path: Path, key_name: str, genesis: Genesis) -> None:
    """Note in a folder of keys that one of them, which never voted, is for these terms.

    Raises HomeRefused when the folder is a home already.
    """
    if Home(path).genesis_file.exists():
        raise HomeRefused(
            f"{path} is a node's home already; declare with a key that serves no other network."
        )
    info = key_info(path, key_name)
    words = (terms_hash(genesis).hex(), info.public_key.hex(), _file_mark(path, key_name))
    write_over(path / DECLARED_FILE, " ".join(words) + "\n")


def _keys_in(path: Path) -> Path | None:
    """Return a folder that holds keys and at most the note that they were declared, else None."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return path if names in ({KEYS_FOLDER}, {KEYS_FOLDER, DECLARED_FILE}) else None


@contextmanager
def _drafts(paths: Sequence[Path]) -> Iterator[list[Home]]:
    """Give an empty draft beside each path; what is left of them afterwards is removed."""
    drafts = [Home(path.with_name(f".{path.name}.{secrets.token_hex(8)}")) for path in paths]
    try:
        for draft in drafts:
            draft.path.mkdir(mode=0o700, parents=True)
        yield drafts
    except OSError as error:
        raise HomeFailed(
            f"The home {paths[0]} cannot be made ({error.strerror}); choose a folder that this "
            "user may write to."
        ) from error
    finally:
        for draft in drafts:
            shutil.rmtree(draft.path, ignore_errors=True)


def _place(draft: Home, path: Path) -> None:
    draft.path.replace(path)
    sync_folder(path.parent)


def _join(draft: Path, path: Path) -> None:
    """Move a draft's files to the keys; the genesis comes last, and with it the home is there.

    The note goes first: it must not vouch for the key once there is a guard to sign with.
    """
    path.chmod(0o700)
    (path / DECLARED_FILE).unlink(missing_ok=True)
    sync_folder(path)
    names = sorted(entry.name for entry in draft.iterdir() if entry.name != GENESIS_FILE)
    for name in [*names, GENESIS_FILE]:
        (draft / name).rename(path / name)
        sync_folder(path)


def _check(path: Path, wishes: HomeWishes, keys: Path | None) -> None:
    if path.exists() and keys is None and (not path.is_dir() or any(path.iterdir())):
        raise HomeExists(
            f"{path} exists already and holds more than keys; choose another folder, or remove it "
            "if you no longer need what is in it."
        )
    if wishes.profile not in PROFILES:
        raise HomeRefused(
            f"There is no profile '{wishes.profile}'; choose one of {', '.join(PROFILES)}."
        )
    if wishes.genesis is not None and wishes.funds:
        raise HomeRefused("A network that exists gets no new funds; leave out --fund or --genesis.")
    if wishes.genesis is None and wishes.profile != FOUNDED:
        raise HomeRefused(
            f"A network for the profile {wishes.profile} is not founded by one node; give the "
            "genesis file that its validators agreed on with --genesis."
        )
    if keys is not None and wishes.profile in VALIDATING:
        key_info(keys, VALIDATOR_KEY)  # raises KeyMissing before anything is written
    elif wishes.passphrase is None and wishes.profile in VALIDATING and wishes.profile != FOUNDED:
        raise HomeRefused("A validator's key needs a passphrase; give --passphrase-file.")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A home before its network is known: its settings, and the key that it holds or will hold."""

    config: str
    public_key: PublicKey | None


def _begin(home: Home, wishes: HomeWishes, keys: Path | None) -> _Begun:
    """Make the keys of a draft, unless they lie in a folder already."""
    config = (configs_folder() / "node" / f"{wishes.profile}.toml").read_text()
    validates = wishes.profile in VALIDATING
    if keys is not None:  # the node key is made on the first run, under their passphrase
        return _Begun(config, key_info(keys, VALIDATOR_KEY).public_key if validates else None)
    passphrase = wishes.passphrase
    is_light = wishes.profile == FOUNDED or passphrase is None
    cost = LIGHT_COST if is_light else COST  # nobody guesses 24 random bytes
    if passphrase is None:
        passphrase = _made_up(home.path / PASSPHRASE_FILE)
        config += f'\npassphrase_file = "{PASSPHRASE_FILE}"   # made up for this home\n'
    create_key(home.path, NODE_KEY, passphrase, cost)
    if not validates:
        return _Begun(config, None)
    return _Begun(config, create_key(home.path, VALIDATOR_KEY, passphrase, cost))


def _finish(home: Home, begun: _Begun, genesis: Genesis, *, with_guard: bool) -> None:
    """Write the rest of a draft."""
    write_new(home.genesis_file, write_genesis(genesis))
    write_new(home.config_file, begun.config)
    if begun.public_key is not None and with_guard:
        create_guard(home.guard_file, begun.public_key, genesis.hash)
    sync_folder(home.path)


def _declared(keys: Path, key: PublicKey | None, genesis: Genesis, now_ms: int) -> bool:
    """Tell whether the key was declared, and cannot have voted since.

    Nobody votes before a network begins. From then on a copy of the folder may come from before the
    votes, note and all; only the file that the key had then has been here throughout. Raises
    HomeRefused when it was declared for another network.
    """
    try:
        noted, *rest = (keys / DECLARED_FILE).read_text().split(maxsplit=1) or [""]
    except FileNotFoundError:
        return False
    if noted != terms_hash(genesis).hex():
        raise HomeRefused(
            f"The key in {keys} was declared for the terms {noted[:16]}, and this genesis has "
            f"{terms_hash(genesis).hex()[:16]}; get the genesis file of the network you declared "
            "for, or declare again."
        )
    declared_key, _, mark = "".join(rest).strip().partition(" ")
    if key is None or declared_key != key.hex():
        return False
    return now_ms < genesis.time_ms or mark == _file_mark(keys, VALIDATOR_KEY)


def _file_mark(path: Path, key_name: str) -> str:
    """Return what tells the file of a key from every copy of it: no tool sets the time of change.

    The device's number is left out, for it may be another one after a reboot.
    """
    status = key_path(path, key_name).stat()
    return f"{status.st_ino}:{status.st_ctime_ns}"


def _made_up(path: Path) -> Passphrase:
    text = secrets.token_urlsafe(PASSPHRASE_RANDOM_BYTES)
    write_secret(path, f"{text}\n".encode())
    return Passphrase(text)


def _genesis(wishes: HomeWishes, begun: Sequence[_Begun]) -> Genesis:
    if wishes.genesis is not None:
        return read_genesis(wishes.genesis)
    keys = [start.public_key for start in begun if start.public_key is not None]
    assert len(keys) == len(begun), "whoever founds a network has a key"
    founded = read_profile(FOUNDED).founded(wishes.time_ms, keys, wishes.funds)
    return checked(founded, "the new home")
