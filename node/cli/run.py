"""`sahara run`: run the node of a home."""

import logging
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

import cython_ext
from node import logs, service
from node.cli import home_option
from node.cli.answers import ask_passphrase
from node.cli.connection import fail
from node.config import SETTINGS, NodeConfig, bare_type, flag_of, load_config, meaning_of
from node.home import NODE_KEY, Home, open_home
from node.keystore import COST, Passphrase, key_info, load_key, read_passphrase
from node.network.identity import load_node_key
from state.errors import SaharaError

log = logging.getLogger("sahara.run")

HELP = """Run the node of a home until it is told to stop.

Settings come from HOME/config.toml, then SAHARA_<NAME> in the environment, then these flags.

\b
Example:
  sahara run --home devnet --idle-interval-ms 500 --log-format json
"""


def _setting_option(name: str) -> click.Option:
    kind = bare_type(name)
    defaults: dict[str, Any] = {"default": None, "help": meaning_of(name)}
    if kind is bool:
        return click.Option([f"{flag_of(name)}/--no-{flag_of(name)[2:]}"], **defaults)
    if get_origin(kind) is Literal:
        return click.Option([flag_of(name)], type=click.Choice(get_args(kind)), **defaults)
    return click.Option([flag_of(name)], type=int if kind is int else str, **defaults)


@home_option
@click.option("--json", "as_json", is_flag=True, help="The same as --log-format json.")
@click.option("--stop-with-stdin", is_flag=True, hidden=True)
def _run(home: Path, *, as_json: bool, stop_with_stdin: bool, **flags: Any) -> None:
    if as_json:
        flags["log_format"] = "json"
    try:
        found = open_home(home)
        config = load_config(home, flags=flags)
        logs.configure(config.log_level, config.log_format)
        code = run_node(found, config, stop_with_stdin=stop_with_stdin)
    except SaharaError as error:
        fail(error.code, error.sentence, as_json=as_json)
    except OSError as error:
        sentence = f"The system refuses {error.filename or 'a call'}: {error.strerror or error}."
        fail("system.refused", sentence, as_json=as_json)
    else:
        raise click.exceptions.Exit(code)


def run_node(home: Home, config: NodeConfig, *, stop_with_stdin: bool = False) -> int:
    """Run the node and return its exit code; raises SaharaError when it cannot start.

    With `stop_with_stdin` the node also ends when its standard input, a pipe, is closed: whoever
    starts it for a while leaves nothing behind even when killed.
    """
    genesis = home.genesis()
    if cython_ext.IMPLEMENTATION != "compiled":
        log.warning(
            "SLOW: the pure Python kernels are in use; unset SAHARA_PURE_PYTHON except for tests"
        )
    follows = not config.key_name
    cost = COST if follows else key_info(config.home, config.key_name).cost  # told before asking
    passphrase = _passphrase(config)
    key = None if follows else load_key(config.home, config.key_name, passphrase)
    node_key = load_node_key(config.home, passphrase, cost)
    return service.run(config, genesis, key, node_key, stop_with_stdin=stop_with_stdin)


def _passphrase(config: NodeConfig) -> Passphrase:
    if config.passphrase_file is None:
        return ask_passphrase(config.key_name or NODE_KEY, confirm=False)
    return read_passphrase(config.passphrase_file)


run = click.Command(
    "run",
    callback=_run,
    help=HELP,
    params=[
        *reversed(getattr(_run, "__click_params__", [])),
        *[_setting_option(name) for name in SETTINGS],
    ],
)
