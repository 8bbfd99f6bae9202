"""Peers with a name that break rules under their own key, or do not read: ended, some banned."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from p2p import session
from p2p.announce import Announcement, sign_announce
from p2p.channel import Channel
from p2p.codec import encode
from p2p.exchange import Records
from p2p.handshake import Initiator, NodeKey
from p2p.interface import Delivery
from p2p.network import SocketNetwork
from p2p.scores import Verdict
from p2p.topics import LIMITS, MIB, Topic
from p2p.wire import Credit, Item, Kind, More, Ping, Start, encode_frame

GENESIS = b"\x07" * 32
EVE = NodeKey(b"\x66" * 32)


class Intruder:
    """A peer that went through the handshake and then sends what it likes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, channel: Channel) -> None:
        self.socket = socket
        self.channel = channel

    async def send(self, *items: Item) -> bytes:
        """Send a frame; return it as it went."""
        data = self.channel.seal(encode_frame(list(items)))
        await self.socket.send_bytes(data)
        return data

    async def dropped(self) -> None:
        """Read until the other side ends it."""
        async with asyncio.timeout(5):
            while (await self.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass


@contextlib.asynccontextmanager
async def intruding(node: Any, key: NodeKey = EVE) -> AsyncIterator[Intruder]:
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.66", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.ws_connect(f"http://{node.host}:{node.network.port}/p2p") as socket,
    ):
        initiator = Initiator(key, GENESIS, os.urandom(32), node.id)
        await socket.send_bytes(initiator.hello)
        last, established = initiator.receive_data((await socket.receive()).data)
        await socket.send_bytes(last)
        yield Intruder(socket, Channel(established.send_key, established.receive_key))


VOTE = Start(Topic.CONSENSUS, Kind.NOTICE, 0, 4, b"vote")
BREACHES: dict[str, list[Item]] = {
    "oversize": [Start(Topic.PEERS, Kind.NOTICE, 0, MIB, bytes(2_000))],
    "out_of_order": [More(Topic.BLOCKS, bytes(2_000))],
    "malformed": [Start(Topic.PEERS, Kind.NOTICE, 0, 4, b"junk")],
    "flood": [VOTE] * 1_000,
}


@pytest.mark.parametrize("kind", BREACHES)
async def test_breaches_end_it_and_ban(nodes: Any, until: Any, kind: str) -> None:
    one, other = await nodes.pair()
    one.hold = True
    async with intruding(one) as eve:
        with contextlib.suppress(ConnectionError):
            for _ in range(8):
                await eve.send(*BREACHES[kind])
        await eve.dropped()
    await until(lambda: one.network.scores.is_banned(EVE.node_id, one.network._clock()))
    await until(lambda: one.peers == {other.id})
    async with intruding(one) as eve:
        await eve.dropped()
    assert one.network.counters.refused["p2p.banned"] == 1
    assert one.network.held_bytes <= LIMITS[Topic.CONSENSUS].window_bytes


async def test_a_replayed_frame_ends_it_without_a_ban(nodes: Any, until: Any) -> None:
    one, _ = await nodes.pair()
    async with intruding(one) as eve:
        data = await eve.send(VOTE)
        await eve.socket.send_bytes(data)
        await eve.dropped()
    await until(lambda: (EVE.node_id, "p2p.frame_forged") in one.downs)
    assert len([m for m in one.messages if m[0] == EVE.node_id]) == 1
    assert not one.network.scores.is_banned(EVE.node_id, one.network._clock())


@pytest.mark.parametrize("kind", ["text", "ping", "pong", "random", "too-long"])
async def test_foreign_messages_end_it_without_a_ban(nodes: Any, until: Any, kind: str) -> None:
    one, _ = await nodes.pair()
    async with intruding(one) as eve:
        await eve.send(Ping(1))
        match kind:
            case "text":
                await eve.socket.send_str("hello")
            case "ping":
                await eve.socket.ping()
            case "pong":
                await eve.socket.pong()
            case "random":
                await eve.socket.send_bytes(random.Random(1).randbytes(1_000))
            case "too-long":
                await eve.socket.send_bytes(bytes(70_000))
        await eve.dropped()
    await until(lambda: any(down[0] == EVE.node_id for down in one.downs))
    assert not one.network.scores.is_banned(EVE.node_id, one.network._clock())


async def test_a_burst_that_is_answered_at_once_is_told_one_by_one(
    nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = await nodes.pair()
    answered: list[bytes] = []

    def answer(delivery: Delivery) -> None:
        delivery.settle(Verdict.DUPLICATE)
        one.network.send(delivery.peer_id, Topic.TRANSACTIONS, b"answer")
        answered.append(delivery.data)

    monkeypatch.setattr(one, "on_message", answer)
    async with intruding(one) as eve:
        await eve.send(*[VOTE] * 1_000)
        await until(lambda: len(answered) == 1_000)
        assert EVE.node_id in one.peers


async def test_a_peer_that_reads_nothing_is_left(
    nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WRITE_S", 0.5)
    one, other = await nodes.pair()
    async with intruding(one) as eve:
        await until(lambda: EVE.node_id in one.peers)
        for topic in Topic:
            await eve.send(Credit(topic, 2**30, 2**20))
        for _ in range(8):
            one.network.send(EVE.node_id, Topic.SYNC, bytes(8 * MIB))
        await until(lambda: EVE.node_id not in one.peers)
    assert one.peers == {other.id}


async def test_many_names_from_one_address_stay_few(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair(per_address_max=3)
    async with contextlib.AsyncExitStack() as stack:
        for at in range(3):
            await stack.enter_async_context(intruding(one, NodeKey(bytes([0x70 + at]) * 32)))
        await until(lambda: len(one.peers) == 4)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await stack.enter_async_context(intruding(one, NodeKey(b"\x7f" * 32)))
    await until(lambda: one.peers == {other.id})


async def test_endless_announcements_cost_little(nodes: Any, until: Any) -> None:
    """Records of a key that is no validator's: useless, within the rate, never passed on."""
    one, other = await nodes.pair()
    async with intruding(one) as eve:
        for at in range(40):
            body = Announcement(EVE.node_id, EVE.node_id, (), at)
            data = encode(Records((sign_announce(body, GENESIS, EVE.sign, EVE),)))
            await eve.send(Start(Topic.PEERS, Kind.NOTICE, 0, len(data), data))
        await until(lambda: one.network.counters.verdicts.get("useless", 0) == 40)
    assert one.network.node_of(EVE.node_id) is None
    assert other.network.counters.verdicts.get("useful", 0) == 0


async def test_who_is_dropped_as_it_is_let_in_ends_nothing_else(
    nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of a handshake passes while its last message is read."""
    welcome, dropped = SocketNetwork._welcome, []

    async def late(self: SocketNetwork, line: Any, established: Any, *given: Any) -> None:
        if established.peer_id == EVE.node_id:
            line.transport.abort()
            await asyncio.sleep(0.01)
            dropped.append(line)
        await welcome(self, line, established, *given)

    monkeypatch.setattr(SocketNetwork, "_welcome", late)
    one, _ = await nodes.pair()
    async with intruding(one) as eve:
        await eve.dropped()
    await until(lambda: len(dropped) == 1)
    await asyncio.sleep(0.1)
    assert not one.network._failure.done() and len(one.network._sessions) == 1
