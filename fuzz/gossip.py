"""Gossip: notices, questions and answers of the network's own topic, and the stored address book.

The input is what one peer says, given to each reader in turn. Whatever it tells, the book stays
within its buckets, announcements have a place for validators alone, and what is passed on, told or
stored can be read by others.
"""

import random
from typing import Final

from fuzz.mutation import mutated
from fuzz.seeds import examples
from node.network.transactions import Brought, Lacking, Told, Wanted
from node.network.transactions import _messages as transactions
from p2p.addresses import Address, PeerAddress, group_of, holder_of
from p2p.announce import Announce, Announcement, Announcements, sign_announce
from p2p.codec import encode
from p2p.errors import Breach
from p2p.exchange import AskAddresses, Exchange, Listening, Records, TellAddresses
from p2p.handshake import NodeKey
from p2p.peerbook import ENTRIES_MAX, CorruptBook, PeerBook
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic
from state import codec
from state.errors import Malformed

GENESIS: Final = b"\x07" * 32
VALIDATORS: Final = tuple(NodeKey(bytes([at]) * 32) for at in (1, 2))
NODES: Final = tuple(NodeKey(bytes([at]) * 32) for at in (3, 4))
PEER: Final = b"\x05" * 32
HOSTS: Final = ("203.0.113.7", "127.0.0.9", "2001:db8::7", "fe80::1%lo", "example.org")


def _record(at: int, sequence: int) -> Announce:
    addresses = tuple(Address(host, 4_181) for host in HOSTS[:4])
    one = Announcement(VALIDATORS[at].node_id, NODES[at].node_id, addresses, sequence)
    return sign_announce(one, GENESIS, VALIDATORS[at].sign, NODES[at])


def _book() -> PeerBook:
    book = PeerBook(b"\x06" * 32)
    for at, host in enumerate(HOSTS[:3]):
        peer = PeerAddress(bytes([at]) * 32, Address(host, 4_181))
        book.hear(peer, "198.51.100.1")
        book.prove(peer)
    return book


def seeds() -> list[bytes]:
    """One of each kind, announcements that hold among them, and a stored book."""
    peers = tuple(PeerAddress(PEER, Address(host, 1)) for host in HOSTS)
    values = [
        *(Listening(4_181), AskAddresses(), TellAddresses(peers), TellAddresses(())),
        *(Records((_record(0, 1),)), Records((_record(0, 1), _record(1, 9), _record(0, 2)))),
        *(one for kind in (Told, Wanted, Brought, Lacking) for one in examples(kind)),
    ]
    return [*[encode(one) for one in values], _book().to_bytes()]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change what is said."""
    return mutated(data, size_max, chance)


def check(data: bytes) -> None:
    """Let each reader take what the peer says."""
    _exchange(data, allow_private=bool(data[:1] > b"\x92"))
    _transactions(data)
    _stored(data)
    host = data[:253].decode("latin-1")
    assert not host or (group_of(host) and holder_of(host))


def _exchange(data: bytes, *, allow_private: bool) -> None:
    book = _book()
    keys = {key.node_id for key in VALIDATORS}
    announcements = Announcements(GENESIS, keys.__contains__)
    exchange = Exchange(
        book,
        announcements,
        random.Random(1),
        lambda node_id: False,
        allow_private_hosts=allow_private,
    )
    for now_ms in (1_000, 1_000, 60_000):
        try:
            verdict, passed_on = exchange.receive_notice(PEER, HOSTS[0], data, now_ms)
        except Breach:
            break
        assert isinstance(verdict, Verdict)
        if passed_on is not None:
            exchange.receive_notice(PEER, HOSTS[1], passed_on, now_ms)
            assert announcements.records(), "what is passed on is kept"
    for record in announcements.records():
        assert record.announcement.validator_key in keys
        assert announcements.validator_of(record.announcement.node_id) is not None
    try:
        answer = exchange.receive_question(PEER, data, 1_000)
        assert answer is not None and exchange.receive_answer(HOSTS[2], answer) == 0
        assert exchange.receive_question(PEER, data, 1_001) is None
    except Breach as error:
        assert error.sentence.endswith("."), error
    try:
        exchange.receive_answer(HOSTS[2], data)
    except Breach as error:
        assert error.sentence.endswith("."), error
    assert len(book) <= ENTRIES_MAX
    book.pick(random.Random(2), lambda entry: True, 10)
    assert PeerBook.from_bytes(book.to_bytes(), "x").to_bytes() == book.to_bytes()
    for message in exchange.greeting(4_181):
        assert len(message) <= LIMITS[Topic.PEERS].message_bytes_max


def _transactions(data: bytes) -> None:
    try:
        message = transactions.decode(data)
    except Malformed:
        return
    assert codec.encode(message) == data


def _stored(data: bytes) -> None:
    """A damaged book is named; one that is not gives the same bytes again, while it has room."""
    try:
        book = PeerBook.from_bytes(data, "peers")
    except CorruptBook:
        return
    assert len(book) <= ENTRIES_MAX
