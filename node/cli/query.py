"""`sahara query MODULE NAME --field value`: every query, derived from the registry."""

from pathlib import Path
from typing import Any

import click

from node.cli import fields
from node.cli.connection import connected, node_options, show
from node.cli.fields import Field
from node.cli.home_node import either, home_node_option
from node.client import protocol
from node.rpc.catalogue import Method, module_methods, node_methods

GROUP = click.Group("query", help="Ask a node: every module's queries, and the chain's own.")


def _command(method: Method) -> click.Command:
    module, _, name = method.name.partition(".")
    taken = [Field(each.name, each.kind, each.required) for each in method.parameters]

    @home_node_option
    @node_options
    @click.pass_context
    def ask(
        ctx: click.Context, /, url: str, home: Path | None, *, as_json: bool, **given: Any
    ) -> None:
        arguments = fields.values(taken, given)
        with connected(either(ctx, home, url, as_json=as_json), as_json=as_json) as client:
            answer = client.call(method.name, **protocol.written(method.name, arguments))
            show(answer, as_json=as_json)

    line = f"query {module} {fields.dashed(name)}"
    text = fields.help_text(method.summary, line, taken)
    return fields.command(fields.dashed(name), text, fields.options(taken), ask)


def _add_all() -> None:
    methods = [*module_methods(), *node_methods()]
    for module in sorted({each.name.partition(".")[0] for each in methods if "." in each.name}):
        if module == "tx":
            continue  # what is asked about transactions stands in `sahara tx`
        group = click.Group(module, help=f"Queries of {module}.")
        for method in methods:
            if method.name.startswith(f"{module}."):
                group.add_command(_command(method))
        GROUP.add_command(group)


_add_all()
