"""`sahara devnet`: a network of several nodes on this machine, and experiments on it."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
import msgspec

from node.cli.campaign import campaign
from node.cli.connection import EXIT_REFUSED, EXIT_UNREACHABLE, fail, show
from node.clock import SystemClock
from node.devnet.control import Request, ask
from node.devnet.errors import (
    DevnetExists,
    DevnetMissing,
    DevnetNotRunning,
    DevnetSilent,
    RequestRefused,
)
from node.devnet.layout import NODES_MAX, VALIDATORS_DEFAULT, found, homes_in, remove
from node.devnet.status import overview, running_state
from node.devnet.supervisor import Supervisor, Wishes, end_leftovers, locked
from node.devnet.view import View, view_of
from node.genesis_file import read_genesis
from node.home import GENESIS_FILE
from state.errors import SaharaError

DEFAULT_HOME = Path("~/.sahara-devnet")
REFRESH_SECONDS = 0.5
STOP_SECONDS_MAX = 6.0
BLOCK_TIME_MS_MAX = 3_600_000

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The folder of the devnet; {DEFAULT_HOME} unless told otherwise.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Turn what a block raises into a sentence and an exit code."""
    try:
        yield
    except RequestRefused as error:
        fail(error.reason, error.sentence, as_json=as_json)
    except SaharaError as error:
        is_down = isinstance(error, DevnetNotRunning)
        code = EXIT_UNREACHABLE if is_down else EXIT_REFUSED
        fail(error.code, error.sentence, as_json=as_json, exit_code=code)
    except OSError as error:
        sentence = f"The system refuses {error.filename or 'a call'}: {error.strerror or error}."
        fail("system.refused", sentence, as_json=as_json)


def folder_of(home: Path | None) -> Path:
    """Return the folder of the devnet as an absolute path."""
    return (DEFAULT_HOME if home is None else home).expanduser().absolute()


def on_folder(function: Callable[..., Any]) -> Any:
    """Hand a command its folder and show what it returns; options may stand before its name."""

    @home_option
    @json_option
    @click.pass_context
    @wraps(function)
    def run(context: click.Context, /, home: Path | None, as_json: bool, **options: Any) -> None:
        above = {} if context.parent is None else context.parent.params
        as_json = as_json or bool(above.get("as_json"))
        with refusals(as_json=as_json):
            answer = function(folder_of(home or above.get("home")), **options)
            show(answer, as_json=as_json)

    return run


@click.group("devnet", invoke_without_command=True)
@click.option(
    "--validators",
    type=click.IntRange(1, NODES_MAX),
    help=f"Validators of a new devnet; {VALIDATORS_DEFAULT} unless told otherwise.",
)
@home_option
@click.option("--fresh", is_flag=True, help="Remove the devnet that is there, and found another.")
@click.option(
    "--block-time",
    "block_time_ms",
    type=click.IntRange(0, BLOCK_TIME_MS_MAX),
    metavar="MS",
    help="Milliseconds between blocks, busy or idle; else as in each home's config.toml.",
)
@json_option
@click.pass_context
def devnet(
    context: click.Context,
    validators: int | None,
    home: Path | None,
    *,
    fresh: bool,
    block_time_ms: int | None,
    as_json: bool,
) -> None:
    """Run a network of several validators on this machine until Ctrl-C.

    The first run founds it, later ones continue it. Each node is a process of its own: whatever
    ends by itself is started again, and everything ends with this command. Experiment with it from
    another terminal, by the commands below.

    \b
    Example:
      sahara devnet --validators 4 --home devnet --block-time 200
      sahara devnet status --home devnet --json
    """
    if context.invoked_subcommand is not None:
        return
    folder = folder_of(home)
    with refusals(as_json=as_json):
        prepare(folder, validators, fresh=fresh)
        with locked(folder):
            view = view_of(as_json=as_json)
            try:
                asyncio.run(supervise(folder, Wishes(block_time_ms), view))
            finally:
                view.close()


def prepare(folder: Path, validators: int | None, *, fresh: bool) -> None:
    """Found the devnet where there is none; raises DevnetExists for one of another size."""
    if fresh and folder.is_dir():
        with locked(folder):
            end_leftovers(folder)
            remove(folder)
    try:
        homes = homes_in(folder)
    except DevnetMissing:
        count = VALIDATORS_DEFAULT if validators is None else validators
        found(folder, count, SystemClock().wall_ms())
        return
    there = len(read_genesis(homes[0] / GENESIS_FILE).validators)
    if validators not in (None, there):
        raise DevnetExists(
            f"The devnet in {folder} has {there} validators; leave out --validators to go on with "
            "it, or found another one with --fresh, which removes its chain."
        )


async def supervise(folder: Path, wishes: Wishes, view: View) -> None:
    """Run the devnet until a signal, and show it."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    left = end_leftovers(folder)
    if left:
        view.say(f"{left} processes of a devnet that was killed were ended.")
    supervisor = Supervisor(folder, wishes, SystemClock(), view.say)
    showing = asyncio.ensure_future(refresh(supervisor, view))
    try:
        await supervisor.run(ended)
    finally:
        showing.cancel()
        await asyncio.wait((showing,))
    view.say("The devnet has stopped.")


async def refresh(supervisor: Supervisor, view: View) -> None:
    """Show the nodes a few times a second until cancelled."""
    while True:
        view.show(supervisor.nodes)
        await asyncio.sleep(REFRESH_SECONDS)


devnet.add_command(campaign)


@devnet.command("status")
@home_option
@json_option
@click.pass_context
def status(context: click.Context, home: Path | None, *, as_json: bool) -> None:
    """Show every node: process, height, root, peers, memory; with --json also the last roots.

    \b
    Example:
      sahara devnet status --home devnet --json
    """
    above = {} if context.parent is None else context.parent.params
    as_json = as_json or bool(above.get("as_json"))
    with refusals(as_json=as_json):
        seen = msgspec.to_builtins(asyncio.run(overview(folder_of(home or above.get("home")))))
        if as_json:
            show(seen, as_json=True)
        else:
            hidden = ("roots", "home")
            rows = [{k: v for k, v in row.items() if k not in hidden} for row in seen["nodes"]]
            show(rows, as_json=False)


@devnet.command("stop")
@on_folder
def stop(folder: Path) -> dict[str, Any]:
    """Stop the devnet, as Ctrl-C in its terminal does.

    \b
    Example:
      sahara devnet stop --home devnet
    """
    state = running_state(folder)
    try:
        ask(folder, Request("stop"))
        hangs = not state.supervisor.wait(STOP_SECONDS_MAX)
    except (DevnetSilent, DevnetNotRunning):
        hangs = True  # its process lives, so it hangs or is only just starting or ending
    if hangs:
        state.supervisor.signal(signal.SIGKILL)
        state.supervisor.wait(STOP_SECONDS_MAX)
        end_leftovers(folder)
    return {"stopped": True, "by_force": hangs}


@devnet.command("kill")
@click.argument("node", type=click.IntRange(0, NODES_MAX - 1))
@on_folder
def kill(folder: Path, node: int) -> dict[str, Any]:
    """End a node as `kill -9` does; it stays down until it is restarted.

    \b
    Example:
      sahara devnet kill 2 --home devnet
    """
    return asked(folder, Request("kill", node))


@devnet.command("restart")
@click.argument("node", type=click.IntRange(0, NODES_MAX - 1))
@on_folder
def restart(folder: Path, node: int) -> dict[str, Any]:
    """Start a node that is down, or stop and start one that runs.

    \b
    Example:
      sahara devnet restart 2 --home devnet
    """
    return asked(folder, Request("restart", node))


@devnet.command("add")
@on_folder
def add(folder: Path) -> dict[str, Any]:
    """Add a node that follows the network from its genesis on, without a validator's key.

    \b
    Example:
      sahara devnet add --home devnet
    """
    return asked(folder, Request("add"))


def asked(folder: Path, request: Request) -> dict[str, Any]:
    """Ask the running devnet and return its answer; raises what it refuses with."""
    running_state(folder)
    answer = ask(folder, request)
    return {"node": answer.node, "pid": answer.pid, "sentence": answer.sentence}
