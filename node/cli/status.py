"""`sahara status`: the node at a glance."""

import click

from node.cli.connection import connected, node_options, show


@click.command("status")
@node_options
def GROUP(url: str, *, as_json: bool) -> None:
    """Show network, head, mempool and base fee of a node."""
    with connected(url, as_json=as_json) as client:
        show(client.call("chain.status"), as_json=as_json)
