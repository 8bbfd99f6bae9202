"""The server over raw HTTP: what JSON-RPC 2.0 says of requests, and what bad input gets."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node.rpc import server
from node.rpc.limits import RpcLimits
from node.rpc.server import HostUnusable, PortInUse, RpcServer

LIMITS = RpcLimits(body_bytes_max=20_000, batch_requests_max=8, response_bytes_max=4_000)


async def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=data, headers=headers) as response,
    ):
        raw = await response.read()
        return response.status, json.loads(raw) if raw else None


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, await response.text()


def request(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    found = {"jsonrpc": "2.0", "id": 7, "method": method, **more}
    return found if params is None else {**found, "params": params}


BALANCE = {"address": "sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge"}


async def test_single_requests(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url:
        by_name = await post(url, request("bank.balance", BALANCE))
        by_place = await post(url, request("bank.balance", [BALANCE["address"], "sahara"]))
    expected = {"jsonrpc": "2.0", "id": 7, "result": {"amount": "0"}}
    assert by_name == by_place == (200, expected)


@pytest.mark.parametrize("request_id", ["a", "", 0, -1, 2**53, 1.5, None])
async def test_ids_come_back(memory_node: Any, serve: Any, request_id: Any) -> None:
    async with serve(memory_node) as url:
        _, response = await post(url, request("chain.status", id=request_id))
    assert response["id"] == request_id and "result" in response


async def test_notifications_are_not_answered(memory_node: Any, serve: Any) -> None:
    note = {"jsonrpc": "2.0", "method": "chain.status"}
    wrong = {"jsonrpc": "2.0", "method": "bank.balance", "params": {"address": 1}}
    async with serve(memory_node) as url:
        assert await post(url, note) == (204, None)
        assert await post(url, wrong) == (204, None)
        assert await post(url, [note, wrong]) == (204, None)


async def test_batches(memory_node: Any, serve: Any) -> None:
    batch = [
        request("chain.status", id=1),
        {"jsonrpc": "2.0", "method": "chain.status"},
        request("no.such", id=2),
        5,
        request("bank.balance", BALANCE, id=3),
    ]
    async with serve(memory_node) as url:
        status, responses = await post(url, batch)
    assert status == 200
    assert [response["id"] for response in responses] == [1, 2, None, 3]
    assert [response.get("error", {}).get("code") for response in responses] == [
        None,
        -32601,
        -32600,
        None,
    ]


BAD: list[tuple[Any, int, str]] = [
    (b"", -32700, "rpc.parse_error"),
    (b"{", -32700, "rpc.parse_error"),
    (b'{"jsonrpc": "2.0"} x', -32700, "rpc.parse_error"),
    (b"\xff\xfe", -32700, "rpc.parse_error"),
    (b'{"id": "\xff"}', -32700, "rpc.parse_error"),
    (b"[" * 9_000, -32700, "rpc.parse_error"),
    (b"[" * 9_000 + b"]" * 9_000, -32700, "rpc.parse_error"),
    (b'{"id": NaN}', -32700, "rpc.parse_error"),
    ([], -32600, "rpc.invalid_request"),
    (5, -32600, "rpc.invalid_request"),
    ("chain.status", -32600, "rpc.invalid_request"),
    ({}, -32600, "rpc.invalid_request"),
    ({"method": "chain.status", "id": 1}, -32600, "rpc.invalid_request"),
    (request("chain.status", jsonrpc="1.0"), -32600, "rpc.invalid_request"),
    (request("chain.status", jsonrpc=2.0), -32600, "rpc.invalid_request"),
    ({"jsonrpc": "2.0", "method": 5, "id": 1}, -32600, "rpc.invalid_request"),
    (request("chain.status", params="x"), -32600, "rpc.invalid_request"),
    (request("chain.status", id={}), -32600, "rpc.invalid_request"),
    (request("chain.status", id=True), -32600, "rpc.invalid_request"),
    (request("subscribe", {"topic": "blocks"}), -32600, "rpc.invalid_request"),
    ([request("chain.status")] * 9, -32002, "rpc.limit_exceeded"),
    (request("x" * 1_000), -32601, "rpc.method_not_found"),
    (request("rpc.nothing"), -32601, "rpc.method_not_found"),
    (request("chain.status", {"x": 1}), -32602, "rpc.invalid_params"),
    (request("chain.status", [1]), -32602, "rpc.invalid_params"),
    (request("bank.balance"), -32602, "rpc.invalid_params"),
    (request("bank.balance", {}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {**BALANCE, "x": 1}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {"address": 5}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {"address": None}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {"address": "sah1x"}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {**BALANCE, "denom": "UP"}), -32602, "rpc.invalid_params"),
    (request("bank.balance", {**BALANCE, "denom": ""}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": "1"}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": 1.0}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": True}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": -1}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": 2**63}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": 2**200}), -32602, "rpc.invalid_params"),
    (request("chain.header", {"height": 10**6}), -32001, "state.not_found"),
    (request("tx.status", {"tx_id": "00" * 31}), -32602, "rpc.invalid_params"),
    (request("tx.status", {"tx_id": "AB" * 32}), -32602, "rpc.invalid_params"),
    (request("tx.status", {"tx_id": "0x" + "00" * 31}), -32602, "rpc.invalid_params"),
    (request("tx.status", {"tx_id": "00 " * 32}), -32602, "rpc.invalid_params"),
    (request("tx.status", {"tx_id": "00" * 32}), -32001, "state.not_found"),
    (request("tx.submit", {"wire": ""}), -32602, "rpc.invalid_params"),
    (request("tx.submit", {"wire": "c0"}), -32602, "codec.malformed"),
    (request("tx.submit", {"wire": "91" * 2_000}), -32602, "codec.malformed"),
    (request("chain.state_proof"), -32602, "rpc.invalid_params"),
    (request("chain.state_proof", {"table": "no.table"}), -32602, "rpc.invalid_params"),
    (request("chain.state_proof", {"table": "bank.balances"}), -32602, "rpc.invalid_params"),
    (
        request("chain.state_proof", {"table": "bank.supply", "key": ["x"], "raw_key": "00"}),
        -32602,
        "rpc.invalid_params",
    ),
]


@pytest.mark.parametrize(("body", "number", "code"), BAD)
async def test_bad_input_gets_a_clear_error(
    memory_node: Any, serve: Any, body: Any, number: int, code: str
) -> None:
    root = memory_node.status().state_root
    async with serve(memory_node, LIMITS) as url:
        status, response = await post(url, body)
        alive, _ = await post(url, request("chain.status"))
    error = response["error"]
    assert (status, error["code"], error["data"]["code"]) == (200, number, code)
    assert error["message"].endswith(".") or ": " in error["message"]
    assert len(error["message"]) < 600
    assert alive == 200 and memory_node.status().state_root == root


async def test_paths_name_the_wrong_member(memory_node: Any, serve: Any) -> None:
    body = {
        "account": BALANCE["address"],
        "nonce": 1,
        "valid_until_height": 9,
        "fee_max": "10",
        "messages": [
            {"type": "Transfer", "recipient": BALANCE["address"], "amount": "5"},
            {"type": "Transfer", "recipient": BALANCE["address"], "amount": 5},
        ],
    }
    async with serve(memory_node) as url:
        _, wrong = await post(url, request("tx.encode", {"body": body}))
        body["messages"][1]["amount"] = "0"
        _, low = await post(url, request("tx.encode", {"body": body}))
        body["messages"][1] = {"type": "Nothing"}
        _, unknown = await post(url, request("tx.encode", {"body": body}))
    assert wrong["error"]["data"]["path"] == "body.messages[1].amount"
    assert low["error"]["data"]["path"] == "body.messages[1].amount"
    assert unknown["error"]["data"]["path"] == "body.messages[1]"


async def test_bodies_over_the_limit(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node, LIMITS) as url:
        status, response = await post(url, b" " * 30_000)
    assert (status, response["error"]["data"]["code"]) == (413, "rpc.limit_exceeded")


async def test_batches_stop_when_their_answers_are_too_large(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node, LIMITS) as url:
        _, responses = await post(url, [request("chain.genesis", id=i) for i in range(8)])
    codes = [response.get("error", {}).get("code") for response in responses]
    assert codes[0] is None and codes[-1] == -32002


async def test_paths_and_verbs(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url:
        status, answer = await get(url)
        assert (status, "rpc.verb_not_allowed" in answer) == (405, True)
        status, answer = await get(f"{url}/nothing")
        assert (status, "rpc.path_not_found" in answer) == (404, True)
        assert (await post(f"{url}/ws", {}))[0] == 404
        assert (await get(f"{url}/health"))[0] == 200
        assert (await get(f"{url}/ready"))[0] == 200
        memory_node.is_ready = False
        assert (await get(f"{url}/ready"))[0] == 503
        await post(url, request("chain.status"))
        status, metrics = await get(f"{url}/metrics")
    assert status == 200
    assert 'sahara_rpc_requests_total{method="chain.status",outcome="ok"} 1.0' in metrics


def test_every_status_stands_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    told = page[page.index("HTTP statuses other than") :].split("\n\n")[0]
    source = Path(server.__file__).read_text()
    used = {HTTPStatus[name].value for name in re.findall(r"HTTPStatus\.([A-Z_]+)", source)}
    assert len(used) >= 7
    assert {int(number) for number in re.findall(r"\b[2-5]\d\d\b", told)} == used | {200, 400}


async def test_answers_name_no_library(memory_node: Any, serve: Any) -> None:
    """Names and versions of libraries tell an attacker where to begin."""
    async with serve(memory_node) as url, aiohttp.ClientSession() as session:
        for path in ("/", "/health", "/ready", "/metrics", "/none", "/ws"):
            async with session.get(f"{url}{path}") as response:
                assert response.headers["Server"] == "sahara", path
        async with session.ws_connect(f"{url}/ws") as socket:
            assert socket._response.headers["Server"] == "sahara"


async def test_web_pages_cannot_call(memory_node: Any, serve: Any) -> None:
    body = request("chain.status")
    async with serve(memory_node, RpcLimits(hosts=("node",), origins=("http://ours",))) as url:
        assert (await post(url, body, Origin="http://evil.example"))[0] == 403
        assert (await post(url, body, Origin="null"))[0] == 403
        assert (await post(url, body, Origin="http://ours"))[0] == 200
        assert (await post(url, body, Host="evil.example"))[0] == 403
        assert (await post(url, body, Host="evil.example:4180"))[0] == 403
        assert (await post(url, body, Host="localhost"))[0] == 200
        assert (await post(url, body, Host="[::1]:4180"))[0] == 200
        assert (await post(url, body, Host="[::1]"))[0] == 200
        assert (await post(url, body, Host="node:1"))[0] == 200
        assert (await get(f"{url}/metrics", Host="evil.example"))[0] == 403


async def test_ports_in_use(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url:
        with pytest.raises(PortInUse) as refused:
            await RpcServer(memory_node).start("127.0.0.1", int(url.rpartition(":")[2]))
    assert refused.value.code == "rpc.port_in_use"


async def test_a_host_that_is_no_address_is_named(memory_node: Any) -> None:
    with pytest.raises(HostUnusable, match=r"rpc_host is '300\.1\.1\.1'") as refused:
        await RpcServer(memory_node).start("300.1.1.1")
    assert refused.value.code == "rpc.host_unusable"


async def test_connections_beyond_the_limit_are_closed(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node, RpcLimits(connections_max=2)) as url:
        port = int(url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        for _, each in [*held, (reader, writer)]:
            each.close()
            await each.wait_closed()


async def test_who_hangs_up_before_a_request_leaves_nothing_behind(memory_node: Any) -> None:
    server = RpcServer(memory_node)
    port = await server.start()
    listening = server._server
    assert listening is not None
    for said in (b"P", b"POST / HTTP/1.1\r\nHost: a", b"GET /ws HTTP/1.1\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        await until(lambda: listening.silent)
        writer.transport.abort()
        await until(lambda: not listening.silent and not server._fast)
    await server.stop()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        for wait_s in itertools.repeat(0.005):
            if is_so():
                return
            await asyncio.sleep(wait_s)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nX: \x00secret\r\n\r\n",
            400,
            "rpc.invalid_request",
        ),
        (b"secret " * 600 + b"\r\n\r\n", 400, "rpc.invalid_request"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1099511627776\r\n\r\n",
            413,
            "rpc.limit_exceeded",
        ),
        (
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Upgrade: secret\xdb\r\n\r\n",
            400,
            "rpc.invalid_request",
        ),
        (
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: secret\xdb\r\n\r\n",
            400,
            "rpc.invalid_request",
        ),
    ],
    ids=["header", "garbage", "length", "no-websocket", "no-key"],
)
async def test_what_is_no_request_is_refused_at_once_and_not_repeated(
    memory_node: Any,
    serve: Any,
    sent: bytes,
    status: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(memory_node) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(sent)
        async with asyncio.timeout(5):
            said = await reader.read()
        writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["error"]["data"]["code"] == code
    assert b"secret" not in said
    assert len(said) < 600
    assert not caplog.records, "or callers could fill the disk"
