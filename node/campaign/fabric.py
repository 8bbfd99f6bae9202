"""The network between namespaces, without I/O: which packet arrives, where, and when.

Every packet waits for the delay of one way, and is lost by chance, by a cut between its two ends,
or when too many wait. The chance is seeded; which packets there are is up to the nodes.
"""

import heapq
import random
from collections.abc import Iterator

import msgspec

QUEUE_MAX = 50_000
"""Packets on their way; a link that is fuller than this loses what comes."""

ADDRESS_AT = 16
"""Where an IPv4 header names the destination."""

ADDRESS_BYTES = 4
PARTS_PER_WHOLE = 10_000


class Conditions(msgspec.Struct, frozen=True):
    """What becomes of packets; `cut` has pairs (from, to) between which none arrives."""

    delay_ms: int = 0
    loss_per_10_000: int = 0
    cut: tuple[tuple[int, int], ...] = ()


class Fabric:
    """Packets between the nodes of one network; whoever calls passes the time in seconds."""

    def __init__(self, prefix: bytes, count: int, chance: random.Random) -> None:
        self.conditions = Conditions()
        self.carried = 0
        self.lost = 0
        self.lost_by_cuts = 0
        self._prefix = prefix
        self._count = count
        self._chance = chance
        self._cut: frozenset[tuple[int, int]] = frozenset()
        self._queue: list[tuple[float, int, int, int, bytes]] = []
        self._number = 0

    def set(self, conditions: Conditions) -> None:
        """Change what becomes of packets, of those that are under way, too."""
        self.conditions = conditions
        self._cut = frozenset(conditions.cut)

    def take(self, source: int, packet: bytes, now: float) -> None:
        """Take in what a node sent."""
        to = self._destination(packet)
        if to is None:
            return  # what nobody here is meant by, such as IPv6 looking for neighbours
        loss = self.conditions.loss_per_10_000
        if len(self._queue) >= QUEUE_MAX or (
            loss and self._chance.randrange(PARTS_PER_WHOLE) < loss
        ):
            self.lost += 1
            return
        due = now + self.conditions.delay_ms / 1_000
        self._number += 1
        heapq.heappush(self._queue, (due, self._number, source, to, packet))

    def arrivals(self, now: float) -> Iterator[tuple[int, bytes]]:
        """Yield destination and bytes of what arrives by now."""
        while self._queue and self._queue[0][0] <= now:
            _, _, source, to, packet = heapq.heappop(self._queue)
            if (source, to) in self._cut:
                self.lost += 1
                self.lost_by_cuts += 1
            else:
                self.carried += 1
                yield to, packet

    def wait_seconds(self, now: float) -> float | None:
        """Return how long nothing arrives, None when nothing is under way."""
        return max(0.0, self._queue[0][0] - now) if self._queue else None

    def _destination(self, packet: bytes) -> int | None:
        """Return the index of the node that a packet is for."""
        address = packet[ADDRESS_AT : ADDRESS_AT + ADDRESS_BYTES]
        if len(address) < ADDRESS_BYTES or packet[0] >> 4 != 4 or address[:3] != self._prefix:
            return None
        index = address[3] - 1
        return index if 0 <= index < self._count else None
