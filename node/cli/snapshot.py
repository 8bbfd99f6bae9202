"""`sahara snapshot`: make, list and restore snapshots of the state."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import click

from node.cli import home_option
from node.cli.answers import answering
from node.client import Refused, SyncClient, Unreachable
from node.errors import NodeError
from node.home import Home, open_home
from node.run_file import read_run_file
from node.snapshot.folder import SnapshotFolder, snapshots_in
from node.snapshot.make import make_snapshot
from node.snapshot.restore import restore as restore_home
from node.snapshot.view import SnapshotView, view_of
from node.snapshot.walk import read_checkpoint
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb

CREATE_SECONDS_MAX = 3_600.0
"""A running node takes its time over a large state, for its blocks come first."""


class NodeRefused(NodeError):
    """The node that runs in this home did not make the snapshot."""

    code: ClassVar[str] = "snapshot.node_refused"


@click.group("snapshot")
def snapshot() -> None:
    """Make, list and restore snapshots: the state after a final block, which proves itself.

    \b
    Example:
      sahara snapshot create --home node && sahara snapshot list --home node
    """


@snapshot.command("create")
@home_option
@answering
def create(home: Path) -> dict[str, Any]:
    """Make a snapshot of the newest state that is proven, under HOME/snapshots.

    A node that runs in the home makes it, beside its blocks; otherwise it is made here.

    \b
    Example:
      sahara snapshot create --home node
    """
    found = open_home(home)
    by_node = _made_by_node(found)
    if by_node is not None:
        return by_node
    genesis = found.genesis()
    database = LevelDb(found.data, create=False)
    with closing(database):
        ChainStore(database, genesis)  # refuses another network's, or another form
        pieces = make_snapshot(database, genesis, found.snapshots)
        with click.progressbar(
            pieces, label="Writing", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            made = [piece for piece in bar if piece is not None]
    return _shown(view_of(made[0], genesis))


def _made_by_node(home: Home) -> dict[str, Any] | None:
    """Let the node of a home make a snapshot; None where none runs, or only its run file is left.

    If it runs after all and does not answer, it still holds the lock of the database.
    """
    run = read_run_file(home.path)
    if run is None:
        return None
    try:
        with SyncClient(run["rpc"], timeout_seconds=CREATE_SECONDS_MAX) as client:
            return dict(client.call("node.make_snapshot"))
    except Refused as error:
        raise NodeRefused(f"{error.code}: {error.sentence}") from error
    except Unreachable:
        return None


@snapshot.command("list")
@home_option
@answering
def list_snapshots(home: Path) -> list[dict[str, Any]]:
    """List the snapshots of a home, the newest first.

    \b
    Example:
      sahara snapshot list --home node --json
    """
    found = open_home(home)
    genesis = found.genesis()
    return [_shown(view_of(folder, genesis)) for folder in snapshots_in(found.snapshots)]


@snapshot.command("restore")
@click.argument("source", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--trust",
    "checkpoint",
    default="",
    metavar="EPOCH:BLOCKID",
    help="The block before an epoch, from somebody you trust; the snapshot must build on it.",
)
@home_option
@answering
def restore(home: Path, source: Path, checkpoint: str) -> dict[str, Any]:
    """Restore SOURCE, a snapshot's folder, into a home that holds no blocks yet.

    Everything in it is checked against the home's genesis: how each epoch ended, the certificate of
    the block that proves the state, and every row. Nothing is kept of one that fails. The guard
    stays: a validator votes again once the chain has passed whatever it may have signed.

    \b
    Examples:
      sahara init --home node --profile full --genesis genesis.toml
      sahara snapshot restore backup/41000 --home node
      sahara snapshot restore backup/41000 --home node --trust 68:9f3c... --json
    """
    found = open_home(home)
    genesis = found.genesis()
    folder = SnapshotFolder(source)
    total = len(folder.manifest(genesis.hash).marks)
    with click.progressbar(
        length=total, label="Restoring", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        head = restore_home(
            folder,
            found.data,
            genesis,
            read_checkpoint(checkpoint),
            lambda done, _: bar.update(done - bar.pos),
        )
    return {
        "height": head.header.height,
        "block_id": head.block_id.hex(),
        "state_root": head.state_root.hex(),
        "epoch": head.header.epoch,
    }


def _shown(view: SnapshotView) -> dict[str, Any]:
    return {
        "height": view.height,
        "crown_id": view.crown_id.hex(),
        "size_bytes": view.size_bytes,
        "path": view.path,
    }
