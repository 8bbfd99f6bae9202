"""A node's home: the folder that holds everything of one node on one network.

    config.toml      settings (node/config.py)
    genesis.toml     the network (node/genesis_file.py)
    keys/            sealed keys (node/keystore.py)
    passphrase       of a devnet's key only, when nobody gave one
    guard            what the key has signed (node/signer.py)
    data/            blocks and state (node/storage)

A home is made whole or not at all, and only its owner may enter it.
"""

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from node.config import CONFIG_FILE
from node.errors import NodeError
from node.genesis_file import (
    CHAINS,
    Profile,
    checked,
    configs_folder,
    read_genesis,
    read_profile,
    write_genesis,
)
from node.keystore import (
    COST,
    LIGHT_COST,
    Passphrase,
    create_key,
    sync_folder,
    write_secret,
)
from node.signer import create_guard
from state.genesis import Allocation, Genesis
from state.types import PublicKey

GENESIS_FILE = "genesis.toml"
PASSPHRASE_FILE = "passphrase"
VALIDATOR_KEY = "validator"
ROLES = ("validator", "full", "archive")
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
    def data(self) -> Path:
        """The database."""
        return self.path / "data"

    def genesis(self) -> Genesis:
        """Return the network of this home; raises GenesisMissing or GenesisInvalid."""
        return read_genesis(self.genesis_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeWishes:
    """What a new home shall be."""

    chain: str = "devnet"
    role: str = "validator"
    time_ms: int
    """The time of a network that is founded with the home, since 1970 in UTC."""

    genesis: Path | None = None
    """The genesis file of a network that exists; without it one is founded."""

    funds: Sequence[Allocation] = ()
    """Allocations besides the validator's own, when a network is founded."""

    passphrase: Passphrase | None = None
    """Of the validator's key; on a devnet, one is made up and kept in the home if there is none."""


def open_home(path: Path) -> Home:
    """Return the home at `path`; raises HomeMissing."""
    home = Home(path)
    if not home.genesis_file.is_file():
        raise HomeMissing(
            f"There is no home at {path} (no {GENESIS_FILE}); make one: sahara init --home {path}"
        )
    return home


def create_home(path: Path, wishes: HomeWishes) -> tuple[Home, Genesis]:
    """Make a home, whole or not at all, and return it with its network.

    Raises HomeExists, HomeRefused, HomeFailed, and what keys and genesis files raise.
    """
    _check(path, wishes)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        genesis = _fill(Home(draft), wishes)
        sync_folder(draft)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise HomeFailed(
            f"The home {path} cannot be made ({error.strerror}); choose a folder that this user "
            "may write to."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Home(path), genesis


def _check(path: Path, wishes: HomeWishes) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise HomeExists(
            f"{path} exists already and is not empty; choose another folder, or remove it if you "
            "no longer need what is in it."
        )
    if wishes.role not in ROLES:
        raise HomeRefused(f"There is no role '{wishes.role}'; choose one of {', '.join(ROLES)}.")
    if wishes.chain not in CHAINS:
        raise HomeRefused(f"There is no chain '{wishes.chain}'; choose one of {', '.join(CHAINS)}.")
    if wishes.genesis is not None and wishes.funds:
        raise HomeRefused("A network that exists gets no new funds; leave out --fund or --genesis.")
    if wishes.genesis is None and read_profile(wishes.chain).founding is None:
        raise HomeRefused(
            f"The {wishes.chain} is not founded by one node; give the genesis file that its "
            "validators agreed on with --genesis."
        )
    if wishes.passphrase is None and wishes.role == VALIDATOR_KEY and wishes.chain != "devnet":
        raise HomeRefused("A validator's key needs a passphrase; give --passphrase-file.")


def _fill(home: Home, wishes: HomeWishes) -> Genesis:
    """Write everything into the draft of a home."""
    config = (configs_folder() / "node" / f"{wishes.role}.toml").read_text()
    profile = read_profile(wishes.chain)
    if wishes.chain == "devnet":
        config = config.replace("invariants_every_blocks = 100 ", "invariants_every_blocks = 1   ")
    public_key: PublicKey | None = None
    if wishes.role == VALIDATOR_KEY or wishes.genesis is None:
        passphrase = wishes.passphrase
        if passphrase is None:
            passphrase = _made_up(home.path / PASSPHRASE_FILE)
            config += f'\npassphrase_file = "{PASSPHRASE_FILE}"   # made up for this devnet\n'
        cost = LIGHT_COST if wishes.chain == "devnet" else COST
        public_key = create_key(home.path, VALIDATOR_KEY, passphrase, cost)
    genesis = _genesis(profile, wishes, public_key)
    home.genesis_file.write_text(write_genesis(genesis))
    home.config_file.write_text(config)
    if public_key is not None:
        create_guard(home.guard_file, public_key, genesis.hash)
    return genesis


def _made_up(path: Path) -> Passphrase:
    text = secrets.token_urlsafe(PASSPHRASE_RANDOM_BYTES)
    write_secret(path, f"{text}\n".encode())
    return Passphrase(text)


def _genesis(profile: Profile, wishes: HomeWishes, public_key: PublicKey | None) -> Genesis:
    if wishes.genesis is not None:
        return read_genesis(wishes.genesis)
    assert public_key is not None, "whoever founds a network has a key"
    founded = profile.founded(wishes.time_ms, public_key, wishes.funds)
    return checked(founded, "the new home")
