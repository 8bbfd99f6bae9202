"""One session between two nodes on loopback: bytes, messages and round trips a second.

Run as `python -m bench.p2p`. Both ends run in one process on one core, so every figure pays for
sending and for receiving. Two parts of the work are measured in the same rounds: `chacha` seals and
opens the same bytes in frames of the same size with `cryptography`, and does nothing else; `bare`
sends the same frames, not encrypted, through aiohttp's own WebSockets. No session can take less
time than both together: that is the limit, and `of_limit` the distance. What a topic may carry in
the long run (p2p/topics.py) is lifted here, or it would be what is measured. The bars: two fifths
of the limit, 20,000 votes a second, 1,000 questions a second, each asked after the last answer.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from statistics import median
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench.measure import interleave, ratio, report
from p2p import (
    LIMITS,
    Delivery,
    NetworkSettings,
    NodeKey,
    PeerBook,
    Request,
    SocketNetwork,
    Target,
    Topic,
    Verdict,
)
from p2p.addresses import Address
from p2p.wire import FRAME_BYTES_MAX

BULK_MESSAGE_BYTES = 2**20
BULK_MESSAGES = 64
VOTE_BYTES = 200
VOTES = 20_000
VOTES_WAITING_MAX = 1_000
QUESTIONS = 500
BAR_OF_LIMIT = 0.4
BAR_VOTES_S = 20_000
BAR_QUESTIONS_S = 1_000
HOST = "127.0.0.1"


class Sink:
    """Counts what comes, and answers questions."""

    def __init__(self) -> None:
        self.count = 0
        self.came = asyncio.Event()

    def on_message(self, delivery: Delivery) -> None:
        """Count a message."""
        delivery.settle(Verdict.DUPLICATE)
        self.count += 1
        self.came.set()

    def on_request(self, request: Request) -> None:
        """Answer a question."""
        request.answer(request.data)

    def on_peer_up(self, peer_id: bytes) -> None:
        """Tell that the peer is there."""
        self.came.set()

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """Nothing measured here ends a connection."""
        raise AssertionError(f"the connection ended: {code}")


def network(number: int, sink: Sink, **settings: Any) -> SocketNetwork:
    """A node's network with a key made from its number."""
    return SocketNetwork(
        NetworkSettings(**settings),
        NodeKey(bytes([number]) * 32),
        bytes(32),
        sink,
        PeerBook(bytes(32)),
        clock=lambda: time.monotonic_ns() // 10**6,
        chance=random.Random(number),
        randomness=os.urandom,
        is_validator=lambda _: False,
    )


class Pair:
    """Two connected nodes, and what is measured between them."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.one = network(1, Sink(), listen_host=HOST)
        self.other = self.one
        self.data = os.urandom(BULK_MESSAGE_BYTES)

    async def start(self) -> None:
        """Connect the two."""
        await self.one.start()
        assert self.one.port is not None
        target = Target(self.one.node_id, Address(HOST, self.one.port))
        self.other = network(2, self.sink, persistent=(target,))
        await self.other.start()
        await self.sink.came.wait()

    async def _pour(self, topic: Topic, data: bytes, messages: int, waiting_max: int) -> None:
        """Send messages, never more than so many ahead of what has come."""
        self.sink.count = sent = 0
        while self.sink.count < messages:
            while sent < messages and sent - self.sink.count < waiting_max:
                assert self.one.send(self.other.node_id, topic, data)
                sent += 1
            self.sink.came.clear()
            await self.sink.came.wait()

    async def bulk(self) -> None:
        """Send long messages."""
        await self._pour(Topic.BLOCKS, self.data, BULK_MESSAGES, 8)

    async def votes(self) -> None:
        """Send short messages, many at a time."""
        await self._pour(Topic.CONSENSUS, self.data[:VOTE_BYTES], VOTES, VOTES_WAITING_MAX)

    async def questions(self) -> None:
        """Ask and wait for the answer, one after the other."""
        for _ in range(QUESTIONS):
            await self.one.request(self.other.node_id, Topic.SYNC, b"?", 5_000)


class Bare:
    """aiohttp's WebSockets with nothing on top."""

    def __init__(self) -> None:
        self.frame = os.urandom(FRAME_BYTES_MAX)
        self.server = web.Server(self._accept, access_log=None)
        self.client = aiohttp.ClientSession()
        self.accepted: asyncio.Future[web.WebSocketResponse] = (
            asyncio.get_running_loop().create_future()
        )

    async def _accept(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=2 * FRAME_BYTES_MAX)
        await socket.prepare(request)
        self.accepted.set_result(socket)
        await socket.receive()
        return socket

    async def start(self) -> None:
        """Connect."""
        listener = await asyncio.get_running_loop().create_server(self.server, HOST, 0)
        port = listener.sockets[0].getsockname()[1]
        self.socket = await self.client.ws_connect(f"http://{HOST}:{port}/")
        self.sender = await self.accepted

    async def bulk(self) -> None:
        """Send the same bytes in frames of the same size."""
        frames = BULK_MESSAGES * BULK_MESSAGE_BYTES // FRAME_BYTES_MAX

        async def send() -> None:
            for _ in range(frames):
                await self.sender.send_bytes(self.frame)

        sending = asyncio.create_task(send())
        for _ in range(frames):
            await self.socket.receive_bytes()
        await sending


def chacha() -> None:
    """Seal and open the same bytes in frames of the same size."""
    cipher, frame = ChaCha20Poly1305(bytes(32)), bytes(FRAME_BYTES_MAX)
    for number in range(BULK_MESSAGES * BULK_MESSAGE_BYTES // FRAME_BYTES_MAX):
        nonce = number.to_bytes(12, "little")
        assert len(cipher.decrypt(nonce, cipher.encrypt(nonce, frame, None), None))


def main() -> None:
    """Measure and report."""
    for topic in (Topic.BLOCKS, Topic.CONSENSUS, Topic.SYNC):
        LIMITS[topic] = replace(LIMITS[topic], rate_bytes_s=2**34, rate_messages_s=2**30)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)

    async def start() -> tuple[Pair, Bare]:
        pair, bare = Pair(), Bare()
        await pair.start()
        await bare.start()
        return pair, bare

    pair, bare = loop.run_until_complete(start())

    def runs(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        return lambda: loop.run_until_complete(work())

    seconds = interleave(
        {
            "chacha": chacha,
            "bare": runs(bare.bulk),
            "bulk": runs(pair.bulk),
            "votes": runs(pair.votes),
            "questions": runs(pair.questions),
        }
    )
    total = BULK_MESSAGES * BULK_MESSAGE_BYTES
    votes_s = round(VOTES / median(seconds["votes"]))
    questions_s = round(QUESTIONS / median(seconds["questions"]))
    bulk, bare_bulk, sealed = (seconds[name] for name in ("bulk", "bare", "chacha"))
    of_limit = ratio([sum(both) for both in zip(bare_bulk, sealed, strict=True)], bulk)
    figures = {
        "mb_per_s": round(total / median(bulk) / 1e6),
        "mb_per_s_chacha": round(total / median(sealed) / 1e6),
        "mb_per_s_bare": round(total / median(bare_bulk) / 1e6),
        "of_limit": of_limit,
        "of_limit_bar": BAR_OF_LIMIT,
        "frames_per_s": round(total / FRAME_BYTES_MAX / median(bulk)),
        "votes_per_s": votes_s,
        "votes_per_s_bar": BAR_VOTES_S,
        "questions_per_s": questions_s,
        "questions_per_s_bar": BAR_QUESTIONS_S,
    }
    met = of_limit >= BAR_OF_LIMIT and votes_s >= BAR_VOTES_S and questions_s >= BAR_QUESTIONS_S
    report("p2p", figures, met)


if __name__ == "__main__":
    main()
