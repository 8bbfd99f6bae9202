"""The network of a simulation: bandwidth up and down, and what goes first."""

from typing import Any

from node.sim.latency import constant
from node.sim.network import LinkFaults, Network, Packet
from node.sim.world import World
from state.finality import Nullification, Nullified, Nullify, Vote

VOTE = Nullify(Nullified(0, 1), Vote(0, bytes(64)))
CERTIFICATE = Nullification(Nullified(0, 1), (VOTE.vote,))


class Wire:
    """Three endpoints 10 ms apart, with so many Mbit/s each."""

    def __init__(self, bandwidth_mbit: float) -> None:
        self.world = World(1)
        self.arrived: list[tuple[int, int, int, Any]] = []
        faults = LinkFaults(bandwidth_mbit=bandwidth_mbit)
        latency = constant(3, 10_000)
        self.network = Network(self.world, latency, [0, 1, 2], faults, self.deliver)

    def deliver(self, receiver: int, sender: int, packet: Packet) -> None:
        self.arrived.append((self.world.now_us, sender, receiver, packet.message))

    def send(self, sender: int, receiver: int, message: Any, size: int) -> None:
        self.network.send(sender, receiver, Packet(message, b"", size))

    def run(self) -> list[tuple[int, int, int, Any]]:
        self.world.run(1_000_000, lambda: False)
        return self.arrived


def test_without_a_bandwidth_only_latency_counts() -> None:
    wire = Wire(0)
    wire.send(0, 1, b"x", 10**6)
    assert wire.run() == [(10_000, 0, 1, b"x")]


def test_packets_leave_one_after_the_other_and_each_takes_its_time_at_both_ends() -> None:
    wire = Wire(8)  # a byte takes a microsecond
    wire.send(0, 1, b"a", 1_000)
    wire.send(0, 2, b"b", 3_000)
    assert wire.run() == [(12_000, 0, 1, b"a"), (1_000 + 10_000 + 6_000, 0, 2, b"b")]


def test_what_reaches_one_from_two_waits_for_its_downlink() -> None:
    wire = Wire(8)
    wire.send(0, 2, b"a", 1_000)
    wire.send(1, 2, b"b", 1_000)
    assert [at_us for at_us, *_ in wire.run()] == [12_000, 13_000]


def test_votes_overtake_certificates_that_wait_for_the_uplink() -> None:
    wire = Wire(8)
    wire.send(0, 1, CERTIFICATE, 1_000)
    wire.send(0, 2, CERTIFICATE, 1_000)
    wire.send(0, 1, VOTE, 100)
    # and what is under way already is not interrupted
    wire.world.at(500, lambda: wire.send(0, 2, VOTE, 100))
    leaves_us = {
        (type(message), receiver): at_us - 10_000 for at_us, _, receiver, message in wire.run()
    }
    assert leaves_us[Nullify, 1] == 100 + 100  # up and down
    assert leaves_us[Nullify, 2] == 100 + 1_000 + 100 + 100
    assert leaves_us[Nullification, 1] == 100 + 1_000 + 1_000
    assert leaves_us[Nullification, 2] == 100 + 1_000 + 100 + 1_000 + 1_000
