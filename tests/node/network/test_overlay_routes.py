"""The overlay between a host and a network in memory: whom messages reach, what they are worth."""

import asyncio
from typing import Any

import pytest

from consensus.inputs import Peer
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Message,
    Status,
    encode,
)
from node.network.identity import announcement
from node.network.overlay import URGENT_BYTES_MAX, Overlay, topic_of
from p2p.handshake import NodeKey
from p2p.interface import Delivery
from p2p.memory import Hub, MemoryNetwork
from p2p.topics import Topic
from state.finality import Header, Justify
from state.types import ZERO_HASH

GENESIS = b"g" * 32
COUNT = 3
ASKING = BlockRequest(b"b" * 32, 1)


def status(height: int) -> Status:
    return Status(0, height, 0, height, height, ZERO_HASH)


def block(size: int) -> Block:
    zeros: dict[str, Any] = dict.fromkeys(Header.__struct_fields__, 0)
    hashes = {name: ZERO_HASH for name in zeros if name.endswith(("_id", "_hash", "_root"))}
    header = Header(**{**zeros, **hashes, "proposer": bytes(20)})
    return Block(header, Justify(None, ()), bytes(size))


class Host:
    """Notes what it is handed, and tells its number as where it stands."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.got: list[tuple[Peer, Message]] = []

    def receive(self, peer: Peer, message: Message) -> None:
        self.got.append((peer, message))

    def hello(self) -> Message | None:
        return status(self.number)


class Node:
    """One node: its validator's key, its node's, the overlay, and what the host has got."""

    def __init__(self, hub: Hub, number: int) -> None:
        self.key = NodeKey(bytes([100 + number]) * 32)
        self.node_key = NodeKey(bytes([number + 1]) * 32)
        self.overlay = Overlay()
        self.host: Any = Host(number)
        self.network = MemoryNetwork(
            hub, self.node_key.node_id, GENESIS, self.overlay, lambda _: True
        )
        self.overlay.join(self.host, self.network)

    async def start(self) -> None:
        await self.network.start()
        record = announcement(self.key.node_id, self.key.sign, self.node_key, GENESIS, (), 1)
        self.network.announce(record)


class Nodes(list[Node]):
    """Some nodes in one hub, each a validator that has announced itself."""

    def __init__(self) -> None:
        self.hub = Hub()
        super().__init__([Node(self.hub, number) for number in range(COUNT)])

    async def settle(self) -> None:
        for _ in range(8):
            self.hub.run()
            await asyncio.sleep(0)

    def forget(self) -> None:
        for node in self:
            node.host.got.clear()


@pytest.fixture
async def nodes() -> Nodes:
    made = Nodes()
    for node in made:
        await node.start()
    await made.settle()
    return made


async def test_peers_tell_each_other_where_they_stand(nodes: Nodes) -> None:
    for node in nodes:
        others = [status(other.host.number) for other in nodes if other is not node]
        assert sorted(message.final_height for _, message in node.host.got) == sorted(
            one.final_height for one in others
        )


async def test_messages_reach_validators_by_key_and_nodes_by_id(nodes: Nodes) -> None:
    nodes.forget()
    one, other, third = nodes
    one.overlay.send(other.key.node_id, status(7))
    one.overlay.send(third.network.node_id, status(8))
    await nodes.settle()
    assert other.host.got == [(one.key.node_id, status(7))], "senders are named by their key"
    assert third.host.got == [(one.key.node_id, status(8))]
    nodes.forget()
    one.overlay.broadcast(status(9))
    await nodes.settle()
    assert [node.host.got for node in nodes] == [
        [],
        [(one.key.node_id, status(9))],
        [(one.key.node_id, status(9))],
    ]


async def test_a_question_to_who_is_not_there_goes_to_others_in_turn(nodes: Nodes) -> None:
    nodes.forget()
    one, other, third = nodes
    nobody = b"z" * 32
    one.overlay.send(nobody, status(1))
    for _ in range(2):
        one.overlay.send(nobody, ASKING)
        one.overlay.send(nobody, CertificateRequest(0, 1))
    await nodes.settle()
    heard = [message for _, message in other.host.got + third.host.got]
    assert len(heard) == 4 and status(1) not in heard, "what is no question is lost"
    assert len(other.host.got) == len(third.host.got) == 2


def test_each_message_has_one_topic_by_its_kind_and_length() -> None:
    assert topic_of(status(1), 100) is Topic.CONSENSUS
    assert topic_of(status(1), URGENT_BYTES_MAX) is Topic.CONSENSUS
    assert topic_of(BlockReply((block(1),)), URGENT_BYTES_MAX + 1) is Topic.BLOCKS
    assert topic_of(BlockReply((block(1), block(1))), 500) is Topic.SYNC


async def test_noise_and_the_wrong_topic_cost_the_sender_its_seat(nodes: Nodes) -> None:
    one, other, third = nodes
    one.network.send(other.network.node_id, Topic.CONSENSUS, b"\xffnoise")
    third.network.send(other.network.node_id, Topic.BLOCKS, encode(status(1)))
    nodes.forget()
    await nodes.settle()
    assert other.host.got == []
    assert other.network.counters.verdicts["invalid"] == 2
    assert other.overlay.peers() == []


async def test_before_the_start_nobody_is_there_and_nothing_is_told() -> None:
    overlay = Overlay()
    assert overlay.peers() == []
    overlay.on_peer_down(b"p" * 32, "p2p.stopped")
    verdicts: list[object] = []
    overlay.on_message(Delivery(b"p" * 32, Topic.TRANSACTIONS, b"", verdicts.append))
    assert len(verdicts) == 1, "settled, or it would hold a place of its sender's window for ever"
