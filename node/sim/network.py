"""The network of a simulation: delay, jitter, bandwidth, loss, duplicates, order, partitions.

A message that crosses a partition, or that chance loses, is dropped when it is sent; what is under
way arrives. Links are FIFO unless `reorder` gives every message a delay of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from node.sim.latency import Latency
from node.sim.world import US_PER_MS, World


@dataclass(frozen=True, slots=True)
class Packet:
    """A message under way: its value, or bytes that may be none, their digest, and their number."""

    message: Any
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What happens to messages beyond the latency of their link."""

    jitter_ms: float = 0.0
    """Each delay moves by up to so much, either way."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: bool = False
    bandwidth_mbit: float = 0.0
    """What every endpoint can send; 0 is without limit."""


Deliver = Callable[[int, int, Packet], None]
"""Called with receiver, sender and packet when a message arrives."""


class Network:
    """Carries packets between endpoints; endpoint e speaks for validator `validators[e]`."""

    def __init__(
        self,
        world: World,
        latency: Latency,
        validators: list[int],
        faults: LinkFaults,
        deliver: Deliver,
    ) -> None:
        self._world = world
        self._matrix_us = latency.matrix_us
        self._validators = validators
        self._deliver = deliver
        self._chance: Random = world.chance("network")
        self._last_us: dict[tuple[int, int], int] = {}
        self._free_us = [0] * len(validators)
        self._sides: tuple[int, ...] | None = None
        self._sessions = [0] * len(validators)
        self.faults = faults
        self.cut_off: frozenset[int] = frozenset()
        """Endpoints that nobody reaches and that reach nobody."""
        self.messages = 0
        self.bytes = 0

    def partition(self, sides: tuple[int, ...] | None) -> None:
        """Let endpoints reach only those with the same number; None heals."""
        assert sides is None or len(sides) == len(self._validators), "every endpoint has a side"
        self._sides = sides

    @property
    def sides(self) -> tuple[int, ...] | None:
        """Who is on which side of the present partition."""
        return self._sides

    def reaches(self, sender: int, receiver: int) -> bool:
        """Tell whether a message sent now would get through, but for chance."""
        if self.cut_off and (sender in self.cut_off or receiver in self.cut_off):
            return False
        return self._sides is None or self._sides[sender] == self._sides[receiver]

    def forget(self, endpoint: int) -> None:
        """Lose whatever is under way to an endpoint: its sessions begin anew."""
        self._sessions[endpoint] += 1

    def send(self, sender: int, receiver: int, packet: Packet) -> None:
        """Send a packet on its way."""
        self.messages += 1
        self.bytes += packet.size
        departs_us = self._departure_us(sender, packet.size)
        if not self.reaches(sender, receiver):
            return
        faults = self.faults
        if faults.loss and self._chance.random() < faults.loss:
            return
        self._carry(sender, receiver, packet, departs_us)
        if faults.duplicate and self._chance.random() < faults.duplicate:
            self._carry(sender, receiver, packet, departs_us)

    def _departure_us(self, sender: int, size: int) -> int:
        now_us = self._world.now_us
        if not self.faults.bandwidth_mbit:
            return now_us
        start_us = max(now_us, self._free_us[sender])
        self._free_us[sender] = start_us + round(size * 8 / self.faults.bandwidth_mbit)
        return self._free_us[sender]

    def _carry(self, sender: int, receiver: int, packet: Packet, departs_us: int) -> None:
        delay_us = self._matrix_us[self._validators[sender]][self._validators[receiver]]
        if self.faults.jitter_ms:
            jitter_us = self.faults.jitter_ms * US_PER_MS
            delay_us = max(0, delay_us + round(self._chance.uniform(-jitter_us, jitter_us)))
        arrives_us = departs_us + delay_us
        if not self.faults.reorder:
            link = (sender, receiver)
            arrives_us = max(arrives_us, self._last_us.get(link, 0))
            self._last_us[link] = arrives_us
        session = self._sessions[receiver]

        def arrive() -> None:
            if session == self._sessions[receiver]:
                self._deliver(receiver, sender, packet)

        self._world.at(arrives_us, arrive)
