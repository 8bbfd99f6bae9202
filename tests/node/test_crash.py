"""kill -9 at any moment: the node comes back with every final block and the same roots.

Real processes over a real home. Whatever a client was once told is final must be there again.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from node.client import Account, SyncClient
from node.client.errors import ClientError
from node.keystore import load_key, read_passphrase
from node.rpc.backend import Stage
from node.run_file import read_run_file
from state.modules.bank import Transfer
from state.types import Hash

ROUNDS = 10
SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 3.0
PACE = ("--block-interval-ms-min", "0", "--idle-interval-ms", "20", "--rpc-port", "0")
PACE += ("--p2p-port", "0")
COMMAND = (sys.executable, "-P", "-c", "from node.cli import main; main()")


class Node:
    """The node of a home as a process of its own."""

    def __init__(self, home: Path) -> None:
        self._log = (home.parent / "log").open("ab")
        self._home = home
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--home", str(home), *PACE],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=self._log,
            stderr=self._log,
        )

    def client(self) -> SyncClient:
        """Return a client once the node answers; the run file of a killed one is not believed."""
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            assert self.process.poll() is None, (self._home.parent / "log").read_text()
            found = read_run_file(self._home)
            if found is not None and found["pid"] == self.process.pid:
                client = SyncClient(found["rpc"])
                try:
                    client.status()
                except ClientError:
                    client.close()
                else:
                    return client
            time.sleep(0.01)
        raise AssertionError("the node did not answer in time")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(SECONDS_MAX)
        self._log.close()
        return code


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    run("init", "--home", str(home))
    return home


def run(*arguments: str) -> bytes:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def account_of(home: Path) -> Account:
    return load_key(home, "validator", read_passphrase(home / "passphrase")).account()


class Witness:
    """What clients were told is final, and that it stays so."""

    def __init__(self) -> None:
        self.headers: dict[int, Hash] = {}
        self.finals: dict[Hash, int] = {}

    def watch(self, client: SyncClient) -> None:
        height = client.status().height
        for each in range(max(self.headers, default=0) + 1, height + 1):
            self.headers[each] = client.header(each).block_id

    def check(self, client: SyncClient) -> None:
        status = client.status()
        assert status.height >= max(self.headers, default=0)
        for height, block_id in self.headers.items():
            assert client.header(height).block_id == block_id
        for tx_id, height in self.finals.items():
            found = client.transaction_status(tx_id)
            assert (found.stage, found.height) == (Stage.FINAL, height)


def work(client: SyncClient, account: Account, witness: Witness, until: float) -> Iterator[Hash]:
    """Send transfers one after another, two at least, and note which are final."""
    first = len(witness.finals)
    while time.monotonic() < until or len(witness.finals) < first + 2:
        tx_id = client.send(account, Transfer(b"r" * 20, 1))
        yield tx_id
        found = client.wait_final(tx_id)
        assert found.height is not None
        witness.finals[tx_id] = found.height
        witness.watch(client)


def test_kill_at_any_moment(home: Path) -> None:
    chance = random.Random(9)
    witness = Witness()
    sent: list[Hash] = []
    for _ in range(ROUNDS):
        node = Node(home)
        with node.client() as client:
            witness.check(client)
            account = account_of(home)
            for tx_id in work(client, account, witness, time.monotonic() + chance.random() / 4):
                sent.append(tx_id)
            if chance.random() < 0.5:
                sent.append(client.send(account, Transfer(b"r" * 20, 1)))
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(witness.finals) >= 2 * ROUNDS

    node = Node(home)
    with node.client() as client:
        witness.check(client)
        paid = client.query("bank.balance", address=b"r" * 20).amount
        assert len(witness.finals) <= paid <= len(sent)
    begun = time.monotonic()
    assert node.end(signal.SIGTERM) == 0
    assert time.monotonic() - begun < STOP_SECONDS_MAX
    assert read_run_file(home) is None

    replayed = msgspec.json.decode(run("verify", "--home", str(home), "--json"))
    assert replayed["agrees"] is True
    assert replayed["height"] >= max(witness.headers)
