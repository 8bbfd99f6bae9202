"""Which node a command speaks to that was given a home: the one that runs in it, and no other.

An address on the command line or in SAHARA_NODE goes before; the home then still says of which
network the node must be.
"""

from pathlib import Path
from shlex import quote

import click
from click.core import ParameterSource

from node.cli.connection import EXIT_UNREACHABLE, fail
from node.client import SyncClient, WrongNetwork
from node.home import Home, open_home
from node.run_file import read_run_file
from state.errors import SaharaError
from state.types import Hash

home_node_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Ask the node that runs in this home, instead of --node.",
)


def either(ctx: click.Context, home: Path | None, url: str, *, as_json: bool) -> str:
    """Return the address that is asked by a command that signs nothing; it takes one of the two."""
    if home is None:
        return url
    if ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--home and --node both name a node; give one of them.")
    return address_of(home.expanduser(), as_json=as_json)


def address_of(home: Path, *, as_json: bool) -> str:
    """Return where the node of a home answers, or end the command."""
    try:
        found = read_run_file(open_home(home).path)
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=as_json)
    else:
        if found is not None:
            return str(found["rpc"])
        sentence = (
            f"No node runs in {home}; start it with: sahara run --home {quote(str(home))}, "
            "or name another node of its network with --node"
        )
        fail("node.not_running", sentence, as_json=as_json, exit_code=EXIT_UNREACHABLE)
    raise AssertionError("fail ends the command")


def network_of(home: Path, *, as_json: bool) -> Hash | None:
    """Return the genesis hash of a home, or end the command; None for a folder of keys alone."""
    found = Home(home)
    if not found.genesis_file.exists():
        return None
    try:
        return found.genesis().hash
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=as_json)
    raise AssertionError("fail ends the command")


def node_for(ctx: click.Context, home: Path, url: str, *, as_json: bool) -> str:
    """Return the address that was given, else that of the home's node.

    A folder of keys alone has no node and no network, and `url` stands, which is the default.
    """
    was_given = ctx.get_parameter_source("url") is not ParameterSource.DEFAULT
    if was_given or not Home(home).genesis_file.exists():
        return url
    return address_of(home, as_json=as_json)


def require_network(client: SyncClient, url: str, home: Path, *, as_json: bool) -> None:
    """End the command when the node is of another network than the home it signs for."""
    try:
        client.status()
    except WrongNetwork as error:
        sentence = (
            f"The node at {url} is of another network: its genesis hash is {error.found.hex()}, "
            f"and that of {home} is {error.expected.hex()}. Nothing was signed; give --node with a "
            "node of the home's network, or the --home that belongs to this node's."
        )
        fail(error.code, sentence, as_json=as_json)
