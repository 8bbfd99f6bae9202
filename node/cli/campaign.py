"""`sahara devnet campaign`: failures in an order that a seed decides, under load, and a verdict."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path

import click
from rich.console import Console

from node.campaign.fabric import PARTS_PER_WHOLE, Conditions
from node.campaign.plan import NEEDS_LINKS, Kind
from node.campaign.plot import draw_plot
from node.campaign.report import Report, Wishes, report_json
from node.campaign.run import run_campaign
from node.campaign.screen import report_screen
from node.cli.connection import fail
from node.demo.errors import PlotUnavailable
from state.errors import SaharaError

VALIDATORS_MIN, VALIDATORS_MAX = 4, 16
SECONDS_MAX = 3_600
TRANSFERS_MAX = 200_000
"""So many a campaign keeps in mind, to compare them on every node in the end."""

ALL = tuple(kind.value for kind in Kind)
NONE = "none"


@click.command("campaign")
@click.option(
    "--validators",
    type=click.IntRange(VALIDATORS_MIN, VALIDATORS_MAX),
    default=4,
    show_default=True,
)
@click.option(
    "--seconds",
    type=click.IntRange(1, SECONDS_MAX),
    default=300,
    show_default=True,
    help="So long new failures begin.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([*ALL, NONE]),
    help="A failure to try; repeat it. All of them without one. With none and --delay the pace is "
    "judged.",
)
@click.option(
    "--hold-max",
    type=click.FloatRange(0.1, 600),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="No failure lasts longer.",
)
@click.option(
    "--recovery-max",
    type=click.FloatRange(1, 600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="So long recovery may take, three times as long after a wiped disk.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 5_000),
    default=20.0,
    show_default=True,
    help="Transfers a second.",
)
@click.option(
    "--block-time",
    type=click.IntRange(1, 60_000),
    default=200,
    show_default=True,
    metavar="MS",
    help="Milliseconds between blocks with transactions; twice that between others.",
)
@click.option("--delay", type=click.IntRange(0, 5_000), default=0, metavar="MS", help="One way.")
@click.option(
    "--loss", type=click.FloatRange(0, 50), default=0.0, metavar="PERCENT", help="Of all packets."
)
@click.option(
    "--join",
    type=click.IntRange(1),
    metavar="HEIGHT",
    help="Late nodes join there: one by all blocks, one by a snapshot.",
)
@click.option(
    "--loopback", is_flag=True, help="No namespaces: without root, and without cuts and delays."
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder to keep the nodes' homes in; else they are kept only when something fails.",
)
@click.option(
    "--json", "report_file", type=click.Path(path_type=Path, dir_okay=False), help="Report file."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A picture, PNG or SVG: heights over time.",
)
def campaign(
    validators: int,
    seconds: int,
    seed: int,
    kinds: tuple[str, ...],
    hold_max: float,
    recovery_max: float,
    rate: float,
    block_time: int,
    delay: int,
    loss: float,
    join: int | None,
    *,
    loopback: bool,
    home: Path | None,
    report_file: Path | None,
    plot: Path | None,
) -> None:
    """Try to break a network of real processes, and judge whether it held.

    Each node runs in a network namespace of its own (root), under steady transfers, while a seed
    decides who is killed, stopped, cut off, restarted or wiped next. Exit code 0: one chain,
    nothing acknowledged was lost, everybody recovered in time; 1: something was found, or the
    campaign could not be run; 2: wrong usage.

    \b
    Example:
      sahara devnet campaign --validators 4 --seconds 300 --seed 7 --json campaign.json
      sahara devnet campaign --kind none --delay 50 --loss 1 --seconds 60
    """
    if seconds * rate > TRANSFERS_MAX:
        raise click.UsageError(
            f"{seconds} s of {rate:g} transfers a second are more than the {TRANSFERS_MAX:,} that "
            "can be followed; lower --seconds or --rate."
        )
    if loopback and (delay or loss):
        raise click.UsageError("--delay and --loss need namespaces; leave out --loopback.")
    if loopback and kinds and {Kind(kind) for kind in kinds if kind != NONE} & NEEDS_LINKS:
        raise click.UsageError("On loopback nobody can be cut off; leave out --loopback.")
    wishes = Wishes(
        validators=validators,
        seconds=seconds,
        seed=seed,
        kinds=tuple(kind for kind in kinds or ALL if kind != NONE),
        rate_per_second=rate,
        block_time_ms=block_time,
        hold_seconds_max=hold_max,
        recovery_seconds_max=recovery_max,
        conditions=Conditions(delay, round(loss * PARTS_PER_WHOLE / 100)),
        is_on_loopback=loopback,
        join_height=join,
    )
    folder = home.absolute() if home else Path(tempfile.mkdtemp(prefix="sahara-campaign-"))
    try:
        report = run_to_the_end(wishes, folder)
        show(report, report_file, plot)
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=False)
    except OSError as error:
        sentence = f"The system refuses {error.filename or 'a call'}: {error.strerror or error}."
        fail("system.refused", sentence, as_json=False)
    if report.passed and home is None:
        shutil.rmtree(folder)
    else:
        click.echo(f"homes    {folder}")
    raise click.exceptions.Exit(0 if report.passed else 1)


def run_to_the_end(wishes: Wishes, folder: Path) -> Report:
    """Run the campaign so that an interrupt, too, ends every process of it."""

    async def run() -> Report:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_campaign(wishes, folder, click.echo)

    try:
        return asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"homes    {folder}")
        raise click.Abort from None


def show(report: Report, report_file: Path | None, plot: Path | None) -> None:
    """Write the report and the picture, then print the one screen that a person reads."""
    if report_file is not None:
        report_file.write_bytes(report_json(report))
    console = Console()
    console.print(report_screen(report))
    lines = [] if report_file is None else [f"report   {report_file}"]
    if plot is not None:
        try:
            draw_plot(report, plot)
            lines.append(f"picture  {plot}")
        except PlotUnavailable as error:
            lines.append(error.sentence())
    for line in lines:
        click.echo(line)
