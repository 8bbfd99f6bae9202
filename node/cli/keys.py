"""`sahara keys`: make and show keys."""

from pathlib import Path
from typing import Any

import click

from node.addresses import format_address
from node.cli import home_option
from node.cli.answers import answering, ask_passphrase
from node.keystore import KeyInfo, create_key, key_info, key_path, list_keys, read_passphrase


@click.group("keys")
def keys() -> None:
    """Make and show keys; they lie sealed under HOME/keys."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SAHARA_PASSPHRASE_FILE",
    show_envvar=True,
    help="File with the key's passphrase; asked for when left out.",
)
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


def _shown(info: KeyInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "address": format_address(info.address),
        "public_key": info.public_key.hex(),
    }
