"""The network between namespaces: delays, losses and cuts, under a clock that the test holds."""

import random
import socket

from node.campaign import fabric
from node.campaign.fabric import Conditions, Fabric

PREFIX = socket.inet_aton("192.0.2.0")[:3]


def packet(to: int, text: bytes = b"") -> bytes:
    """An IPv4 header that names a destination, and something behind it."""
    return b"\x45" + bytes(15) + PREFIX + bytes([to + 1]) + text


def network(conditions: Conditions | None = None) -> Fabric:
    made = Fabric(PREFIX, 3, random.Random(1))
    made.set(conditions or Conditions())
    return made


def test_a_packet_arrives_after_its_delay_and_in_order() -> None:
    net = network(Conditions(delay_ms=50))
    assert net.wait_seconds(0.0) is None
    net.take(0, packet(1, b"a"), 10.0)
    net.take(2, packet(1, b"b"), 10.0)
    assert list(net.arrivals(10.04)) == []
    assert 0.009 < (net.wait_seconds(10.04) or 0.0) < 0.011
    assert [(to, data[-1:]) for to, data in net.arrivals(10.051)] == [(1, b"a"), (1, b"b")]
    assert (net.carried, net.lost) == (2, 0)


def test_what_nobody_here_is_meant_by_goes_nowhere() -> None:
    net = network()
    ipv6 = b"\x60" + packet(1)[1:]
    for data in (b"", b"\x45", ipv6, packet(3), packet(-1), packet(1).replace(PREFIX, b"\x7f\0\0")):
        net.take(0, data, 0.0)
    assert list(net.arrivals(1.0)) == []


def test_a_cut_is_one_way_and_meets_what_is_under_way() -> None:
    net = network(Conditions(delay_ms=10))
    net.take(0, packet(1), 0.0)
    net.take(1, packet(0), 0.0)
    net.set(Conditions(delay_ms=10, cut=((0, 1),)))
    assert [to for to, _ in net.arrivals(1.0)] == [0]
    net.set(Conditions(delay_ms=10))
    net.take(0, packet(1), 2.0)
    assert [to for to, _ in net.arrivals(3.0)] == [1]
    assert (net.lost, net.lost_by_cuts) == (1, 1)


def test_losses_are_as_many_as_asked_for_and_replay() -> None:
    arrived = []
    for _ in range(2):
        net = network(Conditions(loss_per_10_000=100))
        for number in range(10_000):
            net.take(0, packet(1, number.to_bytes(2, "big")), 0.0)
        arrived.append([data[-2:] for _, data in net.arrivals(0.0)])
    assert arrived[0] == arrived[1]
    assert 9_850 < len(arrived[0]) < 9_950


def test_a_full_link_loses_what_comes() -> None:
    net = network(Conditions(delay_ms=1))
    for _ in range(fabric.QUEUE_MAX + 5):
        net.take(0, packet(1), 0.0)
    assert (net.lost, net.lost_by_cuts) == (5, 0)
    assert sum(1 for _ in net.arrivals(1.0)) == fabric.QUEUE_MAX
