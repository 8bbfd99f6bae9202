"""`sahara init`: make a home."""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from node.addresses import format_address, parse_address
from node.cli import home_option
from node.cli.answers import answering
from node.clock import SystemClock
from node.home import (
    FOUNDED,
    PROFILES,
    VALIDATING,
    VALIDATOR_KEY,
    HomeRefused,
    HomeWishes,
    create_home,
)
from node.keystore import key_info, read_passphrase
from state.genesis import Allocation
from state.types import INT_MAX

AFTER_LOSS = " --vote-after-loss EPOCH:VIEW"
"""What a key that was not declared in its folder must say: it may have voted before."""


@click.command("init")
@home_option
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=FOUNDED,
    show_default=True,
    help="Which settings the home begins with; all but full and archive hold a validator's key.",
)
@click.option(
    "--genesis",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The genesis file of a network that exists; without it a devnet is founded.",
)
@click.option(
    "--fund",
    "funds",
    multiple=True,
    metavar="ADDRESS=GRAINS",
    help="An account that holds coins from genesis on; may be repeated.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SAHARA_PASSPHRASE_FILE",
    show_envvar=True,
    help="File with the passphrase of the validator's key; made up for a devnet when left out.",
)
@answering
def init(
    home: Path,
    profile: str,
    genesis: Path | None,
    funds: tuple[str, ...],
    passphrase_file: Path | None,
) -> dict[str, Any]:
    """Make a home: a key, the network's genesis, and settings.

    A folder that holds keys and nothing else becomes a home around them.

    \b
    Example:
      sahara init --home devnet --fund sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge=1000000000
      sahara init --home alice --profile testnet --genesis genesis.toml
    """
    wishes = HomeWishes(
        profile=profile,
        time_ms=SystemClock().wall_ms(),
        genesis=genesis,
        funds=[_allocation(text) for text in funds],
        passphrase=None if passphrase_file is None else read_passphrase(passphrase_file),
    )
    made, network = create_home(home, wishes)
    again = "" if profile not in VALIDATING or made.guard_file.exists() else AFTER_LOSS
    own = key_info(home, VALIDATOR_KEY).public_key if profile in VALIDATING else None
    return {
        "home": str(made.path),
        "chain_id": network.chain_id,
        "genesis_hash": network.hash.hex(),
        "profile": profile,
        "is_validator": own in [validator.public_key for validator in network.validators],
        "validators": [format_address(validator.account) for validator in network.validators],
        "next": f"sahara run --home {quote(str(made.path))}{again}",
    }


def _allocation(text: str) -> Allocation:
    address, _, grains = text.partition("=")
    if not (grains.isascii() and grains.isdecimal() and 1 <= int(grains[:20]) <= INT_MAX):
        raise HomeRefused(f"--fund {text} is not ADDRESS=GRAINS; give whole grains, at least 1.")
    return Allocation(parse_address(address), int(grains))
