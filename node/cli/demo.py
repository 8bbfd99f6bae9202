"""`sahara demo`: the main job, from a fresh devnet to settled futures, in one command."""

import asyncio
import math
import signal
from pathlib import Path

import click
from rich.console import Console

from node.cli.connection import fail
from node.client import ClientError
from node.demo.errors import DemoError, PlotUnavailable
from node.demo.generator import generated_traces
from node.demo.plot import draw_plot
from node.demo.profile import (
    REFERENCE_PRICE_MAX,
    DemoOptions,
    DemoPlan,
    reference_price_of,
    require_under_cap,
)
from node.demo.progress import ProgressView
from node.demo.report import report_json
from node.demo.report_table import report_screen
from node.demo.run import Result, run_demo
from node.demo.trace import Trace, read_traces
from state.errors import SaharaError

WINDOW_SECONDS = 60.0
"""Wall time of the whole trace when no speed is asked for."""

WINDOW_SECONDS_MIN = 5.0
"""A window is never shorter, so that traders meet each of its blocks even if nobody waits."""

WINDOW_SECONDS_MAX = 86_400.0
"""A window is never longer: a day, which keeps each block well within the pace a node accepts."""

SPEED_MIN = 0.001
SPEED_MAX = 1_000_000.0

REPORT_FOLDER = Path("demo-report")
REPORT_NAME = "report.json"
PAYERS_MAX = 64
VALIDATORS_MAX = 10
VALIDATORS_DEFAULT = 4
"""The fewest of which one may fail."""
TRACES_MAX = 16


def speed_within_bounds(
    context: click.Context, parameter: click.Parameter, speed: float | None
) -> float | None:
    """Return the speed; raises BadParameter for what is no number of the range, as NaN."""
    if speed is None or (math.isfinite(speed) and SPEED_MIN <= speed <= SPEED_MAX):
        return speed
    raise click.BadParameter(
        f"{speed} is not in the range from {SPEED_MIN:g} to {SPEED_MAX:,.0f} seconds of trace in a "
        "second; leave it out to play the whole trace in 60 s.",
        context,
        parameter,
    )


@click.command("demo")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A demand trace, CSV or JSON lines; each becomes a model. Without one, demand is made up.",
)
@click.option(
    "--speed",
    type=float,
    callback=speed_within_bounds,
    help="Seconds of trace played in a second, 0.001 to 1,000,000; without it the whole trace "
    "takes 60 s.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option(
    "--json",
    "report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=REPORT_FOLDER / REPORT_NAME,
    show_default=True,
    help="Where the report goes; the picture stands beside it.",
)
@click.option(
    "--plot",
    type=click.Choice(["png", "svg", "none"]),
    default="png",
    show_default=True,
    help="The picture's format.",
)
@click.option(
    "--validators",
    type=click.IntRange(1, VALIDATORS_MAX),
    default=VALIDATORS_DEFAULT,
    show_default=True,
    help="Nodes that make the blocks together.",
)
@click.option("--payers", type=click.IntRange(1, PAYERS_MAX), default=4, show_default=True)
@click.option(
    "--reference-price",
    type=click.IntRange(1, REFERENCE_PRICE_MAX),
    help="First mark of every future, in ticks of 1,000 index units; 20,000 unless told otherwise.",
)
@click.option("--skip-bad", is_flag=True, help="Go on without the broken rows of a trace.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="The node's port; 0 or none: a free one."
)
@click.option("--keep", is_flag=True, help="Keep the nodes' homes, with chain and log.")
def demo(
    traces: tuple[Path, ...],
    speed: float | None,
    seed: int,
    report: Path,
    plot: str,
    validators: int,
    payers: int,
    reference_price: int | None,
    skip_bad: bool,
    port: int | None,
    keep: bool,
) -> None:
    """Run the whole life of a future that settles on paid inference.

    Starts fresh nodes, pays for every row of the traces as one model call, trades futures on the
    demand while it arrives, settles them, and verifies everything from outside. Exit code 0 only
    if every check holds.

    \b
    Example:
      sahara demo --trace conv.csv --trace code.csv --json r.json
    """
    if len(traces) > TRACES_MAX:
        raise click.UsageError(
            f"{len(traces)} traces are given; at most {TRACES_MAX} can be played."
        )
    try:
        read = read_traces(traces, skip_bad=skip_bad) if traces else generated_traces(seed)
        plan = DemoPlan(
            traces=tuple(read),
            window_seconds=window_seconds(read, speed),
            seed=seed,
            payers=payers,
            reference_price=reference_price or reference_price_of(read),
        )
        require_under_cap(plan)
        report.parent.mkdir(parents=True, exist_ok=True)
        with ProgressView() as view:
            result = run_to_the_end(
                plan, DemoOptions(keep=keep, rpc_port=port, validators=validators), view
            )
        show(result, report, plot)
    except (DemoError, SaharaError, ClientError) as error:
        sentence = error.sentence() if isinstance(error, DemoError) else error.sentence
        fail(error.code, sentence, as_json=False)
    except OSError as error:
        sentence = f"The system refuses {error.filename or 'a call'}: {error.strerror or error}."
        fail("system.refused", sentence, as_json=False)
    else:
        raise click.exceptions.Exit(0 if result.report.passed else 1)


def window_seconds(traces: list[Trace], speed: float | None) -> float:
    """Wall time of the window: the longest trace at that speed, or a minute.

    Raises UsageError when the window would last longer than a day.
    """
    if speed is None:
        return WINDOW_SECONDS
    played = max(trace.time_last / trace.units_per_second for trace in traces)
    if played / speed > WINDOW_SECONDS_MAX:
        raise click.UsageError(
            f"A trace of {played:,.0f} s at --speed {speed:g} takes longer than a day; use a "
            f"--speed of at least {math.ceil(played / WINDOW_SECONDS_MAX * 1_000) / 1_000:g}, or "
            "leave it out to play the whole trace in 60 s."
        )
    return max(played / speed, WINDOW_SECONDS_MIN)


def run_to_the_end(plan: DemoPlan, options: DemoOptions, view: ProgressView) -> Result:
    """Run the demo so that an interrupt, too, stops the node and removes its home."""

    async def run() -> Result:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_demo(plan, options, view)

    try:
        return asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise click.Abort from None


def show(result: Result, report: Path, plot: str) -> None:
    """Write the report and the picture, then print the one screen that a person reads."""
    report.write_bytes(report_json(result.report))
    console = Console()
    console.print(report_screen(result.report))
    lines = [f"report   {report}"]
    if plot != "none":
        try:
            draw_plot(result.histories, report.with_suffix(f".{plot}"))
            lines.append(f"picture  {report.with_suffix(f'.{plot}')}")
        except PlotUnavailable as error:
            lines.append(error.sentence())
    if result.home is not None:
        lines.append(f"home     {result.home}")
    for line in lines:  # paths and package extras hold brackets that mean nothing but themselves
        console.print(line, markup=False, highlight=False, soft_wrap=True)
