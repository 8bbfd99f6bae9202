"""Transactions between nodes in memory: told, pulled once; what is never valid costs a seat."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pytest

from node.network.transactions import (
    IDS_MAX,
    MESSAGE_BYTES,
    TURN_BYTES_MAX,
    Brought,
    Lacking,
    Told,
    TransactionGossip,
    Wanted,
)
from p2p.gossip import PULL_TIMEOUT_MS, TELLERS_MAX, Pull
from p2p.interface import Delivery, Request
from p2p.memory import Hub, MemoryNetwork
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic
from state.codec import encode
from state.errors import Malformed, Rejected
from state.transaction import BadClaim, BadSignature

GENESIS = b"g" * 32
COUNT = 4


@dataclass(frozen=True)
class Read:
    id: bytes
    wire: bytes


@dataclass
class Pool:
    """A mempool whose transactions are their ids, with a letter that says what becomes of them."""

    found: dict[bytes, bytes] = field(default_factory=dict)
    gossip: TransactionGossip | None = None

    def read(self, wire: bytes) -> Read:
        if wire.startswith(b"malformed"):
            raise Malformed("bytes")
        return Read(wire[-32:], wire)

    async def admit(self, transactions: Sequence[Read]) -> list[Rejected | None]:
        await asyncio.sleep(0)
        return [self._admit(transaction.wire) for transaction in transactions]

    def _admit(self, wire: bytes) -> Rejected | None:
        if wire.startswith(b"forged claim"):
            return BadClaim("forged")
        if wire.startswith(b"forged"):
            return BadSignature("forged")
        if wire.startswith(b"poor"):
            return Rejected("poor")
        self.found[wire[-32:]] = wire
        assert self.gossip is not None
        self.gossip.admitted(wire[-32:])
        return None

    def pending(self, tx_id: bytes) -> bytes | None:
        return self.found.get(tx_id)

    def pending_ids(self) -> Iterable[bytes]:
        return self.found.keys()


class Node:
    """The handler of one node: gossip, and what it was worth to it."""

    def __init__(self, hub: Hub, name: bytes) -> None:
        self.pool = Pool()
        self.heard: list[tuple[bytes, bytes]] = []
        self.network = MemoryNetwork(hub, name, GENESIS, self, lambda _: False)
        self.gossip = TransactionGossip(self.pool, self.network, lambda: hub.now_ms)
        self.pool.gossip = self.gossip

    def on_message(self, delivery: Delivery) -> None:
        self.heard.append((delivery.peer_id, delivery.data))
        self.gossip.on_message(delivery)

    def on_request(self, request: Request) -> None:
        request.refuse("nothing")

    def on_peer_up(self, peer_id: bytes) -> None:
        self.gossip.on_peer_up(peer_id)

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        self.gossip.on_peer_down(peer_id)


class Nodes(list[Node]):
    """Some nodes in one hub."""

    def __init__(self) -> None:
        self.hub = Hub()
        super().__init__([Node(self.hub, bytes([at]) * 32) for at in range(COUNT)])

    async def settle(self) -> None:
        """Let everything that is under way arrive."""
        for _ in range(12):
            self.hub.run()
            await asyncio.sleep(0.005)
        self.hub.run()


@pytest.fixture
async def nodes() -> Nodes:
    made = Nodes()
    for node in made:
        await node.network.start()
    return made


def carried(nodes: Nodes, wire: bytes) -> int:
    return sum(wire in data for node in nodes for _, data in node.heard)


async def test_everybody_has_it_and_its_bytes_reach_each_node_once(nodes: Nodes) -> None:
    wires = [b"valid" + bytes([at]) * 32 for at in range(40)]
    for at, wire in enumerate(wires):
        await nodes[at % 2].pool.admit([Read(b"", wire)])
    await nodes.settle()
    for node in nodes:
        assert sorted(node.pool.found.values()) == sorted(wires)
    assert {carried(nodes, wire) for wire in wires} == {COUNT - 1}


async def test_who_comes_later_is_told_what_is_pending(nodes: Nodes) -> None:
    await nodes[3].network.stop()
    wire = b"valid" + b"w" * 32
    await nodes[0].pool.admit([Read(b"", wire)])
    await nodes.settle()
    assert nodes[3].pool.found == {}
    await nodes[3].network.start()
    await nodes.settle()
    assert nodes[3].pool.found == {b"w" * 32: wire}


async def test_what_is_pending_is_not_asked_for_though_its_id_was_forgotten(nodes: Nodes) -> None:
    first, second = (bytes([at]) + b"\0" * 7 + b"i" * 24 for at in (1, 2))
    await nodes[0].pool.admit([Read(b"", b"valid" + first)])
    await nodes.settle()
    await nodes[0].pool.admit([Read(b"", b"valid" + second)])  # the same slot of what was seen
    await nodes.settle()
    assert first not in nodes[1].gossip._seen and first in nodes[1].pool.found
    nodes[1].heard.clear()
    told = encode(Told((first,)))
    nodes[2].network.send(nodes[1].network.node_id, Topic.TRANSACTIONS, told)
    await nodes.settle()
    assert nodes[1].heard == [(nodes[2].network.node_id, told)]


async def test_another_is_asked_when_the_first_has_it_no_more(nodes: Nodes) -> None:
    wire = b"valid" + b"w" * 32
    one, other = nodes[1].network, nodes[2].network
    one.send(nodes[0].network.node_id, Topic.TRANSACTIONS, encode(Told((b"w" * 32,))))
    nodes[2].pool.found[b"w" * 32] = wire
    other.send(nodes[0].network.node_id, Topic.TRANSACTIONS, encode(Told((b"w" * 32,))))
    await nodes.settle()
    assert nodes[0].pool.found == {b"w" * 32: wire}
    assert (one.node_id, encode(Lacking((b"w" * 32,)))) in nodes[0].heard


async def test_a_forged_copy_does_not_keep_the_true_one_out(nodes: Nodes) -> None:
    tx_id = b"w" * 32
    target = nodes[0].network.node_id
    nodes[1].network.send(target, Topic.TRANSACTIONS, encode(Brought((b"forged" + tx_id,))))
    await nodes.settle()
    assert nodes[0].pool.found == {}
    await nodes[2].pool.admit([Read(b"", b"valid" + tx_id)])
    await nodes.settle()
    assert nodes[0].pool.found == {tx_id: b"valid" + tx_id}


async def test_who_tells_of_what_a_forger_brought_meanwhile_is_asked(nodes: Nodes) -> None:
    tx_id = b"w" * 32
    given: list[Verdict] = []
    forged = encode(Brought((b"forged" + tx_id,)))
    forger, honest = nodes[1].network.node_id, nodes[2].network.node_id
    nodes[0].gossip.on_message(Delivery(forger, Topic.TRANSACTIONS, forged, given.append))
    await asyncio.sleep(0)
    assert nodes[0].gossip.is_coming(tx_id)
    nodes[2].pool.found[tx_id] = b"valid" + tx_id
    told = encode(Told((tx_id,)))
    nodes[0].gossip.on_message(Delivery(honest, Topic.TRANSACTIONS, told, given.append))
    await nodes.settle()
    assert nodes[0].pool.found == {tx_id: b"valid" + tx_id}
    assert Verdict.INVALID in given


def hears(node: Node, peer_id: bytes, message: Told | Wanted | Brought | Lacking) -> list[Verdict]:
    """Hand a message straight to gossip; return its verdict, once there is one."""
    given: list[Verdict] = []
    delivery = Delivery(peer_id, Topic.TRANSACTIONS, encode(message), given.append)
    node.gossip.on_message(delivery)
    return given


async def test_who_tells_of_one_that_is_verified_is_remembered_once_and_few_are(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, tx_id = nodes[0], b"w" * 32
    gate = asyncio.Event()
    admit = node.pool.admit

    async def wait_and_admit(transactions: Sequence[Read]) -> list[Rejected | None]:
        await gate.wait()
        return await admit(transactions)

    monkeypatch.setattr(node.pool, "admit", wait_and_admit)
    given = hears(node, nodes[1].network.node_id, Brought((b"forged" + tx_id,)))
    await asyncio.sleep(0)
    for _ in range(10):
        hears(node, nodes[2].network.node_id, Told((tx_id,)))
    assert len(node.gossip._entering[tx_id]) == 1
    for at in range(3 * TELLERS_MAX):
        hears(node, bytes([100 + at]) * 32, Told((tx_id,)))
    assert len(node.gossip._entering[tx_id]) == TELLERS_MAX
    nodes[2].network.send = lambda *_: True
    await nodes[2].network.stop()
    assert len(node.gossip._entering[tx_id]) == TELLERS_MAX - 1, "it is gone"
    told: list[bytes] = []
    monkeypatch.setattr(node.gossip._puller, "on_told", lambda peer, things: told.append(peer))
    gate.set()
    await nodes.settle()
    assert given == [Verdict.INVALID]
    assert len(told) == len(set(told)) == TELLERS_MAX - 1


@pytest.mark.parametrize("kind", [Told, Wanted, Lacking])
async def test_no_honest_node_names_an_id_twice(nodes: Nodes, kind: Any) -> None:
    sender = nodes[1].network.node_id
    assert hears(nodes[0], sender, kind((b"a" * 32, b"b" * 32))) == [Verdict.DUPLICATE]
    assert hears(nodes[0], sender, kind((b"a" * 32, b"b" * 32, b"a" * 32))) == [Verdict.INVALID]
    assert hears(nodes[0], sender, kind((b"a" * 32,) * IDS_MAX)) == [Verdict.INVALID]


async def test_an_answer_brings_each_once_and_ends_where_the_queue_is_full(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, asker = nodes[0], nodes[1].network.node_id
    ids = [at.to_bytes(32, "big") for at in range(100)]
    node.pool.found = {tx_id: b"v" * 2**17 + tx_id for tx_id in ids}
    sent: list[int] = []
    queue_messages = 5

    def send(peer_id: bytes, topic: Topic, data: bytes) -> bool:
        sent.append(len(data))
        return len(sent) <= queue_messages

    monkeypatch.setattr(node.network, "send", send)
    hears(node, asker, Wanted(tuple(ids[:3])))
    assert sum(sent) < 3 * 2**17 + 1_000
    sent.clear()
    hears(node, asker, Wanted(tuple(ids)))
    assert len(sent) == queue_messages + 1, "nothing is encoded that finds no room"


async def test_one_peer_is_brought_its_share_alone(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, (asker, other) = nodes[0], (nodes[at].network.node_id for at in (1, 2))
    limits = LIMITS[Topic.TRANSACTIONS]
    ids = tuple([at.to_bytes(32, "big") for at in range(300)])
    node.pool.found = {tx_id: b"v" * 2**17 + tx_id for tx_id in ids}
    sent: dict[bytes, int] = {asker: 0, other: 0}

    def send(peer_id: bytes, topic: Topic, data: bytes) -> bool:
        sent[peer_id] += len(data)
        return True

    monkeypatch.setattr(node.network, "send", send)
    for _ in range(3):
        hears(node, asker, Wanted(ids))
        await asyncio.sleep(0)
    assert limits.queue_bytes_max <= sent[asker] < limits.queue_bytes_max + 2**19
    hears(node, other, Wanted(ids))
    assert sent[other] == sent[asker]
    nodes.hub.now_ms += 250
    hears(node, asker, Wanted(ids))
    assert sent[asker] < limits.queue_bytes_max + limits.rate_bytes_s // 4 + 2**19
    assert sent[asker] > limits.queue_bytes_max + limits.rate_bytes_s // 8
    node.gossip.on_peer_down(asker)
    assert asker not in node.gossip._serving


async def test_what_is_due_is_asked_for_once_a_turn(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, sender = nodes[0], nodes[1].network.node_id
    polls: list[int] = []
    poll = node.gossip._puller.poll

    def count(now_ms: int) -> list[Pull]:
        polls.append(now_ms)
        return poll(now_ms)

    monkeypatch.setattr(node.gossip._puller, "poll", count)
    for at in range(100):
        hears(node, sender, Told((at.to_bytes(32, "big"),)))
        hears(node, sender, Lacking((at.to_bytes(32, "big"),)))
    assert polls == []
    await asyncio.sleep(0)
    assert len(polls) == 1


async def test_a_flood_is_heard_in_turns_and_others_are_between(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes[0]
    monkeypatch.setattr(node.network, "is_exempt", lambda _: True)
    flooder, other = (nodes[at].network.node_id for at in (1, 2))
    flood = [hears(node, flooder, Told((b"w" * 32,))) for _ in range(4_000)]
    size = len(encode(Told((b"w" * 32,)))) + MESSAGE_BYTES
    a_turn = -(-TURN_BYTES_MAX // size)
    assert sum(map(len, flood)) == a_turn
    heard = hears(node, other, Told((b"v" * 32,)))
    assert heard == [], "its turn comes next"
    await asyncio.sleep(0)
    assert heard == [Verdict.DUPLICATE]
    assert sum(map(len, flood)) == 2 * a_turn - 1
    await nodes.settle()
    assert flood == [[Verdict.DUPLICATE]] * len(flood)
    node.gossip.stop()


async def test_what_came_with_a_proposal_is_not_asked_for(nodes: Nodes) -> None:
    tx_id = b"w" * 32
    leader = nodes[1]
    leader.pool.found[tx_id] = b"valid" + tx_id
    given: list[Verdict] = []
    delivery = Delivery(leader.network.node_id, Topic.CONSENSUS, b"a sketch", given.append)
    nodes[0].gossip.bring(delivery, (b"valid" + tx_id,))
    await asyncio.sleep(0)
    leader.network.send(nodes[0].network.node_id, Topic.TRANSACTIONS, encode(Told((tx_id,))))
    await nodes.settle()
    assert nodes[0].pool.found == {tx_id: b"valid" + tx_id}
    assert not any(b"valid" + tx_id in data for _, data in nodes[0].heard)
    assert given == [Verdict.USEFUL]


@pytest.mark.parametrize(
    ("wire", "verdict"),
    [
        (b"valid" + b"a" * 32, Verdict.USEFUL),
        (b"poor" + b"b" * 32, Verdict.DUPLICATE),
        (b"forged" + b"c" * 32, Verdict.INVALID),
        (b"malformed", Verdict.INVALID),
    ],
)
async def test_what_came_with_a_proposal_is_judged_once_it_is_verified(
    nodes: Nodes, wire: bytes, verdict: Verdict
) -> None:
    given: list[Verdict] = []
    sender = nodes[1].network.node_id
    nodes[0].gossip.bring(Delivery(sender, Topic.BLOCKS, b"parts", given.append), (wire,))
    assert given == [], "it holds its place in the window"
    await nodes.settle()
    assert given == [verdict]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"\xff", Verdict.INVALID),
        (encode(Brought((b"valid" + b"a" * 32, b"malformed"))), Verdict.INVALID),
        (encode(Brought((b"forged" + b"b" * 32,))), Verdict.INVALID),
        (encode(Brought((b"forged claim" + b"b" * 32,))), Verdict.INVALID),
        (encode(Brought((b"poor" + b"c" * 32,))), Verdict.DUPLICATE),
        (encode(Brought((b"valid" + b"d" * 32,))), Verdict.USEFUL),
        (encode(Told((b"e" * 32,))), Verdict.DUPLICATE),
        (encode(Wanted((b"f" * 32,))), Verdict.DUPLICATE),
    ],
)
async def test_what_a_message_is_worth(nodes: Nodes, data: bytes, verdict: Verdict) -> None:
    given: list[Verdict] = []
    sender = nodes[1].network.node_id
    delivery = Delivery(sender, Topic.TRANSACTIONS, data, given.append)
    nodes[0].gossip.on_message(delivery)
    await nodes.settle()
    assert given == [verdict]


async def test_what_is_told_asked_and_brought_is_counted(nodes: Nodes) -> None:
    wires = [b"valid" + bytes([at]) * 32 for at in range(5)]
    assert not any(await nodes[0].pool.admit([Read(wire[-32:], wire) for wire in wires]))
    nodes[1].gossip._told(nodes[3].network.node_id, (b"n" * 32,))
    await nodes.settle()
    told, asked = nodes[0].gossip.counts, nodes[1].gossip.counts
    assert (told.sent["told"], told.sent["brought"]) == (5 * (COUNT - 1), 5 * (COUNT - 1))
    assert (asked.received["brought"], asked.sent["wanted"]) == (5, 6)
    assert asked.received["lacking"] == 1
    assert nodes[1].gossip.wanted == 0


def random_ids(count: int, start: int) -> tuple[bytes, ...]:
    numbers = range(start, start + count)
    return tuple([blake2b(at.to_bytes(8), digest_size=32).digest() for at in numbers])


async def test_ids_of_strangers_are_bounded_and_those_of_validators_are_not(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, validator = nodes[0], bytes([200]) * 32
    monkeypatch.setattr(node.network, "is_exempt", validator.__eq__)
    strangers = [bytes([at]) * 32 for at in range(100, 138)]
    flood = [
        hears(node, stranger, Told(random_ids(IDS_MAX, IDS_MAX * (38 * at + which))))
        for at in range(5)
        for which, stranger in enumerate(strangers)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(map(len, flood)) * IDS_MAX <= 6_000, "the rest holds its place in the windows"
    quiet = hears(node, nodes[1].network.node_id, Told((b"q" * 32,)))
    honest = [
        hears(node, validator, Told(random_ids(IDS_MAX, 10**6 + IDS_MAX * at))) for at in range(20)
    ]
    nodes.hub.now_ms += 200
    for _ in range(50):
        await asyncio.sleep(0.005)
    assert quiet == [Verdict.DUPLICATE], "who says little is heard next"
    assert honest == [[Verdict.DUPLICATE]] * 20
    nodes.hub.now_ms += 1_000
    for _ in range(50):
        await asyncio.sleep(0.005)
    assert 10_000 <= sum(map(len, flood)) * IDS_MAX <= 25_000
    node.gossip.stop()


async def test_what_a_stranger_was_asked_for_waits_for_no_token(nodes: Nodes) -> None:
    node, sender = nodes[0], nodes[1].network.node_id
    for at in range(20):
        hears(node, sender, Told(random_ids(IDS_MAX, IDS_MAX * at)))
    given = hears(node, sender, Brought((b"valid" + b"w" * 32,)))
    for _ in range(5):
        await asyncio.sleep(0.005)
    assert given == [Verdict.USEFUL]
    node.gossip.stop()


async def test_ids_that_nobody_brings_lower_the_score_and_never_ban(nodes: Nodes) -> None:
    node, sender = nodes[0], nodes[1].network.node_id
    nodes[1].network.send = lambda *_: True
    hears(node, sender, Told(random_ids(IDS_MAX, 0)))
    for _ in range(14):
        await asyncio.sleep(0)
        nodes.hub.now_ms += PULL_TIMEOUT_MS
        node.gossip._poll()
    scores, now_ms = node.network.scores, nodes.hub.now_ms
    assert -20 <= scores.score(sender, now_ms) < 0 and not scores.is_banned(sender, now_ms)
    node.gossip.stop()
