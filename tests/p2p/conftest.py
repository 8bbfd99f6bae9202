"""Two connections joined in memory, for tests of what runs after the handshake."""

from collections.abc import Callable

import pytest

from p2p.connection import Connection, Event
from p2p.counters import Counters
from p2p.handshake import Established
from p2p.limits import Pool


class Pair:
    """Two ends of one connection and a clock; what one sends, `run` hands to the other."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        keys = (b"\x01" * 32, b"\x02" * 32)
        self.pools = (Pool(), Pool())
        self.counters = (Counters(), Counters())
        ids = (b"A" * 32, b"B" * 32)
        self.ends = tuple(
            Connection(
                Established(ids[1 - at], keys[at], keys[1 - at], bytes(32)),
                self.pools[at],
                self.counters[at],
                self.now_ms,
            )
            for at in range(2)
        )

    def run(self, *, frames_max: int = 100_000) -> None:
        """Carry frames both ways until neither side has one."""
        for _ in range(frames_max):
            moved = False
            for sender, receiver in (self.ends, reversed(self.ends)):
                data = sender.data_to_send(self.now_ms)
                if data is not None:
                    receiver.receive_data(data, self.now_ms)
                    moved = True
            if not moved:
                return
        raise AssertionError("the two ends never come to rest")

    def events(self, end: int) -> list[Event]:
        """Take everything that one end has to tell."""
        found: list[Event] = []
        while (event := self.ends[end].next_event()) is not None:
            found.append(event)
        return found

    def wait(self, duration_ms: int) -> None:
        """Let time pass on both ends, as if their links were cut."""
        self.now_ms += duration_ms
        for end in self.ends:
            end.poll(self.now_ms)


@pytest.fixture
def make_pair() -> Callable[[], Pair]:
    """Call it for two fresh ends."""
    return Pair


@pytest.fixture
def pair() -> Pair:
    """Two fresh ends."""
    return Pair()
