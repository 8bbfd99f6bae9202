"""The ledger: what a peer may send and what of it is held, counted from the frames alone.

Written again from the rules that the network's documents state, and knowing nothing of how a
connection keeps to them: where the two differ, one of them is wrong.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2p.topics import LIMITS, Topic
from p2p.wire import Credit, Item, Kind, More, Ping, Pong, Start

PIECE_BYTES_MIN: Final = 1_024
HOUSEKEEPING_S, HOUSEKEEPING_BURST = 1_000, 4_000
OPEN_MAX: Final = 64
STALLED_MS, STALLED_BYTES_PER_MS = 30_000, 256
SILENT_MS: Final = 15_000


class Verdict(Enum):
    """What has to become of an item."""

    TAKEN = 0
    REFUSED = 1
    EITHER = 2
    """It hangs on what the node had to spare a moment ago."""


@dataclass(slots=True)
class Begun:
    """A message of which a piece has come."""

    start: Start
    size: int
    since_ms: int

    @property
    def left(self) -> int:
        """Bytes that are missing."""
        return self.start.total_bytes - self.size


class Incoming:
    """What the peer sends, and what the node holds of it."""

    def __init__(self) -> None:
        self.leave_bytes = {topic: limits.window_bytes for topic, limits in LIMITS.items()}
        self.leave_messages = {topic: limits.window_messages for topic, limits in LIMITS.items()}
        self.granted_bytes = dict.fromkeys(LIMITS, 0)
        self.begun: dict[Topic, Begun] = {}
        self.held_bytes = dict.fromkeys(LIMITS, 0)
        self.held_messages = dict.fromkeys(LIMITS, 0)
        self.long: dict[Topic, list[int]] = {topic: [] for topic in LIMITS}
        """Messages longer than a window that have begun and are not settled, the oldest first."""
        self.open: set[tuple[Topic, int]] = set()
        self.asked: dict[int, tuple[Topic, int]] = {}
        """Our questions without an answer, and until when they may get one."""
        self.numbers = 0
        """How many questions were ever asked."""
        self.fresh: list[tuple[Topic, int, int]] = []
        """Requests that ended in this frame: topic, number, size."""
        self.heard_ms = 0
        self._house, self._house_ms = HOUSEKEEPING_BURST * 1_000, 0

    # --- what comes -------------------------------------------------------------------------------

    def judge(self, item: Item, now_ms: int) -> Verdict:
        """Count an item, and say what has to become of it."""
        match item:
            case Start():
                return self._start(item, now_ms)
            case More():
                return self._more(item)
            case Credit() | Ping() | Pong():
                return self._housekeeping(now_ms)
        return Verdict.TAKEN

    def _housekeeping(self, now_ms: int) -> Verdict:
        gained = (now_ms - self._house_ms) * HOUSEKEEPING_S
        self._house = min(HOUSEKEEPING_BURST * 1_000, self._house + gained) - 1_000
        self._house_ms = now_ms
        return Verdict.TAKEN if self._house >= 0 else Verdict.REFUSED

    def _start(self, start: Start, now_ms: int) -> Verdict:
        topic, limits = start.topic, LIMITS[start.topic]
        is_well = (
            start.total_bytes <= limits.message_bytes_max
            and topic not in self.begun
            and (start.kind is Kind.NOTICE) == (start.request_id == 0)
            and self.leave_messages[topic] > 0
        )
        if not is_well:
            return Verdict.REFUSED
        self.leave_messages[topic] -= 1
        self.held_messages[topic] += 1
        if start.total_bytes > limits.window_bytes:
            self.long[topic].append(start.total_bytes)
        self.begun[topic] = Begun(start, 0, now_ms)
        return self._bytes(topic, len(start.data))

    def _more(self, more: More) -> Verdict:
        return self._bytes(more.topic, len(more.data))

    def _bytes(self, topic: Topic, size: int) -> Verdict:
        begun = self.begun.get(topic)
        if begun is None or size > begun.left or size > self.leave_bytes[topic]:
            return Verdict.REFUSED
        if size < begun.left and size < PIECE_BYTES_MIN:
            return Verdict.REFUSED
        begun.size += size
        self.leave_bytes[topic] -= size
        self.held_bytes[topic] += size
        if begun.left:
            return Verdict.TAKEN
        del self.begun[topic]
        return self._ended(begun.start)

    def _ended(self, start: Start) -> Verdict:
        topic, number = start.topic, start.request_id
        match start.kind:
            case Kind.REQUEST:
                is_repeated = any(number == one and topic is of for of, one, _ in self.fresh)
                if (topic, number) in self.open:
                    return Verdict.REFUSED
                self.fresh.append((topic, number, start.total_bytes))
                return Verdict.EITHER if is_repeated else Verdict.TAKEN
            case Kind.RESPONSE | Kind.REFUSAL:
                self.settle(topic, start.total_bytes)
                of, _ = self.asked.pop(number, (topic, 0))
                if number > self.numbers or of is not topic:
                    return Verdict.REFUSED
        return Verdict.TAKEN

    def left(self, topic: int) -> int:
        """Bytes that are missing of the message that has begun."""
        return next((begun.left for of, begun in self.begun.items() if of == topic), 0)

    # --- what the node does -----------------------------------------------------------------------

    def settle(self, topic: Topic, size: int) -> None:
        """A message was dealt with."""
        self.held_bytes[topic] -= size
        self.held_messages[topic] -= 1
        if size > LIMITS[topic].window_bytes:
            self.long[topic].remove(size)

    def grant(self, credit: Credit) -> None:
        """The node gave leave for more."""
        self.leave_bytes[credit.topic] += credit.add_bytes
        self.leave_messages[credit.topic] += credit.add_messages
        self.granted_bytes[credit.topic] += credit.add_bytes

    @property
    def unfinished_bytes(self) -> int:
        """What has to be reserved: of every topic, its oldest long message that is not settled."""
        return sum(long[0] for long in self.long.values() if long)

    def is_stalled(self, now_ms: int) -> bool:
        """Whether a message takes too long."""
        return any(
            now_ms - begun.since_ms > STALLED_MS + begun.start.total_bytes // STALLED_BYTES_PER_MS
            for begun in self.begun.values()
        )

    def holds(self, now_ms: int) -> None:
        """Nobody may hold, or have leave for, more than the table of topics says."""
        for topic, limits in LIMITS.items():
            reserved = next(iter(self.long[topic]), 0)
            held = self.leave_bytes[topic] + self.held_bytes[topic]
            assert held <= limits.window_bytes + reserved, "leave for more than there is room"
            messages = self.leave_messages[topic] + self.held_messages[topic]
            assert messages <= limits.window_messages, "leave for more messages than have places"
            rate_max = limits.rate_bytes_s + limits.rate_bytes_s * now_ms // 1_000
            assert self.granted_bytes[topic] <= rate_max, "leave comes faster than the topic's rate"
        assert len(self.open) <= OPEN_MAX, "more requests are open than may be"


class Outgoing:
    """What the node sends: in pieces that the peer gave leave for, and whole in the end."""

    def __init__(self) -> None:
        self.leave_bytes = {topic: limits.window_bytes for topic, limits in LIMITS.items()}
        self.leave_messages = {topic: limits.window_messages for topic, limits in LIMITS.items()}
        self.queued: dict[Topic, list[tuple[Kind, int, bytes]]] = {topic: [] for topic in LIMITS}
        self.begun: dict[Topic, tuple[Start, bytearray]] = {}

    def credit(self, credit: Credit) -> None:
        """The peer gave leave for more."""
        self.leave_bytes[credit.topic] += credit.add_bytes
        self.leave_messages[credit.topic] += credit.add_messages

    def take(self, piece: Start | More) -> None:
        """A piece goes out."""
        topic = piece.topic
        if isinstance(piece, Start):
            assert topic not in self.begun, "a message begins before the last one ended"
            assert self.leave_messages[topic] > 0, "a message without leave"
            self.leave_messages[topic] -= 1
            self.begun[topic] = (piece, bytearray())
        start, came = self.begun[topic]
        self.leave_bytes[topic] -= len(piece.data)
        assert self.leave_bytes[topic] >= 0, "bytes without leave"
        came += piece.data
        assert len(came) <= start.total_bytes
        if len(came) == start.total_bytes:
            del self.begun[topic]
            self._ended(start, bytes(came))
        else:
            assert len(piece.data) >= PIECE_BYTES_MIN, "a piece that a peer must refuse"

    def _ended(self, start: Start, data: bytes) -> None:
        """It is a message that was queued; what stood before it was dropped."""
        queued = self.queued[start.topic]
        message = (start.kind, start.request_id, data)
        assert message in queued, "what goes out was never queued"
        del queued[: queued.index(message) + 1]

    def waits(self, topic: Topic, messages: int) -> None:
        """Nothing waits for which there is leave."""
        if messages:
            is_begun = topic in self.begun
            has_leave = self.leave_bytes[topic] >= PIECE_BYTES_MIN
            assert not (has_leave and (is_begun or self.leave_messages[topic])), "it is held up"
