"""Wrong usage, told like every refusal: a stable code, a sentence, and JSON where asked for."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, ClassVar

import click

CODE = "usage.wrong"


class WrongUsage(click.ClickException):
    """A command line that cannot be followed; ends the command with exit code 2."""

    exit_code: ClassVar[int] = 2

    def __init__(self, error: click.UsageError, words: Sequence[str]) -> None:
        super().__init__(error.format_message())
        self.context = error.ctx
        self.as_json = "--json" in words and _json_is_a_flag(error.ctx)

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the sentence on standard error, below it where help is found."""
        if self.as_json:
            shown = {"error": {"code": CODE, "sentence": self.message}}
            click.echo(json.dumps(shown, separators=(",", ":")), err=True, file=file)
            return
        click.echo(f"{CODE}: {self.message}", err=True, file=file)
        if self.context is not None:
            click.echo(self.context.get_usage(), err=True, file=file)
            click.echo(f"Help: {self.context.command_path} --help", err=True, file=file)


@contextmanager
def telling_wrong_usage(words: Sequence[str]) -> Iterator[None]:
    """Turn a UsageError of the block into a WrongUsage; `words` are those after `sahara`."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # a group without a command shows its help
    except click.UsageError as error:
        raise WrongUsage(error, words) from error


def _json_is_a_flag(context: click.Context | None) -> bool:
    """Tell whether --json asks for JSON here; for some commands it names a file."""
    if context is None:
        return False
    options = [each for each in context.command.params if "--json" in each.opts]
    return all(isinstance(each, click.Option) and each.is_flag for each in options)
