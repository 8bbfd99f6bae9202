"""`sahara status`: the node at a glance."""

from pathlib import Path

import click

from node.cli.connection import connected, node_options, show
from node.cli.home_node import either, home_node_option


@click.command("status")
@home_node_option
@node_options
@click.pass_context
def GROUP(ctx: click.Context, url: str, home: Path | None, *, as_json: bool) -> None:
    """Show network, head, round, root, peers, mempool, memory and version of a node.

    \b
    Example:
      sahara status --home devnet --json
    """
    with connected(either(ctx, home, url, as_json=as_json), as_json=as_json) as client:
        show(client.call("chain.status"), as_json=as_json)
