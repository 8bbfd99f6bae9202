"""`sahara verify`: replay a home's chain and compare every root."""

import sys
import tempfile
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import click

import cython_ext
from node.cli import home_option
from node.cli.answers import answering
from node.errors import NodeError
from node.home import open_home
from node.replay import check_kept, replay
from node.snapshot.basis import snapshots_for
from node.snapshot.make import make_snapshot
from node.snapshot.restore import restore_into
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
    """Execute every block of a home again, and compare every root.

    The node must not be running. It begins at genesis or, where earlier blocks are not kept, at the
    oldest snapshot from which blocks lead on; without one it holds the stored state itself against
    the last block, which proves it. `from_height` and `basis` say which. `roots` is one digest of
    all roots: two replays of one chain from one height print the same, whatever the machine, the
    hash seed or the kernels.

    \b
    Example:
      PYTHONHASHSEED=7 sahara verify --home devnet --json
    """
    found = open_home(home)
    genesis = found.genesis()
    with closing(LevelDb(found.data, create=False)) as database:
        store = ChainStore(database, genesis)
        with tempfile.TemporaryDirectory(prefix="sahara-verify-") as name:
            folder = Path(name)
            with closing(LevelDb(folder / "data", create=True)) as scratch:
                basis = _begin(store, database, found.snapshots, genesis, folder, scratch)
                return {**_compare(store, genesis, scratch), "basis": basis}


def _begin(
    store: ChainStore,
    database: LevelDb,
    snapshots: Path,
    genesis: Genesis,
    folder: Path,
    scratch: LevelDb,
) -> str:
    """Fill the scratch store with the state to begin with, and say where that comes from."""
    if store.floor <= 1:
        return "genesis"
    head = store.head
    assert head is not None, "what has a floor has a head"
    found = snapshots_for(store, snapshots, genesis, head.header.height)
    if found:
        restore_into(found[-1], scratch, genesis)
        return "snapshot"
    check_kept(store, genesis)
    made = [each for each in make_snapshot(database, genesis, folder) if each is not None]
    restore_into(made[0], scratch, genesis)
    return "state"


def _compare(store: ChainStore, genesis: Genesis, scratch: LevelDb) -> dict[str, Any]:
    digest = blake2b(digest_size=32)
    first, height, root = -1, 0, b""
    begun = ChainStore(scratch, genesis).head
    start = 0 if begun is None else begun.header.height
    blocks = 0 if store.head is None else store.head.header.height + 1 - start
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
            first = step.height if first < 0 else first
            height, root = step.height, step.state_root
    return {
        "chain_id": genesis.chain_id,
        "from_height": max(first, 0),
        "height": height,
        "state_root": root.hex(),
        "roots": digest.hexdigest(),
        "agrees": True,
        "kernels": cython_ext.IMPLEMENTATION,
    }
