"""What connections in memory are made of: a transport, a loop with a clock, what was logged."""

import asyncio
import logging
import socket as sockets
from typing import Any, Final

TURNS: Final = 12
"""Of the loop after each piece at most; it is seldom busy for more than three."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands until it is moved, so that timers fire when an input says.

    Nobody may wait for a timer in it; it says `is_real` before the last things are closed.
    """

    _ready: Any
    """What is to be called in the next turn: asyncio's own."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.is_real = False

    def time(self) -> float:
        """Return what the clock shows."""
        return super().time() if self.is_real else self.now_s

    async def turn(self) -> None:
        """Let everybody who can go on do so."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if not self._ready:
                return  # more turns of an idle loop cost much, and tell nothing

    async def wait(self, seconds: float) -> None:
        """Let time pass, and whoever waited for it go on."""
        self.now_s += seconds
        await asyncio.sleep(0)  # timers that are due get ready at the end of a turn
        await self.turn()


class Socket:
    """What lies below a transport; there is nothing to set."""

    family: Final = sockets.AF_UNIX

    def setsockopt(self, *_: object) -> None:
        """Change nothing."""


class Wire(asyncio.Transport):
    """A transport in memory: what is written to it is kept."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        names = {"peername": (host, 9), "sockname": ("127.0.0.1", 8)}
        super().__init__({**names, "socket": Socket()})
        self.said = bytearray()
        self.protocol: Any = None
        self._is_closing = False

    def write(self, data: Any) -> None:
        """Keep what is said."""
        if not self._is_closing:
            self.said += data

    def writelines(self, list_of_data: Any) -> None:
        """Keep what is said."""
        for data in list_of_data:
            self.write(data)

    def is_closing(self) -> bool:
        """Whether it was closed from this side."""
        return self._is_closing

    def close(self) -> None:
        """Close it from this side."""
        self._is_closing = True

    abort = close

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol go on."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Who reads now."""
        return self.protocol

    def pause_reading(self) -> None:
        """Nothing waits here."""

    def resume_reading(self) -> None:
        """Nothing waits here."""

    def is_reading(self) -> bool:
        """Always."""
        return True

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""


class Faults(logging.Handler):
    """Keeps what is logged of an error that no filter took for the caller's own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.found.append(self.format(record))


def faults_of(*names: str) -> Faults:
    """Return what these loggers are told from now on."""
    faults = Faults()
    for name in names:
        logging.getLogger(name).addHandler(faults)
    return faults
