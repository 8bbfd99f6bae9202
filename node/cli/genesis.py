"""`sahara genesis`: make the genesis file of a network, and check the one that was sent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from node.addresses import format_address, parse_address
from node.cli import home_option
from node.cli.answers import answering, ask_passphrase
from node.clock import SystemClock
from node.genesis_file import CHAINS, GenesisInvalid, read_draft
from node.genesis_steps import (
    add_account,
    add_validators,
    declare,
    new_genesis,
    read_declaration,
    terms_hash,
    tried,
    write_declaration,
)
from node.home import note_declared
from node.keystore import key_info, load_key, read_passphrase
from state.genesis import Allocation, Genesis, GenesisValidator
from state.types import BPS, INT_MAX

YEAR_10_000_MS = 253_402_300_800_000
GRAINS = click.IntRange(1, INT_MAX)
genesis_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group("genesis")
def genesis() -> None:
    """Make the genesis file of a network, and check the one that was sent.

    \b
    Example:
      sahara genesis new genesis.toml --chain testnet --time 2030-01-01T12:00:00Z
      sahara genesis add-account genesis.toml --address sah1... --amount 5000000000000
      sahara genesis declare genesis.toml --stake 1000000000000 --to alice.toml  # each validator
      sahara genesis add-validator genesis.toml alice.toml bob.toml
      sahara genesis hash genesis.toml                                 # the same for everybody
    """


@genesis.command("new")
@genesis_file
@click.option("--chain", type=click.Choice(CHAINS), required=True, help="Whose parameters.")
@click.option("--chain-id", help="The network's name; that of the chain when left out.")
@click.option("--time", help="Time of the genesis block, such as 2030-01-01T12:00:00Z; else now.")
@answering
def new(file: Path, chain: str, chain_id: str | None, time: str | None) -> dict[str, Any]:
    """Begin a genesis file: every parameter written out, to be changed by hand before others join.

    \b
    Example:
      sahara genesis new genesis.toml --chain testnet --chain-id sahara-testnet-1
    """
    time_ms = SystemClock().wall_ms() if time is None else _time_ms(time)
    return _shown(new_genesis(file, chain, chain_id, time_ms))


@genesis.command("add-account")
@genesis_file
@click.option("--address", required=True, help="Who gets the coins.")
@click.option("--amount", type=GRAINS, required=True, help="How much, in grains.")
@answering
def add_account_(file: Path, address: str, amount: int) -> dict[str, Any]:
    """Let an address hold coins from genesis on.

    \b
    Example:
      sahara genesis add-account genesis.toml --amount 1000000000 \\
          --address sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge
    """
    return _shown(add_account(file, Allocation(parse_address(address), amount)))


@genesis.command("declare")
@genesis_file
@click.option("--stake", type=GRAINS, required=True, help="Bonded at genesis, in grains.")
@click.option(
    "--commission-bps",
    type=click.IntRange(0, BPS),
    default=1_000,
    show_default=True,
    help="The part of delegators' rewards that is kept, in 1/10000.",
)
@click.option("--account", help="Who bonds the stake; the key's own address when left out.")
@click.option("--key-name", default="validator", show_default=True, help="The validator's key.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SAHARA_PASSPHRASE_FILE",
    show_envvar=True,
    help="File with the key's passphrase; asked for when left out.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The new file for whoever assembles the genesis; nothing in it is secret.",
)
@home_option
@answering
def declare_(
    file: Path,
    home: Path,
    stake: int,
    commission_bps: int,
    account: str | None,
    key_name: str,
    passphrase_file: Path | None,
    to: Path,
) -> dict[str, Any]:
    """Declare with one's own key that one validates, on the terms of a genesis file.

    \b
    Example:
      sahara keys create validator --home alice
      sahara genesis declare genesis.toml --home alice --stake 1000000000000 --to alice.toml
    """
    draft = read_draft(file)
    info = key_info(home, key_name)
    owner = info.address if account is None else parse_address(account)
    if passphrase_file is None:
        passphrase = ask_passphrase(key_name, confirm=False)
    else:
        passphrase = read_passphrase(passphrase_file)
    key = load_key(home, key_name, passphrase)
    wanted = GenesisValidator(key.public_key, owner, stake, commission_bps)
    declaration = declare(draft, key, wanted)
    note_declared(home, key_name, draft)
    write_declaration(to, declaration)
    return {
        "chain_id": draft.chain_id,
        "terms_hash": declaration.terms_hash.hex(),
        **_row(wanted),
        "written": str(to),
    }


@genesis.command("add-validator")
@genesis_file
@click.argument(
    "declarations",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
@answering
def add_validator_(file: Path, declarations: tuple[Path, ...]) -> dict[str, Any]:
    """Take in validators as they declared, all of them or none.

    Each signature is checked, and each account must hold its stake.

    \b
    Example:
      sahara genesis add-validator genesis.toml alice.toml bob.toml
    """
    return _shown(add_validators(file, [read_declaration(path) for path in declarations]))


@genesis.command("validate")
@genesis_file
@answering
def validate(file: Path) -> dict[str, Any]:
    """Build the first state of a complete genesis file, and show its hash and root.

    \b
    Example:
      sahara genesis validate genesis.toml
    """
    found = tried(file)
    return {**_shown(found.genesis), "state_root": found.state_root.hex()}


@genesis.command("hash")
@genesis_file
@answering
def hash_(file: Path) -> dict[str, Any]:
    """Show the hash of a complete genesis file: nodes of one network have the same.

    It is computed from what the file says; its comments do not count.

    \b
    Example:
      sahara genesis hash genesis.toml --json
    """
    return {"genesis_hash": tried(file).genesis.hash.hex()}


@genesis.command("show")
@genesis_file
@click.option("--validators", is_flag=True, help="One row a validator instead of a summary.")
@answering
def show(file: Path, validators: bool) -> Any:
    """Show what a genesis file holds so far, complete or not.

    \b
    Example:
      sahara genesis show genesis.toml --validators
    """
    draft = read_draft(file)
    if not validators:
        return _shown(draft)
    total = sum(entry.stake for entry in draft.validators)
    return [
        {**_row(entry), "power_percent": f"{entry.stake * 100 / total:.2f}"}
        for entry in draft.validators
    ]


def _shown(draft: Genesis) -> dict[str, Any]:
    supply: dict[str, int] = {}
    for entry in draft.allocations:
        supply[entry.denom] = supply.get(entry.denom, 0) + entry.amount
    return {
        "chain_id": draft.chain_id,
        "time": _time(draft.time_ms),
        "terms_hash": terms_hash(draft).hex(),
        "genesis_hash": draft.hash.hex() if draft.validators else None,
        "accounts": len({entry.address for entry in draft.allocations}),
        "supply": {denom: str(amount) for denom, amount in supply.items()},
        "validators": len(draft.validators),
        "stake": str(sum(entry.stake for entry in draft.validators)),
    }


def _row(entry: GenesisValidator) -> dict[str, Any]:
    return {
        "account": format_address(entry.account),
        "public_key": entry.public_key.hex(),
        "stake": str(entry.stake),
        "commission_bps": entry.commission_bps,
    }


def _time(time_ms: int) -> str:
    """Return a time for people; beyond the year 9999 there is none, and milliseconds must do."""
    if time_ms >= YEAR_10_000_MS:
        return f"{time_ms} ms after 1970"
    time = datetime.fromtimestamp(time_ms // 1_000, UTC).replace(tzinfo=None)
    return f"{time.isoformat()}.{time_ms % 1_000:03}Z"


def _time_ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise GenesisInvalid(
            f"--time {text} is no time; write it as 2030-01-01T12:00:00Z."
        ) from error
    if time.tzinfo is None:
        raise GenesisInvalid(f"--time {text} names no zone; end it with Z for UTC.")
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
