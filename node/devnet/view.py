"""What the terminal of a running devnet shows: a live table, lines, or JSON."""

import time
from typing import Protocol

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.devnet.process import last_words
from node.devnet.supervisor import Node
from node.devnet.ward import Ward

LINE_SECONDS = 5.0
COLUMNS = ("node", "state", "mode", "pid", "height", "finality", "peers", "tx/s", "memory", "RPC")


class View(Protocol):
    """Somewhere to show a devnet."""

    def say(self, sentence: str) -> None:
        """Tell what happened to a process."""
        ...

    def show(self, nodes: list[Node], traffic: Ward | None) -> None:
        """Show where things stand; called about twice a second."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class TableView:
    """A table that stays in place on a terminal, with what happens scrolling above it."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def say(self, sentence: str) -> None:
        """Print above the table."""
        self._console.print(sentence, markup=False, highlight=False)

    def show(self, nodes: list[Node], traffic: Ward | None) -> None:
        """Draw the table anew."""
        self._live.update(table_of(nodes, traffic), refresh=True)

    def close(self) -> None:
        """Leave the last table behind."""
        self._live.stop()


class LineView:
    """Lines for a pipe or a log; as JSON, one object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown_at: float | None = None

    def say(self, sentence: str) -> None:
        """Print what happened."""
        click.echo(msgspec.json.encode({"event": sentence}) if self._as_json else sentence)

    def show(self, nodes: list[Node], traffic: Ward | None) -> None:
        """Print a line every few seconds."""
        now = time.monotonic()
        if not nodes or (self._shown_at is not None and now < self._shown_at + LINE_SECONDS):
            return
        self._shown_at = now
        if self._as_json:
            shown: dict[str, object] = {"nodes": [row_of(node) for node in nodes]}
            if traffic is not None:
                shown["traffic"] = traffic_row(traffic)
            click.echo(msgspec.json.encode(shown))
        else:
            heights = " ".join(cell(node.sight.height) for node in nodes)
            rates = [node.sight.tx_per_s(now) or 0.0 for node in nodes]
            click.echo(f"heights {heights}  tx/s {max(rates, default=0.0)}")

    def close(self) -> None:
        """Nothing has to be given back."""


def view_of(*, as_json: bool) -> View:
    """Return the view that suits where standard output goes."""
    if as_json or not Console().is_terminal:
        return LineView(as_json=as_json)
    return TableView()


def row_of(node: Node) -> dict[str, object]:
    """Return what the table shows of one node."""
    process, sight = node.ward.process, node.sight
    return {
        "index": node.seat.index,
        "phase": node.ward.phase.value,
        "mode": sight.mode,
        "pid": None if process is None else process.pid,
        "height": sight.height,
        "finality_ms": sight.finality_ms,
        "peers": sight.peers,
        "tx_per_s": sight.tx_per_s(time.monotonic()),
        "rss_mb": None if process is None else process.rss_mb,
        "rpc": node.seat.url,
    }


def traffic_row(traffic: Ward) -> dict[str, object]:
    """Return what the table shows of the process that makes traffic."""
    process = traffic.process
    return {
        "phase": traffic.phase.value,
        "pid": None if process is None else process.pid,
        "rss_mb": None if process is None else process.rss_mb,
        "says": last_words(traffic.log_file),
    }


def table_of(nodes: list[Node], traffic: Ward | None = None) -> Table:
    """Return the table for people; what makes traffic has its last words below."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("state", "mode", "RPC") else "right")
    for node in nodes:
        row = row_of(node)
        table.add_row(
            cell(row["index"]),
            cell(row["phase"]),
            cell(row["mode"]),
            cell(row["pid"]),
            cell(row["height"]),
            cell(row["finality_ms"], " ms"),
            cell(row["peers"]),
            cell(row["tx_per_s"]),
            cell(row["rss_mb"], " MB"),
            cell(row["rpc"]),
        )
    if traffic is not None:
        made = traffic_row(traffic)
        table.caption_justify = "left"
        table.caption = Text(f"traffic {made['phase']}: {made['says']}")
    return table


def cell(value: object, unit: str = "") -> str:
    """Return a value as a cell, a dash for what is not known."""
    return "-" if value is None else f"{value}{unit}"
