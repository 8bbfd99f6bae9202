"""Nodes as processes of their own: started, waited for, and stopped by their id.

Everything else happens through JSON-RPC. What a node said stands in `node.log` in its home. It
never outlives this process: its standard input is a pipe held here.
"""

import asyncio
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from node.client import SaharaClient, Unreachable
from node.config import ENVIRONMENT_PREFIX
from node.devnet.errors import NodeDied, NodeSilent, PortInUse
from node.devnet.layout import Seat, free_port, p2p_host
from node.home import HomeWishes, create_homes
from node.run_file import read_run_file
from state.genesis import Allocation
from state.types import Hash

ROOMS_FOLDER = Path(__file__).resolve().parents[2]
"""Where this Python finds our packages."""

LOG_FILE = "node.log"
LOOPBACK = "127.0.0.1"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
POLL_SECONDS = 0.05
LAST_WORDS_BYTES_MAX = 600


@dataclass(frozen=True, slots=True)
class NodeWishes:
    """Whom the node funds at genesis, its port (0: a free one), its pace, and more of its flags."""

    funds: Sequence[Allocation]
    rpc_port: int = 0
    block_interval_ms_min: int = 50
    idle_interval_ms: int = 100
    flags: Mapping[str, object] = field(default_factory=dict)

    def settings(self) -> dict[str, object]:
        """Return the flags of `sahara run` besides those that place the node."""
        return {
            "--block-interval-ms-min": self.block_interval_ms_min,
            "--idle-interval-ms": self.idle_interval_ms,
            **self.flags,
        }


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


class NodeGroup:
    """The running nodes of one network; clients talk to the first."""

    def __init__(self, nodes: Sequence[NodeProcess]) -> None:
        self.nodes = tuple(nodes)

    @property
    def url(self) -> str:
        """Where the first node answers."""
        return self.nodes[0].url

    @property
    def genesis_hash(self) -> Hash:
        """The network."""
        return self.nodes[0].genesis_hash

    async def death(self) -> NodeDied:
        """Wait until the process of any node ends, and say how."""
        deaths = [asyncio.ensure_future(node.death()) for node in self.nodes]
        try:
            done, _ = await asyncio.wait(deaths, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for death in deaths:
                death.cancel()
        return done.pop().result()

    async def stop(self) -> None:
        """End all processes at once, in order."""
        await asyncio.gather(*(node.stop() for node in self.nodes))


async def start_node(home: Path, wishes: NodeWishes) -> NodeProcess:
    """Make a home, start its node, and return it once it answers; raises what start_nodes does."""
    return (await start_nodes([home], wishes)).nodes[0]


async def start_nodes(homes: Sequence[Path], wishes: NodeWishes) -> NodeGroup:
    """Found a network in new homes, start its nodes, and return them once all make blocks.

    Raises PortInUse, NodeDied, NodeSilent, and what making homes raises.
    """
    if wishes.rpc_port:
        require_free(wishes.rpc_port)
    time_ms = time.time_ns() // 1_000_000
    _, genesis = create_homes(homes, HomeWishes(time_ms=time_ms, funds=wishes.funds))
    seats = [
        Seat(index, home, 0 if index else wishes.rpc_port, free_port(p2p_host(index), []))
        for index, home in enumerate(homes)
    ]
    processes: list[Process] = []
    try:
        for seat in seats:
            line = command(seat, seats, wishes.settings())
            processes.append(await spawn(line, seat.home / LOG_FILE))
        started = zip(homes, processes, strict=True)
        urls = [await wait_ready(home, process, genesis.hash) for home, process in started]
    except BaseException:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        raise
    found = zip(homes, processes, urls, strict=True)
    return NodeGroup(
        [NodeProcess(home, genesis.hash, process, url) for home, process, url in found]
    )


async def spawn(line: Sequence[str], log_file: Path) -> Process:
    """Start a process that hears of this one's end, with what it says appended to a file."""
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *line,
            stdin=PIPE,  # closed by the system when this process dies, which ends the other one
            stdout=log,
            stderr=log,
            cwd=ROOMS_FOLDER,
            env=environment(),
            start_new_session=True,
        )


def command(seat: Seat, seats: Sequence[Seat], settings: Mapping[str, object]) -> list[str]:
    """The command line that runs one node of a network on this machine with this Python."""
    targets = [other.target for other in seats if other.index != seat.index]
    placed = {
        "--home": seat.home,
        "--rpc-port": seat.rpc_port,
        "--p2p-host": seat.p2p_host,
        "--p2p-port": seat.p2p_port,
        "--p2p-persistent-peers": ",".join(target for target in targets if target is not None),
    }
    flags = [str(word) for setting in {**placed, **settings}.items() for word in setting]
    line = [sys.executable, "-m", "node", "run", "--stop-with-stdin"]
    return [*line, "--p2p-allow-private-hosts", *flags]


def traffic_command(folder: Path, transfers_per_s: float) -> list[str]:
    """The command line that makes traffic on the devnet in a folder."""
    line = [sys.executable, "-m", "node", "devnet", "traffic", "--stop-with-stdin"]
    return [*line, "--home", str(folder), "--transfers", str(transfers_per_s)]


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
        if found is None or found["pid"] != process.pid:  # it may be of a node that was killed
            await asyncio.sleep(POLL_SECONDS)
            continue
        if await answers(found["rpc"], genesis_hash):
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
    last = last_words(log)
    said = f" Its last words: {last}" if last else ""
    return NodeDied(
        f"The node's process ended by itself with exit code {returned}; its log is {log}.{said}"
    )


def last_words(log_file: Path) -> str:
    """Return the last line of a log, nothing when there is none."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_WORDS_BYTES_MAX))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
