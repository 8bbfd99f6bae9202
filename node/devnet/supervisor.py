"""The supervisor of a devnet: starts every node, keeps them running, and stops them together."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.clock import Clock
from node.devnet.control import SOCKET_FILE, Answer, Request, serve
from node.devnet.errors import BadRequest, DevnetMissing, DevnetRunning, NoSuchNode
from node.devnet.identity import identity_of
from node.devnet.layout import NODES_MAX, Seat, add_home, homes_in, take_seat
from node.devnet.process import LOG_FILE, command, traffic_command
from node.devnet.release import keep_out_of_jail
from node.devnet.state_file import DevnetState, NodeEntry, read_state, write_state
from node.devnet.ward import Ward
from node.devnet.watch import Sight, Watch
from node.genesis_file import read_genesis
from node.home import GENESIS_FILE, VALIDATOR_KEY, HomeMissing
from node.keystore import key_path

LOCK_FILE = "devnet.lock"
TRAFFIC_LOG_FILE = "traffic.log"
STOP_SECONDS_MAX = 2.0
"""So long nodes may take to stop in order; then they are killed."""

LEFTOVER_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a devnet shall run."""

    block_time_ms: int | None = None
    """Between blocks, busy or idle; None leaves it to each home's settings."""

    transfers_per_s: float | None = None
    """Transfers among the traffic that is made; None makes none."""


@dataclass(slots=True)
class Node:
    """One node of a running devnet."""

    seat: Seat
    ward: Ward
    watch: Watch

    @property
    def sight(self) -> Sight:
        """What it looks like."""
        return self.watch.sight


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a devnet's folder for this process; raises DevnetRunning."""
    with (folder / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DevnetRunning(
                f"The devnet in {folder} runs already; stop it with: sahara devnet stop --home "
                f"{folder}"
            ) from error
        yield


def end_leftovers(folder: Path) -> int:
    """Kill what a supervisor that was killed itself has left behind; return how many they were."""
    try:
        processes = read_state(folder).processes
    except DevnetMissing:
        return 0
    found = [process for process in processes if process.signal(signal.SIGKILL)]
    for process in found:
        process.wait(LEFTOVER_SECONDS_MAX)
    return len(found)


class Supervisor:
    """Everything of one running devnet; `say` hears what happens to its processes."""

    def __init__(
        self,
        folder: Path,
        wishes: Wishes,
        clock: Clock,
        say: Callable[[str], None],
        line: "Callable[[Supervisor, Seat], Sequence[str]] | None" = None,
    ) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self.traffic: Ward | None = None
        self._wishes = wishes
        self._clock = clock
        self._say = say
        self._command = Supervisor.node_command if line is None else line
        self._genesis_hash = read_genesis(homes_in(folder)[0] / GENESIS_FILE).hash
        self._failed: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, ended: asyncio.Event) -> None:
        """Run the devnet until `ended` is set; nothing of it runs afterwards."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        loop_ended = asyncio.ensure_future(ended.wait())
        self._ended = ended
        seats = [take_seat(index, home) for index, home in enumerate(homes_in(self.folder))]
        server = await serve(self.folder, self._act)
        try:
            for seat in seats:
                self._admit(seat)
            for node in self.nodes:
                self._start(node)
            self._start_traffic()
            self._write()
            await asyncio.wait((loop_ended, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
        finally:
            loop_ended.cancel()
            try:
                await self._stop()
            finally:
                server.close()
                (self.folder / SOCKET_FILE).unlink(missing_ok=True)

    async def _stop(self) -> None:
        """Stop every process at once, and wait for all."""
        stopping = [node.ward.stop(STOP_SECONDS_MAX) for node in self.nodes]
        if self.traffic is not None:
            stopping.append(self.traffic.stop(0.0))  # it has nothing to lose
        outcomes = await asyncio.gather(*stopping, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._write()
        for error in filter(None, outcomes):
            raise error

    def _admit(self, seat: Seat) -> Node:
        """Take in one more node without starting it."""
        index = seat.index
        ward = self._ward(f"node {index}", lambda: self._line(index), seat.home / LOG_FILE)
        watch = Watch(lambda: self.nodes[index].seat.url, self._genesis_hash, self._clock)
        node = Node(seat, ward, watch)
        self.nodes.append(node)
        return node

    def _start(self, node: Node) -> None:
        self._spawn(node.ward.keep())
        self._spawn(node.watch.run())
        if key_path(node.seat.home, VALIDATOR_KEY).exists():
            self._spawn(self._keep_out_of_jail(node))

    async def _keep_out_of_jail(self, node: Node) -> None:
        def say(words: str) -> None:
            self._say(f"node {node.seat.index}: {words}")

        await keep_out_of_jail(node.seat.home, lambda: node.seat.url, self._genesis_hash, say)

    def _start_traffic(self) -> None:
        per_s = self._wishes.transfers_per_s
        if per_s is not None:
            line = traffic_command(self.folder, per_s)
            self.traffic = self._ward("traffic", lambda: line, TRAFFIC_LOG_FILE)
            self._spawn(self.traffic.keep())

    def _ward(self, name: str, command: Callable[[], Sequence[str]], log: str | Path) -> Ward:
        return Ward(name, command, self.folder / log, self._say, self._write)

    def _line(self, index: int) -> Sequence[str]:
        """Return the command line of a node's next start, at ports that are free."""
        node = self.nodes[index]
        node.seat = take_seat(index, node.seat.home, node.seat)
        return self._command(self, node.seat)

    def node_command(self, seat: Seat) -> Sequence[str]:
        """The command line that runs a node among the others."""
        pace = self._wishes.block_time_ms
        settings = (
            {} if pace is None else {"--block-interval-ms-min": pace, "--idle-interval-ms": pace}
        )
        return command(seat, [node.seat for node in self.nodes], settings)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._done)
        self._tasks.append(task)

    def _done(self, task: "asyncio.Task[None]") -> None:
        """Take the devnet down for a failure that nobody expects."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    def _write(self) -> None:
        """Tell other terminals which processes there are."""
        own = identity_of(os.getpid())
        assert own is not None, "this process runs"
        nodes = tuple(
            [
                NodeEntry(
                    node.seat.index,
                    str(node.seat.home),
                    node.seat.url,
                    f"{node.seat.p2p_host}:{node.seat.p2p_port}",
                    node.ward.phase.value,
                    node.ward.restarts,
                    node.ward.process,
                )
                for node in self.nodes
            ]
        )
        traffic = None if self.traffic is None else self.traffic.process
        write_state(self.folder, DevnetState(own, self._genesis_hash.hex(), nodes, traffic))

    # --- requests from other terminals -----------------------------------------------------------

    async def _act(self, request: Request) -> Answer:
        match request.action:
            case "stop":
                self._ended.set()
                return Answer("The devnet stops.")
            case "kill":
                node = self._node(request.node)
                await node.ward.kill()
                return Answer(f"Node {request.node} was killed.", node=request.node)
            case "restart":
                node = self._node(request.node)
                _check_genesis(node.seat.home)
                await node.ward.restart()
                return self._started(f"Node {request.node} was started again.", node)
            case "add":
                node = self._add()
                await node.ward.started()
                return self._started(f"Node {node.seat.index} was added.", node)
            case _:
                raise BadRequest(f"A devnet cannot '{request.action[:32]}'.")

    def _started(self, sentence: str, node: Node) -> Answer:
        pid = None if node.ward.process is None else node.ward.process.pid
        return Answer(sentence, node=node.seat.index, pid=pid)

    def _node(self, index: int | None) -> Node:
        if index is None or not 0 <= index < len(self.nodes):
            raise NoSuchNode(
                f"There is no node {index}; the devnet has 0 to {len(self.nodes) - 1}."
            )
        return self.nodes[index]

    def _add(self) -> Node:
        if len(self.nodes) >= NODES_MAX:
            raise NoSuchNode(f"A devnet has at most {NODES_MAX} nodes.")
        home = add_home(self.folder, self._clock.wall_ms())
        node = self._admit(take_seat(len(self.nodes), home))
        self._start(node)
        self._say(f"node {node.seat.index} was added.")
        return node


def _check_genesis(home: Path) -> None:
    if not (home / GENESIS_FILE).is_file():
        raise HomeMissing(
            f"{home} has no {GENESIS_FILE}, without which its node cannot start; copy the one in "
            "another node's home there."
        )
