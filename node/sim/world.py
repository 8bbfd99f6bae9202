"""The world of a simulation: a seed, a virtual clock, a heap of events, and the trace they leave.

Nothing here reads a clock or the process's own randomness: chance comes from generators named by
their purpose, so that one more draw for one purpose moves no other, and the trace hash of a seed is
the same in every process.
"""

import heapq
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from struct import pack

MARKS_MAX = 256
"""A report keeps at most so many marks of the trace, to find where a replay departs from it."""

US_PER_MS = 1_000

Action = Callable[[], None]
Account = Callable[[int, int, str], None]
"""Hears of every trace record: its number, the virtual time in microseconds, and its text."""


class Trace:
    """A running hash over everything that happened, with marks along the way."""

    def __init__(self, account: Account | None = None) -> None:
        self._hash = blake2b(digest_size=32, person=b"sim-trace")
        self._account = account
        self._stride = 1
        self.records = 0
        self.marks: list[tuple[int, str]] = []

    def record(
        self, now_us: int, kind: str, who: int, peer: int, digest: bytes, value: object
    ) -> None:
        """Take in one event: when, what, where, between whom, and a digest of its content."""
        self._hash.update(pack(">QqqB", now_us, who, peer, len(digest)))
        self._hash.update(kind.encode() + b"\0" + digest)
        self.records += 1
        if self.records % self._stride == 0:
            self._mark()
        if self._account is not None:
            where = f"{who}" if peer < 0 else f"{peer} -> {who}"
            text = f"{kind:<9} {where:<8} {type(value).__name__} {digest[:6].hex()} {value!r}"
            self._account(self.records, now_us, text[:400])

    def _mark(self) -> None:
        self.marks.append((self.records, self._hash.copy().hexdigest()[:16]))
        if len(self.marks) > MARKS_MAX:
            self._stride *= 2
            self.marks = [mark for mark in self.marks if mark[0] % self._stride == 0]

    @property
    def hash(self) -> str:
        """The hash over the whole trace so far, in hex."""
        return self._hash.hexdigest()


class World:
    """Virtual time in microseconds, and everything that is going to happen in it, in order."""

    def __init__(self, seed: int, account: Account | None = None) -> None:
        self.seed = seed
        self.now_us = 0
        self.trace = Trace(account)
        self._events: list[tuple[int, int, Action]] = []
        self._number = 0

    def chance(self, name: str) -> Random:
        """Return the generator of this purpose; equal names give equal sequences."""
        return Random(f"{self.seed}:{name}")

    @property
    def now_ms(self) -> int:
        """The virtual time in whole milliseconds, as engines see it."""
        return self.now_us // US_PER_MS

    def at(self, at_us: int, action: Action) -> None:
        """Do this at that time; what is due at one instant happens in the order of asking."""
        assert at_us >= self.now_us, "nothing happens in the past"
        self._number += 1
        heapq.heappush(self._events, (at_us, self._number, action))

    def after(self, delay_us: int, action: Action) -> None:
        """Do this so much later."""
        self.at(self.now_us + delay_us, action)

    def record(self, kind: str, who: int, peer: int, digest: bytes, value: object) -> None:
        """Add an event to the trace at the present time."""
        self.trace.record(self.now_us, kind, who, peer, digest, value)

    def run(self, until_us: int, stop: Callable[[], bool]) -> bool:
        """Let time pass until `stop()` holds or the time has come; return whether it held."""
        while self._events and self._events[0][0] <= until_us:
            if stop():
                return True
            self.now_us, _, action = heapq.heappop(self._events)
            action()
        if not stop():
            self.now_us = max(self.now_us, until_us)
            return False
        return True
