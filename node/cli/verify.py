"""`sahara verify`: replay a home's chain and compare every root."""

import sys
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import click

import cython_ext
from node.cli import home_option
from node.cli.answers import answering
from node.errors import NodeError
from node.home import open_home
from node.replay import replay
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb
from state.genesis import Genesis


class ReplayDiverged(NodeError):
    """A block, executed again, does not give the root that the chain states."""

    code: ClassVar[str] = "verify.diverged"


@click.command("verify")
@home_option
@answering
def verify(home: Path) -> dict[str, Any]:
    """Execute every block of a home again, from genesis, and compare every root.

    The node must not be running. `roots` is one digest of all roots: two replays of one chain
    print the same, whatever the machine, the hash seed or the kernels.

    \b
    Example:
      PYTHONHASHSEED=7 sahara verify --home devnet --json
    """
    found = open_home(home)
    genesis = found.genesis()
    database = LevelDb(found.data, create=False)
    try:
        with tempfile.TemporaryDirectory(prefix="sahara-verify-") as folder:
            scratch = LevelDb(Path(folder) / "data", create=True)
            try:
                return _compare(ChainStore(database, genesis), genesis, scratch)
            finally:
                scratch.close()
    finally:
        database.close()


def _compare(store: ChainStore, genesis: Genesis, scratch: LevelDb) -> dict[str, Any]:
    digest = blake2b(digest_size=32)
    height, root = 0, b""
    blocks = 0 if store.head is None else store.head.header.height + 1
    found = replay(store, genesis, scratch)
    with click.progressbar(
        found, length=blocks, label="Replaying", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        for step in bar:
            if not step.agrees:
                raise ReplayDiverged(
                    f"Block {step.height} gives the state root {step.state_root.hex()} and the "
                    f"chain states {step.expected_root.hex()} (outcomes "
                    f"{step.outcomes_root.hex()} and {step.expected_outcomes_root.hex()}); keep "
                    "the home and report it."
                )
            digest.update(step.state_root + step.outcomes_root)
            height, root = step.height, step.state_root
    return {
        "chain_id": genesis.chain_id,
        "height": height,
        "state_root": root.hex(),
        "roots": digest.hexdigest(),
        "agrees": True,
        "kernels": cython_ext.IMPLEMENTATION,
    }
