"""The report as one screen that a person understands without having read anything else."""

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.demo.report import ModelReport, Report
from state.types import GRAINS_PER_SAHARA

CHECK_COLUMNS = 2
PASSED = "[bold green]✓[/]"
FAILED = "[bold red]✗[/]"


def report_screen(report: Report) -> RenderableType:
    """Models, traders, checks, verdict: fits 80 columns with two models."""
    parts: list[RenderableType] = [models_table(report.models), traders_table(report)]
    parts.append(checks_table(report.checks))
    for name, sentence in report.failures.items():
        parts.append(Text(f"✗ {name}: {sentence}", style="red"))
    parts.append(verdict(report))
    return Group(*parts)


def models_table(models: dict[str, ModelReport]) -> Table:
    """One column a model: the paid calls above, the future that settled on them below."""
    table = Table(title="Paid calls, and the future that settled on them", box=SIMPLE_HEAD)
    table.add_column("")
    for name in models:
        table.add_column(Text(name, style="cyan"), justify="right", overflow="fold")
    shown = list(models.values())
    rows: list[tuple[str, Callable[[ModelReport], str]]] = [
        ("paid calls", lambda model: f"{model.calls:,}"),
        ("tokens in", lambda model: f"{model.tokens_in:,}"),
        ("tokens cached", lambda model: f"{model.tokens_cached:,}"),
        ("tokens out", lambda model: f"{model.tokens_out:,}"),
        ("paid, SAHARA", lambda model: sahara(int(model.grains_paid))),
        ("demand index, units", lambda model: f"{model.index:,}"),
        ("open interest at most, lots", lambda model: f"{model.open_interest_lots_max:,}"),
        ("budget, lots", lambda model: f"{model.budget_lots:,}"),
        ("settlement price, ticks", lambda model: f"{model.settlement_price:,}"),
        ("recomputed from the trace", recomputed),
    ]
    for heading, cell in rows:
        table.add_row(heading, *(cell(model) for model in shown))
    return table


def recomputed(model: ModelReport) -> str:
    """The price that the trace alone gives, ticked when it is the chain's."""
    equal = model.settlement_price == model.settlement_price_expected
    return f"{PASSED if equal else FAILED} {model.settlement_price_expected:,}"


def traders_table(report: Report) -> Table:
    """One row an account: profit or loss before trading fees, and those fees."""
    table = Table(title="Traders, in SAHARA", box=SIMPLE_HEAD)
    table.add_column("account", style="cyan", overflow="fold")
    table.add_column("profit or loss", justify="right")
    table.add_column("trading fees", justify="right")
    for name, pnl in report.pnl.items():
        fees = int(report.trading_fees.get(name, "0"))
        table.add_row(Text(name), signed(int(pnl)), sahara(fees))
    total_fees = sum(int(fees) for fees in report.trading_fees.values())
    table.add_row("sum, with insurance", signed(int(report.pnl_sum)), sahara(total_fees))
    return table


def checks_table(checks: dict[str, bool]) -> Table:
    """Every check with its tick, a few to a line."""
    table = Table.grid(padding=(0, 3))
    table.title = "Checks made from outside, through the client"
    for _ in range(CHECK_COLUMNS):
        table.add_column(overflow="fold")
    cells = [f"{PASSED if held else FAILED} {name}" for name, held in checks.items()]
    for start in range(0, len(cells), CHECK_COLUMNS):
        table.add_row(*cells[start : start + CHECK_COLUMNS])
    return table


def verdict(report: Report) -> Text:
    """The one line to read when there is time for one line."""
    calls = sum(model.calls for model in report.models.values())
    held = sum(report.checks.values())
    facts = (
        f"{held} of {len(report.checks)} checks hold, {calls:,} paid calls, height {report.height}"
    )
    took = f"{report.seconds:.1f} s"
    if report.passed:
        return Text(f"PASSED in {took}: {facts}", style="bold green")
    return Text(f"FAILED after {took}: {facts}", style="bold red")


def sahara(grains: int) -> str:
    """Whole and fractional SAHARA of an amount of grains, without losing a grain."""
    sign = "-" if grains < 0 else ""
    whole, fraction = divmod(abs(grains), GRAINS_PER_SAHARA)
    digits = f"{fraction:09d}".rstrip("0").ljust(3, "0")
    return f"{sign}{whole:,}.{digits}"


def signed(grains: int) -> Text:
    """An amount with its sign, green for a gain and red for a loss."""
    text = sahara(grains)
    if grains > 0:
        return Text(f"+{text}", style="green")
    return Text(text, style="red" if grains < 0 else "")
