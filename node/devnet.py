"""A devnet on this machine: a fresh home, a node process of its own, and its supervision.

Everything else happens through JSON-RPC. The process is stopped by its id, and what it said stands
in `node.log` in its home. It never outlives this process: its standard input is a pipe held here.
"""

import asyncio
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from node.client import SaharaClient, Unreachable
from node.config import ENVIRONMENT_PREFIX
from node.errors import NodeError
from node.home import HomeWishes, create_home
from node.service import read_run_file
from state.genesis import Allocation
from state.types import Hash

ROOMS_FOLDER = Path(__file__).resolve().parents[1]
"""Where this Python finds our packages."""

LOG_FILE = "node.log"
LOOPBACK = "127.0.0.1"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
POLL_SECONDS = 0.05
LAST_WORDS_BYTES_MAX = 600


class PortInUse(NodeError):
    """The port that was asked for is taken."""

    code: ClassVar[str] = "devnet.port_in_use"


class NodeDied(NodeError):
    """A node's process ended while it was needed."""

    code: ClassVar[str] = "devnet.node_died"


class NodeSilent(NodeError):
    """A node's process runs and does not answer."""

    code: ClassVar[str] = "devnet.node_silent"


@dataclass(frozen=True, slots=True)
class NodeWishes:
    """Whom the node funds at genesis, its port (0: a free one), its first pace."""

    funds: Sequence[Allocation]
    rpc_port: int = 0
    block_interval_ms_min: int = 50
    idle_interval_ms: int = 100


class NodeProcess:
    """One running node."""

    def __init__(self, home: Path, genesis_hash: Hash, process: Process, url: str) -> None:
        self.home = home
        self.genesis_hash = genesis_hash
        self.url = url
        self._process = process

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def death(self) -> NodeDied:
        """Wait until the process ends, and say how."""
        return died(self.home, await self._process.wait())

    async def stop(self) -> int:
        """End the process in order, or by force when it does not; return its exit code."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS_MAX)
            except TimeoutError:
                self._process.kill()
        return await self._process.wait()


async def start_node(home: Path, wishes: NodeWishes) -> NodeProcess:
    """Make a home, start its node, and return it once it answers.

    Raises PortInUse, NodeDied, NodeSilent, and what making a home raises.
    """
    if wishes.rpc_port:
        require_free(wishes.rpc_port)
    time_ms = time.time_ns() // 1_000_000
    _, genesis = create_home(home, HomeWishes(time_ms=time_ms, funds=wishes.funds))
    with (home / LOG_FILE).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command(home, wishes),
            stdin=PIPE,  # closed by the system when this process dies, which ends the node
            stdout=log,
            stderr=log,
            cwd=ROOMS_FOLDER,
            env=environment(),
            start_new_session=True,
        )
    try:
        url = await wait_ready(home, process, genesis.hash)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return NodeProcess(home, genesis.hash, process, url)


def command(home: Path, wishes: NodeWishes) -> list[str]:
    """The command line that runs the node of a home with this Python."""
    settings = {
        "--home": home,
        "--rpc-port": wishes.rpc_port,
        "--p2p-port": 0,
        "--block-interval-ms-min": wishes.block_interval_ms_min,
        "--idle-interval-ms": wishes.idle_interval_ms,
    }
    flags = [str(word) for setting in settings.items() for word in setting]
    return [sys.executable, "-m", "node", "run", "--stop-with-stdin", *flags]


def environment() -> dict[str, str]:
    """This process's environment without settings that are meant for another node."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) or name == "SAHARA_PURE_PYTHON"
    }


async def wait_ready(home: Path, process: Process, genesis_hash: Hash) -> str:
    """Return the node's RPC address once it makes blocks; raises NodeDied or NodeSilent."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise died(home, process.returncode)
        found = read_run_file(home)
        if found is not None and await answers(found["rpc"], genesis_hash):
            return str(found["rpc"])
        await asyncio.sleep(POLL_SECONDS)
    raise NodeSilent(
        f"The node did not answer within {START_SECONDS_MAX} s of its start; its log is "
        f"{home / LOG_FILE}."
    )


async def answers(url: str, genesis_hash: Hash) -> bool:
    """Tell whether the node of this network answers at `url` and has made a block."""
    async with SaharaClient(url, genesis_hash=genesis_hash) as client:
        try:
            return (await client.status()).height > 0
        except Unreachable:
            return False


def require_free(port: int) -> None:
    """Raise PortInUse when another program listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} cannot be had ({error.strerror}); choose another one, or 0 for a "
                "free one."
            ) from error


def died(home: Path, returned: int) -> NodeDied:
    """The error for a process that ended by itself, with the end of its log."""
    log = home / LOG_FILE
    words = log.read_bytes()[-LAST_WORDS_BYTES_MAX:] if log.exists() else b""
    last = words.decode("utf-8", "replace").strip().splitlines()[-1:]
    said = f" Its last words: {last[0]}" if last else ""
    return NodeDied(
        f"The node's process ended by itself with exit code {returned}; its log is {log}.{said}"
    )
