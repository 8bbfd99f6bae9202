"""`sahara simulate`: consensus under a virtual clock, with faults and Byzantine validators."""

import os
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress

from node.cli.connection import fail
from node.sim.errors import SimulationError, WrongUsage
from node.sim.plot import draw, measure_counts
from node.sim.replay import read_report, replay
from node.sim.report import Report, Sweep, as_json, screen
from node.sim.scenario import Options
from node.sim.simulation import simulate as run_one
from node.sim.swarm import draw_options
from node.sim.sweep import run_sweep

JOBS_MAX = 256
SEEDS_MAX = 10_000_000
BYZANTINE_HELP = (
    "Who breaks the rules: KIND:COUNT or KIND:PERCENT%, joined by commas. Kinds: equivocator, "
    "double-voter, nullify-finalize, withholder, silent, stale, wrong-epoch, garbage, hoarder, "
    "twins, splitter, tempter, liar, minority, skipper."
)

PARTITION_HELP = (
    "none; random: redrawn every 5 views; or SIDES@FIRST-LAST by views, such as 0,1|2,3@10-20, "
    "several joined by semicolons. Endpoints are the validators and then the second twins."
)
DISK_LOSS_HELP = (
    "Chance per validator and view that journal and guard are gone, half of the time everything; "
    "never so many at once that too few are left to vote."
)
CHURN_HELP = (
    "Chance per epoch that its set differs from the one before: members leave or join, stakes "
    "change. Give a short --epoch-length with it."
)
SWARM_HELP = (
    "Draw every option from the seed; only --seed may be given beside it. Reports name what was "
    "drawn."
)

_chance = click.FloatRange(0, 1)
_ms = click.FloatRange(0, 60_000)
_defaults = Options()


@click.command("simulate")
@click.option("--validators", type=click.IntRange(1, 200), default=4, show_default=True)
@click.option("--stakes", default="equal", show_default=True, help="equal, zipf, or a,b,c.")
@click.option("--views", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option("--latency", default="10", show_default=True, help="MS, lan, wan, or a JSON file.")
@click.option("--jitter", type=_ms, default=0.0, help="Each delay moves by up to so many ms.")
@click.option("--loss", type=_chance, default=0.0, help="Chance per message and link to be lost.")
@click.option("--duplicate", type=_chance, default=0.0, help="Chance that one arrives twice.")
@click.option("--reorder", is_flag=True, help="Messages of a link may overtake each other.")
@click.option("--bandwidth", type=click.FloatRange(0), default=0.0, help="Mbit/s, up and down.")
@click.option("--partition", default="none", show_default=True, help=PARTITION_HELP)
@click.option("--crash", type=_chance, default=0.0, help="Chance per validator and view.")
@click.option("--power-cut", type=_chance, default=0.0, help="Chance per view that all go dark.")
@click.option("--disk-faults", type=_chance, default=0.0, help="Chance per sync of a power cut.")
@click.option("--disk-loss", type=_chance, default=0.0, help=DISK_LOSS_HELP)
@click.option("--churn", type=_chance, default=0.0, help=CHURN_HELP)
@click.option("--byzantine", default="", help=BYZANTINE_HELP)
@click.option("--app", type=click.Choice(["none", "full"]), default="none", show_default=True)
@click.option(
    "--epoch-length", type=click.IntRange(2), default=_defaults.epoch_length, help="In heights."
)
@click.option("--delta", "delta_ms", type=click.IntRange(0, 600_000), default=0, help="Δ in ms.")
@click.option("--cpu-cost", is_flag=True, help="Charge verification to the virtual clock.")
@click.option("--real-signatures", is_flag=True, help="Ed25519 instead of a fast stand-in.")
@click.option("--swarm", is_flag=True, help=SWARM_HELP)
@click.option(
    "--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Where the report goes."
)
@click.option("--sweep", type=click.IntRange(1, SEEDS_MAX), help="Run so many seeds.")
@click.option(
    "--jobs", type=click.IntRange(1, JOBS_MAX), default=1, show_default=True, help="Of a sweep."
)
@click.option("--replay", "report", type=click.Path(path_type=Path), help="Run a report again.")
@click.option("--plot", type=click.Path(path_type=Path), help="Finality by validator count.")
@click.pass_context
def simulate(
    context: click.Context,
    /,
    swarm: bool,
    out: Path | None,
    sweep: int | None,
    jobs: int,
    report: Path | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Run consensus under a virtual clock and try to break it.

    The same seed gives the same run in any process. Exit codes: 0 nothing broke; 1 an invariant
    broke, or the chain stood still; 2 wrong usage; 3 a fork with a third or more of the stake
    Byzantine, and evidence that names them.

    \b
    Example:
      sahara simulate --validators 7 --byzantine equivocator:2 --loss 0.1 --json r.json
      sahara simulate --swarm --sweep 10000 --jobs 2
    """
    try:
        if report:
            _refuse_beside(context, "--replay runs what the report says", {"report"})
            code = _replay(report)
        else:
            if swarm:
                beside = {"swarm", "seed", "sweep", "jobs", "out", "plot"}
                _refuse_beside(context, "--swarm draws what the seed says", beside)
            for path in (out, plot):
                _refuse_unwritable(path)
            code = _run(_options(options), swarm, out, sweep, jobs, plot)
    except WrongUsage as error:
        click.echo(f"{error.code}: {error.sentence}", err=True)
        raise click.exceptions.Exit(2) from error
    except SimulationError as error:
        fail(error.code, error.sentence, as_json=False)
    raise click.exceptions.Exit(code)


def _options(options: dict[str, Any]) -> Options:
    try:
        return msgspec.convert(options, Options)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"The options make no simulation: {error}.") from error


def _refuse_beside(context: click.Context, why: str, allowed: set[str]) -> None:
    """Raise WrongUsage for any other option that was given."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name not in allowed:
            raise WrongUsage(f"{why}, not {parameter.opts[0]}; leave one of them out.")


def _refuse_unwritable(path: Path | None) -> None:
    """Raise WrongUsage before hours of work whose report could not be kept."""
    if path is not None and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WrongUsage(f"{path} cannot be written; name a file in a folder of your own.")


def _run(
    options: Options,
    swarm: bool,
    out: Path | None,
    sweep: int | None,
    jobs: int,
    plot: Path | None,
) -> int:
    console = Console()
    if swarm and sweep is None:
        options = draw_options(options.seed)
    if plot is not None:
        draw(measure_counts(options), options, plot)
        console.print(f"picture  {plot}", highlight=False)
        return 0
    result: Report | Sweep
    if sweep is None:
        result = run_one(options)
        console.print(screen(result), highlight=False)
        code = result.exit_code
    else:
        result = _sweep(options, swarm, sweep, jobs)
        console.print_json(data=msgspec.to_builtins(result.summary))
        code = result.summary.exit_code
    if out is not None:
        _write(out, as_json(result))
    return code


def _sweep(options: Options, swarm: bool, count: int, jobs: int) -> Sweep:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("seeds", total=count)
        return run_sweep(
            options,
            count,
            jobs,
            lambda done, _: progress.update(task, completed=done),
            swarm=swarm,
        )


def _replay(path: Path) -> int:
    return 0 if replay(read_report(path), click.echo) else 1


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SimulationError(f"{path} cannot be written: {error.strerror}.") from error
