"""One process that is kept running as long as it is wanted: started again with back-off."""

import asyncio
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from node.devnet.errors import NodeIsDown, StillRuns
from node.devnet.identity import ProcessIdentity, identity_of
from node.devnet.process import last_words, spawn

BACKOFF_SECONDS_MIN = 0.5
BACKOFF_SECONDS_MAX = 30.0
STEADY_SECONDS = 30.0
"""Whoever ran for so long is started again without having waited before."""

RESTART_SECONDS_MAX = 2.0
"""So long a process that is to be started again may take to end in order."""


KILL_SECONDS_MAX = 5.0
"""So long the system may take to end a process that was killed."""


class Phase(Enum):
    """What becomes of the process."""

    RUNNING = "running"
    WAITING = "waiting"
    """It ended by itself and will be started again."""
    DOWN = "down"
    """It was killed on request, and stays down until somebody wants it again."""


class Ward:
    """Keeps one process running; `say` hears what happens, `changed` that something did."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        log_file: Path,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.phase = Phase.DOWN
        self.process: ProcessIdentity | None = None
        self.restarts = 0
        self._command = command
        self.log_file = log_file
        self._say = say
        self._changed = changed
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._hurry = asyncio.Event()
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._starting = asyncio.Lock()
        self._was_asked = False
        self._pause_seconds = BACKOFF_SECONDS_MIN

    async def keep(self) -> None:
        """Keep the process running until cancelled; however this ends, the process ends with it."""
        while True:
            if not self._wanted.is_set():
                self._enter(Phase.DOWN)
                await self._wanted.wait()
            began = time.monotonic()
            async with self._starting:
                process = await spawn(self._command(), self.log_file)
                self._started(process)
            returned = await self._outlive(process)
            if self._was_asked:
                self._was_asked = False
                continue
            await self._pause(returned, time.monotonic() - began)

    def _started(self, process: Process) -> None:
        self.process = identity_of(process.pid)
        self._gone.clear()
        self._up.set()

    async def _outlive(self, process: Process) -> int:
        """Wait until the process has ended, and return with what; what goes wrong here ends it."""
        try:
            self._enter(Phase.RUNNING)
            returned = await process.wait()
        except OSError as error:  # of whoever hears that something changed: a disk that is full
            self._say(f"{self.name} was killed, for it cannot be kept any more: {error}")
            raise
        finally:
            if process.returncode is None:
                await self._kill(process)
            if process.returncode is not None:
                self._ended()
        return returned

    async def _kill(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):  # whoever ends it says that it still runs
            async with asyncio.timeout(KILL_SECONDS_MAX):
                await process.wait()

    def _ended(self) -> None:
        self.process = None
        self._up.clear()
        self._gone.set()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._changed()

    async def _pause(self, returned: int, lasted_seconds: float) -> None:
        """Wait before the next start, twice as long after each short life."""
        if lasted_seconds >= STEADY_SECONDS:
            self._pause_seconds = BACKOFF_SECONDS_MIN
        words = last_words(self.log_file)
        self._say(
            f"{self.name} ended {how(returned)}; starting it again in {self._pause_seconds:g} s."
            + (f" Its last words: {words}" if words and returned > 0 else "")
        )
        self.restarts += 1
        self._hurry.clear()
        self._enter(Phase.WAITING)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_seconds):
                await self._hurry.wait()
        self._pause_seconds = min(2 * self._pause_seconds, BACKOFF_SECONDS_MAX)

    async def kill(self) -> None:
        """End the process as `kill -9` does, and keep it down; raises NodeIsDown and StillRuns."""
        if not self._wanted.is_set():
            raise NodeIsDown(f"{self.name} is down already; start it with: sahara devnet restart N")
        self._wanted.clear()
        self._hurry.set()
        await self._end(0.0)
        self._say(f"{self.name} was killed, and stays down until it is restarted.")

    async def restart(self) -> None:
        """End the process in order where it runs, start it again, and return once it has been.

        Raises StillRuns.
        """
        self._pause_seconds = BACKOFF_SECONDS_MIN
        self._hurry.set()
        self._wanted.set()
        await self._end(RESTART_SECONDS_MAX)
        await self.started()
        self._say(f"{self.name} was started again.")

    async def started(self) -> None:
        """Wait until the process has been started."""
        await self._up.wait()

    async def stop(self, seconds: float) -> None:
        """End the process for good: in order, or by force when that takes longer.

        Raises StillRuns.
        """
        self._wanted.clear()
        self._hurry.set()
        await self._end(seconds)

    async def _end(self, seconds: float) -> None:
        """End the process that runs, if one does; the next one starts when it is wanted."""
        async with self._starting:  # a process that is only just being made is ended, too
            running = self.process
        if running is None:
            return
        self._was_asked = True
        if seconds:
            running.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
        if self.process == running:
            running.signal(signal.SIGKILL)
            try:
                async with asyncio.timeout(KILL_SECONDS_MAX):
                    await self._gone.wait()
            except TimeoutError as error:
                raise StillRuns(
                    f"{self.name} was killed, and process {running.pid} has not ended in "
                    f"{KILL_SECONDS_MAX:g} s; it waits for the system, as for a disk. End it later."
                ) from error


def how(returned: int) -> str:
    """Say how a process ended."""
    if returned < 0:
        return f"by {signal.Signals(-returned).name}"
    return f"with exit code {returned}"
