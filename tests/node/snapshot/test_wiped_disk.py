"""A validator whose disk was wiped, among three others: back by a snapshot, and voting again."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node.cli import main
from node.home import NODE_KEY, VALIDATOR_KEY, HomeWishes, create_homes
from node.keystore import key_info
from node.snapshot.folder import snapshots_in
from state.genesis import Allocation
from state.modules.bank import Transfer
from tests.node.network.test_processes import COUNT, PAYER, PORT, Process, until

AGE_MS = 120_000
"""The network is no young one: who has nothing asks for a snapshot first."""

SECONDS_MAX = 120.0
"""For what takes a few seconds on a machine that has nothing else to do."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Process]]:
    paths = [tmp_path / f"n{number}" for number in range(COUNT)]
    funds = [Allocation(PAYER.address, 10**15)]
    create_homes(paths, HomeWishes(time_ms=time.time_ns() // 10**6 - AGE_MS, funds=funds))
    targets = [
        f"{key_info(path, NODE_KEY).public_key.hex()}@127.0.0.{1 + number}:{PORT + 600}"
        for number, path in enumerate(paths)
    ]
    made = [
        Process(number, path, ",".join(targets[:number] + targets[number + 1 :]))
        for number, path in enumerate(paths)
    ]
    try:
        yield made
    finally:
        for node in made:
            if node.process is not None:
                node.end(signal.SIGKILL)


def voters(node: Process, height: int) -> set[str]:
    """The validators whose votes made a block final, by their keys."""
    with node.client() as client:
        header = client.call("chain.header", height=height)["header"]
        members = client.call("chain.validators", epoch=header["epoch"])
        final: dict[str, Any] = client.call("chain.finalization", height=height)
    return {members[vote["validator"]]["public_key"] for vote in final["finalization"]["votes"]}


def test_back_by_a_snapshot_and_voting_again(nodes: list[Process]) -> None:
    port = ("--p2p-port", str(PORT + 600))
    for node in nodes:
        node.start(*port, "--no-state-sync", "--snapshot-every-blocks", "10")
    until(lambda: min(node.height() for node in nodes) >= 3, SECONDS_MAX)
    with nodes[0].client() as client:
        client.execute(PAYER, Transfer(b"w" * 20, 5))
    until(lambda: all(snapshots_in(node.home / "snapshots") for node in nodes[:3]), SECONDS_MAX)

    asked = CliRunner().invoke(main, ["snapshot", "create", "--json", "--home", str(nodes[0].home)])
    assert asked.exit_code == 0, asked.stderr
    assert Path(json.loads(asked.stdout)["path"]).parent == nodes[0].home / "snapshots"

    lost = nodes[3]
    key = key_info(lost.home, VALIDATOR_KEY).public_key.hex()
    assert lost.end(signal.SIGKILL) == -signal.SIGKILL
    for name in ("data", "snapshots"):
        shutil.rmtree(lost.home / name, ignore_errors=True)
    for name in ("guard", "journal"):
        (lost.home / name).unlink()
    lost.start(*port)
    until(lambda: lost.height() >= nodes[0].height() - 3 > 0, SECONDS_MAX)
    began = [line for line in lost.log().splitlines() if "began with a snapshot" in line]
    assert len(began) == 1 and json.loads(began[0])["height"] > 10
    lowest = []
    for node in (nodes[0], lost):
        with node.client() as client:
            lowest.append(client.status().lowest_height)
    assert lowest == [1, json.loads(began[0])["height"]]

    until(lambda: key in voters(nodes[0], nodes[0].height()), SECONDS_MAX)
    common = min(node.height() for node in nodes)
    assert len({json.dumps(node.header(common)) for node in nodes}) == 1
    assert [node.end(signal.SIGTERM) for node in nodes] == [0] * COUNT
