"""HTTP: whatever comes over a connection, to the RPC server or to the port of the peers.

The bytes reach the real protocols over a transport in memory, cut in pieces by their first byte.
Nothing may reach the event loop's exception handler, for it ends the node, and nothing but what
callers did wrong may be logged as an error; a connection that is gone leaves nothing behind; and
the lean path says word for word what aiohttp's path says.
"""

import atexit
import random
from collections.abc import Iterator
from typing import Any, Final

from fuzz.mutation import mutated
from fuzz.rpc import METHODS
from fuzz.wires import Loop, Wire, faults_of
from node.rpc.limits import RpcLimits
from node.rpc.server import RpcServer
from p2p.counters import Counters
from p2p.gate import Gate
from p2p.handshake import Initiator, NodeKey
from p2p.transport import Transport, _Doorman
from tests.node.conftest import MemoryNode

GENESIS: Final = b"\x07" * 32
PIECES: Final = (0, 1, 7, 64, 500)
LINGER_S: Final = 0.5
"""Longer than the server waits for whoever does not close."""
BODY: Final = b'{"jsonrpc":"2.0","id":1,"method":"chain.genesis"}'
PLAIN: Final = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
UPGRADE: Final = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
DEFLATE: Final = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"


class Servers:
    """An RPC server and a listener for peers, in a loop that reports what goes wrong."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.broken: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.broken.append(context))
        self.faults = faults_of("node.rpc.http", "p2p.http", "aiohttp")
        self.now_ms = 0
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        node = MemoryNode()
        node.automatic = False
        self.node = node
        self.rpc = RpcServer(node, RpcLimits(body_bytes_max=2**14, close_seconds=0.01))
        await self.rpc.start()
        assert self.rpc._server is not None
        self.rpc._server._options["lingering_time"] = 0.0  # who is gone is listened to no longer
        key, counters = NodeKey(b"\x01" * 32), Counters()
        self.peers = Transport(
            key, GENESIS, Gate(4), self._clock, counters, lambda n: b"\x02" * n, self._welcome
        )
        await self.peers.start("127.0.0.1", 0, None)

    def stop(self) -> None:
        """Close both listeners and the loop."""
        self.loop.is_real = True
        self.loop.run_until_complete(self.rpc.stop())
        self.loop.run_until_complete(self.peers.stop())
        self.loop.close()

    def _clock(self) -> int:
        self.now_ms += 10_000
        return self.now_ms

    async def _welcome(self, *_: Any) -> None:
        raise AssertionError("nobody who has no key gets past the handshake")

    def say(self, protocol: Any, pieces: list[bytes]) -> bytes:
        """Hand pieces to a protocol, end the connection, and return what was answered."""
        return self.loop.run_until_complete(self._say(protocol, pieces))

    async def _say(self, protocol: Any, pieces: list[bytes]) -> bytes:
        wire = Wire()
        wire.protocol = protocol()
        wire.protocol.connection_made(wire)
        await self.loop.turn()  # loops read only after they have said that a connection is there
        for piece in pieces:
            if wire.is_closing():
                break
            wire.protocol.data_received(piece)
            await self.loop.turn()
        answer = bytes(wire.said)
        wire.close()
        wire.protocol.connection_lost(None)
        await self.loop.turn()
        if self._is_served:
            await self.loop.wait(LINGER_S)
        self.node._pending.clear()
        return answer

    @property
    def _is_served(self) -> bool:
        assert self.rpc._server is not None and self.peers._keeper is not None
        return bool(self.rpc._server.connections or self.peers._keeper.connections)

    def peers_protocol(self) -> Any:
        """Return the protocol that a new connection of a peer meets."""
        assert self.peers._keeper is not None
        return _Doorman(self.peers._keeper)


SERVERS: Final = Servers()
atexit.register(SERVERS.stop)


def seeds() -> list[bytes]:
    """Requests of every method and path, upgrades, and frames behind them."""
    bodies = [BODY.replace(b"chain.genesis", method.name.encode()) for method in METHODS]
    plain = [PLAIN % len(body) + body for body in (*bodies, BODY.replace(b'"id":1,', b""))]
    paths = (b"/", b"/ws", b"/health", b"/ready", b"/metrics", b"/x")
    got = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths]
    chunked = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    text = b"\x81\xb1" + bytes(4) + BODY
    hello = Initiator(NodeKey(b"\x03" * 32), GENESIS, b"\x04" * 32).hello
    sockets = [
        *(UPGRADE % b"/ws" + b"\r\n" + text, UPGRADE % b"/ws" + DEFLATE + b"\xc1" + text[1:]),
        UPGRADE % b"/p2p" + b"\r\n\x82\xfe" + len(hello).to_bytes(2, "big") + bytes(4) + hello,
        UPGRADE % b"/p2p" + b"Origin: http://x.example\r\n\r\n",
    ]
    others = [
        chunked + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
        plain[0].replace(b"Host", b"Expect: 100-continue\r\nHost"),
        plain[0].replace(b"localhost", b"evil.example"),
        plain[0].replace(b"Host", b"Accept: */*\r\nConnection: keep-alive\r\nHost") + plain[1],
    ]
    return [bytes([at % 5]) + one for at, one in enumerate([*plain, *got, *sockets, *others])]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change a line, a header's value, or bytes."""
    head, found, body = data[1:].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = chance.randrange(len(lines))
    match chance.randrange(8):
        case 0:
            lines.insert(at, chance.choice(lines))
        case 1:
            name, colon, value = lines[at].partition(b":")
            lines[at] = name + colon + mutated(value, 1_000, chance)
        case 2:
            lines[at] = mutated(lines[at], 1_000, chance)
        case 3:
            lines.insert(1, chance.choice(_HEADERS))
        case 4 | 5:
            body = mutated(body, size_max, chance)
            if found and lines[0].startswith(b"POST"):
                lines = [one for one in lines if not one.lower().startswith(b"content-length")]
                lines.insert(2, b"Content-Length: %d" % len(body))
        case 6:
            return data[:1] + mutated(data[1:], size_max - 1, chance)
        case _:
            return bytes([chance.randrange(256)]) + data[1:]
    return data[:1] + (b"\r\n".join(lines) + found + body)[: size_max - 1]


_HEADERS: Final = (
    *(b"Origin: null", b"Host: evil.example", b"Content-Length: 5", b"Content-Length: -1"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Encoding: deflate"),
    *(b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c", b"Expect: 100-continue"),
    *(b"X: \x00", b"X: \xff\xfe", b" folded: yes", b"Cookie: a=b; a", b"Range: bytes=0-"),
)


def check(data: bytes) -> None:
    """Say it to both servers, and on loopback by both paths."""
    size = PIECES[data[0] % len(PIECES)] if data else 0
    pieces = list(_pieces(data[1:], size))
    lean = SERVERS.say(SERVERS.rpc._protocol, pieces)
    full = SERVERS.say(SERVERS.rpc._server, pieces)
    _nothing_broke()
    assert _answers(lean) == _answers(full)
    SERVERS.say(SERVERS.peers_protocol, pieces)
    _nothing_broke()
    _nothing_is_left()


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    step = size or max(1, len(data))
    yield from (data[at : at + step] for at in range(0, min(len(data), 200 * step), step))


def _answers(said: bytes) -> list[tuple[bytes, bytes]]:
    """The status line and the body of every answer; the words of the 2xx lines may differ."""
    found = []
    while said.startswith(b"HTTP/1.") and b"\r\n\r\n" in said:
        head, _, rest = said.partition(b"\r\n\r\n")
        lengths = [
            line.partition(b":")[2]
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ]
        length = int(lengths[0]) if lengths else 0
        found.append((head.split(b" ")[1], _steady(rest[:length])))
        said = rest[length:]
    return found


def _steady(body: bytes) -> bytes:
    """An answer without what differs from one moment to the next."""
    return b"" if b"sahara_rpc" in body or b"memory_bytes" in body else body


def _nothing_broke() -> None:
    broken, faults = SERVERS.broken[:], SERVERS.faults.found[:]
    SERVERS.broken.clear()
    SERVERS.faults.found.clear()
    assert not broken, broken
    assert not faults, faults[0]


def _nothing_is_left() -> None:
    rpc, peers = SERVERS.rpc, SERVERS.peers
    assert rpc._server is not None and not rpc._server.connections
    assert not rpc._fast and not rpc._server.silent, "a connection that is gone is forgotten"
    assert not rpc._hub.subscribers
    assert peers._keeper is not None and not peers._keeper.places
    assert not peers._gate._counted and not peers._gate._pending
