"""What commands that talk to a node share: where it is, how answers are shown, exit codes.

Exit codes: 0 done, and final when something was sent; 1 refused, failed, or dropped; 2 wrong usage;
3 no node answered.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from node.client import ClientError, OutcomeNotOk, SyncClient, Unreachable
from node.client.asynchronous import DEFAULT_URL
from state.errors import SaharaError
from state.types import Hash

C = TypeVar("C", bound=Callable[..., Any])

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3
WIDTH_PIPED = 2**20
"""Columns of a table that is not shown on a terminal: programs read rows as lines."""


def node_options(function: C) -> C:
    """Add --node and --json to a command."""
    where = click.option(
        "--node",
        "url",
        default=DEFAULT_URL,
        envvar="SAHARA_NODE",
        show_default=True,
        show_envvar=True,
        help="Where the node's RPC listens.",
    )
    form = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    return where(form(function))


@contextmanager
def connected(url: str, *, as_json: bool, genesis_hash: Hash | None = None) -> Iterator[SyncClient]:
    """Give a client to a block, and turn what it raises into a sentence and an exit code.

    With `genesis_hash` it signs for that network and no other.
    """
    try:
        with SyncClient(url, genesis_hash=genesis_hash) as client:
            yield client
    except Unreachable as error:
        fail(error.code, error.sentence, as_json=as_json, exit_code=EXIT_UNREACHABLE)
    except ClientError as error:
        final = isinstance(error, OutcomeNotOk)
        sentence = f"final, but it failed: {error.sentence}" if final else error.sentence
        fail(error.code, sentence, as_json=as_json)
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=as_json)


def fail(code: str, sentence: str, *, as_json: bool, exit_code: int = EXIT_REFUSED) -> None:
    """Say what went wrong on standard error and end the command."""
    shown = {"error": {"code": code, "sentence": sentence}}
    text = msgspec.json.encode(shown).decode() if as_json else f"{code}: {sentence}"
    click.echo(text, err=True)
    raise click.exceptions.Exit(exit_code)


def show(data: Any, *, as_json: bool) -> None:
    """Print a JSON value: as JSON, or as a table or lines for people."""
    if as_json:
        click.echo(msgspec.json.encode(data).decode())
    elif isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        _show_table(data)
    elif isinstance(data, dict):
        width = max((len(name) for name in data), default=0)
        for name, value in data.items():
            click.echo(f"{name:<{width}}  {_cell(value)}")
    else:
        click.echo(_cell(data))


def _show_table(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(name)) for name in rows[0]])
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_PIPED)
    console.print(table, markup=False)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else msgspec.json.encode(value).decode()


def default_home() -> Path:
    """Return the folder that keys and data lie in unless the command line says otherwise."""
    return Path(os.environ.get("SAHARA_HOME", "~/.sahara")).expanduser()
