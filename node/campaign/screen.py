"""A campaign's report as one screen."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.campaign.pace import Spread
from node.campaign.report import Report

FINDINGS_SHOWN_MAX = 12
STRIKES_SHOWN_MAX = 40


def report_screen(report: Report) -> RenderableType:
    """Failures in order, figures, what is wrong, the verdict."""
    parts: list[RenderableType] = [strikes_table(report), figures_table(report)]
    for finding in report.findings[:FINDINGS_SHOWN_MAX]:
        line = f"✗ {finding.at_seconds:g} s {finding.code}: {finding.sentence}"
        parts.append(Text(line, style="red"))
    hidden = len(report.findings) - FINDINGS_SHOWN_MAX
    if hidden > 0:
        parts.append(Text(f"and {hidden} more", style="red"))
    parts.append(verdict(report))
    return Group(*parts)


def strikes_table(report: Report) -> Table:
    """One row a failure."""
    table = Table(title="Failures", box=SIMPLE_HEAD)
    for name in ("at", "what", "nodes", "lasted", "blocks", "recovered", "voted"):
        table.add_column(name, justify="left" if name in ("what", "nodes") else "right")
    for strike in report.strikes[:STRIKES_SHOWN_MAX]:
        table.add_row(
            f"{strike.began:.0f} s",
            strike.kind,
            " ".join(str(node) for node in strike.nodes),
            f"{strike.ended - strike.began:.1f} s",
            str(strike.risen),
            seconds(strike.recovered_seconds),
            seconds(strike.voted_seconds),
        )
    return table


def figures_table(report: Report) -> Table:
    """What was measured."""
    load, machine = report.load, report.machine
    left_out = len(report.nodes) * load.acknowledged - load.answers_compared
    below = f" but {left_out} answers from below a snapshot" if left_out else ""
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = [
        ("blocks", f"{report.blocks} in {report.seconds:.0f} s"),
        ("block interval", spread(report.interval)),
        ("finality, quiet", spread(report.finality)),
        ("recovery", spread(report.recovery)),
        (
            "transfers",
            f"{load.sent} sent, {load.sent / max(report.seconds, 1):.0f} of the "
            f"{report.wishes.rate_per_second:.0f} a second asked for; "
            f"{load.acknowledged} final and compared on every node{below}, "
            f"{load.sent_again} handed in again, {load.never_final} never promised",
        ),
        ("memory", " ".join(f"{node.rss_mb_max:.0f}" for node in report.nodes) + " MB at most"),
        (
            "machine",
            f"load {machine.load_max:.1f} on {machine.cores} cores, "
            f"lag {machine.lag_ms_max:.0f} ms",
        ),
    ]
    if report.wishes.is_on_loopback:
        rows.append(("place", "loopback, where nobody can be cut off"))
    for join in report.joins:
        told = f"height {join.height} by {join.way} in {join.seconds:.1f} s"
        if join.blocks_per_second:
            told += (
                f", {join.blocks_per_second:.0f} blocks/s, "
                f"{join.transactions_per_second:.0f} transfers/s"
            )
        rows.append(("late node", told))
    rows += [(f"{count} times", words) for words, count in report.warnings.items()]
    for name, value in rows:
        table.add_row(Text(name, style="cyan"), Text(value))
    return table


def verdict(report: Report) -> Text:
    """The one line that counts."""
    wishes = report.wishes
    what = f"{wishes.validators} validators, seed {wishes.seed}, {len(report.strikes)} failures"
    if report.passed:
        return Text(f"PASSED  {what}: one chain, nothing lost, all recovered", style="bold green")
    return Text(f"FAILED  {what}: {len(report.findings)} findings", style="bold red")


def seconds(value: float | None) -> str:
    """A time as a cell."""
    return "-" if value is None else f"{value:.1f} s"


def spread(values: Spread) -> str:
    """A spread on one line."""
    if not values.samples:
        return "-"
    return (
        f"p50 {values.p50:.0f}, p90 {values.p90:.0f}, p99 {values.p99:.0f}, "
        f"at most {values.max:.0f} ms ({values.samples})"
    )
