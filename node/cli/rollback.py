"""`sahara rollback`: return a stopped node to an earlier final height."""

import sys
from pathlib import Path
from typing import Any

import click

from node.cli import home_option
from node.cli.answers import answering
from node.config import load_config
from node.home import open_home
from node.keystore import key_info
from node.rollback import roll_back


@click.command("rollback")
@click.option("--to", "height", type=click.IntRange(min=0), required=True, help="The new head.")
@home_option
@answering
def rollback(home: Path, height: int) -> dict[str, Any]:
    """Return a stopped node's blocks and state to an earlier final height.

    Blocks above it are removed here, and fetched from other nodes once this one runs again: what
    is final on the network stays final. The guard stays as it is, so a validator still signs
    nothing that contradicts its votes. How far back it goes depends on the blocks and snapshots
    that are kept. The state is executed again from the nearest of them.

    \b
    Example:
      sahara rollback --home node --to 41000
    """
    found = open_home(home)
    config = load_config(found.path)
    has_votes = bool(config.key_name) and found.guard_file.exists()
    voter = key_info(found.path, config.key_name).public_key if has_votes else None
    steps = roll_back(found.data, found.snapshots, found.genesis(), height, voter)
    root, executed = b"", 0
    with click.progressbar(
        steps, label="Executing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        for step in bar:
            root, executed = step.state_root, executed + 1
    return {"height": height, "state_root": root.hex(), "executed_blocks": executed - 1}
