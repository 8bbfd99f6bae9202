"""`sahara tx`, `query` and `status`: derived from the registry, run against a chain in memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from node.addresses import format_address
from node.cli import main, query, status, tx
from node.cli.fields import Field, as_json, dashed
from node.genesis_file import write_genesis
from node.keystore import LIGHT_COST, Passphrase, create_key
from node.rpc.jsonform import FORMS
from state.modules.all import MESSAGES, MODULES
from state.modules.bank import Transfer
from state.types import Address

BOB = format_address(bytes(range(20)))


@click.group()
def sahara() -> None:
    """The commands as `sahara` holds them."""


for name, group in (("tx", tx.GROUP), ("query", query.GROUP), ("status", status.GROUP)):
    sahara.add_command(group, name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the key alice, and her passphrase in a file."""
    create_key(tmp_path, "alice", Passphrase("correct horse"), LIGHT_COST)
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    return tmp_path


def invoke(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(sahara, list(arguments), input=text, catch_exceptions=False)


async def run(*arguments: str, text: str | None = None) -> Result:
    return await asyncio.to_thread(invoke, *arguments, text=text)


def signing(home: Path) -> list[str]:
    secret = str(home / "passphrase")
    return ["--from", "alice", "--home", str(home), "--passphrase-file", secret]


async def fund(node: Any, client: Any, home: Path) -> bytes:
    from node.keystore import key_info

    address = key_info(home, "alice").address
    await client.execute(node.accounts[0], Transfer(address, 10**9))
    return address


def walk(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        here = (*path, name)
        found += walk(command, here) if isinstance(command, click.Group) else [here]
    return found


COMMANDS = walk(sahara)


def test_every_transaction_and_query_has_a_command() -> None:
    for module in MODULES:
        for message in module.messages:
            assert ("tx", module.name, dashed(message.__name__)) in COMMANDS
        for each in module.queries:
            assert ("query", module.name, dashed(each.name.partition(".")[2])) in COMMANDS
    assert dashed("RegisterModelV2") == "register-model-v2" and len(MESSAGES) > 2


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_it_does_and_how(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0 and "Usage:" in result.output
    if command[0] == "query" or (command[0] == "tx" and len(command) == 3):
        assert f"sahara {' '.join(command)}" in result.output


def test_every_passphrase_may_come_from_a_file_that_the_environment_names() -> None:
    options: dict[str, object] = {}

    def look(command: click.Command, path: str) -> None:
        for option in command.params:
            if option.name == "passphrase_file":
                options[path] = option.envvar
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                look(found, f"{path} {name}".strip())

    look(main, "")
    del options["run"]  # every setting of it comes from the environment, see node.config
    assert {"init", "keys create", "genesis declare", "tx bank transfer"} < {*options}
    assert {*options.values()} == {"SAHARA_PASSPHRASE_FILE"}


async def test_status_and_queries(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url:
        shown = await run("status", "--node", url)
        data = await run("status", "--node", url, "--json")
        balance = await run("query", "bank", "balance", "--address", BOB, "--node", url, "--json")
        pots = await run("query", "bank", "supply", "--node", url)
        header = await run("query", "chain", "header", "--height", "1", "--node", url, "--json")
    assert "memory" in shown.output and shown.exit_code == 0
    assert json.loads(data.output)["height"] == 1
    assert json.loads(balance.output) == {"amount": "0"}
    assert "burned" in pots.output
    assert json.loads(header.output)["header"]["height"] == 1


async def test_a_transfer_from_the_command_line(memory_node: Any, serve: Any, home: Path) -> None:
    from node.client import SaharaClient

    async with serve(memory_node) as url, SaharaClient(url) as client:
        await fund(memory_node, client, home)
        line = ["tx", "bank", "transfer", "--recipient", BOB, "--amount", "7", "--node", url]
        line += ["--json", *signing(home)]
        dry = await run(*line, "--dry-run")
        sent = await run(*line)
        quick = await run(*line, "--no-wait", "--fee-max", "100000")
        told = await run("tx", "status", json.loads(sent.output)["tx_id"], "--node", url, "--json")
        await client.wait_final(bytes.fromhex(json.loads(quick.output)["tx_id"]))
        after = await client.query("bank.balance", address=bytes(range(20)))
    assert (dry.exit_code, json.loads(dry.output)["status"]) == (0, "ok")
    assert (sent.exit_code, json.loads(sent.output)["stage"]) == (0, "final")
    assert json.loads(told.output) == json.loads(sent.output)
    assert after.amount == 14


async def test_a_home_names_its_node_and_its_network(
    memory_node: Any, make_node: Any, serve: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever answers on the default port is not asked, and no foreign network is signed for."""
    from node.client import SaharaClient

    foreign = make_node(accounts=4)
    line = ["tx", "bank", "transfer", "--recipient", BOB, "--amount", "7", "--json", *signing(home)]
    (home / "genesis.toml").write_text(write_genesis(memory_node.genesis))
    async with serve(memory_node) as url, serve(foreign) as other, SaharaClient(url) as client:
        await fund(memory_node, client, home)
        idle = await run(*line)
        (home / "run.json").write_text(json.dumps({"pid": 1, "rpc": url}))
        sent = await run(*line)
        told = await run("tx", "status", json.loads(sent.output)["tx_id"], "--home", str(home))
        asked = await run("query", "chain", "status", "--home", str(home), "--json")
        both = await run("query", "chain", "status", "--home", str(home), "--node", url)
        strange = await run(*line, "--node", other)
        monkeypatch.setenv("SAHARA_NODE", other)
        set_apart = await run(*line)
    assert (idle.exit_code, code_of(idle)) == (3, "node.not_running")
    assert (sent.exit_code, json.loads(sent.output)["stage"]) == (0, "final")
    assert told.exit_code == 0 and "final" in told.output
    assert json.loads(asked.output)["genesis_hash"] == memory_node.genesis.hash.hex()
    assert both.exit_code == 2 and "give one of them" in both.stderr
    for refused in (strange, set_apart):
        assert (refused.exit_code, code_of(refused)) == (1, "client.wrong_network")
        assert memory_node.genesis.hash.hex() in refused.stderr and other in refused.stderr
        assert "Nothing was signed" in refused.stderr
    assert foreign.height == 1, "nothing was sent to it"


def code_of(failed: Result) -> str:
    return str(json.loads(failed.stderr)["error"]["code"])


async def test_exit_codes(memory_node: Any, serve: Any, home: Path) -> None:
    from node.client import SaharaClient

    transfer = ["tx", "bank", "transfer", "--recipient", BOB]
    async with serve(memory_node) as url, SaharaClient(url) as client:
        broke = await run(*transfer, "--amount", "7", "--node", url, *signing(home))
        await fund(memory_node, client, home)
        failed = await run(
            *transfer, "--amount", str(10**17), "--node", url, "--json", *signing(home)
        )
        wrong = await run(*transfer, "--amount", "many", "--node", url, *signing(home))
        missing = await run(*transfer, "--node", url, *signing(home))
        unknown = await run("tx", "status", "00" * 32, "--node", url)
        bad_id = await run("tx", "status", "xyz", "--node", url)
        no_key = await run(
            *transfer, "--amount", "7", "--node", url, "--from", "bob", "--home", str(home)
        )
        bad_passphrase = await run(
            *[*transfer, "--amount", "7", "--node", url, "--from", "alice", "--home", str(home)],
            text="wrong horse\n",
        )
    nobody = await run("status", "--node", "http://127.0.0.1:1", "--json")
    assert broke.exit_code == 1 and "bank.insufficient_funds" in broke.stderr
    assert failed.exit_code == 1
    assert json.loads(failed.stderr)["error"]["code"] == "bank.insufficient_funds"
    assert wrong.exit_code == 2 and "--amount" in wrong.stderr
    assert missing.exit_code == 2
    assert unknown.exit_code == 1 and "state.not_found" in unknown.stderr
    assert bad_id.exit_code == 2
    assert no_key.exit_code == 1 and "keys.missing" in no_key.stderr
    assert bad_passphrase.exit_code == 1 and "keys.wrong_passphrase" in bad_passphrase.stderr
    assert nobody.exit_code == 3
    assert json.loads(nobody.stderr)["error"]["code"] == "client.unreachable"


def test_texts_become_json_by_their_type() -> None:
    shape = FORMS.shape
    assert as_json(shape(Address), BOB) == BOB
    assert as_json(shape(int), "5") == 5
    assert as_json(shape(bool), "true") is True
    assert as_json(shape(list[int]), "[1, 2]") == [1, 2]
    assert as_json(shape(Address | None), BOB) == BOB
    assert Field("from", int, True).option == "--field-from"
