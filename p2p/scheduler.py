"""What is sent next: urgent topics first, a share for every one, queues that have an end.

The most urgent topic that may send goes first. Whenever something is sent, every other topic that
could have gone earns its share of it, and one that has earned a whole turn goes before the urgent
ones. So a vote waits for at most one turn of each other topic, and no topic waits for ever.

What waits beyond a topic's window may have to find its place in a pool that connections share, so
that many peers which take nothing cost little more than one.
"""

from collections import deque
from typing import Final

from p2p.limits import Pool
from p2p.topics import LIMITS, Overflow, Topic
from p2p.wire import (
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ITEMS_OVERHEAD_BYTES,
    PIECE_OVERHEAD_BYTES,
    Item,
    Message,
    cut,
)

TURN_BYTES: Final = 2**14
"""What a topic sends when it goes by its share."""
CREDIT_MAX: Final = 2**40
"""More leave than this is as good as none: it only keeps the integers small."""


class _Queue:
    """Messages of one topic that wait, the first of them perhaps partly sent."""

    __slots__ = (
        *("credit_bytes", "credit_messages", "earned", "finished", "messages", "queued_bytes"),
        *("reserved_bytes", "sent"),
    )

    def __init__(self, topic: Topic) -> None:
        self.messages: deque[Message] = deque()
        self.queued_bytes = 0
        self.reserved_bytes = 0
        """What of that has its place in the pool."""
        self.sent = 0
        self.finished = 0
        """Messages that were sent to their end, since the start."""
        self.earned = 0
        """Bytes earned by the share, in hundredths."""
        self.credit_bytes = LIMITS[topic].window_bytes
        self.credit_messages = LIMITS[topic].window_messages

    @property
    def held_bytes(self) -> int:
        """What is in memory: of a message that is partly sent, all of it."""
        return self.queued_bytes + self.sent

    def room(self, room: int) -> int:
        """How much of the room in a frame the peer's leave lets us use; 0 for none."""
        if not self.messages or (not self.sent and not self.credit_messages):
            return 0
        return min(room, self.credit_bytes + PIECE_OVERHEAD_BYTES)

    def take(self, room: int) -> tuple[Item | None, int]:
        """The next piece for this room, and its bytes; nothing when it would be too small."""
        item, size = cut(self.messages[0], room, self.sent)
        if item is None:
            return None, 0
        self.credit_messages -= not self.sent
        self.credit_bytes -= size
        self.queued_bytes -= size
        self.sent += size
        if self.sent == len(self.messages[0].data):
            self.messages.popleft()
            self.sent = 0
            self.finished += 1
        return item, size


class Scheduler:
    """The outgoing queues of one connection; sans-I/O and without a clock.

    Without a pool, nothing but the topics' own bounds holds for what waits.
    """

    __slots__ = ("_pool", "_queues")

    def __init__(self, pool: Pool | None = None) -> None:
        self._pool = pool
        self._queues = {topic: _Queue(topic) for topic in LIMITS}

    def offer(self, message: Message) -> list[Message]:
        """Queue a message; return what was dropped for it, by the topic's policy."""
        limits, queue = LIMITS[message.topic], self._queues[message.topic]
        assert len(message.data) <= limits.message_bytes_max, "the caller checks the length"
        dropped: list[Message] = []
        while (
            queue.queued_bytes + len(message.data) > limits.queue_bytes_max
            or len(queue.messages) >= limits.queue_messages_max
            or not self._has_place(message)
        ):
            begun = queue.sent > 0
            if limits.overflow is Overflow.DROP_NEW or len(queue.messages) <= begun:
                return [*dropped, message]
            oldest = queue.messages[begun]
            del queue.messages[begun]
            queue.queued_bytes -= len(oldest.data)
            self._give_back(message.topic)
            dropped.append(oldest)
        queue.messages.append(message)
        queue.queued_bytes += len(message.data)
        return dropped

    def add_credit(self, topic: Topic, add_bytes: int, add_messages: int) -> None:
        """The peer gave leave to send so much more of a topic."""
        queue = self._queues[topic]
        queue.credit_bytes = min(queue.credit_bytes + add_bytes, CREDIT_MAX)
        queue.credit_messages = min(queue.credit_messages + add_messages, CREDIT_MAX)

    def queued(self, topic: Topic) -> tuple[int, int]:
        """Bytes and messages of a topic that wait."""
        queue = self._queues[topic]
        return queue.queued_bytes, len(queue.messages)

    @property
    def held_bytes(self) -> int:
        """What is in memory, of a message that is partly sent all of it."""
        return sum(queue.held_bytes for queue in self._queues.values())

    def head(self, topic: Topic) -> tuple[int, int] | None:
        """Messages of a topic that were sent to their end, and the length of the one that is next.

        None when there is no next one.
        """
        queue = self._queues[topic]
        return (queue.finished, len(queue.messages[0].data)) if queue.messages else None

    def clear(self) -> None:
        """Nothing will be sent any more: what waits is dropped, its place in the pool is free."""
        for topic, queue in self._queues.items():
            queue.messages.clear()
            queue.queued_bytes = queue.sent = 0
            self._give_back(topic)

    def _has_place(self, message: Message) -> bool:
        """Reserve in the pool what a message needs of it; tell whether there was room."""
        queue, window = self._queues[message.topic], LIMITS[message.topic].window_bytes
        missing = queue.held_bytes + len(message.data) - window - queue.reserved_bytes
        if self._pool is None or missing <= 0:
            return True
        if not self._pool.reserve(missing):
            return False
        queue.reserved_bytes += missing
        return True

    def _give_back(self, topic: Topic) -> None:
        """Give back to the pool what a topic needs no more."""
        queue = self._queues[topic]
        free = queue.reserved_bytes - max(0, queue.held_bytes - LIMITS[topic].window_bytes)
        if self._pool is not None and free > 0:
            self._pool.release(free)
            queue.reserved_bytes -= free

    def fill(self, items: list[Item], used_bytes: int) -> None:
        """Add pieces to a frame whose items take `used_bytes` already, until nothing more fits."""
        room = FRAME_BYTES_MAX - ITEMS_OVERHEAD_BYTES - used_bytes
        stuck: set[Topic] = set()
        while len(items) < FRAME_ITEMS_MAX:
            topic = self._next(room, stuck)
            if topic is None:
                return
            queue = self._queues[topic]
            by_share = queue.earned >= 100 * TURN_BYTES
            space = queue.room(room)
            item, size = queue.take(min(space, TURN_BYTES) if by_share else space)
            if item is None:
                stuck.add(topic)
                continue
            items.append(item)
            self._give_back(topic)
            self._charge(topic, size + PIECE_OVERHEAD_BYTES)
            room -= size + PIECE_OVERHEAD_BYTES

    def _next(self, room: int, stuck: set[Topic]) -> Topic | None:
        """The topic that goes next, of those that may."""
        urgent = None
        for topic, queue in self._queues.items():
            if topic not in stuck and queue.room(room):
                if queue.earned >= 100 * TURN_BYTES:
                    return topic
                urgent = topic if urgent is None else urgent
        return urgent

    def _charge(self, topic: Topic, size: int) -> None:
        """Book what was sent: everybody who could have gone earns a share, and the sender pays."""
        for other, queue in self._queues.items():
            if other is topic:
                earned = queue.earned + size * (LIMITS[other].share_percent - 100)
                queue.earned = max(0, earned)
            elif not queue.messages:
                queue.earned = 0
            elif queue.room(FRAME_BYTES_MAX):
                queue.earned += size * LIMITS[other].share_percent
