"""The network in memory: the same face, no sockets, no tasks; for tests and simulations.

A `Hub` joins the nodes of one process. Messages lie in one queue, in the order they were sent,
until `run` hands them over; `link` decides of each whether it arrives. Nothing is lost to limits:
whoever tests those uses a real `Connection`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from p2p.announce import Announce, Announcements
from p2p.counters import Counters, count
from p2p.errors import LocalError, NotConnected, RequestFailed
from p2p.interface import INVALID, Delivery, Handler, PeerInfo, Request
from p2p.scores import Scores, Verdict
from p2p.topics import LIMITS, Topic

Link = Callable[[bytes, bytes, Topic], bool]
"""Whether what one node sends to another on a topic arrives."""


class Hub:
    """Joins nodes in memory; every pair is connected while both are started."""

    def __init__(self, link: Link = lambda sender, receiver, topic: True) -> None:
        self.link = link
        self.now_ms = 0
        self.nodes: dict[bytes, MemoryNetwork] = {}
        self._queue: deque[Callable[[], None]] = deque()

    def post(self, sender: bytes, receiver: bytes, topic: Topic, act: Callable[[], None]) -> None:
        """Queue what happens at the receiver when a message arrives."""
        if self.link(sender, receiver, topic):
            self._queue.append(act)

    def run(self, messages_max: int = 1_000_000) -> int:
        """Hand over what lies in the queue, and what that brings; return how much it was."""
        done = 0
        while self._queue:
            assert done < messages_max, "the nodes never come to rest"
            self._queue.popleft()()
            done += 1
        return done


class MemoryNetwork:
    """A `Network` that lives in a hub."""

    def __init__(
        self,
        hub: Hub,
        node_id: bytes,
        genesis_hash: bytes,
        handler: Handler,
        is_validator: Callable[[bytes], bool],
    ) -> None:
        self.counters = Counters()
        self.scores = Scores()
        self._hub = hub
        self._node_id = node_id
        self._handler = handler
        self._announcements = Announcements(genesis_hash, is_validator)
        self._waiting: set[asyncio.Future[bytes]] = set()
        self._banned: set[bytes] = set()

    @property
    def node_id(self) -> bytes:
        """This node's own name."""
        return self._node_id

    async def start(self) -> None:
        """Join the hub."""
        others = list(self._hub.nodes.values())
        self._hub.nodes[self._node_id] = self
        for other in others:
            other._handler.on_peer_up(self._node_id)
            self._handler.on_peer_up(other._node_id)
            for one, another in ((self, other), (other, self)):
                for record in one._announcements.records():
                    another._hear(one._node_id, record)

    async def stop(self) -> None:
        """Leave the hub; what was asked fails."""
        del self._hub.nodes[self._node_id]
        for other in self._hub.nodes.values():
            other._handler.on_peer_down(self._node_id, "p2p.stopped")
            self._handler.on_peer_down(other._node_id, "p2p.stopped")
        for future in self._waiting:
            if not future.done():
                future.set_exception(RequestFailed("This node has stopped."))

    def send(self, peer_id: bytes, topic: Topic, data: bytes) -> bool:
        """Queue a message for one peer; tell whether it is connected."""
        other = self._peer(peer_id)
        self._check(topic, data)
        if other is None:
            return False
        self._count(topic, data)
        me = self._node_id

        def arrive() -> None:
            if other._peer(me) is self:
                settle = other._settler(me, topic, data)
                other._handler.on_message(Delivery(me, topic, data, settle))

        self._hub.post(me, peer_id, topic, arrive)
        return True

    def broadcast(self, topic: Topic, data: bytes, besides: Iterable[bytes] = ()) -> int:
        """Queue a message for every peer but those; return for how many."""
        left_out = {self._node_id, *besides}
        return sum(
            self.send(peer_id, topic, data)
            for peer_id in self._hub.nodes
            if peer_id not in left_out
        )

    async def request(self, peer_id: bytes, topic: Topic, data: bytes, timeout_ms: int) -> bytes:
        """Ask one peer and return its answer; raises NotConnected or RequestFailed."""
        other = self._peer(peer_id)
        self._check(topic, data)
        if other is None:
            raise NotConnected(f"Node {peer_id.hex()[:16]} is not connected; ask another peer.")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        me = self._node_id
        self._count(topic, data)

        def answer(data: bytes) -> None:
            other._check(topic, data)
            other._count(topic, data)
            other._hub.post(peer_id, me, topic, lambda: succeed(data))

        def succeed(data: bytes) -> None:
            if not future.done():
                future.set_result(data)

        def fail(code: str) -> None:
            error = RequestFailed(f"The peer did not answer ({code}); ask another.", code)
            if not future.done():
                future.set_exception(error)

        def refuse(code: str) -> None:
            other._hub.post(peer_id, me, topic, lambda: fail(code))

        def arrive() -> None:
            settle = other._settler(me, topic, data)
            other._handler.on_request(Request(me, topic, data, settle, answer, refuse))

        self._hub.post(me, peer_id, topic, arrive)
        self._waiting.add(future)
        timer = asyncio.get_running_loop().call_later(timeout_ms / 1_000, fail, "p2p.timeout")
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def judge(self, peer_id: bytes, verdict: Verdict) -> None:
        """Say what a peer's message or answer was worth."""
        count(self.counters.verdicts, verdict.name.lower())
        if self.scores.judge(peer_id, verdict, self._hub.now_ms):
            self._banned.add(peer_id)
            self._handler.on_peer_down(peer_id, INVALID)

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now."""
        return [
            PeerInfo(
                peer_id,
                self.validator_of(peer_id),
                "memory",
                False,
                self.scores.score(peer_id, self._hub.now_ms),
                0,
                0,
            )
            for peer_id in self._hub.nodes
            if self._peer(peer_id) is not None
        ]

    def announce(self, record: Announce) -> None:
        """Tell everybody which node a validator runs; raises LocalError."""
        if self._announcements.receive(record, self._hub.now_ms) is not Verdict.USEFUL:
            raise LocalError("The announcement was not taken; its key must be a validator's.")
        self._pass_on(record)

    def node_of(self, validator_key: bytes) -> bytes | None:
        """Return the node of a validator, if it has told."""
        return self._announcements.node_of(validator_key)

    def validator_of(self, node_id: bytes) -> bytes | None:
        """Return the validator of a node, if it has one."""
        return self._announcements.validator_of(node_id)

    def is_exempt(self, peer_id: bytes) -> bool:
        """Tell whether a peer is a validator's, and so no stranger."""
        return self.validator_of(peer_id) is not None

    # --- inside -----------------------------------------------------------------------------------

    def _peer(self, peer_id: bytes) -> "MemoryNetwork | None":
        """The other node, when both are started and neither has banned the other."""
        other = self._hub.nodes.get(peer_id)
        if other is None or other is self or self._node_id not in self._hub.nodes:
            return None
        is_cut = peer_id in self._banned or self._node_id in other._banned
        return None if is_cut else other

    def _settler(self, peer_id: bytes, topic: Topic, data: bytes) -> Callable[[Verdict], None]:
        self.counters.received_bytes[topic] += len(data)
        self.counters.received_messages[topic] += 1

        return lambda verdict: self.judge(peer_id, verdict)

    def _count(self, topic: Topic, data: bytes) -> None:
        self.counters.sent_bytes[topic] += len(data)
        self.counters.sent_messages[topic] += 1

    def _check(self, topic: Topic, data: bytes) -> None:
        limit = LIMITS[topic].message_bytes_max
        if len(data) > limit:
            raise LocalError(f"A {topic.name} message of {len(data)} bytes; at most {limit}.")

    def _hear(self, sender: bytes, record: Announce) -> None:
        def arrive() -> None:
            if self._announcements.receive(record, self._hub.now_ms) is Verdict.USEFUL:
                self._pass_on(record)

        self._hub.post(sender, self._node_id, Topic.PEERS, arrive)

    def _pass_on(self, record: Announce) -> None:
        for peer_id in self._hub.nodes:
            other = self._peer(peer_id)
            if other is not None:
                other._hear(self._node_id, record)
