"""Four validators as four processes on loopback: one finality, through kill -9 and restart."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from node import rooms
from node.client import Account, SyncClient, Unreachable
from node.home import NODE_KEY, HomeWishes, create_homes
from node.keystore import key_info
from node.run_file import read_run_file
from state.genesis import Allocation
from state.modules.bank import Transfer

ROOT = Path(rooms.__file__).resolve().parents[1]
COUNT = 4
PORT = 4_400 + os.getpid() % 500
"""Each node has an address of its own, so one port serves; tests at the same time have others."""
PAYER = Account.from_seed(b"p" * 32)


class Process:
    """One node as a process, started and killed by number."""

    def __init__(self, number: int, home: Path, peers: str) -> None:
        self.home = home
        self._host = f"127.0.0.{1 + number}"
        self._peers = peers
        self._log = home.parent / f"{home.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Start the node, with more flags than those that every node gets."""
        settings = {
            "--rpc-port": "0",
            "--p2p-host": self._host,
            "--p2p-port": str(PORT),
            "--p2p-persistent-peers": self._peers,
            "--block-interval-ms-min": "50",
            "--idle-interval-ms": "100",
        }
        flags = [*[word for setting in settings.items() for word in setting], *more]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SAHARA_")}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "run", "--home", str(self.home), "--json", *flags],
                cwd=ROOT,
                env=kept,
                stdout=log,
                stderr=log,
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=10)
        self.process = None
        (self.home / "run.json").unlink(missing_ok=True)
        return code

    def client(self) -> SyncClient:
        found = read_run_file(self.home)
        assert found is not None, "it does not run yet"
        return SyncClient(found["rpc"])

    def status(self) -> dict[str, Any] | None:
        """What the node says of itself, None while it does not answer."""
        assert self.process is None or self.process.poll() is None, self.log()
        with suppress(AssertionError, Unreachable), self.client() as client:
            found: dict[str, Any] = client.call("chain.status")
            return found
        return None

    def height(self) -> int:
        found = self.status()
        return -1 if found is None else int(found["finalized_height"])

    def header(self, height: int) -> dict[str, Any]:
        with self.client() as client:
            found: dict[str, Any] = client.call("chain.header", height=height)
            return found

    def log(self) -> str:
        return self._log.read_text()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Process]]:
    paths = [tmp_path / f"n{number}" for number in range(COUNT)]
    funds = [Allocation(PAYER.address, 10**15)]
    create_homes(paths, HomeWishes(time_ms=time.time_ns() // 10**6, funds=funds))
    targets = [
        f"{key_info(path, NODE_KEY).public_key.hex()}@127.0.0.{1 + number}:{PORT}"
        for number, path in enumerate(paths)
    ]
    made = [
        Process(number, path, ",".join(targets[:number] + targets[number + 1 :]))
        for number, path in enumerate(paths)
    ]
    try:
        for node in made:
            node.start()
        yield made
    finally:
        for node in made:
            if node.process is not None:
                node.end(signal.SIGKILL)


def test_four_processes_agree_through_kill_and_restart(nodes: list[Process]) -> None:
    until(lambda: min(node.height() for node in nodes) >= 5)
    for number, node in enumerate(nodes):
        with node.client() as client:
            client.execute(PAYER, Transfer(bytes([number + 1]) * 20, 5))
    with nodes[0].client() as client:
        peers = client.call("node.peers")
    assert len(peers) == COUNT - 1
    assert None not in [peer["validator_key"] for peer in peers]

    assert nodes[3].end(signal.SIGKILL) == -signal.SIGKILL
    killed_at = nodes[0].height()
    until(lambda: min(node.height() for node in nodes[:3]) >= killed_at + 10)
    nodes[3].start()
    until(lambda: nodes[3].height() >= killed_at + 15)

    common = min(node.height() for node in nodes)
    headers = [json.dumps(node.header(common)) for node in nodes]
    assert len({*headers}) == 1
    begun = time.monotonic()
    assert [node.end(signal.SIGTERM) for node in nodes] == [0] * COUNT
    assert time.monotonic() - begun < 3.0 * COUNT
