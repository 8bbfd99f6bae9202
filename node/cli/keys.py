"""`sahara keys`: make and show keys."""

from pathlib import Path
from typing import Any

import click

from node.addresses import format_address, parse_address
from node.cli import home_option
from node.cli.answers import answering, ask_passphrase
from node.genesis_file import read_genesis
from node.home import open_home
from node.keystore import (
    KeyInfo,
    create_key,
    key_info,
    key_path,
    list_keys,
    load_key,
    read_passphrase,
)
from state.modules.staking import possession_digest

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SAHARA_PASSPHRASE_FILE",
    show_envvar=True,
    help="File with the key's passphrase; asked for when left out.",
)


@click.group("keys")
def keys() -> None:
    """Make and show keys; they lie sealed under HOME/keys."""


@keys.command("create")
@click.argument("name")
@passphrase_option
@home_option
@answering
def create(name: str, home: Path, passphrase_file: Path | None) -> dict[str, Any]:
    """Make a key and show its address.

    \b
    Example:
      sahara keys create alice --home devnet
    """
    key_path(home, name)  # an impossible name is told before the passphrase is asked for
    if passphrase_file is None:
        passphrase = ask_passphrase(name, confirm=True)
    else:
        passphrase = read_passphrase(passphrase_file)
    create_key(home, name, passphrase)
    return _shown(key_info(home, name))


@keys.command("list")
@home_option
@answering
def list_(home: Path) -> list[dict[str, Any]]:
    """Show every key of a home.

    \b
    Example:
      sahara keys list --home devnet --json
    """
    return [_shown(info) for info in list_keys(home)]


@keys.command("show")
@click.argument("name")
@home_option
@answering
def show(name: str, home: Path) -> dict[str, Any]:
    """Show what is public of a key.

    \b
    Example:
      sahara keys show alice --home devnet
    """
    return _shown(key_info(home, name))


@keys.command("prove")
@click.argument("name")
@click.option("--validator", required=True, metavar="ADDRESS", help="The validator's account.")
@click.option(
    "--genesis",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Genesis file of the network; that of the home when left out.",
)
@passphrase_option
@home_option
@answering
def prove(
    name: str, validator: str, home: Path, genesis: Path | None, passphrase_file: Path | None
) -> dict[str, Any]:
    """Prove that a consensus key is one's own: what `tx staking create-validator` asks for.

    \b
    Example:
      sahara keys prove consensus --validator sah1... --home devnet
    """
    account = parse_address(validator)
    network = open_home(home).genesis() if genesis is None else read_genesis(genesis)
    key_info(home, name)  # a missing key is told before the passphrase is asked for
    if passphrase_file is None:
        passphrase = ask_passphrase(name, confirm=False)
    else:
        passphrase = read_passphrase(passphrase_file)
    key = load_key(home, name, passphrase)
    return {
        "validator": format_address(account),
        "public_key": key.public_key.hex(),
        "proof": key.sign(possession_digest(network.hash, account)).hex(),
    }


def _shown(info: KeyInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "address": format_address(info.address),
        "public_key": info.public_key.hex(),
    }
