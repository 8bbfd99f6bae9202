"""`sahara tx MODULE MESSAGE --field value --from KEY`: every transaction, from the registry."""

from pathlib import Path
from typing import Any

import click
import msgspec

from node.cli import fields
from node.cli.answers import ask_passphrase
from node.cli.connection import connected, default_home, node_options, show
from node.cli.fields import Field
from node.cli.home_node import either, home_node_option, network_of, node_for, require_network
from node.client import Account
from node.keystore import key_info, load_key, read_passphrase
from node.rpc.backend import TxStatus
from node.rpc.jsonform import FORMS
from state.block import Outcome
from state.modules.all import MODULES
from state.registry import Message
from state.types import Amount, Hash

GROUP = click.Group("tx", help="Sign and send transactions, and ask what became of them.")

_FEE = Field("fee_max", Amount, False)


def _signing_options() -> list[click.Option]:
    return [
        click.Option(
            ["--from", "key_name"], required=True, metavar="KEY", help="Name of the signing key."
        ),
        click.Option(
            ["--home"],
            type=click.Path(path_type=Path, file_okay=False),
            default=default_home,
            help="Folder with the keys; its node is asked where --node names none, and its network "
            "is the one that is signed for. [default: $SAHARA_HOME or ~/.sahara]",
        ),
        click.Option(
            ["--passphrase-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="SAHARA_PASSPHRASE_FILE",
            show_envvar=True,
            help="File with the key's passphrase; asked for when left out.",
        ),
        click.Option(
            ["--fee-max", _FEE.key],
            metavar="DECIMAL",
            help="Most grains to pay; four times the fee of now when left out.",
        ),
        click.Option(
            ["--wait/--no-wait"], default=True, help="Wait until final, or print the id at once."
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Show the outcome it would have; send nothing."
        ),
    ]


def _account(home: Path, name: str, passphrase_file: Path | None) -> Account:
    """Open the signing key, with a passphrase from a file or a prompt."""
    key_info(home, name)  # a missing key is told before the passphrase is asked for
    if passphrase_file is not None:
        passphrase = read_passphrase(passphrase_file)
    else:
        passphrase = ask_passphrase(name, confirm=False)
    return load_key(home, name, passphrase).account()


def _command(module: str, message: type[Message]) -> click.Command:
    name = fields.dashed(message.__name__)
    taken = [
        Field(field.name, field.type, field.required) for field in msgspec.structs.fields(message)
    ]

    @node_options
    @click.pass_context
    def send(
        ctx: click.Context,
        /,
        url: str,
        *,
        as_json: bool,
        key_name: str,
        home: Path,
        passphrase_file: Path | None,
        wait: bool,
        dry_run: bool,
        **given: Any,
    ) -> None:
        instruction = message(**fields.values(taken, given))
        fee_max = fields.values([_FEE], given).get("fee_max")
        home = home.expanduser()
        url = node_for(ctx, home, url, as_json=as_json)
        network = network_of(home, as_json=as_json)
        with connected(url, as_json=as_json, genesis_hash=network) as client:
            if network is not None:
                require_network(client, url, home, as_json=as_json)
            account = _account(home, key_name, passphrase_file)
            if dry_run:
                show(_outcome(client.simulate(account, instruction)), as_json=as_json)
            elif wait:
                status = client.execute(account, instruction, fee_max=fee_max)
                show(FORMS.writer(TxStatus)(status), as_json=as_json)
            else:
                tx_id = client.send(account, instruction, fee_max=fee_max)
                show({"tx_id": tx_id.hex()}, as_json=as_json)

    text = fields.help_text(
        " ".join((message.__doc__ or "").split()), f"tx {module} {name} --from alice", taken
    )
    return fields.command(name, text, [*fields.options(taken), *_signing_options()], send)


def _outcome(outcome: Outcome) -> Any:
    return FORMS.writer(Outcome)(outcome)


@GROUP.command("status")
@click.argument("tx_id", metavar="ID")
@home_node_option
@node_options
@click.pass_context
def status(ctx: click.Context, tx_id: str, url: str, home: Path | None, *, as_json: bool) -> None:
    """Show how far a transaction has come, and its outcome once it is final."""
    digest = fields.value("ID", Hash, tx_id)
    with connected(either(ctx, home, url, as_json=as_json), as_json=as_json) as client:
        show(client.call("tx.status", tx_id=digest.hex()), as_json=as_json)


@GROUP.command("submit")
@click.argument("wire", metavar="HEX")
@home_node_option
@node_options
@click.pass_context
def submit(ctx: click.Context, wire: str, url: str, home: Path | None, *, as_json: bool) -> None:
    """Submit a transaction that was signed elsewhere, as hexadecimal wire bytes."""
    with connected(either(ctx, home, url, as_json=as_json), as_json=as_json) as client:
        show({"tx_id": client.call("tx.submit", wire=wire)}, as_json=as_json)


def _add_all() -> None:
    for module in MODULES:
        if module.messages:
            group = click.Group(module.name, help=f"Transactions of {module.name}.")
            for message in module.messages:
                group.add_command(_command(module.name, message))
            GROUP.add_command(group)


_add_all()
