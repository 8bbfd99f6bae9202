"""The network of one node over aiohttp: sessions come and go, messages flow, peers are judged.

Everything that decides is sans-I/O and elsewhere; this file joins it. It owns the tasks: one for
each connection and each attempt to dial, and one that looks after peers a few times a second. A bug
in any of them surfaces in `failed` and again in `stop`: nothing dies unheard.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from p2p.addresses import PeerAddress, group_of, is_tellable
from p2p.announce import Announce, Announcements
from p2p.connection import Connection, Received, Requested
from p2p.counters import Counters, count
from p2p.dialler import Dialler
from p2p.errors import Breach, LocalError, NotConnected, QueueFull, RemoteError, RequestFailed
from p2p.exchange import QUESTION, Exchange
from p2p.gate import Gate, Place
from p2p.handshake import Established, NodeKey
from p2p.interface import INVALID, Delivery, Handler, PeerInfo, Request
from p2p.limits import (
    STRANGERS_HELD_BYTES_MAX,
    STRANGERS_POOL_BYTES,
    STRANGERS_QUEUE_POOL_BYTES,
    Pool,
)
from p2p.peerbook import ANCHORS_MAX, PeerBook
from p2p.roster import Roster, Seat
from p2p.scores import Scores, Verdict
from p2p.session import STOPPED, Clock, Line, Session
from p2p.settings import NetworkSettings
from p2p.topics import Topic
from p2p.transport import Transport

UPKEEP_S: Final = 0.1
HOARDS_S: Final = 0.025
"""How often it is looked what strangers hold: a crowd brings a hundred megabytes in 0.3 s."""
PRUNE_EVERY: Final = 100
"""Rounds of upkeep between looking which announcements still have a place."""
EXPECT_EVERY: Final = 10
"""Rounds of upkeep between telling the gate which hosts validators announce."""
ASK_TIMEOUT_MS: Final = 10_000
STOP_S: Final = 1.0
BANNED: Final = "p2p.banned"
HOARDING: Final = "p2p.hoarding"


class SocketNetwork:
    """A `Network` over WebSockets.

    `clock` returns monotonic milliseconds, `randomness(n)` n random bytes for keys, `chance` draws
    for back-off and choices. `is_validator` tells which validator keys are of the present or next
    epochs. `book` is the caller's to load, and to store when it likes, `book.to_bytes()`.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        key: NodeKey,
        genesis_hash: bytes,
        handler: Handler,
        book: PeerBook,
        *,
        clock: Clock,
        chance: random.Random,
        randomness: Callable[[int], bytes],
        is_validator: Callable[[bytes], bool],
    ) -> None:
        self.book = book
        self.counters = Counters()
        self.scores = Scores()
        self.port: int | None = None
        self._settings = settings
        self._trusted = settings.trusted
        self._key = key
        self._handler = handler
        self._clock = clock
        self._pools = {True: Pool(), False: Pool(STRANGERS_POOL_BYTES)}
        """For peers that are exempt from limits of seats, and for strangers."""
        self._queue_pools = {True: None, False: Pool(STRANGERS_QUEUE_POOL_BYTES)}
        self._announcements = Announcements(genesis_hash, is_validator)
        self._exchange = Exchange(
            book,
            self._announcements,
            chance,
            settings.private.__contains__,
            allow_private_hosts=settings.allow_private_hosts,
        )
        self._roster = Roster(key.node_id, settings.inbound_max, settings.outbound_max)
        self._dialler = Dialler(chance, book, settings.outbound_max)
        self._gate = Gate(settings.per_address_max, settings.trusted_hosts)
        self._transport = Transport(
            key, genesis_hash, self._gate, clock, self.counters, randomness, self._welcome
        )
        self._sessions: dict[bytes, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._is_stopping = False

    @property
    def node_id(self) -> bytes:
        """This node's own name."""
        return self._key.node_id

    @property
    def held_bytes(self) -> int:
        """Bytes of peers' messages that are held now."""
        return sum(session.connection.held_bytes for session in self._sessions.values())

    # --- the node's side (see Network) ------------------------------------------------------------

    async def start(self) -> None:
        """Listen and dial; raises OSError when the listening address is taken."""
        self._failure = asyncio.get_running_loop().create_future()
        one = self._settings
        self.port = await self._transport.start(one.listen_host, one.listen_port, one.dial_from)
        self._spawn(self._look_after_peers())
        self._spawn(self._look_after_hoards())

    async def failed(self) -> None:
        """Wait for a bug in one of the network's tasks, and raise it."""
        assert self._failure is not None, "started"
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Say goodbye to everybody and close; raises the bug that broke a task, if one did."""
        self._is_stopping = True
        for session in self._sessions.values():
            session.close(STOPPED)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.stop()
        if self._failure is not None and self._failure.done():
            await self._failure

    def send(self, peer_id: bytes, topic: Topic, data: bytes) -> bool:
        """Queue a message for one peer; tell whether it is connected and the message stays."""
        session = self._sessions.get(peer_id)
        return session is not None and session.send(topic, data)

    def broadcast(self, topic: Topic, data: bytes, besides: Iterable[bytes] = ()) -> int:
        """Queue a message for every peer but those; return for how many it stays queued."""
        left_out = set(besides)
        return sum(
            session.send(topic, data)
            for peer_id, session in list(self._sessions.items())
            if peer_id not in left_out
        )

    async def request(self, peer_id: bytes, topic: Topic, data: bytes, timeout_ms: int) -> bytes:
        """Ask one peer and return its answer; raises NotConnected, RequestFailed or QueueFull."""
        session = self._sessions.get(peer_id)
        if session is None:
            raise NotConnected(f"Node {peer_id.hex()[:16]} is not connected; ask another peer.")
        return await session.request(topic, data, timeout_ms)

    def judge(self, peer_id: bytes, verdict: Verdict) -> None:
        """Say what a peer's answer was worth."""
        count(self.counters.verdicts, verdict.name.lower())
        session = self._sessions.get(peer_id)
        if session is not None:
            self._judge(session, verdict)

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now."""
        now_ms = self._clock()
        return [
            PeerInfo(
                peer_id,
                self._announcements.validator_of(peer_id),
                session.seat.host,
                session.seat.is_outbound,
                self.scores.score(peer_id, now_ms),
                session.connection.round_trip_ms,
                session.seat.since_ms,
            )
            for peer_id, session in self._sessions.items()
        ]

    def announce(self, record: Announce) -> None:
        """Tell everybody, now and later, which node a validator runs; raises LocalError."""
        verdict = self._announcements.receive(record, self._clock())
        if verdict is not Verdict.USEFUL:
            raise LocalError(
                f"The announcement was not taken ({verdict.name.lower()}): its key must be a "
                "validator's, both signatures must hold, and its sequence must be new."
            )
        for data in self._exchange.greeting(None):
            self.broadcast(Topic.PEERS, data)

    def record_of(self, validator_key: bytes) -> Announce | None:
        """Return the newest record of a validator, whoever brought it."""
        return self._announcements.record_of(validator_key)

    def node_of(self, validator_key: bytes) -> bytes | None:
        """Return the node of a validator, if it has told."""
        return self._announcements.node_of(validator_key)

    def validator_of(self, node_id: bytes) -> bytes | None:
        """Return the validator of a node, if it has one."""
        return self._announcements.validator_of(node_id)

    def is_exempt(self, peer_id: bytes) -> bool:
        """Tell whether a peer is a validator's or on the operator's list, and so no stranger."""
        return peer_id in self._trusted or self.validator_of(peer_id) is not None

    # --- connections ------------------------------------------------------------------------------

    async def _welcome(
        self, line: Line, established: Established, host: str, place: Place | None
    ) -> None:
        """Run an inbound connection until it ends."""
        seat = self._seat(established.peer_id, host, is_outbound=False)
        if place is not None:
            self._gate.introduce(place, is_exempt=seat.is_exempt)
        task = self._spawn(self._run(line, established, seat))
        await asyncio.wait([task])

    def _seat(self, peer_id: bytes, host: str, *, is_outbound: bool) -> Seat:
        return Seat(peer_id, host, is_outbound, self.is_exempt(peer_id), self._clock())

    async def _run(self, line: Line, established: Established, seat: Seat) -> None:
        """Seat a connection, run it, and clear up behind it."""
        pool, queue_pool = self._pools[seat.is_exempt], self._queue_pools[seat.is_exempt]
        connection = Connection(established, pool, self.counters, seat.since_ms, queue_pool)
        session = Session(line, connection, seat, self._clock, self._deliver)
        refusal = self._admit(session)
        if refusal is not None:
            count(self.counters.refused, refusal)
            session.close(refusal)
            await session.run()
            return
        if self._is_stopping:
            session.close(STOPPED)
        self._handler.on_peer_up(seat.peer_id)
        for data in self._exchange.greeting(self.port):
            session.send(Topic.PEERS, data)
        connection.ping(self._clock())
        code = "p2p.cancelled"
        try:
            code = await session.run()
        finally:
            self._leave(session, code)
        if session.error is not None and seat.peer_id not in self._trusted:
            self.scores.blame(seat.peer_id, session.error, self._clock())

    def _admit(self, session: Session) -> str | None:
        """Give a session its seat, or return why it gets none."""
        seat, now_ms = session.seat, self._clock()
        if seat.peer_id not in self._trusted and self.scores.is_banned(seat.peer_id, now_ms):
            return BANNED
        admission = self._roster.admit(seat, lambda one: self.scores.score(one, now_ms))
        if admission.removed is not None:
            removed = self._sessions[admission.removed]
            removed.close(admission.removal)
            self._leave(removed, admission.removal)
        if admission.refusal is None:
            self._sessions[seat.peer_id] = session
        return admission.refusal

    def _leave(self, session: Session, code: str) -> None:
        """Take a session out, unless another one has its place already."""
        seat = session.seat
        self._roster.leave(seat)
        if self._sessions.get(seat.peer_id) is session:
            del self._sessions[seat.peer_id]
            self._exchange.forget(seat.peer_id, self._clock())
            self._handler.on_peer_down(seat.peer_id, code)

    async def _dial(self, peer: PeerAddress) -> None:
        """Dial a peer, and run the connection until it ends."""
        try:
            line, established = await self._transport.dial(peer.address, peer.node_id)
        except RemoteError as error:
            count(self.counters.refused, error.code)
            self._dialler.failed(peer, self._clock())
            return
        self._dialler.succeeded(peer.address, peer.node_id)
        seat = self._seat(peer.node_id, peer.address.host, is_outbound=True)
        await self._run(line, established, seat)
        now_ms = self._clock()
        self._dialler.ended(peer, now_ms - seat.since_ms, now_ms)

    # --- messages ---------------------------------------------------------------------------------

    def _deliver(self, session: Session, event: Received | Requested) -> None:
        """Hand a message to whom it concerns."""
        peer_id, topic, data = session.seat.peer_id, event.topic, event.data

        def settle(verdict: Verdict) -> None:
            count(self.counters.verdicts, verdict.name.lower())
            session.settle(topic, len(data))
            self._judge(session, verdict)

        if topic is Topic.PEERS:
            settle(self._exchange_with(session, event))
        elif isinstance(event, Received):
            self._handler.on_message(Delivery(peer_id, topic, data, settle))
        else:
            number = event.request_id
            self._handler.on_request(
                Request(
                    peer_id,
                    topic,
                    data,
                    settle,
                    lambda answer: session.answer(topic, number, answer),
                    lambda code: session.refuse(topic, number, code),
                )
            )

    def _judge(self, session: Session, verdict: Verdict) -> None:
        peer_id = session.seat.peer_id
        if verdict is not Verdict.INVALID:
            self.scores.judge(peer_id, verdict, self._clock())
        else:
            if peer_id not in self._trusted:
                self.scores.judge(peer_id, verdict, self._clock())
            session.close(INVALID)

    def _exchange_with(self, session: Session, event: Received | Requested) -> Verdict:
        """The network's own topic."""
        peer_id, now_ms = session.seat.peer_id, self._clock()
        try:
            if isinstance(event, Received):
                verdict, passed_on = self._exchange.receive_notice(
                    peer_id, session.seat.host, event.data, now_ms
                )
                if passed_on is not None:
                    self.broadcast(Topic.PEERS, passed_on, besides=[peer_id])
                return verdict
            answer = self._exchange.receive_question(peer_id, event.data, now_ms)
        except Breach:
            return Verdict.INVALID
        if answer is None:
            session.refuse(event.topic, event.request_id, "p2p.busy")
            return Verdict.USELESS
        session.answer(event.topic, event.request_id, answer)
        return Verdict.DUPLICATE

    # --- looking after peers ----------------------------------------------------------------------

    async def _look_after_peers(self) -> None:
        rounds = 0
        while not self._is_stopping:
            self._dial_who_is_due()
            self._ask_for_addresses()
            if rounds % PRUNE_EVERY == 0:
                self._announcements.prune()
            if rounds % EXPECT_EVERY == 0:
                self._gate.expect(
                    (one.validator_key, address.host)
                    for one in (record.announcement for record in self._announcements.records())
                    for address in one.addresses
                )
            rounds += 1
            await asyncio.sleep(UPKEEP_S)

    async def _look_after_hoards(self) -> None:
        while not self._is_stopping:
            self._hold_strangers_down()
            await asyncio.sleep(HOARDS_S)

    def _hold_strangers_down(self) -> None:
        """While strangers leave more unfinished than they may, drop who has done so the longest.

        Who holds less than an even share is not looked at. Slow is no offence: nobody is banned.
        """
        held = {
            session: session.connection.held_bytes + session.connection.queued_bytes
            for session in self._sessions.values()
            if not session.seat.is_exempt
        }
        total = sum(held.values())
        if total <= STRANGERS_HELD_BYTES_MAX:
            return
        share = total // len(held)
        begun = [
            (since_ms, session)
            for session, size in held.items()
            if size >= share and (since_ms := session.connection.unfinished_since_ms) is not None
        ]
        for _, session in sorted(begun, key=lambda one: one[0]):
            session.close(HOARDING)
            session.connection.close(HOARDING)  # its memory is free now, and not after a goodbye
            self._leave(session, HOARDING)
            total -= held[session]
            if total <= STRANGERS_HELD_BYTES_MAX:
                return

    def _dial_who_is_due(self) -> None:
        now_ms = self._clock()
        musts = [PeerAddress(one.node_id, one.address) for one in self._settings.persistent]
        if self._settings.joins_mesh:
            for record in self._announcements.records():
                one = record.announcement
                musts += [
                    PeerAddress(one.node_id, address)
                    for address in one.addresses
                    if is_tellable(address, allow_private=self._settings.allow_private_hosts)
                ]
        candidates = sum(not self.scores.is_banned(one.peer.node_id, now_ms) for one in self.book)
        if self.scores.banned(now_ms):
            self.scores.keep_floor(len(self._sessions), candidates, now_ms)
        others = [seat for seat in self._roster.seats.values() if seat.is_outbound]
        for peer in self._dialler.due(
            now_ms,
            musts=[peer for peer in musts if peer.node_id != self.node_id],
            connected=self._sessions.keys(),
            outbound=self._roster.count(is_outbound=True),
            groups={group_of(seat.host) for seat in others if not seat.is_exempt},
            is_allowed=lambda one: (
                one != self.node_id and not self.scores.is_banned(one, self._clock())
            ),
        ):
            self._spawn(self._dial(peer))
        ordinary = sorted(
            (seat for seat in others if not seat.is_exempt), key=lambda seat: seat.since_ms
        )
        if ordinary:
            known = {one.peer.node_id: one.peer for one in self.book if one.is_proven}
            oldest = [known[one.peer_id] for one in ordinary if one.peer_id in known]
            self.book.anchors = tuple(oldest[:ANCHORS_MAX])

    def _ask_for_addresses(self) -> None:
        """Ask peers that we chose ourselves for more, while we lack outbound peers."""
        if self._roster.count(is_outbound=True) < self._settings.outbound_max:
            for peer_id, session in self._sessions.items():
                if session.seat.is_outbound and self._exchange.asks(peer_id, self._clock()):
                    self._spawn(self._ask(session))

    async def _ask(self, session: Session) -> None:
        try:
            answer = await session.request(Topic.PEERS, QUESTION, ASK_TIMEOUT_MS)
            self._exchange.receive_answer(session.seat.host, answer)
        except (RequestFailed, QueueFull, NotConnected) as error:
            count(self.counters.refused, error.code)
        except Breach:
            self._judge(session, Verdict.INVALID)

    # --- tasks ------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
