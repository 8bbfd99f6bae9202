"""What the network's tests share: two connections joined in memory, and real nodes on loopback."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from p2p.addresses import Address, Target
from p2p.connection import Connection, Event
from p2p.counters import Counters
from p2p.handshake import Established, NodeKey
from p2p.interface import Delivery, Request
from p2p.limits import Pool
from p2p.network import SocketNetwork
from p2p.peerbook import PeerBook
from p2p.scores import Verdict
from p2p.settings import NetworkSettings

GENESIS = b"\x07" * 32
DEADLINE_S = 10.0


class Pair:
    """Two ends of one connection and a clock; what one sends, `run` hands to the other."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        keys = (b"\x01" * 32, b"\x02" * 32)
        self.pools = (Pool(), Pool())
        self.counters = (Counters(), Counters())
        ids = (b"A" * 32, b"B" * 32)
        self.ends = tuple(
            Connection(
                Established(ids[1 - at], keys[at], keys[1 - at], bytes(32)),
                self.pools[at],
                self.counters[at],
                self.now_ms,
            )
            for at in range(2)
        )

    def run(self, *, frames_max: int = 100_000) -> None:
        """Carry frames both ways until neither side has one."""
        for _ in range(frames_max):
            moved = False
            for sender, receiver in (self.ends, reversed(self.ends)):
                data = sender.data_to_send(self.now_ms)
                if data is not None:
                    receiver.receive_data(data, self.now_ms)
                    moved = True
            if not moved:
                return
        raise AssertionError("the two ends never come to rest")

    def events(self, end: int) -> list[Event]:
        """Take everything that one end has to tell."""
        found: list[Event] = []
        while (event := self.ends[end].next_event()) is not None:
            found.append(event)
        return found

    def wait(self, duration_ms: int) -> None:
        """Let time pass on both ends, as if their links were cut."""
        self.now_ms += duration_ms
        for end in self.ends:
            end.poll(self.now_ms)


@pytest.fixture
def make_pair() -> Callable[[], Pair]:
    """Call it for two fresh ends."""
    return Pair


@pytest.fixture
def pair() -> Pair:
    """Two fresh ends."""
    return Pair()


class Node:
    """A node on loopback that keeps what comes, judges it USEFUL, and answers by turning it round.

    `hold` keeps messages unsettled; `verdict` is what it says of each.
    """

    def __init__(self, number: int, validators: set[bytes], **settings: Any) -> None:
        self.key = NodeKey(bytes([number]) * 32)
        self.host = f"127.0.0.{number}"
        self.verdict = Verdict.USEFUL
        self.hold = False
        self.held: list[Delivery] = []
        self.messages: list[tuple[bytes, int, bytes]] = []
        self.ups: list[bytes] = []
        self.downs: list[tuple[bytes, str]] = []
        self.settings = {"listen_host": self.host, "dial_from": self.host, **settings}
        self.settings.setdefault("allow_private_hosts", True)
        self.validators = validators
        self.book = PeerBook(bytes([number]) * 32)
        self.network: SocketNetwork = self.fresh()

    def fresh(self, **settings: Any) -> SocketNetwork:
        """A network that was not started yet, with the same key and book."""
        self.settings |= settings
        self.network = SocketNetwork(
            NetworkSettings(**self.settings),
            self.key,
            GENESIS,
            self,
            self.book,
            clock=lambda: time.monotonic_ns() // 10**6,
            chance=random.Random(self.host),
            randomness=os.urandom,
            is_validator=self.validators.__contains__,
        )
        return self.network

    @property
    def id(self) -> bytes:
        return self.key.node_id

    @property
    def target(self) -> Target:
        assert self.network.port is not None
        return Target(self.id, Address(self.host, self.network.port))

    @property
    def peers(self) -> set[bytes]:
        return {peer.peer_id for peer in self.network.peers()}

    def on_message(self, delivery: Delivery) -> None:
        self.messages.append((delivery.peer_id, delivery.topic, delivery.data))
        if self.hold:
            self.held.append(delivery)
        else:
            delivery.settle(self.verdict)

    def on_request(self, request: Request) -> None:
        if request.data == b"refuse":
            request.refuse("test.refused")
        elif request.data != b"ignore":
            request.answer(request.data[::-1])

    def on_peer_up(self, peer_id: bytes) -> None:
        self.ups.append(peer_id)

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        self.downs.append((peer_id, code))


async def eventually(is_so: Callable[[], object], seconds: float = DEADLINE_S) -> None:
    """Wait until something is so, and fail when it never is."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.01)


class Nodes:
    """Nodes 1, 2, ... of one test, at 127.0.0.1, 127.0.0.2, ..."""

    def __init__(self) -> None:
        self.all: list[Node] = []
        self.validators: set[bytes] = set()

    async def start(self, knows: list[Node] | None = None, **settings: Any) -> Node:
        """Start another node, with persistent peers."""
        targets = tuple(node.target for node in knows or [])
        node = Node(len(self.all) + 1, self.validators, persistent=targets, **settings)
        self.all.append(node)
        await node.network.start()
        return node

    async def pair(self, **settings: Any) -> tuple[Node, Node]:
        """Two nodes, connected; the second has dialled the first."""
        one = await self.start(**settings)
        other = await self.start([one])
        await eventually(lambda: other.id in one.peers and one.id in other.peers)
        return one, other


@pytest.fixture
def make_nodes() -> type[Nodes]:
    """The class, for tests that bring their own event loop."""
    return Nodes


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Start real nodes with it; they are stopped afterwards, and a bug in one fails the test."""
    made = Nodes()
    yield made
    await asyncio.gather(*[node.network.stop() for node in made.all])


@pytest.fixture
def until() -> Callable[..., Any]:
    """Await it with a condition that must come to be."""
    return eventually
