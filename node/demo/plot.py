"""The picture of the main job: index, mark and open interest of every market over height.

matplotlib is an optional extra and loaded only when a picture is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node.demo.errors import PlotUnavailable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_WIDTH_INCHES = 7.2
FIGURE_HEIGHT_INCHES = 6.4
DOTS_PER_INCH = 130
HEADROOM = 1.14
TITLE_CHARACTERS_MAX = 24

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
INDEX = "#2a9d8f"
MARK = "#1d4e89"
TRADED = "#e76f51"
INTEREST = "#8d6cab"
BUDGET = "#b23a48"


@dataclass(frozen=True, slots=True)
class Moment:
    """One market after one block; prices in ticks, sizes in lots."""

    height: int
    accrued: int
    mark: int
    traded_price: int | None
    traded_lots: int
    open_interest_lots: int


@dataclass(frozen=True, slots=True)
class MarketHistory:
    """Everything the picture shows of one model."""

    name: str
    moments: tuple[Moment, ...]
    window_first: int
    window_last: int
    budget_lots: int
    settlement_price: int | None
    tick_index: int


def draw_plot(histories: Sequence[MarketHistory], path: Path) -> None:
    """Write the picture as PNG or SVG by the path's suffix; raises `PlotUnavailable`.

    A market of which no block was seen has no panel.
    """
    histories = [history for history in histories if history.moments]
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise PlotUnavailable from None
    with rc_context({"svg.hashsalt": "sahara", "text.color": INK, "axes.labelcolor": INK}):
        size = (PANEL_WIDTH_INCHES * max(1, len(histories)), FIGURE_HEIGHT_INCHES)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle("Futures settled on paid inference", fontsize=14, fontweight="bold")
        panels = figure.subfigures(1, len(histories), squeeze=False)[0] if histories else ()
        for panel, history in zip(panels, histories, strict=True):
            prices, interest = panel.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
            draw_prices(prices, history)
            draw_interest(interest, history)
        figure.savefig(path, dpi=DOTS_PER_INCH)


def draw_prices(axes: "Axes", history: MarketHistory) -> None:
    """Index accrued so far, mark, auctions that traded, and where it all ended."""
    heights = [moment.height for moment in history.moments]
    accrued = [moment.accrued for moment in history.moments]
    marks = [moment.mark for moment in history.moments]
    traded = [
        (moment.height, moment.traded_price, moment.traded_lots)
        for moment in history.moments
        if moment.traded_price is not None
    ]
    axes.fill_between(heights, accrued, step="post", color=INDEX, alpha=0.18, linewidth=0)
    axes.step(heights, accrued, where="post", color=INDEX, linewidth=1.8, label="index accrued")
    axes.plot(heights, marks, color=MARK, linewidth=1.8, label="mark price")
    axes.scatter(
        [height for height, _, _ in traded],
        [price for _, price, _ in traded],
        s=dot_sizes([lots for _, _, lots in traded]),
        color=TRADED,
        alpha=0.75,
        linewidths=0,
        zorder=3,
        label="auction price (area: lots)",
    )
    if history.settlement_price is not None:
        axes.axhline(history.settlement_price, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"settled at {history.settlement_price:,}",
            (1, history.settlement_price),
            xycoords=("axes fraction", "data"),
            xytext=(-4, -5),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="top",
            fontsize=9,
            fontweight="bold",
        )
    axes.annotate(
        "index window",
        ((history.window_first + history.window_last) / 2, 0.985),
        xycoords=("data", "axes fraction"),
        horizontalalignment="center",
        verticalalignment="top",
        fontsize=8,
        color=MUTED,
    )
    highest = max((*accrued, *marks, *(price for _, price, _ in traded), 1))
    dress(axes, history, f"price in ticks of {history.tick_index:,} units", highest)
    axes.set_title(
        shortened(history.name), fontsize=12, fontweight="bold", loc="left", parse_math=False
    )


def draw_interest(axes: "Axes", history: MarketHistory) -> None:
    """Open interest under the budget that bounds it."""
    heights = [moment.height for moment in history.moments]
    interest = [moment.open_interest_lots for moment in history.moments]
    axes.fill_between(heights, interest, step="post", color=INTEREST, alpha=0.25, linewidth=0)
    axes.step(heights, interest, where="post", color=INTEREST, linewidth=1.8, label="open interest")
    axes.axhline(
        history.budget_lots, color=BUDGET, linewidth=1.4, linestyle=(0, (4, 3)), label="budget"
    )
    dress(axes, history, "lots", max((*interest, history.budget_lots, 1)))
    axes.set_xlabel("block height", fontsize=9)


def dress(axes: "Axes", history: MarketHistory, unit: str, highest: int) -> None:
    """What every panel has in common: the window shaded, a light grid, thousands with commas."""
    axes.axvspan(history.window_first, history.window_last, color=GRID, alpha=0.5, zorder=0)
    first = min(history.moments[0].height, history.window_first)
    last = max(history.moments[-1].height, history.window_last, first + 1)
    axes.set_xlim(first, last)
    axes.set_ylim(0, highest * HEADROOM)
    axes.set_ylabel(unit, fontsize=9)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False, borderpad=0
    )


def shortened(name: str) -> str:
    """A name that leaves room for the legend beside it."""
    return name if len(name) <= TITLE_CHARACTERS_MAX else name[: TITLE_CHARACTERS_MAX - 1] + "…"


def dot_sizes(lots: Sequence[int]) -> list[float]:
    """Marker areas in square points, the largest auction at the largest area."""
    largest = max((*lots, 1))
    return [6.0 + 50.0 * count / largest for count in lots]
