"""One validator of a campaign: its process, started and ended by number, and a client to it."""

import asyncio
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from node.campaign.door import Door
from node.campaign.findings import Findings
from node.campaign.spaces import Space, address_of
from node.client import SaharaClient
from node.devnet.identity import ProcessIdentity, identity_of
from node.devnet.layout import P2P_PORT, RPC_PORT_FIRST, Seat
from node.devnet.process import LOG_FILE, command, last_words, spawn
from state.types import Hash

STOP_SECONDS_MAX = 20.0
ANSWER_SECONDS_MAX = 5.0
SNAPSHOT_EVERY_BLOCKS = 100
"""So whoever loses its disk in a campaign of minutes finds one with its peers."""

SNAPSHOT_SURE_HEIGHT = 2 * SNAPSHOT_EVERY_BLOCKS
"""From here on every node has made a snapshot, and whoever has nothing must begin with one."""

KEPT = frozenset({"keys", "genesis.toml", "config.toml", "passphrase", LOG_FILE})
"""What a node that lost its disk gets back from its operator; the log is ours."""


class Phase(Enum):
    """What was done to the process last."""

    UP = "up"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class SpaceSeat(Seat):
    """Where a node in a namespace of its own listens."""

    @property
    def p2p_host(self) -> str:
        """The address at which its peers find it."""
        return address_of(self.index)


def seat_in_space(index: int, home: Path) -> Seat:
    """Return where a node listens that has a namespace to itself."""
    return SpaceSeat(index, home, RPC_PORT_FIRST, P2P_PORT)


class Member:
    """One node; what it does without being told to is found wrong."""

    def __init__(
        self,
        seat: Seat,
        seats: Sequence[Seat],
        settings: Mapping[str, object],
        findings: Findings,
        space: Space | None,
    ) -> None:
        self.seat = seat
        self.index = seat.index
        self.phase = Phase.DOWN
        self.identity: ProcessIdentity | None = None
        self.starts = 0
        self._line = [
            *([] if space is None else space.entered()),
            *command(seat, seats, settings),
        ]
        self._findings = findings
        self._door = None if space is None else Door(space, seat.rpc_port)
        self._process: Process | None = None
        self._client: SaharaClient | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def client(self) -> SaharaClient:
        """A client to it, past all cuts."""
        assert self._client is not None, "opened"
        return self._client

    @property
    def log_file(self) -> Path:
        """What it says."""
        return self.seat.home / LOG_FILE

    @property
    def is_up(self) -> bool:
        """Whether it runs, as far as its campaign knows."""
        return self.phase is Phase.UP

    async def open(self, genesis_hash: Hash) -> None:
        """Make the way to it."""
        url = self.seat.url if self._door is None else await self._door.start()
        self._client = SaharaClient(
            url, genesis_hash=genesis_hash, timeout_seconds=ANSWER_SECONDS_MAX
        )

    async def close(self) -> None:
        """End it by force if it still runs, and close the way to it."""
        if self.phase is not Phase.DOWN:
            await self.kill()
        if self._client is not None:
            await self._client.close()
        if self._door is not None:
            await self._door.stop()

    async def start(self) -> None:
        """Start the process."""
        assert self.phase is Phase.DOWN, "one process a home"
        self._process = await spawn(self._line, self.log_file)
        self.identity = identity_of(self._process.pid)
        self.starts += 1
        self.phase = Phase.UP
        self._watching = asyncio.ensure_future(self._watch(self._process))

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in order; that it takes too long, or fails, is found wrong."""
        await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it stand still."""
        self._send(signal.SIGSTOP, Phase.PAUSED)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT, Phase.UP)

    def wipe(self) -> None:
        """Take its disk away, but for what an operator keeps elsewhere."""
        assert self.phase is Phase.DOWN, "nobody's disk is taken while it runs"
        for entry in self.seat.home.iterdir():
            if entry.name in KEPT:
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _send(self, number: int, phase: Phase) -> None:
        """Send a signal, but to nobody who has ended by itself: that is found, and stays so."""
        if self._process_now().returncode is None:
            self._process_now().send_signal(number)
            self.phase = phase

    def _process_now(self) -> Process:
        assert self._process is not None, "started"
        return self._process

    async def _end(self, number: int) -> None:
        process = self._process_now()
        self.phase = Phase.DOWN
        if process.returncode is None:
            process.send_signal(number)
        try:
            returned = await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            returned = await process.wait()
        if number == signal.SIGTERM and returned != 0:
            self._findings.add(
                "campaign.stopped_badly",
                f"{self.index}:{self.starts}",
                f"Node {self.index}, told to stop, ended with {returned}; its last words: "
                f"{last_words(self.log_file)}",
            )

    async def _watch(self, process: Process) -> None:
        returned = await process.wait()
        if process is self._process and self.phase is not Phase.DOWN:
            self.phase = Phase.DOWN
            self._findings.add(
                "campaign.died",
                f"{self.index}:{self.starts}",
                f"Node {self.index} ended by itself with {returned}; its last words: "
                f"{last_words(self.log_file)}",
            )
