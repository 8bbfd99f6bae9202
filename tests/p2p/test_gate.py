"""The gate: limits by address before a byte is read, exact counts whatever the order of ends."""

import random

import pytest

from p2p.gate import (
    HOLDERS_MAX,
    OPENED_BURST,
    PENDING_MAX,
    PENDING_PER_HOLDER_MAX,
    PENDING_PER_TRUSTED_MAX,
    PENDING_PER_VALIDATOR_MAX,
    Gate,
    Place,
)


def test_one_address_has_few_handshakes_and_connections_at_once() -> None:
    gate = Gate(per_holder_max=6)
    places = [gate.enter("1.2.3.4", 0) for _ in range(10)]
    inside = [place for place in places if place]
    assert len(inside) == PENDING_PER_HOLDER_MAX
    for place in inside:
        gate.introduce(place, is_exempt=False)
    more = [place for _ in range(6) if (place := gate.enter("1.2.3.4", 0))]
    assert len(more) == 2
    assert gate.enter("1.2.3.5", 0)


def test_five_hundred_from_one_address_are_dropped_unread() -> None:
    gate = Gate(per_holder_max=1_000)
    let_in = 0
    for _ in range(500):
        place = gate.enter("6.6.6.6", 0)
        if place:
            let_in += 1
            gate.leave(place)
    assert let_in == OPENED_BURST
    assert gate.enter("6.6.6.6", 250)


def test_all_strangers_together_are_bounded() -> None:
    gate = Gate(per_holder_max=4)
    places = [gate.enter(f"10.0.{at // 250}.{at % 250}", 0) for at in range(2 * HOLDERS_MAX)]
    assert sum(place is not None for place in places) == PENDING_MAX
    assert len(gate._buckets) == HOLDERS_MAX


def test_the_operators_hosts_pass_freely_but_cannot_take_all_handles() -> None:
    gate = Gate(1, frozenset({"127.0.0.2", "node.example.org"}))
    for _ in range(1_000):
        place = gate.enter("127.0.0.2", 0)
        assert place
        gate.introduce(place, is_exempt=False)
    assert sum(gate.enter("127.0.0.2", 0) is not None for _ in range(1_000)) == (
        PENDING_PER_TRUSTED_MAX
    )
    assert gate._pending_total == 0
    assert gate.enter("1.1.1.1", 0), "strangers are counted by themselves"


def fill(gate: Gate) -> None:
    """Let strangers of as many subnets take all places that they have for handshakes."""
    for at in range(PENDING_MAX):
        assert gate.enter(f"6.{at}.6.1", 0)
    assert not gate.enter("7.7.0.1", 0)


def test_strangers_that_take_all_places_keep_no_validator_out() -> None:
    gate = Gate(8)
    gate.expect([(b"A", "1.1.1.1"), (b"A", "2001:db8:1:2::1"), (b"B", "1.1.1.2")])
    fill(gate)
    assert all(gate.enter(host, 0) for host in ("1.1.1.1", "2001:db8:1:2::7", "1.1.1.2"))


def test_a_validator_has_few_places_however_many_hosts_it_announces() -> None:
    hosts = [f"1.1.1.{at}" for at in range(9)]
    gate = Gate(8)
    gate.expect([(b"A", host) for host in hosts])
    fill(gate)
    places = [place for host in hosts if (place := gate.enter(host, 0))]
    assert len(places) == PENDING_PER_VALIDATOR_MAX
    gate.introduce(places[0], is_exempt=True)
    assert gate.enter(hosts[8], 0) and not gate.enter(hosts[8], 0)


def test_who_announces_somebody_elses_host_takes_no_place_of_its() -> None:
    gate = Gate(8)
    gate.expect([(b"E", "1.1.1.1"), (b"E", "6.6.6.6"), (b"A", "1.1.1.1")])
    fill(gate)
    assert sum(gate.enter("6.6.6.6", 0) is not None for _ in range(8)) == PENDING_PER_VALIDATOR_MAX
    assert gate.enter("1.1.1.1", 0)


def test_who_is_announced_no_more_is_a_stranger_again() -> None:
    gate = Gate(8)
    gate.expect([(b"A", "1.1.1.1")])
    place = gate.enter("1.1.1.1", 0)
    assert place and gate._pending_total == 0
    gate.expect([])
    fill(gate)
    assert not gate.enter("1.1.1.1", 0)
    gate.leave(place)
    assert gate._pending_total == PENDING_MAX and not gate._pending_validators


def test_one_subnet_that_takes_all_places_keeps_no_other_out() -> None:
    gate = Gate(8)
    crowd = [gate.enter(f"6.6.{at}.1", 0) for at in range(PENDING_MAX)]
    assert gate.enter("6.7.0.1", 0) and gate.enter("2001:db8::1", 0)
    assert gate.take_displaced() == crowd[:2] and gate.take_displaced() == []
    assert not gate.enter("6.6.200.1", 0), "it has enough"
    others = [gate.enter(f"7.7.{at}.1", 0) for at in range(PENDING_MAX)]
    assert sum(place is not None for place in others) == PENDING_MAX // 2 - 1, "they share alike"
    assert gate._pending_total == PENDING_MAX
    for place in [*crowd, *others]:
        if place:
            gate.leave(place)  # also those that were displaced: their connections end now
    assert gate._pending_total == 2


def test_one_ipv6_subscriber_is_one_stranger() -> None:
    gate = Gate(2)
    assert sum(gate.enter(f"2001:db8::{at:x}", 0) is not None for at in range(10)) == 2


def test_an_exempt_peer_stops_counting() -> None:
    gate = Gate(1)
    place = gate.enter("1.1.1.1", 0)
    assert place and not gate.enter("1.1.1.1", 0)
    gate.introduce(place, is_exempt=True)
    assert gate.enter("1.1.1.1", 0)


@pytest.mark.parametrize("seed", range(5))
def test_counts_come_back_to_nothing(seed: int) -> None:
    inside: list[Place] = []
    chance, gate = random.Random(seed), Gate(3, frozenset({"1.1.1.8"}))
    for at in range(PENDING_MAX - 6):
        place = gate.enter(f"{2 + at % 7}.1.1.{at}", 0)
        assert place
        inside.append(place)
    gate.expect([(b"A", "1.1.1.0"), (b"B", "1.1.1.1"), (b"A", "1.1.1.1")])
    for now in range(2_000):
        place = gate.enter(f"1.1.1.{chance.randrange(9)}", now * 300)
        if place:
            inside.append(place)
        one = chance.choice(inside) if inside else None
        if one and chance.random() < 0.4:
            gate.introduce(one, is_exempt=chance.random() < 0.5)
        elif one:
            gate.leave(one)
            inside.remove(one)
    for one in inside:
        gate.leave(one)
    assert not gate._counted and not gate._pending and not gate._pending_total
    assert not gate._pending_validators and not gate._groups
