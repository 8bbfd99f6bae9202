"""The network of a simulation: delay, jitter, bandwidth, loss, duplicates, order, partitions.

A message that crosses a partition, or that chance loses, is dropped when it leaves; what is under
way arrives. Links are FIFO unless `reorder` gives every message a delay of its own.

With a bandwidth, every endpoint has one uplink and one downlink of that width, and each carries one
packet at a time, whole. What waits for the uplink goes by urgency: proposals, votes, certificates
and what is small, replies; within each in the order of sending.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from consensus.messages import BlockReply, JustifyReply, Propose
from node.sim.latency import Latency
from node.sim.world import US_PER_MS, Action, World
from state.finality import Finalize, Notarize, Nullify

_URGENCY: dict[type, int] = {
    Propose: 0,
    Notarize: 1,
    Nullify: 1,
    Finalize: 1,
    BlockReply: 3,
    JustifyReply: 3,
}
"""What goes first through an uplink; whatever is not named has urgency 2."""


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
    """What every endpoint can send, and as much receive; 0 is without limit."""


Deliver = Callable[[int, int, Packet], None]
"""Called with receiver, sender and packet when a message arrives."""


class Uplink:
    """One endpoint's way out: one packet at a time, the most urgent first."""

    def __init__(self, world: World, bandwidth_mbit: float) -> None:
        self._world = world
        self._bandwidth_mbit = bandwidth_mbit
        self._waiting: list[tuple[int, int, int, Action]] = []
        self._number = 0
        self._is_busy = False

    def send(self, packet: Packet, leaves: Action) -> None:
        """Send a packet; `leaves` is called when its last byte is out."""
        self._number += 1
        urgency = _URGENCY.get(type(packet.message), 2)
        heapq.heappush(self._waiting, (urgency, self._number, packet.size, leaves))
        if not self._is_busy:
            # whatever is sent at this instant is there before the choice is made
            self._is_busy = True
            self._world.after(0, self._next)

    def _next(self) -> None:
        if not self._waiting:
            self._is_busy = False
            return
        _, _, size, leaves = heapq.heappop(self._waiting)

        def done() -> None:
            leaves()
            self._next()

        self._world.after(round(size * 8 / self._bandwidth_mbit), done)


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
        self._uplinks = [Uplink(world, faults.bandwidth_mbit) for _ in validators]
        self._downlink_free_us = [0] * len(validators)
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
        session = self._sessions[receiver]
        if self.faults.bandwidth_mbit:
            uplink = self._uplinks[sender]
            uplink.send(packet, lambda: self._leave(sender, receiver, packet, session))
        else:
            self._leave(sender, receiver, packet, session)

    def _leave(self, sender: int, receiver: int, packet: Packet, session: int) -> None:
        if not self.reaches(sender, receiver):
            return
        faults = self.faults
        if faults.loss and self._chance.random() < faults.loss:
            return
        self._carry(sender, receiver, packet, session)
        if faults.duplicate and self._chance.random() < faults.duplicate:
            self._carry(sender, receiver, packet, session)

    def _carry(self, sender: int, receiver: int, packet: Packet, session: int) -> None:
        delay_us = self._matrix_us[self._validators[sender]][self._validators[receiver]]
        if self.faults.jitter_ms:
            jitter_us = self.faults.jitter_ms * US_PER_MS
            delay_us = max(0, delay_us + round(self._chance.uniform(-jitter_us, jitter_us)))
        arrives_us = self._world.now_us + delay_us
        if not self.faults.reorder:
            link = (sender, receiver)
            arrives_us = max(arrives_us, self._last_us.get(link, 0))
            self._last_us[link] = arrives_us
        arrive = self._receive if self.faults.bandwidth_mbit else self._hand_over
        self._world.at(arrives_us, lambda: arrive(receiver, sender, packet, session))

    def _receive(self, receiver: int, sender: int, packet: Packet, session: int) -> None:
        """Take a packet in through the downlink, after those that came before it."""
        start_us = max(self._world.now_us, self._downlink_free_us[receiver])
        end_us = start_us + round(packet.size * 8 / self.faults.bandwidth_mbit)
        self._downlink_free_us[receiver] = end_us
        self._world.at(end_us, lambda: self._hand_over(receiver, sender, packet, session))

    def _hand_over(self, receiver: int, sender: int, packet: Packet, session: int) -> None:
        if session == self._sessions[receiver]:
            self._deliver(receiver, sender, packet)
