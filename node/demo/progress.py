"""The live progress view: a panel on a terminal, plain lines everywhere else.

Everything goes to the console it is given, by default standard error, so that standard output
can carry the report alone. The view reads no clock: the seconds come with each status.
"""

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS_BETWEEN = 5
BAR_WIDTH = 24
REFRESHES_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """How far one model's calls and its market have come."""

    name: str
    calls: int
    sent: int = 0
    claimed: int = 0
    counted: int = 0
    mark: int | None = None
    open_interest_lots: int = 0
    budget_lots: int = 0

    @property
    def market(self) -> str:
        """The market in a few words."""
        if self.mark is None:
            return "not listed yet"
        return f"mark {self.mark:,}  OI {self.open_interest_lots:,}/{self.budget_lots:,}"


@dataclass(frozen=True, slots=True)
class Status:
    """One moment of the demo."""

    stage: str
    elapsed_seconds: int
    expected_seconds: int
    height: int = 0
    models: tuple[ModelProgress, ...] = ()

    @property
    def headline(self) -> str:
        """Stage, height and time in one line."""
        return (
            f"{self.stage} | height {self.height} | "
            f"{self.elapsed_seconds} s of about {self.expected_seconds} s"
        )


class ProgressView:
    """Shows each status it is given; use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(file=sys.stderr)
        self._live: Live | None = None
        self._last: Status | None = None

    def __enter__(self) -> Self:
        """Take over the terminal, if there is one."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=REFRESHES_PER_SECOND)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, status: Status) -> None:
        """Replace the panel, or print a line when enough has changed."""
        if self._live is not None:
            self._live.update(status_panel(status))
        elif self._is_news(status):
            self._console.print(status_line(status), markup=False, highlight=False, soft_wrap=True)
            self._last = status

    def say(self, sentence: str) -> None:
        """Print a sentence that stays on the screen above the panel."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def _is_news(self, status: Status) -> bool:
        last = self._last
        if last is None or last.stage != status.stage:
            return True
        return status.elapsed_seconds - last.elapsed_seconds >= PLAIN_SECONDS_BETWEEN


def status_line(status: Status) -> str:
    """Everything in one line, for logs."""
    models = (
        f"{model.name}: {model.sent}/{model.calls} sent, {model.claimed} claimed, "
        f"{model.counted} counted, {model.market}"
        for model in status.models
    )
    return " | ".join((status.headline, *models))


def status_panel(status: Status) -> Panel:
    """A panel with a bar a model."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", style="cyan", overflow="fold")
    table.add_column("")
    for heading in ("sent", "claimed", "counted", "of"):
        table.add_column(heading, justify="right")
    for heading in ("mark", "open interest"):
        table.add_column(heading, justify="right")
    for model in status.models:
        table.add_row(
            Text(model.name),
            ProgressBar(total=max(1, model.calls), completed=model.counted, width=BAR_WIDTH),
            f"{model.sent:,}",
            f"{model.claimed:,}",
            f"{model.counted:,}",
            f"{model.calls:,}",
            "-" if model.mark is None else f"{model.mark:,}",
            f"{model.open_interest_lots:,} / {model.budget_lots:,}",
        )
    clock = Table.grid(padding=(0, 1))
    clock.add_row(
        ProgressBar(
            total=max(1, status.expected_seconds),
            completed=min(status.elapsed_seconds, status.expected_seconds),
            width=BAR_WIDTH,
        ),
        Text(status.headline, style="bold"),
    )
    return Panel(Group(clock, table), title="Sahara Futures demo", title_align="left")
