"""What ends a node's process: a signal, the end of a watched standard input, or the first failure.

Whoever waits gives the signals back when it is done. uvloop does not: its handlers would keep a
closed loop alive with everything in it, and swallow a signal that comes before the next loop.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

STDIN: Final = 0
STDIN_BYTES_MAX: Final = 1024
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Ended = asyncio.Future[BaseException | None]
"""Done once the process is to end: with what broke, or None where it was told to."""

log = logging.getLogger("sahara.service")


@contextmanager
def until_told(*, stop_with_stdin: bool) -> Iterator[Ended]:
    """Give what is done once a signal, or the end of a watched stdin, tells the node to stop."""
    loop = asyncio.get_running_loop()
    ended: Ended = loop.create_future()
    for number in SIGNALS:
        loop.add_signal_handler(number, end, ended, {})
    if stop_with_stdin:
        _watch_stdin(loop, ended)
    try:
        yield ended
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        loop.remove_reader(STDIN)


def end(ended: Ended, context: dict[str, Any]) -> None:
    """Let the process end, with the failure that a loop's context names; the first word counts."""
    if ended.done():
        return
    error = context.get("exception")
    if error is None and "message" in context:
        error = RuntimeError(context["message"])
    ended.set_result(error)


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: Ended) -> None:
    """End the node in order when standard input, a pipe that its starter holds, is closed.

    The system closes it for a starter that dies, however it dies.
    """

    def readable() -> None:
        if not os.read(STDIN, STDIN_BYTES_MAX):
            loop.remove_reader(STDIN)
            log.info("starter gone")
            end(ended, {})

    loop.add_reader(STDIN, readable)
