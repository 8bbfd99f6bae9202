"""`sahara status`: the node at a glance."""

from pathlib import Path

import click
from click.core import ParameterSource

from node.cli.connection import EXIT_UNREACHABLE, connected, fail, node_options, show
from node.home import open_home
from state.errors import SaharaError


@click.command("status")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Ask the node that runs in this home, instead of --node.",
)
@node_options
@click.pass_context
def GROUP(ctx: click.Context, url: str, home: Path | None, *, as_json: bool) -> None:
    """Show network, head, round, root, peers, mempool, memory and version of a node.

    \b
    Example:
      sahara status --home devnet --json
    """
    if home is not None:
        if ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--home and --node both name a node; give one of them.")
        url = _address(home.expanduser(), as_json=as_json)
    with connected(url, as_json=as_json) as client:
        show(client.call("chain.status"), as_json=as_json)


def _address(home: Path, *, as_json: bool) -> str:
    """Return where the node of a home answers, or end the command."""
    from node.service import read_run_file  # a whole node: who asks by address does not wait for it

    try:
        found = read_run_file(open_home(home).path)
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=as_json)
    else:
        if found is not None:
            return str(found["rpc"])
        sentence = f"No node runs in {home}; start it with: sahara run --home {home}"
        fail("node.not_running", sentence, as_json=as_json, exit_code=EXIT_UNREACHABLE)
    raise AssertionError("fail ends the command")
