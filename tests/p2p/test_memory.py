"""The network in memory: the same face and the same outcomes as the one over sockets."""

import asyncio
from typing import Any

import pytest

from p2p import LIMITS, Hub, LocalError, MemoryNetwork, Network, NotConnected, RequestFailed
from p2p.announce import Announcement, sign_announce
from p2p.handshake import NodeKey
from p2p.interface import Delivery, Handler, Request
from p2p.scores import Verdict
from p2p.topics import Topic

GENESIS = b"\x07" * 32
VALIDATOR = NodeKey(b"V" * 32)


class Keeper:
    """Keeps what comes, and answers by turning it round."""

    def __init__(self) -> None:
        self.verdict = Verdict.USEFUL
        self.messages: list[tuple[bytes, Topic, bytes]] = []
        self.ups: list[bytes] = []
        self.downs: list[bytes] = []

    def on_message(self, delivery: Delivery) -> None:
        self.messages.append((delivery.peer_id, delivery.topic, delivery.data))
        delivery.settle(self.verdict)
        delivery.settle(Verdict.INVALID)  # only the first word counts

    def on_request(self, request: Request) -> None:
        if request.data == b"refuse":
            request.refuse("test.refused")
        elif request.data != b"ignore":
            request.answer(request.data[::-1])

    def on_peer_up(self, peer_id: bytes) -> None:
        self.ups.append(peer_id)

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        self.downs.append(peer_id)


class World:
    """Three nodes in one hub."""

    def __init__(self, link: Any = lambda *_: True) -> None:
        self.hub = Hub(link)
        self.keys = [NodeKey(bytes([at]) * 32) for at in (1, 2, 3)]
        self.keepers = [Keeper() for _ in self.keys]
        self.nodes: list[Network] = []
        for key, keeper in zip(self.keys, self.keepers, strict=True):
            handler: Handler = keeper
            node = MemoryNetwork(
                self.hub, key.node_id, GENESIS, handler, {VALIDATOR.node_id}.__contains__
            )
            self.nodes.append(node)

    async def start(self) -> "World":
        for node in self.nodes:
            await node.start()
        self.hub.run()
        return self


async def test_messages_arrive_in_order_when_the_hub_runs() -> None:
    world = await World().start()
    one, other, third = world.nodes
    assert one.broadcast(Topic.CONSENSUS, b"vote", besides=[third.node_id]) == 1
    assert one.send(other.node_id, Topic.BLOCKS, b"block")
    assert not world.keepers[1].messages
    assert world.hub.run() == 2
    me = one.node_id
    expected = [(me, Topic.CONSENSUS, b"vote"), (me, Topic.BLOCKS, b"block")]
    assert world.keepers[1].messages == expected and not world.keepers[2].messages
    assert {peer.score for peer in other.peers()} == {0, 2}
    assert other.counters.verdicts == {"useful": 2}
    with pytest.raises(LocalError):
        one.send(other.node_id, Topic.PEERS, bytes(LIMITS[Topic.PEERS].message_bytes_max + 1))


async def test_questions() -> None:
    world = await World().start()
    one, other, _ = world.nodes

    async def ask(data: bytes, timeout_ms: int = 1_000) -> bytes:
        asked = asyncio.create_task(one.request(other.node_id, Topic.SYNC, data, timeout_ms))
        await asyncio.sleep(0)
        world.hub.run()
        return await asked

    assert await ask(b"abc") == b"cba"
    with pytest.raises(RequestFailed, match=r"test\.refused"):
        await ask(b"refuse")
    with pytest.raises(RequestFailed, match=r"p2p\.timeout"):
        await ask(b"ignore", 10)
    await other.stop()
    with pytest.raises(NotConnected):
        await ask(b"abc")


async def test_a_link_may_lose_messages() -> None:
    world = await World(lambda sender, receiver, topic: topic is not Topic.BLOCKS).start()
    one, other, _ = world.nodes
    for topic in (Topic.BLOCKS, Topic.CONSENSUS):
        assert one.send(other.node_id, topic, b"x")
    assert world.hub.run() == 1
    assert [topic for _, topic, _ in world.keepers[1].messages] == [Topic.CONSENSUS]


async def test_comings_and_goings_are_told() -> None:
    world = await World().start()
    one, other, third = world.nodes
    assert set(world.keepers[0].ups) == {other.node_id, third.node_id}
    await other.stop()
    assert world.keepers[0].downs == [other.node_id]
    assert not one.send(other.node_id, Topic.CONSENSUS, b"x")
    await other.start()
    assert len(one.peers()) == 2


async def test_an_invalid_message_cuts_the_sender_off() -> None:
    world = await World().start()
    one, other, _ = world.nodes
    world.keepers[1].verdict = Verdict.INVALID
    one.send(other.node_id, Topic.CONSENSUS, b"bad")
    world.hub.run()
    assert world.keepers[1].downs == [one.node_id]
    assert not one.send(other.node_id, Topic.CONSENSUS, b"again")
    assert not other.send(one.node_id, Topic.CONSENSUS, b"again")


async def test_an_invalid_answer_cuts_the_answerer_off() -> None:
    world = await World().start()
    one, other, _ = world.nodes
    one.judge(other.node_id, Verdict.USEFUL)
    assert [peer.score for peer in one.peers() if peer.peer_id == other.node_id] == [1]
    one.judge(other.node_id, Verdict.INVALID)
    assert world.keepers[0].downs == [other.node_id]
    with pytest.raises(NotConnected):
        await one.request(other.node_id, Topic.SYNC, b"again", 1_000)


async def test_announcements_reach_everybody_and_who_comes_later() -> None:
    world = World()
    for node in world.nodes[:2]:
        await node.start()
    one = world.nodes[0]
    body = Announcement(VALIDATOR.node_id, one.node_id, (), 1)
    one.announce(sign_announce(body, GENESIS, VALIDATOR.sign, world.keys[0]))
    await world.nodes[2].start()
    world.hub.run()
    for node in world.nodes:
        assert node.node_of(VALIDATOR.node_id) == one.node_id
        assert node.validator_of(one.node_id) == VALIDATOR.node_id
    with pytest.raises(LocalError):
        one.announce(sign_announce(body, GENESIS, VALIDATOR.sign, world.keys[0]))
