"""The plot of finality latency by validator count; matplotlib is an extra, asked for when used."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.sim.errors import SimulationError
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
    return Point(count, report.finality_ms_p50, report.finality_ms_p99)


def draw(points: list[Point], latency: str, path: Path) -> None:
    """Write the plot as the suffix of `path` says; raises SimulationError."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SimulationError(
            "A plot needs matplotlib; install the distribution with its extra: sahara-node[plot]."
        ) from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    counts = [point.validators for point in points]
    axes.plot(counts, [point.finality_ms_p50 for point in points], "o-", label="median")
    axes.plot(counts, [point.finality_ms_p99 for point in points], "s--", label="99th percentile")
    axes.set_xlabel("validators")
    axes.set_ylabel("finality, ms")
    axes.set_title(f"Finality by validator count, latency {latency}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
