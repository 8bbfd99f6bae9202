"""The picture of a campaign: the height of every node over time, and the failures behind it.

matplotlib is an optional extra and loaded only when a picture is asked for.
"""

import math
from pathlib import Path

from node.campaign.report import Report
from node.demo.errors import PlotUnavailable

WIDTH_INCHES, HEIGHT_INCHES = 12.0, 6.0
DOTS_PER_INCH = 130
INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
COLORS = {
    "kill": "#b23a48",
    "pause": "#e9c46a",
    "restart": "#2a9d8f",
    "cut": "#1d4e89",
    "oneway": "#4f83b8",
    "split": "#8d6cab",
    "blackout": "#1f2933",
    "freeze": "#7b8794",
    "wipe": "#e76f51",
}


def draw_plot(report: Report, path: Path) -> None:
    """Write the picture as PNG or SVG by the path's suffix; raises `PlotUnavailable`."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise PlotUnavailable from None
    with rc_context({"svg.hashsalt": "sahara", "text.color": INK, "axes.labelcolor": INK}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        axes = figure.subplots()
        named: set[str] = set()
        for strike in report.strikes:
            label = None if strike.kind in named else strike.kind
            named.add(strike.kind)
            last = max(strike.ended, strike.began + 0.5)
            color = COLORS.get(strike.kind, MUTED)
            axes.axvspan(strike.began, last, color=color, alpha=0.25, linewidth=0, label=label)
            if strike.recovered_seconds is not None:
                axes.axvspan(
                    last, strike.ended + strike.recovered_seconds, color=color, alpha=0.08, lw=0
                )
        for name, seen in report.heights.items():
            times = [at for at, _ in seen]
            heights = [math.nan if height is None else height for _, height in seen]
            axes.plot(times, heights, linewidth=1.3, label=f"node {name}")
        outcome = "passed" if report.passed else f"{len(report.findings)} findings"
        axes.set_title(
            f"{report.wishes.validators} validators, seed {report.wishes.seed}: {outcome}",
            fontsize=13,
            fontweight="bold",
            loc="left",
        )
        axes.set_xlabel("seconds", fontsize=9)
        axes.set_ylabel("final height", fontsize=9)
        axes.set_xlim(0, max(report.seconds, 1.0))
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=9, fontsize=8, frameon=False)
        figure.savefig(path, dpi=DOTS_PER_INCH)
