"""`sahara simulate`: consensus under a virtual clock, with faults and Byzantine validators."""

import math
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress

from node.sim.errors import SimulationError, WrongUsage
from node.sim.files import is_writable
from node.sim.plot import check_plot, draw, measure_counts
from node.sim.replay import read_report, replay
from node.sim.report import Report, Sweep, as_json, screen
from node.sim.scenario import Options
from node.sim.simulation import simulate as run_one
from node.sim.swarm import draw_options
from node.sim.sweep import run_sweep

JOBS_MAX = 256
SEEDS_MAX = 10_000_000
SEED_MAX = 2**63 - 1
EPOCH_LENGTH_OF_FULL = 8
"""With the state machine sets change while one looks on, unless another length is given."""
_chance = click.FloatRange(0, 1)
_ms = click.FloatRange(0, 60_000)
_defaults = Options()
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
    "change. Give a short --epoch-length with it. With --app full, staking changes the sets."
)
APP_HELP = (
    "none: bodies are counted; full: the whole state machine, with transactions of every kind, "
    "evidence that is punished, and sets that staking decides."
)
EPOCH_HELP = (
    f"In heights; {_defaults.epoch_length} if not given, {EPOCH_LENGTH_OF_FULL} with --app full."
)
DELTA_HELP = "The time-out bound Δ in ms; 0 is 200 ms, or five times the longest delay if more."
REPLAY_HELP = "Run a report again, and hold everything that it says against the run."
SWARM_HELP = (
    "Draw every option from the seed; only --seed may be given beside it. Reports name what was "
    "drawn."
)


@click.command("simulate")
@click.option(
    "--validators",
    type=click.IntRange(1, 200),
    default=4,
    show_default=True,
    help="How many there are.",
)
@click.option("--stakes", default="equal", show_default=True, help="equal, zipf, or a,b,c.")
@click.option(
    "--views",
    type=click.IntRange(1, 10_000_000),
    default=100,
    show_default=True,
    help="After so many that a quorum completed, the schedule of faults ends.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, SEED_MAX),
    default=1,
    show_default=True,
    help="All chance follows from it; the first one of a sweep.",
)
@click.option("--latency", default="10", show_default=True, help="MS, lan, wan, or a JSON file.")
@click.option("--jitter", type=_ms, default=0.0, help="Each delay moves by up to so many ms.")
@click.option("--loss", type=_chance, default=0.0, help="Chance per message and link to be lost.")
@click.option("--duplicate", type=_chance, default=0.0, help="Chance that one arrives twice.")
@click.option("--reorder", is_flag=True, help="Messages of a link may overtake each other.")
@click.option(
    "--bandwidth", type=click.FloatRange(0, 1_000_000), default=0.0, help="Mbit/s, up and down."
)
@click.option("--partition", default="none", show_default=True, help=PARTITION_HELP)
@click.option("--crash", type=_chance, default=0.0, help="Chance per validator and view.")
@click.option("--power-cut", type=_chance, default=0.0, help="Chance per view that all go dark.")
@click.option("--disk-faults", type=_chance, default=0.0, help="Chance per sync of a power cut.")
@click.option("--disk-loss", type=_chance, default=0.0, help=DISK_LOSS_HELP)
@click.option("--churn", type=_chance, default=0.0, help=CHURN_HELP)
@click.option("--byzantine", default="", help=BYZANTINE_HELP)
@click.option(
    "--app", type=click.Choice(["none", "full"]), default="none", show_default=True, help=APP_HELP
)
@click.option("--epoch-length", type=click.IntRange(2, 100_000_000), help=EPOCH_HELP)
@click.option("--delta", "delta_ms", type=click.IntRange(0, 600_000), default=0, help=DELTA_HELP)
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
@click.option("--replay", "report", type=click.Path(path_type=Path), help=REPLAY_HELP)
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
    broke, or the chain stood still; 2 wrong usage, or a file that cannot be read or written; 3 a
    fork with a third or more of the stake Byzantine, and evidence that names them. A sweep ends
    with 1 if any run does, else with 3 if any does, else with 0; a replay with 1 if it differs.

    \b
    Examples:
      sahara simulate --validators 7 --byzantine equivocator:2 --loss 0.1 --json r.json
      sahara simulate --replay r.json
      sahara simulate --app full --byzantine twins:1 --crash 0.02
      sahara simulate --validators 100 --latency wan --bandwidth 100 --cpu-cost --views 30
      sahara simulate --partition "0,1|2,3@5-8;0|1,2,3@12-14" --stakes 3,2,2,1
      sahara simulate --swarm --sweep 10000 --jobs 2 --json soak.json
      sahara simulate --validators 100 --latency wan --plot finality.svg
    """
    try:
        if report:
            _refuse_beside(context, "--replay runs what the report says", {"report"})
            code = _replay(report)
        else:
            if swarm:
                beside = {"swarm", "seed", "sweep", "jobs", "out", "plot"}
                _refuse_beside(context, "--swarm draws what the seed says", beside)
            _refuse_together(context, sweep, options["seed"], plot)
            for path in (out, plot):
                _refuse_unwritable(path)
            if plot is not None:
                check_plot(plot)
            code = _run(_options(options), swarm, out, sweep, jobs, plot)
    except SimulationError as error:
        click.echo(f"{error.code}: {error.sentence}", err=True)
        raise click.exceptions.Exit(2) from error
    raise click.exceptions.Exit(code)


def _options(options: dict[str, Any]) -> Options:
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise WrongUsage(f"--{name} is {value}; give a number.")
    if options["epoch_length"] is None:
        is_full = options["app"] == "full"
        options["epoch_length"] = EPOCH_LENGTH_OF_FULL if is_full else _defaults.epoch_length
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


def _refuse_together(
    context: click.Context, sweep: int | None, seed: int, plot: Path | None
) -> None:
    """Raise WrongUsage for what would be ignored beside another option."""
    if plot is not None:
        ignored = ("sweep", "jobs", "out")
        for name in ignored:
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                option = "--json" if name == "out" else f"--{name}"
                raise WrongUsage(f"--plot runs by validator count and has no use for {option}.")
    if sweep is None and context.get_parameter_source("jobs") is not ParameterSource.DEFAULT:
        raise WrongUsage("--jobs is for the runs of a --sweep; give one, or leave it out.")
    if sweep is not None and seed + sweep - 1 > SEED_MAX:
        raise WrongUsage(f"The seeds of the sweep pass {SEED_MAX}; begin lower.")


def _refuse_unwritable(path: Path | None) -> None:
    """Raise WrongUsage before hours of work whose report could not be kept."""
    if path is not None and not is_writable(path):
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
    """Write the report; if that has become impossible, it goes to standard output instead."""
    try:
        path.write_bytes(data)
    except OSError as error:
        click.echo(data, nl=False)
        raise SimulationError(
            f"{path} cannot be written: {error.strerror}. The report is on standard output."
        ) from error
