"""The command line: `sahara`, one file a command, imported when it is called.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage. What is refused is told as `code: sentence`
on standard error.
Commands that talk to a node add 3: no node answered.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

from node.cli.usage import telling_wrong_usage

WORDS = "sahara.words"
"""Where a context keeps the words of the command line."""


class Entry(NamedTuple):
    """Where a command is, and its line in `sahara --help`."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "init": Entry("node.cli.init", "init", "Make a home: key, network, settings."),
    "run": Entry("node.cli.run", "run", "Run the node of a home."),
    "genesis": Entry("node.cli.genesis", "genesis", "Make and check a genesis file."),
    "keys": Entry("node.cli.keys", "keys", "Make and show keys."),
    "status": Entry("node.cli.status", "GROUP", "Show a node at a glance."),
    "tx": Entry("node.cli.tx", "GROUP", "Sign and send transactions."),
    "query": Entry("node.cli.query", "GROUP", "Ask a node."),
    "simulate": Entry("node.cli.simulate", "simulate", "Try to break consensus, from a seed."),
    "devnet": Entry("node.cli.devnet", "devnet", "Run several validators on this machine."),
    "demo": Entry("node.cli.demo", "demo", "Pay for calls, trade futures on them, settle, verify."),
    "snapshot": Entry("node.cli.snapshot", "snapshot", "Make, list and restore snapshots."),
    "rollback": Entry("node.cli.rollback", "rollback", "Return to an earlier final height."),
    "verify": Entry("node.cli.verify", "verify", "Replay a home's chain and compare every root."),
}
"""Every command by name, in the order of `sahara --help`."""


class Sahara(click.Group):
    """The root of all commands; it imports nothing of ours before the rooms were checked."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Check the installation, then parse and run; ends the process."""
        from node.rooms import WrongInstallation, check_installation

        try:
            check_installation()
        except WrongInstallation as error:
            click.echo(f"node.wrong_installation: {error}", err=True)
            raise SystemExit(1) from error
        return super().main(*args, **extra)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse what stands before the command, and keep the words for what follows."""
        words = tuple(args)
        with telling_wrong_usage(words):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[WORDS] = words
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Parse the rest and run it."""
        with telling_wrong_usage(ctx.meta[WORDS]):
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name, None when there is none."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(import_module(entry.module), entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from node.version import VERSION

        click.echo(f"sahara {VERSION}")
        ctx.exit()


main = Sahara(
    name="sahara",
    help="A node of Sahara Futures, its keys, and what one asks of it.\n\n"
    "\b\nExample:\n  sahara init --home devnet && sahara run --home devnet",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)


def home_option(function: Any) -> Any:
    """Add --home to a command, as `home`."""
    return click.option(
        "--home",
        envvar="SAHARA_HOME",
        default="~/.sahara",
        show_default=True,
        show_envvar=True,
        callback=lambda _ctx, _parameter, text: Path(text).expanduser(),
        help="The folder of the node.",
    )(function)
