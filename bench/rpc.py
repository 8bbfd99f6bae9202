"""JSON-RPC reads per second over loopback with 16 connections, against a bare aiohttp handler.

Run as `python -m bench.rpc`. Every connection asks for a balance, waits for the answer, and asks
again. Server and load run in a process each. Two limits, met in the same rounds: an aiohttp handler
that returns constant bytes, and a protocol that answers any bytes with constant ones.
"""

import asyncio
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from statistics import median
from types import SimpleNamespace
from typing import Any

import uvloop
from aiohttp import web

from bench.measure import ROUNDS, ratio, report
from node.addresses import format_address
from node.rpc.server import RpcServer
from state import execute
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.all import MODULES
from state.params import Params
from state.tables import Base

CONNECTIONS = 16
SECONDS = 1.0
BAR = 15_000
ACCOUNTS = 1_000
HOST = "127.0.0.1"
_GOOD = b"HTTP/1.1 200 "
_BODY = b'{"jsonrpc":"2.0","id":1,"result":{"amount":"1000000000000"}}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY


class _Nothing:
    """A database that holds nothing: all rows lie in the genesis layer."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class _Backend(SimpleNamespace):
    """As much of a node as reads need: genesis and its state."""

    def __init__(self) -> None:
        addresses = [number.to_bytes(20, "big") for number in range(1, ACCOUNTS + 1)]
        funds = [Allocation(address, 10**12) for address in addresses]
        validator = GenesisValidator(bytes(32), addresses[0], 10**9)
        genesis = Genesis("bench", 0, Params(), tuple(funds), (validator,))
        state = execute.apply_genesis(Base(_Nothing()), genesis)
        context = execute.query_context(state, 0, 0, genesis.hash)
        queries = {query.name: query.function for module in MODULES for query in module.queries}
        super().__init__(genesis=genesis, context=context, queries=queries)

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        return self.queries[name](self.context, **arguments)

    async def blocks(self) -> Any:
        await asyncio.Event().wait()
        yield


class Caller(asyncio.Protocol):
    """One kept-alive connection that asks, waits for the whole answer, and asks again."""

    def __init__(self, requests: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._requests = requests
        self._loop = loop
        self._held = b""
        self._length = 0
        self._at = 0
        self.answers = 0
        self.until = 0.0
        self.done: asyncio.Future[None] = loop.create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def start(self, seconds: float) -> None:
        """Ask for so many seconds."""
        self.answers = 0
        self.until = self._loop.time() + seconds
        self.done = self._loop.create_future()
        self._ask()

    def _ask(self) -> None:
        self.transport.write(self._requests[self._at % len(self._requests)])
        self._at += 1

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and ask again; all answers of a contender are equally long."""
        self._held = self._held + data if self._held else data
        if len(self._held) != self._length:
            self._length = _answer_length(self._held)
            if len(self._held) < self._length:
                return
        assert b"error" not in self._held and self._held.startswith(_GOOD), self._held
        self._held = b""
        self.answers += 1
        if self._loop.time() < self.until:
            self._ask()
        else:
            self.done.set_result(None)


def _answer_length(held: bytes) -> int:
    """Return how long the answer is that begins with these bytes."""
    head, separator, _ = held.partition(b"\r\n\r\n")
    if not separator:
        return len(held) + 1
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return len(head) + len(separator) + size


def _requests() -> list[bytes]:
    found = []
    for number in range(1, 65):
        body = (
            '{"jsonrpc":"2.0","id":1,"method":"bank.balance","params":{"address":"'
            f'{format_address(number.to_bytes(20, "big"))}"}}}}'
        )
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append((head + body).encode())
    return found


async def _serve_ours(port: Connection) -> None:
    server = RpcServer(_Backend())
    port.send(await server.start(HOST, 0))
    await server.wait()


async def _serve_bare(port: Connection) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=_BODY)

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(web.Server(answer, access_log=None), HOST, 0)
    port.send(listener.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


class _Bare(asyncio.Protocol):
    """What a socket, an event loop and Python cost by themselves: constant bytes for any bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(_ANSWER)


async def _serve_socket(port: Connection) -> None:
    listener = await asyncio.get_running_loop().create_server(_Bare, HOST, 0)
    port.send(listener.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _run_socket(port: Connection) -> None:
    uvloop.run(_serve_socket(port))


def _run_ours(port: Connection) -> None:
    uvloop.run(_serve_ours(port))


def _run_bare(port: Connection) -> None:
    uvloop.run(_serve_bare(port))


async def _load(ports: dict[str, int]) -> dict[str, list[float]]:
    loop = asyncio.get_running_loop()
    requests = _requests()
    callers: dict[str, list[Any]] = {}
    for name, port in ports.items():
        made = [
            await loop.create_connection(lambda: Caller(requests, loop), HOST, port)
            for _ in range(CONNECTIONS)
        ]
        callers[name] = [protocol for _, protocol in made]
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for counted in range(-1, ROUNDS):
        for name, group in callers.items():
            started = loop.time()
            for caller in group:
                caller.start(SECONDS)
            await asyncio.gather(*[caller.done for caller in group])
            if counted >= 0:
                answers = sum(caller.answers for caller in group)
                rates[name].append(answers / (loop.time() - started))
    return rates


_SERVERS = (("ours", _run_ours), ("bare", _run_bare), ("socket", _run_socket))


def main() -> None:
    """Measure and report."""
    spawn = multiprocessing.get_context("spawn")
    ports, processes = {}, []
    for name, run in _SERVERS:
        here, there = spawn.Pipe()
        process = spawn.Process(target=run, args=(there,), daemon=True)
        process.start()
        processes.append(process)
        ports[name] = here.recv()
    rates = uvloop.run(_load(ports))
    for process in processes:
        process.terminate()
        process.join()
    reads = round(median(rates["ours"]))
    figures = {
        "connections": CONNECTIONS,
        "reads_per_second": reads,
        "reads_bar": BAR,
        "bare_aiohttp_per_second": round(median(rates["bare"])),
        "ratio_to_bare_aiohttp": ratio(rates["ours"], rates["bare"]),
        "bare_socket_per_second": round(median(rates["socket"])),
        "ratio_to_bare_socket": ratio(rates["ours"], rates["socket"]),
    }
    report("rpc", figures, reads >= BAR)


if __name__ == "__main__":
    main()
