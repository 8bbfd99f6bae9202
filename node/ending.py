"""What ends a node's process: a signal, the end of a watched standard input, or the first failure.

A node ends for other reasons, too, and may go on afterwards as another one in the same process.
That it was told to stop is therefore kept apart from what ended it, and holds for all that follows.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

STDIN: Final = 0
STDIN_BYTES_MAX: Final = 1024
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Ended = asyncio.Future[BaseException | None]
"""Done once the process is to end: with what broke, or None where it was told to."""

log = logging.getLogger("sahara.service")


class Told:
    """Whether a signal, or the end of a watched stdin, has told this process to stop."""

    def __init__(self) -> None:
        self._is_set = False
        self.wake: Callable[[], object] = lambda: None
        """Tells the loop that runs, if one does."""

    def is_set(self) -> bool:
        """Tell whether it is to stop."""
        return self._is_set

    def stop(self, *_: object) -> None:
        """Take in that it is to stop; there is no way back."""
        self._is_set = True
        self.wake()


@contextmanager
def hearing(told: Told) -> Iterator[None]:
    """Let signals tell it, in a loop and between two.

    Handlers that a loop has of its own lose what comes in its last turn.
    """
    before = {number: signal.signal(number, told.stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def until_told(told: Told, *, stop_with_stdin: bool) -> Iterator[Ended]:
    """Give what is done once the node is told to stop, which the end of a watched stdin does, too.

    What was told before this loop holds for it.
    """
    loop = asyncio.get_running_loop()
    ended: Ended = loop.create_future()
    told.wake = lambda: loop.call_soon_threadsafe(end, ended, {})
    if stop_with_stdin:
        _watch_stdin(loop, told)
    if told.is_set():
        end(ended, {})
    try:
        yield ended
    finally:
        told.wake = lambda: None
        loop.remove_reader(STDIN)


def end(ended: Ended, context: dict[str, Any]) -> None:
    """Let the process end, with the failure that a loop's context names; the first word counts."""
    if ended.done():
        return
    error = context.get("exception")
    if error is None and "message" in context:
        error = RuntimeError(context["message"])
    ended.set_result(error)


def _watch_stdin(loop: asyncio.AbstractEventLoop, told: Told) -> None:
    """End the node in order when standard input, a pipe that its starter holds, is closed.

    The system closes it for a starter that dies, however it dies.
    """

    def readable() -> None:
        if not os.read(STDIN, STDIN_BYTES_MAX):
            loop.remove_reader(STDIN)
            log.info("starter gone")
            told.stop()

    loop.add_reader(STDIN, readable)
