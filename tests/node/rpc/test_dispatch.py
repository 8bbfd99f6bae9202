"""The dispatcher against any JSON: one well-formed response for each request, and never a raise."""

import asyncio
import inspect
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from node.rpc.bound import Caller
from node.rpc.catalogue import method_of
from node.rpc.dispatch import Dispatcher
from node.rpc.limits import RpcLimits
from node.rpc.schema import openrpc

ADDRESS = "sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge"
NAMES = [
    *("chain.status", "bank.balance", "tx.status", "tx.submit", "tx.encode", "chain.block"),
    *("chain.state_proof", "subscribe", "rpc.discover", "no.such", ""),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "00", "00" * 32, ADDRESS, "bank.balances", "\ud83d\ude00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["address", "denom", "tx_id", "wire", "body", "table", "key", "height"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
REQUESTS = (
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | VALUES,
            "id": st.integers() | st.text(max_size=3) | VALUES,
            "method": st.sampled_from(NAMES) | VALUES,
            "params": VALUES,
        },
    )
    | VALUES
)


async def peers(node: Any) -> int:
    """Return how many peers there are."""
    return 3


def stop(node: Any) -> None:
    """Stop the node."""


def dispatcher(node: Any, registry: CollectorRegistry | None = None) -> Dispatcher:
    return Dispatcher(
        node,
        RpcLimits(batch_requests_max=4),
        registry or CollectorRegistry(),
        openrpc,
        [
            (method_of("node.stop", stop, unsafe=True), lambda: None),
            (method_of("node.neighbours", peers), lambda: peers(None)),
        ],
    )


def ask(server: Dispatcher, body: bytes, *, trusted: bool = True) -> Any:
    answer = asyncio.run(server.answer(body, Caller(trusted)))
    return None if answer is None else json.loads(answer)


def is_response(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "id" not in value:
        return False
    if "result" in value:
        return value.keys() == {"jsonrpc", "id", "result"}
    error = value["error"]
    return (
        value.keys() == {"jsonrpc", "id", "error"}
        and isinstance(error["code"], int)
        and isinstance(error["message"], str)
        and "." in error["data"]["code"]
    )


def test_any_json_gets_a_response(memory_node: Any) -> None:
    server = dispatcher(memory_node)

    @settings(max_examples=150)
    @given(REQUESTS | st.lists(REQUESTS, max_size=5))
    def check(request: Any) -> None:
        answer = ask(server, json.dumps(request).encode())
        batch = answer if isinstance(answer, list) else [answer]
        asked = request if isinstance(request, list) else [request]
        assert all(is_response(each) for each in batch if each is not None)
        assert answer is None or len(batch) <= max(1, len(asked))
        for each in asked:
            if isinstance(each, dict) and type(each.get("id")) is int and len(asked) <= 4:
                assert sum(response["id"] == each["id"] for response in batch) >= 1

    check()


def test_any_bytes_get_a_response(memory_node: Any) -> None:
    server = dispatcher(memory_node)

    @given(st.binary(max_size=60))
    def check(body: bytes) -> None:
        answer = ask(server, body)
        assert answer is None or is_response(answer) or isinstance(answer, list)

    check()


def test_unsafe_methods_answer_trusted_callers_only(memory_node: Any) -> None:
    server = dispatcher(memory_node)
    body = b'{"jsonrpc":"2.0","id":1,"method":"node.stop"}'
    assert ask(server, body)["result"] is None
    refused = ask(server, body, trusted=False)["error"]
    assert (refused["code"], refused["data"]["code"]) == (-32003, "rpc.forbidden")
    described = ask(server, b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}')["result"]
    unsafe = [method["name"] for method in described["methods"] if method["x-unsafe"]]
    assert unsafe == ["node.stop"]


def test_batches_mix_what_waits_with_what_does_not(memory_node: Any) -> None:
    names = ["node.neighbours", "chain.status", "node.neighbours", "no.such"]
    batch = [{"jsonrpc": "2.0", "id": i, "method": name} for i, name in enumerate(names)]
    answers = ask(dispatcher(memory_node), json.dumps(batch).encode())
    assert [each["id"] for each in answers] == [0, 1, 2, 3]
    assert [each.get("result") == 3 for each in answers] == [True, False, True, False]


def test_a_batch_costs_as_many_as_it_executes(memory_node: Any) -> None:
    """However its text is written: `"\\u006dethod"` is `"method"` as well."""
    registry = CollectorRegistry()
    server = dispatcher(memory_node, registry)

    def executed() -> float:
        return sum(
            sample.value
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "sahara_rpc_requests_total"
        )

    @settings(max_examples=100)
    @given(REQUESTS | st.lists(REQUESTS, max_size=5), st.booleans())
    def check(request: Any, is_escaped: bool) -> None:
        body = json.dumps(request).encode()
        if is_escaped:
            body = body.replace(b'"method"', b'"\\u006dethod"')
        before = executed()
        ask(server, body)
        assert server.cost(server.read(body)) >= executed() - before

    check()
    one = b'{"jsonrpc":"2.0","id":1,"\\u006dethod":"chain.status"}'
    before = executed()
    ask(server, b"[%b]" % b",".join([one] * 4))
    assert executed() - before == 4 == server.cost(server.read(b"[%b]" % b",".join([one] * 4)))


async def test_a_long_batch_lets_others_have_their_turn(
    memory_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two long batches go on one after the other, and the loop turns between requests."""
    monkeypatch.setattr("node.rpc.dispatch.SLICE_SECONDS", 0.0)
    server = dispatcher(memory_node)
    status, asked, turns = memory_node.status, [], 0

    def counted() -> Any:
        asked.append(turns)
        return status()

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    memory_node.status = counted
    turner = asyncio.create_task(turning())
    names = ["chain.status", "node.neighbours", "chain.status", "chain.status"]
    batch = [{"jsonrpc": "2.0", "id": i, "method": name} for i, name in enumerate(names)]
    body = json.dumps(batch).encode()
    answers = await asyncio.gather(*[server.answer(body, Caller(True)) for _ in range(2)])
    turner.cancel()
    for answer in answers:
        assert [each["id"] for each in json.loads(answer or b"")] == [0, 1, 2, 3]
    assert len(asked) == 6
    assert len(set(asked[2:])) == 4, "no turn has begun two requests"


async def test_batches_stand_in_line_behind_a_long_one_and_the_line_has_an_end(
    memory_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of those in line is executed, or kept, before their turn; single requests pass."""
    monkeypatch.setattr("node.rpc.dispatch.SLICE_SECONDS", 0.0)
    server = Dispatcher(memory_node, RpcLimits(batches_waiting_max=3), CollectorRegistry(), openrpc)
    status, asked = memory_node.status, []

    def counted() -> Any:
        asked.append(True)
        return status()

    memory_node.status = counted
    one = {"jsonrpc": "2.0", "id": 1, "method": "chain.status"}
    body = json.dumps([one] * 4).encode()
    first, second, gone = (server.begin(body, Caller(True)) for _ in range(3))
    assert len(asked) == 1, "the first has had its slice, the others stand in line"
    assert inspect.iscoroutine(first) and inspect.iscoroutine(second) and inspect.iscoroutine(gone)
    refused = server.begin(body, Caller(True))
    assert isinstance(refused, bytes)
    assert json.loads(refused)["error"]["data"]["code"] == "rpc.limit_exceeded"
    assert isinstance(server.begin(json.dumps(one).encode(), Caller(True)), bytes)
    gone.close()
    del gone
    third = server.begin(body, Caller(True))
    assert inspect.iscoroutine(third), "who left before its turn has left its place"
    for answer in await asyncio.gather(first, second, third):
        assert [each["id"] for each in json.loads(answer or b"")] == [1] * 4
    monkeypatch.undo()
    assert isinstance(server.begin(body, Caller(True)), bytes), "the line is empty again"


async def test_a_long_batch_that_nobody_waits_for_ends(
    memory_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.dispatch.SLICE_SECONDS", 0.0)
    server = dispatcher(memory_node)
    batch = [{"jsonrpc": "2.0", "id": i, "method": "node.neighbours"} for i in range(4)]
    body = json.dumps(batch).encode()
    answering = asyncio.create_task(server.answer(body, Caller(True)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    answer = await asyncio.wait_for(server.answer(body, Caller(True)), 10)
    assert len(json.loads(answer or b"")) == 4


def test_requests_are_counted(memory_node: Any) -> None:
    registry = CollectorRegistry()
    server = dispatcher(memory_node, registry)
    for method, times in (("chain.status", 3), ("bank.balance", 2), ("no.such", 1)):
        for _ in range(times):
            ask(server, json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())
    text = generate_latest(registry).decode()
    assert 'sahara_rpc_requests_total{method="chain.status",outcome="ok"} 3.0' in text
    assert 'sahara_rpc_requests_total{method="bank.balance",outcome="error"} 2.0' in text
    assert 'sahara_rpc_requests_total{method="unknown",outcome="error"} 1.0' in text


def test_bugs_are_not_hidden(memory_node: Any) -> None:
    """What is no refusal goes up to the server, which answers 500 and logs it."""
    memory_node.status = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        ask(dispatcher(memory_node), b'{"jsonrpc":"2.0","id":1,"method":"chain.status"}')
