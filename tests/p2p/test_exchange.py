"""The network's own topic: addresses for who asks, announcements for everybody, junk for nobody."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.addresses import Address, PeerAddress
from p2p.announce import (
    ADDRESSES_MAX,
    RECORD_BYTES_MAX,
    Announce,
    Announcement,
    Announcements,
    sign_announce,
)
from p2p.codec import encode
from p2p.errors import Breach, Malformed
from p2p.exchange import (
    ASK_MS,
    QUESTION,
    RECORDS_MAX,
    TOLD_MAX,
    Exchange,
    Listening,
    Records,
    TellAddresses,
)
from p2p.handshake import NodeKey
from p2p.peerbook import PeerBook
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

GENESIS = b"\x07" * 32
KEYS = [NodeKey(bytes([10 + at]) * 32) for at in range(3)]
VALIDATORS = {key.node_id for key in KEYS[:2]}
PEER, HOST = b"P" * 32, "8.8.8.8"


def exchange(private: frozenset[bytes] = frozenset(), *, allow: bool = False) -> Exchange:
    known = Announcements(GENESIS, VALIDATORS.__contains__)
    return Exchange(
        PeerBook(bytes(32)),
        known,
        random.Random(1),
        private.__contains__,
        allow_private_hosts=allow,
    )


def record(at: int, sequence: int = 1) -> Announce:
    key = KEYS[at]
    node = NodeKey(bytes([20 + at]) * 32)
    body = Announcement(key.node_id, node.node_id, (), sequence)
    return sign_announce(body, GENESIS, key.sign, node)


def test_a_port_is_kept_under_the_host_that_we_see() -> None:
    one = exchange()
    assert one.receive_notice(PEER, HOST, encode(Listening(9)), 0) == (Verdict.DUPLICATE, None)
    assert [entry.peer for entry in one._book] == [PeerAddress(PEER, Address(HOST, 9))]
    one.receive_notice(PEER, "10.0.0.1", encode(Listening(9)), 0)
    assert len(one._book) == 1


def test_new_records_are_passed_on_and_known_ones_are_not() -> None:
    one = exchange()
    both = Records((record(0), record(1)))
    assert one.receive_notice(PEER, HOST, encode(both), 0) == (Verdict.USEFUL, encode(both))
    assert one.receive_notice(PEER, HOST, encode(both), 0) == (Verdict.DUPLICATE, None)
    mixed = encode(Records((record(0, 2), record(2))))
    verdict, passed_on = one.receive_notice(PEER, HOST, mixed, 0)
    assert verdict is Verdict.USELESS  # the third is no validator
    assert passed_on == encode(Records((record(0, 2),)))


def test_a_forged_record_is_provable() -> None:
    forged = Announce(record(0).announcement, bytes(64), bytes(64))
    data = encode(Records((record(1), forged)))
    assert exchange().receive_notice(PEER, HOST, data, 0)[0] is Verdict.INVALID


def test_addresses_are_told_rarely_and_without_private_ones() -> None:
    one = exchange(frozenset({b"H" * 32}))
    hosts = {b"A" * 32: "9.9.9.9", b"H" * 32: "1.1.1.1", PEER: HOST, b"L" * 32: "192.168.1.1"}
    for node_id, host in hosts.items():
        one._book.prove(PeerAddress(node_id, Address(host, 5)))
    answer = one.receive_question(PEER, QUESTION, 0)
    assert answer == encode(TellAddresses((PeerAddress(b"A" * 32, Address("9.9.9.9", 5)),)))
    assert one.receive_question(PEER, QUESTION, ASK_MS - 1) is None
    one.forget(PEER, ASK_MS - 1)
    assert one.receive_question(PEER, QUESTION, ASK_MS - 1) is None
    assert one.receive_question(PEER, QUESTION, ASK_MS) == answer


def test_told_addresses_are_kept_if_strangers_may_name_them() -> None:
    told = [Address("9.9.9.9", 5), Address("127.0.0.1", 5), Address("example.org", 5)]
    peers = tuple(PeerAddress(bytes([at]) * 32, one) for at, one in enumerate(told))
    one = exchange()
    assert one.receive_answer(HOST, encode(TellAddresses(peers))) == 1
    assert one.receive_answer(HOST, encode(TellAddresses(peers))) == 0
    assert exchange(allow=True).receive_answer(HOST, encode(TellAddresses(peers))) == 2
    too_many = TellAddresses(peers[:1] * (TOLD_MAX + 1))
    with pytest.raises(Malformed):
        one.receive_answer(HOST, encode(too_many))


def test_addresses_with_a_scope_fill_neither_book_nor_answer() -> None:
    """Of the longest texts that read as numbers, 64 would not fit one answer."""
    one = exchange(allow=True)
    hosts = [f"26{at:02x}:4700::1%" + "\U0001f600" * 239 for at in range(TOLD_MAX)]
    told = [PeerAddress(PEER, Address(host, 5)) for host in hosts]
    for at in range(0, TOLD_MAX, 16):
        one.receive_answer(HOST, encode(TellAddresses(tuple(told[at : at + 16]))))
    for peer in told:
        one._book.prove(peer)
    answer = one.receive_question(b"Q" * 32, QUESTION, 0)
    assert answer is not None and len(answer) <= LIMITS[Topic.PEERS].message_bytes_max
    assert exchange(allow=True).receive_answer(HOST, encode(TellAddresses(tuple(told[:16])))) == 0


def test_questions_are_spaced_so_that_they_are_served() -> None:
    one = exchange()
    assert one.asks(PEER, 0) and not one.asks(PEER, ASK_MS)
    assert one.asks(PEER, ASK_MS + ASK_MS // 10)


def test_a_greeting_tells_port_and_records_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    one = exchange()
    assert one.greeting(7) == [encode(Listening(7))] and one.greeting(None) == []
    one.receive_notice(PEER, HOST, encode(Records((record(0), record(1)))), 0)
    assert one.greeting(None) == [encode(Records((record(0), record(1))))]
    monkeypatch.setattr("p2p.exchange.RECORDS_MAX", 1)
    assert len(one.greeting(7)) == 3
    assert RECORDS_MAX * len(encode(record(0))) < 2**16


HOSTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=253)


@settings(max_examples=20)
@given(st.lists(st.lists(HOSTS, max_size=ADDRESSES_MAX), max_size=4), st.integers(0, 2**63 - 1))
def test_every_greeting_fits_its_topic_whatever_was_announced(
    announced: list[list[str]], sequence: int
) -> None:
    """Whoever is greeted may be anybody, so no validator's record may be one too long to tell."""
    limits = LIMITS[Topic.PEERS]
    known = Announcements(GENESIS, lambda _: True)
    one = Exchange(
        PeerBook(bytes(32)), known, random.Random(1), lambda _: False, allow_private_hosts=True
    )
    longest = ["\U0001f600" * 253] * ADDRESSES_MAX
    for at in range(RECORDS_MAX + 6):
        key = NodeKey(at.to_bytes(32, "big"))
        hosts = [*announced, longest][at % (len(announced) + 1)]
        addresses = tuple(Address(host, 65_535) for host in hosts)
        body = Announcement(key.node_id, key.node_id, addresses, sequence)
        message = encode(Records((sign_announce(body, GENESIS, key.sign, key),)))
        assert len(message) <= limits.message_bytes_max
        verdict, _ = one.receive_notice(PEER, HOST, message, 0)
        is_long = len(message) - 3 > RECORD_BYTES_MAX
        assert verdict is (Verdict.USELESS if is_long else Verdict.USEFUL)
    messages = one.greeting(65_535)
    assert all(len(message) <= limits.message_bytes_max for message in messages)
    assert sum(map(len, messages)) <= limits.queue_bytes_max


@given(st.binary(max_size=300))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    one = exchange()
    for receive in (
        lambda: one.receive_notice(PEER, HOST, data, 0),
        lambda: one.receive_question(PEER, data, 0),
        lambda: one.receive_answer(HOST, data),
    ):
        try:
            receive()
        except Breach:
            continue
