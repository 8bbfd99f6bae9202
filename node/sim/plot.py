"""The plot of finality latency by validator count; matplotlib is an extra, asked for when used."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.sim.errors import WrongUsage
from node.sim.report import Report
from node.sim.scenario import Options
from node.sim.simulation import simulate

COUNTS = (4, 7, 10, 25, 50, 100)
VIEWS_MAX = 30


@dataclass(frozen=True, slots=True)
class Point:
    """What a run with so many validators measured."""

    validators: int
    finality_ms_p50: float
    finality_ms_p99: float
    finality_delays_p50: float | None


def measure_counts(options: Options) -> list[Point]:
    """Run the options, without named stakes, for every validator count up to that asked for."""
    counts = sorted({n for n in COUNTS if n < options.validators} | {options.validators})
    views = min(options.views, VIEWS_MAX)
    stakes = options.stakes if options.stakes in ("equal", "zipf") else "equal"
    found: list[Point] = []
    for count in counts:
        changed = msgspec.structs.replace(options, validators=count, views=views, stakes=stakes)
        point = _point(count, simulate(changed))
        if point is not None:
            found.append(point)
    return found


def _point(count: int, report: Report) -> Point | None:
    if report.finality_ms_p50 is None or report.finality_ms_p99 is None:
        return None
    return Point(count, report.finality_ms_p50, report.finality_ms_p99, report.finality_delays_p50)


def check_plot(path: Path) -> None:
    """Raise WrongUsage, before anything is measured, for a plot that could not be drawn."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise WrongUsage(
            "A plot needs matplotlib; install the distribution with its extra: sahara-node[plot]."
        ) from error
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise WrongUsage(f"--plot {path} is of no known format; end the name in .svg or .png.")


def draw(points: list[Point], options: Options, path: Path) -> None:
    """Write the plot as the suffix of `path` says; `check_plot` was asked before."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    counts = [point.validators for point in points]
    axes.plot(counts, [point.finality_ms_p99 for point in points], "s--", label="99th percentile")
    axes.plot(counts, [point.finality_ms_p50 for point in points], "o-", label="median")
    for point in points:
        if point.finality_delays_p50 is not None:
            axes.annotate(
                f"{point.finality_delays_p50:.2f}",
                (point.validators, point.finality_ms_p50),
                textcoords="offset points",
                xytext=(0, -14),
                ha="center",
                fontsize="small",
            )
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("validators")
    axes.set_ylabel("finality, ms")
    axes.set_title(_title(options), fontsize="medium")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(title="below the median: in network delays", loc="lower right")
    figure.savefig(path, dpi=150)


def _title(options: Options) -> str:
    latency = options.latency + (" ms" if options.latency[:1].isdigit() else "")
    parts = [f"latency {latency}"]
    if options.bandwidth:
        parts.append(f"{options.bandwidth:g} Mbit/s")
    if options.cpu_cost:
        parts.append("verification charged")
    return "Finality by validator count: " + ", ".join(parts)
