"""Announcements: signed by validator and node, newest wins, and no stranger takes a place."""

import pytest

from p2p import announce
from p2p.addresses import Address
from p2p.announce import (
    ADDRESSES_MAX,
    RECORD_BYTES_MAX,
    RENEWALS_BURST,
    Announce,
    Announcement,
    Announcements,
    is_signed,
    sign_announce,
)
from p2p.codec import encode
from p2p.handshake import NodeKey
from p2p.scores import Verdict

GENESIS = b"\x07" * 32
VALIDATORS = [NodeKey(bytes([10 + at]) * 32) for at in range(3)]
NODES = [NodeKey(bytes([20 + at]) * 32) for at in range(3)]
KEYS = {key.node_id for key in VALIDATORS}


def record(
    validator: int = 0, node: int = 0, sequence: int = 1, genesis: bytes = GENESIS
) -> Announce:
    key = VALIDATORS[validator]
    body = Announcement(key.node_id, NODES[node].node_id, (Address("127.0.0.2", 4181),), sequence)
    return sign_announce(body, genesis, key.sign, NODES[node])


@pytest.fixture
def known() -> Announcements:
    return Announcements(GENESIS, KEYS.__contains__)


def test_a_record_maps_a_validator_to_its_node_and_back(known: Announcements) -> None:
    assert known.receive(record(), 0) is Verdict.USEFUL
    assert known.node_of(VALIDATORS[0].node_id) == NODES[0].node_id
    assert known.validator_of(NODES[0].node_id) == VALIDATORS[0].node_id
    assert known.records() == (record(),)
    assert known.record_of(VALIDATORS[0].node_id) == record()
    assert known.record_of(NODES[0].node_id) is None
    assert known.receive(record(), 0) is Verdict.DUPLICATE


def test_the_newest_wins_and_older_ones_blame_nobody(known: Announcements) -> None:
    assert known.receive(record(node=0, sequence=5), 0) is Verdict.USEFUL
    assert known.receive(record(node=1, sequence=4), 0) is Verdict.DUPLICATE
    assert known.receive(record(node=1, sequence=5), 0) is Verdict.DUPLICATE
    assert known.receive(record(node=1, sequence=6), 0) is Verdict.USEFUL
    assert known.node_of(VALIDATORS[0].node_id) == NODES[1].node_id
    assert known.validator_of(NODES[0].node_id) is None


def test_strangers_have_no_place_and_cost_no_signature_check(
    known: Announcements, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise AssertionError("verified a stranger's record")

    KEYS_BEFORE = set(KEYS)
    KEYS.discard(VALIDATORS[2].node_id)
    monkeypatch.setattr(announce, "is_signed", fail)
    try:
        assert known.receive(record(validator=2), 0) is Verdict.USELESS
        assert known.records() == ()
    finally:
        KEYS.update(KEYS_BEFORE)


def _with_hosts(*hosts: str) -> Announce:
    key = VALIDATORS[0]
    addresses = tuple(Address(host, 65_535) for host in hosts)
    body = Announcement(key.node_id, NODES[0].node_id, addresses, 2**63 - 1)
    return sign_announce(body, GENESIS, key.sign, NODES[0])


def test_the_longest_numbers_have_room_and_longer_texts_have_none(known: Announcements) -> None:
    number = "2001:0db8:85a3:0000:0000:8a2e:255.255.255.255"
    longest = _with_hosts(*[number] * ADDRESSES_MAX)
    assert len(encode(longest)) <= RECORD_BYTES_MAX
    assert known.receive(_with_hosts(*["\U0001f600" * 253] * ADDRESSES_MAX), 0) is Verdict.USELESS
    assert known.records() == ()
    assert known.receive(longest, 0) is Verdict.USEFUL


@pytest.mark.parametrize("which", ["validator", "node", "genesis"])
def test_a_wrong_signature_is_provable(known: Announcements, which: str) -> None:
    good = record()
    bad = {
        "validator": Announce(good.announcement, bytes(64), good.node_signature),
        "node": Announce(good.announcement, good.validator_signature, bytes(64)),
        "genesis": record(genesis=b"\x08" * 32),
    }[which]
    assert is_signed(good, GENESIS) and not is_signed(bad, GENESIS)
    assert known.receive(bad, 0) is Verdict.INVALID
    assert known.records() == ()


def test_the_two_signatures_cannot_change_places(known: Announcements) -> None:
    """A validator whose key is also the node's still signs twice."""
    key = VALIDATORS[0]
    body = Announcement(key.node_id, key.node_id, (), 1)
    signed = sign_announce(body, GENESIS, key.sign, key)
    assert is_signed(signed, GENESIS)
    swapped = Announce(body, signed.node_signature, signed.validator_signature)
    assert not is_signed(swapped, GENESIS)


def test_a_node_speaks_for_one_validator(known: Announcements) -> None:
    assert known.receive(record(0, 0), 0) is Verdict.USEFUL
    assert known.receive(record(1, 0), 0) is Verdict.DUPLICATE
    assert known.validator_of(NODES[0].node_id) == VALIDATORS[0].node_id


def test_endless_renewals_are_not_passed_on(known: Announcements) -> None:
    passed = sum(
        known.receive(record(sequence=number), number) is Verdict.USEFUL for number in range(1, 200)
    )
    assert passed == RENEWALS_BURST
    assert known.receive(record(sequence=1_000), 60_000) is Verdict.USEFUL


def test_who_leaves_the_set_is_forgotten(known: Announcements) -> None:
    known.receive(record(0, 0), 0)
    known.receive(record(1, 1), 0)
    before = set(KEYS)
    KEYS.discard(VALIDATORS[0].node_id)
    known.prune()
    KEYS.update(before)
    assert known.records() == (record(1, 1),)
    assert known.validator_of(NODES[0].node_id) is None


def test_places_are_bounded(known: Announcements, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "ANNOUNCED_MAX", 2)
    verdicts = [known.receive(record(at, at), 0) for at in range(3)]
    assert verdicts == [Verdict.USEFUL, Verdict.USEFUL, Verdict.USELESS]
