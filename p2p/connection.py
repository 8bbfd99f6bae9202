"""One connection after its handshake, sans-I/O: sealed bytes in, events out, and the other way.

Feed `receive_data` what came and take events with `next_event`; ask `data_to_send` for the next
frame until there is none; call `poll` a few times a second. Whatever the peer may not do raises a
RemoteError, and the connection is over. Time is milliseconds of the caller's monotonic clock.
"""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Final

from p2p.channel import Channel
from p2p.counters import Counters, count
from p2p.errors import Flood, LocalError, OutOfOrder, QueueFull, RemoteError, RequestFailed
from p2p.handshake import Established
from p2p.limits import Pool, ReceiveWindow, TokenBucket
from p2p.scheduler import Scheduler
from p2p.topics import LIMITS, Topic
from p2p.wire import (
    Assembler,
    Credit,
    Goodbye,
    Item,
    Kind,
    Message,
    More,
    Ping,
    Pong,
    Start,
    decode_frame,
    encode_frame,
)

PING_MS: Final = 4_000
"""After so long without a frame, the peer is asked whether it is there."""
SILENCE_MS: Final = 15_000
"""After so long without a frame, it is not; a pause of 10 seconds is survived."""
PARTIAL_MS: Final = 30_000
PARTIAL_BYTES_PER_MS: Final = 256
"""A message takes no longer than PARTIAL_MS and what its length needs at this speed."""
TAKEN_TOPICS: Final = (Topic.BLOCKS, Topic.SYNC)
"""What waits here may be long, and the peer asked for it: it takes it at this speed, too."""
HOUSEKEEPING_PER_S: Final = 1_000
HOUSEKEEPING_BURST: Final = 4_000
"""Pings, answers to them and credits: far more than an honest node needs."""
REQUESTS_OPEN_MAX: Final = 64
"""Requests in either direction that may be without an answer."""
ITEM_BYTES: Final = 32
"""Room for any item but a piece or a goodbye."""
HOUSEKEEPING_ITEMS_MAX: Final = 64
"""Pongs that wait to be sent; more pings than these get no answer of their own."""
BUSY: Final = "p2p.busy"


class Silent(RemoteError):
    """Nothing was heard of the peer for too long; it may be anybody's fault."""

    code: ClassVar[str] = "p2p.silent"


class Stalled(RemoteError):
    """A message did not come, or was not taken, to its end in time; it may be anybody's fault."""

    code: ClassVar[str] = "p2p.stalled"


@dataclass(frozen=True, slots=True)
class Received:
    """A notice came; call `settle` with its size once it is dealt with."""

    topic: Topic
    data: bytes


@dataclass(frozen=True, slots=True)
class Requested:
    """The peer asks; `answer` or `refuse` it, then `settle` its size."""

    topic: Topic
    request_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a request of ours."""

    topic: Topic
    request_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A request of ours gets no answer, and why."""

    topic: Topic
    request_id: int
    code: str


@dataclass(frozen=True, slots=True)
class Departed:
    """The peer said goodbye, and why."""

    reason: str


Event = Received | Requested | Answered | Failed | Departed


class Connection:
    """The state of one connection; see the module for how to drive it.

    `pool` holds what comes and is longer than a window, `queue_pool` what waits to be sent.
    """

    def __init__(
        self,
        established: Established,
        pool: Pool,
        counters: Counters,
        now_ms: int,
        queue_pool: Pool | None = None,
    ) -> None:
        self.peer_id = established.peer_id
        self._channel = Channel(established.send_key, established.receive_key)
        self._counters = counters
        self._assembler = Assembler()
        self._scheduler = Scheduler(queue_pool)
        self._windows = {topic: ReceiveWindow(topic, pool, now_ms) for topic in LIMITS}
        self._serving = {
            topic: TokenBucket(limits.rate_bytes_s // 4, limits.message_bytes_max, now_ms)
            for topic, limits in LIMITS.items()
        }
        self._housekeeping = TokenBucket(HOUSEKEEPING_PER_S, HOUSEKEEPING_BURST, now_ms)
        self._events: deque[Event] = deque()
        self._items: deque[Item] = deque()
        self._begun_ms: dict[Topic, int] = {}
        self._next_since: dict[Topic, tuple[int, int]] = {}
        """How many messages had been sent when the one that is next became it, and when."""
        self._asked: dict[int, tuple[Topic, int]] = {}
        self._next_request_id = 1
        self._open: dict[tuple[Topic, int], int] = {}
        self._heard_ms = now_ms
        self._pinged_ms: int | None = None
        self._is_closed = False
        self.round_trip_ms: int | None = None
        """The last round trip that was measured."""

    # --- sending ----------------------------------------------------------------------------------

    def notice(self, topic: Topic, data: bytes) -> bool:
        """Queue a message; tell whether it stays, or the topic's policy dropped it at once."""
        return self._offer(Message(topic, Kind.NOTICE, 0, data))

    def request(self, topic: Topic, data: bytes, timeout_ms: int, now_ms: int) -> int:
        """Queue a request and return its number; raises RequestFailed or QueueFull."""
        if len(self._asked) >= REQUESTS_OPEN_MAX:
            raise RequestFailed(
                f"{REQUESTS_OPEN_MAX} requests to this peer wait for answers; ask another one."
            )
        number = self._next_request_id
        if not self._offer(Message(topic, Kind.REQUEST, number, data)):
            raise QueueFull(f"Too much {topic.name} waits for this peer; ask another one.")
        self._next_request_id += 1
        self._asked[number] = (topic, now_ms + timeout_ms)
        return number

    def answer(self, topic: Topic, request_id: int, data: bytes, now_ms: int) -> bool:
        """Answer a request; tell whether the answer was queued. Late answers are dropped."""
        if self._open.pop((topic, request_id), None) is None:
            return False
        self._serving[topic].spend(len(data), now_ms)
        if self._offer(Message(topic, Kind.RESPONSE, request_id, data)):
            return True
        return self._offer(Message(topic, Kind.REFUSAL, request_id, BUSY.encode()))

    def refuse(self, topic: Topic, request_id: int, code: str) -> None:
        """Refuse a request with a short code."""
        if self._open.pop((topic, request_id), None) is not None:
            self._offer(Message(topic, Kind.REFUSAL, request_id, code.encode()[:64]))

    def say_goodbye(self, reason: str) -> bytes:
        """Return the last frame: why the connection ends."""
        return self._channel.seal(encode_frame([Goodbye(reason)]))

    def _offer(self, message: Message) -> bool:
        if self._is_closed:
            return False
        limit = LIMITS[message.topic].message_bytes_max
        if len(message.data) > limit:
            raise LocalError(
                f"A {message.topic.name} message of {len(message.data)} bytes; at most {limit} "
                "can be sent: split it, or choose another topic."
            )
        dropped = self._scheduler.offer(message)
        for lost in dropped:
            self._counters.dropped_messages[lost.topic] += 1
            if lost.kind is Kind.REQUEST and lost.request_id in self._asked:
                del self._asked[lost.request_id]
                self._events.append(Failed(lost.topic, lost.request_id, QueueFull.code))
        is_kept = not dropped or dropped[-1] is not message
        self._counters.sent_messages[message.topic] += is_kept
        return is_kept

    def data_to_send(self, now_ms: int) -> bytes | None:
        """Return the next sealed frame, or None when there is nothing to send."""
        if self._is_closed:
            return None
        items: list[Item] = []
        for topic, window in self._windows.items():
            add_bytes, add_messages = window.grant(now_ms)
            if add_bytes or add_messages:
                items.append(Credit(topic, add_bytes, add_messages))
        items += self._items
        self._items.clear()
        housekeeping = len(items)
        self._scheduler.fill(items, housekeeping * ITEM_BYTES)
        if not items:
            return None
        for item in items[housekeeping:]:
            if isinstance(item, Start | More):
                self._counters.sent_bytes[item.topic] += len(item.data)
        self._counters.frames_sent += 1
        return self._channel.seal(encode_frame(items))

    # --- receiving --------------------------------------------------------------------------------

    def receive_data(self, sealed: bytes, now_ms: int) -> None:
        """Take a frame as it came; raises a RemoteError that ends the connection.

        What comes once it is closed is not looked at.
        """
        if self._is_closed:
            return
        items = decode_frame(self._channel.open(sealed))
        self._counters.frames_received += 1
        self._heard_ms = now_ms
        for item in items:
            match item:
                case Start() | More():
                    self._piece(item, now_ms)
                case Goodbye():
                    self._events.append(Departed(item.reason))
                case _:
                    self._keep_house(item, now_ms)

    def next_event(self) -> Event | None:
        """Return what happened next, or None when all has been told."""
        return self._events.popleft() if self._events else None

    def settle(self, topic: Topic, size: int) -> None:
        """A received message of so many bytes was dealt with; its place is free for another."""
        if not self._is_closed:
            self._windows[topic].settle(size)

    def _keep_house(self, item: Credit | Ping | Pong, now_ms: int) -> None:
        if not self._housekeeping.take(1, now_ms):
            raise Flood(f"More than {HOUSEKEEPING_PER_S} pings and credits a second came.")
        match item:
            case Credit():
                self._scheduler.add_credit(item.topic, item.add_bytes, item.add_messages)
            case Ping():
                if len(self._items) < HOUSEKEEPING_ITEMS_MAX:
                    self._items.append(Pong(item.nonce))
            case Pong():
                if self._pinged_ms is not None and item.nonce == self._pinged_ms:
                    self.round_trip_ms = now_ms - self._pinged_ms
                    self._pinged_ms = None

    def _piece(self, piece: Start | More, now_ms: int) -> None:
        window = self._windows[piece.topic]
        window.receive(len(piece.data))
        message = self._assembler.receive_data(piece)
        if isinstance(piece, Start):
            window.begin(piece.total_bytes)
            self._begun_ms[piece.topic] = now_ms
        self._counters.received_bytes[piece.topic] += len(piece.data)
        if message is not None:
            del self._begun_ms[piece.topic]
            self._counters.received_messages[piece.topic] += 1
            self._take(message, now_ms)

    def _take(self, message: Message, now_ms: int) -> None:
        match message.kind:
            case Kind.NOTICE:
                self._events.append(Received(message.topic, message.data))
            case Kind.REQUEST:
                self._take_request(message, now_ms)
            case Kind.RESPONSE | Kind.REFUSAL:
                self._take_answer(message)

    def _take_request(self, message: Message, now_ms: int) -> None:
        key = (message.topic, message.request_id)
        if key in self._open:
            raise OutOfOrder("A request came under the number of one that is still open.")
        self._open[key] = now_ms
        has_budget = self._serving[message.topic].available(now_ms) > 0
        if len(self._open) > REQUESTS_OPEN_MAX or not has_budget:
            self._counters.requests_refused[message.topic] += 1
            self._windows[message.topic].settle(len(message.data))
            self.refuse(*key, BUSY)
        else:
            self._events.append(Requested(*key, message.data))

    def _take_answer(self, message: Message) -> None:
        self._windows[message.topic].settle(len(message.data))
        number = message.request_id
        topic, _ = self._asked.get(number, (message.topic, 0))
        if number >= self._next_request_id or topic is not message.topic:
            raise OutOfOrder("An answer came to a question that was never asked.")
        if self._asked.pop(number, None) is None:
            return  # it is late: the request has failed already
        if message.kind is Kind.RESPONSE:
            self._events.append(Answered(topic, number, message.data))
        else:
            code = message.data[:64].decode("ascii", "replace")
            self._events.append(Failed(topic, number, code))

    # --- time -------------------------------------------------------------------------------------

    def poll(self, now_ms: int) -> None:
        """Let time pass; raises Silent or Stalled. Call `data_to_send` afterwards."""
        for number, (topic, deadline_ms) in list(self._asked.items()):
            if now_ms >= deadline_ms:
                del self._asked[number]
                self._events.append(Failed(topic, number, "p2p.timeout"))
        for topic, _, total in self._assembler.partial():
            allowed_ms = PARTIAL_MS + total // PARTIAL_BYTES_PER_MS
            if now_ms - self._begun_ms[topic] > allowed_ms:
                raise Stalled(f"A {topic.name} message took longer than {allowed_ms} ms.")
        self._see_that_it_takes(now_ms)
        silent_ms = now_ms - self._heard_ms
        if silent_ms >= SILENCE_MS:
            raise Silent(f"Nothing was heard for {silent_ms} ms; connect again.")
        waited_ms = None if self._pinged_ms is None else now_ms - self._pinged_ms
        if silent_ms >= PING_MS and (waited_ms is None or waited_ms >= PING_MS):
            self.ping(now_ms)

    def _see_that_it_takes(self, now_ms: int) -> None:
        """Hold the peer to giving leave for what waits, else it could keep our memory for ever."""
        for topic in LIMITS:
            head = self._scheduler.head(topic)
            if head is None:
                self._next_since.pop(topic, None)
                continue
            finished, size = head
            known, since_ms = self._next_since.setdefault(topic, (finished, now_ms))
            allowed_ms = PARTIAL_MS + size // PARTIAL_BYTES_PER_MS
            if known != finished:
                self._next_since[topic] = (finished, now_ms)
            elif topic in TAKEN_TOPICS and now_ms - since_ms > allowed_ms:
                raise Stalled(f"A {topic.name} message was not taken within {allowed_ms} ms.")

    def ping(self, now_ms: int) -> None:
        """Ask the peer whether it is there, and measure how long the answer takes."""
        self._pinged_ms = now_ms
        self._items.append(Ping(now_ms))

    def close(self, code: str) -> None:
        """The connection is over: open requests fail, and what was reserved is given back."""
        if not self._is_closed:
            self._is_closed = True
            count(self._counters.endings, code)
            for window in self._windows.values():
                window.close()
            self._scheduler.clear()
            self._assembler = Assembler()
            for number, (topic, _) in self._asked.items():
                self._events.append(Failed(topic, number, "p2p.disconnected"))
            self._asked.clear()
            self._open.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of the peer's messages that are held now."""
        return sum(window.held_bytes for window in self._windows.values())

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, of a message that is partly sent all of it."""
        return self._scheduler.held_bytes

    @property
    def unfinished_since_ms(self) -> int | None:
        """When the oldest message that has not come, or was not taken, to its end was begun."""
        taken_since_ms = [since_ms for _, since_ms in self._next_since.values()]
        return min([*self._begun_ms.values(), *taken_since_ms], default=None)

    def queued(self, topic: Topic) -> tuple[int, int]:
        """Bytes and messages of a topic that wait to be sent."""
        return self._scheduler.queued(topic)
