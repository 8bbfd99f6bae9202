"""WebSocket: snapshot, numbered deltas, filters, limits, and what a slow subscriber gets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from node.addresses import format_address
from node.client import SaharaClient
from node.rpc import subscriptions
from node.rpc.backend import FeedBroken
from node.rpc.limits import RpcLimits
from node.rpc.outbox import Outboxes
from node.rpc.server import SLOW_CONSUMER
from node.rpc.subscriptions import BlockForm, Hub, Subscriber, Topic
from state.block import Outcome, Status
from state.codec import encode
from state.modules.bank import Burn, Burned, Transfer, Transferred


@asynccontextmanager
async def connect(url: str, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ws", **options) as socket,
    ):
        yield socket


async def ask(socket: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> Any:
    await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return json.loads(await socket.receive_str())


async def delta(socket: aiohttp.ClientWebSocketResponse) -> Any:
    message = json.loads(await socket.receive_str())
    assert message["method"] == "subscription" and "id" not in message
    return message["params"]


async def test_blocks_come_in_order_without_a_gap(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, connect(url) as socket:
        opened = (await ask(socket, "subscribe", topic="blocks"))["result"]
        for _ in range(20):
            memory_node.step()
        heard = [await delta(socket) for _ in range(20)]
    assert opened["sequence"] == 0 and opened["status"]["height"] == opened["height"]
    assert [each["sequence"] for each in heard] == list(range(1, 21))
    assert [each["height"] for each in heard] == list(
        range(opened["height"] + 1, opened["height"] + 21)
    )
    parents = [each["result"]["header"]["parent_id"] for each in heard]
    assert parents[1:] == [each["result"]["block_id"] for each in heard[:-1]]


async def test_transactions_are_heard_once(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    memory_node.automatic = False
    async with serve(memory_node) as url, SaharaClient(url) as client, connect(url) as socket:
        old = await client.send(alice, Transfer(bob.address, 1))
        memory_node.step()
        new = await client.build(alice, Transfer(bob.address, 2))
        ids = [old.hex(), new.tx_id.hex()]
        opened = (await ask(socket, "subscribe", topic="transactions", ids=ids))["result"]
        await client.submit(new.wire)
        memory_node.step()
        memory_node.step()
        heard = await delta(socket)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(delta(socket), 0.05)
    assert opened["transactions"][0]["stage"] == "final" and opened["transactions"][1] is None
    assert heard["sequence"] == 1
    assert [each["tx_id"] for each in heard["result"]] == [new.tx_id.hex()]
    assert heard["result"][0]["outcome"]["status"] == "ok"


async def test_events_by_type_and_address(memory_node: Any, serve: Any) -> None:
    alice, bob, carol = memory_node.accounts
    memory_node.automatic = False
    async with serve(memory_node) as url, SaharaClient(url) as client, connect(url) as socket:
        for filters in (
            {},
            {"types": ["bank.burned"]},
            {"address": format_address(carol.address)},
        ):
            assert "result" in await ask(socket, "subscribe", topic="events", **filters)
        await client.send(alice, Transfer(bob.address, 1), Transfer(carol.address, 2))
        await client.send(bob, Burn(3))
        memory_node.step()
        heard = [await delta(socket) for _ in range(3)]
    kinds = [[entry["event"]["type"] for entry in each["result"]] for each in heard]
    assert kinds[0].count("bank.transferred") == 2 and kinds[0].count("bank.burned") == 1
    assert kinds[1] == ["bank.burned"]
    assert kinds[2] == ["bank.transferred"]
    assert [each["sequence"] for each in heard] == [1, 1, 1]


def holds(value: Any, text: str) -> bool:
    """Tell whether a text stands anywhere in it."""
    if isinstance(value, dict | list):
        return any(holds(item, text) for item in (value.values() if type(value) is dict else value))
    return bool(value == text)


NAMES = [bytes([number]) * 20 for number in range(4)]


@given(
    st.lists(st.tuples(*[st.sampled_from(NAMES)] * 2, st.booleans()), max_size=8),
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from(["bank.transferred", "bank.burned", "x.y"]), max_size=3),
            st.none() | st.sampled_from(NAMES),
        ),
        max_size=6,
    ),
)
def test_a_filter_finds_what_looking_at_every_event_finds(
    make_node: Any,
    made: list[tuple[bytes, bytes, bool]],
    filters: list[tuple[frozenset[str], bytes | None]],
) -> None:
    outcomes, of_block = [], []
    for number, (sender, receiver, is_of_block) in enumerate(made):
        moved: Any = (
            Transferred(sender, receiver, "grain", 1) if number % 3 else Burned(sender, "grain", 2)
        )
        event = msgspec.Raw(encode(moved))
        if is_of_block:
            of_block.append(event)
        else:
            outcomes.append(Outcome(bytes([number]) * 32, Status.OK, "", "", 1, 1, (event, event)))
    record = replace(make_node().records[-1], outcomes=tuple(outcomes), events=tuple(of_block))
    block = BlockForm(record)
    everything = json.loads(bytes(block.events(frozenset(), None) or b"[]"))
    assert len(everything) == 2 * len(outcomes) + len(of_block)
    for types, name in filters:
        address = None if name is None else format_address(name)
        expected = [
            entry
            for entry in everything
            if (not types or entry["event"]["type"] in types)
            and (address is None or holds(entry["event"], address))
        ]
        assert json.loads(bytes(block.events(types, address) or b"[]")) == expected


async def told(subscriber: Subscriber) -> None:
    """Let everything else go on, step by step, until something waits for it."""
    for _ in range(1_000):
        if subscriber.outbox.held_bytes:
            return
        await asyncio.sleep(0)
    pytest.fail("it was told nothing")


async def test_a_block_lets_others_have_their_turn_between_its_subscribers(
    memory_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves while the others are told is told nothing."""
    monkeypatch.setattr(subscriptions, "SLICE_SECONDS", 0.0)
    hub, outboxes = Hub(memory_node), Outboxes(RpcLimits())
    several = [Subscriber(memory_node, outboxes.limits, outboxes.open()) for _ in range(3)]
    for subscriber in several:
        subscriber.subscribe(Topic.BLOCKS)
        hub.subscribers[id(subscriber)] = subscriber
    following = asyncio.create_task(hub.run())
    await asyncio.sleep(0)
    memory_node.step()
    await told(several[0])
    assert not several[1].outbox.held_bytes
    del hub.subscribers[id(several[1])]
    await told(several[2])
    assert not several[1].outbox.held_bytes
    following.cancel()


async def test_a_connection_waits_for_so_many_transactions_only(
    memory_node: Any, serve: Any
) -> None:
    async with serve(memory_node) as url, connect(url) as socket:
        named = [[f"{number:064x}" for number in range(at, at + 500)] for at in (0, 500, 1_000)]
        for ids in named[:2]:
            assert "result" in await ask(socket, "subscribe", topic="transactions", ids=ids)
        more = await ask(socket, "subscribe", topic="transactions", ids=named[2])
    assert more["error"]["data"]["code"] == "rpc.limit_exceeded"


async def test_unsubscribing_ends_it(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, connect(url) as socket:
        name = (await ask(socket, "subscribe", topic="blocks"))["result"]["subscription"]
        assert (await ask(socket, "unsubscribe", subscription=name))["result"] is True
        memory_node.step()
        again = await ask(socket, "unsubscribe", subscription=name)
    assert again["error"]["data"]["code"] == "state.not_found"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"topic": "weather"},
        {"topic": "transactions"},
        {"topic": "blocks", "ids": ["00" * 32]},
        {"topic": "blocks", "types": ["bank.burned"]},
        {"topic": "transactions", "ids": ["00" * 32] * 1_001},
    ],
)
async def test_wrong_subscriptions(memory_node: Any, serve: Any, params: Any) -> None:
    async with serve(memory_node) as url, connect(url) as socket:
        refused = await ask(socket, "subscribe", **params)
    assert refused["error"]["data"]["code"] == "rpc.invalid_params"


async def test_limits(memory_node: Any, serve: Any) -> None:
    limits = RpcLimits(subscriptions_max=2, websockets_max=1, body_bytes_max=1_000)
    async with serve(memory_node, limits) as url, connect(url) as socket:
        for _ in range(2):
            assert "result" in await ask(socket, "subscribe", topic="blocks")
        third = await ask(socket, "subscribe", topic="blocks")
        assert third["error"]["data"]["code"] == "rpc.limit_exceeded"
        with pytest.raises(aiohttp.WSServerHandshakeError) as full:
            async with connect(url):
                pass
        assert full.value.status == 503
        await socket.send_str(" " * 2_000)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1009


async def test_ordinary_methods_answer_here_too(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, connect(url) as socket:
        status = await ask(socket, "chain.status")
        await socket.send_str("{")
        broken = json.loads(await socket.receive_str())
        await socket.send_bytes(b"{}")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert status["result"]["height"] == memory_node.height
    assert broken["error"]["code"] == -32700


async def test_a_slow_subscriber_is_cut_off_and_others_are_not(
    memory_node: Any, serve: Any
) -> None:
    """The slow one reads nothing; its socket and its queue fill, and then it gets a code."""
    blocks = 1_500
    record = memory_node.records[-1]
    async with (
        serve(memory_node, RpcLimits(queued_messages_max=64)) as url,
        connect(url, autoping=False) as slow,
        connect(url) as keen,
    ):
        for _ in range(16):
            await ask(slow, "subscribe", topic="blocks")
        await ask(keen, "subscribe", topic="blocks")
        slow._conn.transport.pause_reading()
        for number in range(blocks):
            header = replace(record.header, height=memory_node.height + 1 + number)
            for queue in memory_node._queues:
                queue.put_nowait(replace(record, header=header))
            assert (await delta(keen))["sequence"] == number + 1
        slow._conn.transport.resume_reading()
        heard = 0
        while (message := await slow.receive()).type is aiohttp.WSMsgType.TEXT:
            heard += 1
    assert 16 < heard < 16 * blocks, "it heard what had been sent before it fell behind"
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert slow.close_code == SLOW_CONSUMER


async def test_a_gap_in_the_feed_cuts_subscribers_off_and_the_server_goes_on(
    memory_node: Any, serve: Any
) -> None:
    following, broken = memory_node.blocks, asyncio.Event()

    async def blocks() -> AsyncIterator[Any]:
        if not broken.is_set():
            await broken.wait()
            raise FeedBroken("The feed of blocks overflowed.")
        async for record in following():
            yield record

    memory_node.blocks = blocks
    async with serve(memory_node) as url:
        async with connect(url) as socket:
            await ask(socket, "subscribe", topic="blocks")
            broken.set()
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == SLOW_CONSUMER
        async with connect(url) as socket:
            await ask(socket, "subscribe", topic="blocks")
            memory_node.step()
            assert (await delta(socket))["sequence"] == 1


async def test_a_dropped_transaction_is_told_once_and_why(memory_node: Any, serve: Any) -> None:
    """And again, should it be dropped again after it was sent again."""
    alice, bob, _ = memory_node.accounts
    memory_node.automatic = False
    async with serve(memory_node) as url, SaharaClient(url) as client, connect(url) as socket:
        new = await client.build(alice, Transfer(bob.address, 2))
        await ask(socket, "subscribe", topic="transactions", ids=[new.tx_id.hex()])
        for _ in range(2):
            memory_node.drops[new.tx_id] = "mempool.evicted: it was full"
            memory_node.step()
            memory_node.step()
            (status,) = (await delta(socket))["result"]
            assert (status["stage"], status["tx_id"]) == ("dropped", new.tx_id.hex())
            assert status["reason"].startswith("mempool.evicted: ")
            memory_node.drops.clear()
            memory_node.step()
            await ask(socket, "chain.status")  # and with this block it was not dropped
        await client.submit(new.wire)
        memory_node.step()
        (status,) = (await delta(socket))["result"]
        assert status["stage"] == "final"
