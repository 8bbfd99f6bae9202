"""How commands that work on a home say what they did, and what went wrong."""

import warnings
from collections.abc import Callable
from functools import wraps
from getpass import GetPassWarning
from typing import Any, TypeVar

import click

from node.cli.connection import fail, show
from node.keystore import Passphrase, PassphraseUnusable
from state.errors import SaharaError

C = TypeVar("C", bound=Callable[..., Any])


def answering(function: Callable[..., Any]) -> Callable[..., None]:
    """Add --json to a command, print what it returns, and tell expected errors as sentences."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(function)
    def command(as_json: bool, **given: Any) -> None:
        try:
            answer = function(**given)
        except SaharaError as error:
            fail(error.code, error.sentence, as_json=as_json)
        except OSError as error:
            sentence = f"The system refuses {error.filename}: {error.strerror}."
            fail("system.refused", sentence, as_json=as_json)
        else:
            show(answer, as_json=as_json)

    return command


def ask_passphrase(name: str, *, confirm: bool) -> Passphrase:
    """Ask for a key's passphrase on the terminal; raises PassphraseUnusable where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)  # it would be shown while it is typed
            text = click.prompt(
                f"Passphrase of {name}", hide_input=True, err=True, confirmation_prompt=confirm
            )
    except (click.Abort, GetPassWarning) as error:
        raise PassphraseUnusable(
            f"Nobody gave the passphrase of '{name}'; give --passphrase-file, or "
            "SAHARA_PASSPHRASE_FILE in the environment."
        ) from error
    return Passphrase(text)
