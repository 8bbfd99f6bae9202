"""Limits on what one peer may make us do: token buckets, and windows that the receiver opens.

A peer sends a topic's bytes and messages only after it was given leave, so a flood has nowhere to
go: the leave comes at the rate of a token bucket, and only as far as what came before is done with.
To send without leave is a breach that no honest node commits, whatever the link does to timing.
Time is the caller's monotonic clock in milliseconds; integers throughout.
"""

from typing import Final

from p2p.errors import Flood
from p2p.topics import LIMITS, MIB, Topic, TopicLimits

POOL_BYTES: Final = 128 * MIB
"""What all peers together may hold of messages longer than a window."""
STRANGERS_POOL_BYTES: Final = 64 * MIB
"""The same for peers without a seat of their own, apart: they cannot fill what validators need."""
STRANGERS_QUEUE_POOL_BYTES: Final = 64 * MIB
"""What may wait to be sent to all of those together, beyond a window for each topic of each."""

STRANGERS_HELD_BYTES_MAX: Final = 112 * MIB
"""What all of those together may leave unfinished, in both directions: sent to us and not to its
end, or not taken. The one pool, and most of as much again in windows."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate_s` a second; full at the start."""

    __slots__ = ("_burst", "_level", "_now_ms", "_rate_s")

    def __init__(self, rate_s: int, burst: int, now_ms: int) -> None:
        self._rate_s = rate_s
        self._burst = burst * 1_000  # thousandths of a token: a millisecond's gain is whole
        self._level = self._burst
        self._now_ms = now_ms

    def available(self, now_ms: int) -> int:
        """Return how many tokens there are, rounded down; below 0 after `spend` went into debt."""
        if now_ms > self._now_ms:
            gained = (now_ms - self._now_ms) * self._rate_s
            self._level = min(self._burst, self._level + gained)
            self._now_ms = now_ms
        return self._level // 1_000

    def take(self, amount: int, now_ms: int) -> bool:
        """Take so many tokens if they are there; tell whether they were."""
        if self.available(now_ms) < amount:
            return False
        self._level -= amount * 1_000
        return True

    def spend(self, amount: int, now_ms: int) -> None:
        """Take so many tokens, into debt if need be."""
        self.available(now_ms)
        self._level -= amount * 1_000


class Pool:
    """Bytes that all connections share for what is longer than their windows."""

    __slots__ = ("_bytes_max", "held_bytes")

    def __init__(self, bytes_max: int = POOL_BYTES) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def reserve(self, size: int) -> bool:
        """Reserve so many bytes if there is room; a message always fits an empty pool."""
        if self.held_bytes and self.held_bytes + size > self._bytes_max:
            return False
        self.held_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give reserved bytes back."""
        assert 0 <= size <= self.held_bytes, "released what was not reserved"
        self.held_bytes -= size


class ReceiveWindow:
    """What a peer may still send of one topic, and what of it we hold.

    granted + held <= window + what is reserved in the pool: a peer's share of our memory.
    """

    __slots__ = (
        *("_bytes", "_granted_bytes", "_granted_messages", "_held_bytes", "_held_messages"),
        *("_limits", "_messages", "_pool", "_reserved_bytes", "_topic", "_wanted_bytes"),
    )

    def __init__(self, topic: Topic, pool: Pool, now_ms: int) -> None:
        limits = LIMITS[topic]
        self._topic = topic
        self._limits: TopicLimits = limits
        self._pool = pool
        self._bytes = TokenBucket(limits.rate_bytes_s, limits.rate_bytes_s, now_ms)
        self._messages = TokenBucket(limits.rate_messages_s, limits.rate_messages_s, now_ms)
        self._granted_bytes = limits.window_bytes
        self._granted_messages = limits.window_messages
        self._held_bytes = self._held_messages = 0
        self._reserved_bytes = self._wanted_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that came and were not settled."""
        return self._held_bytes

    def begin(self, total_bytes: int) -> None:
        """Count a message that begins; raises Flood when no leave is left for it."""
        if not self._granted_messages:
            raise Flood(
                f"A {self._topic.name} message came without leave; at most "
                f"{self._limits.window_messages} may be on their way."
            )
        self._granted_messages -= 1
        self._held_messages += 1
        if total_bytes > self._limits.window_bytes:
            self._wanted_bytes = total_bytes
            self._reserve()

    def receive(self, size: int) -> None:
        """Count the bytes of a piece; raises Flood when no leave is left for them."""
        if size > self._granted_bytes:
            raise Flood(
                f"{size} bytes of {self._topic.name} came with leave for {self._granted_bytes}."
            )
        self._granted_bytes -= size
        self._held_bytes += size

    def settle(self, size: int) -> None:
        """A message of so many bytes was dealt with: what it held is free again."""
        assert size <= self._held_bytes and self._held_messages, "settled what was not held"
        self._held_bytes -= size
        self._held_messages -= 1
        if size > self._limits.window_bytes:
            self._pool.release(size)
            self._reserved_bytes -= size

    def close(self) -> None:
        """Give back everything that was reserved."""
        self._pool.release(self._reserved_bytes)
        self._reserved_bytes = 0

    def grant(self, now_ms: int) -> tuple[int, int]:
        """Return the bytes and messages of new leave to tell the peer of; (0, 0) for none yet."""
        self._reserve()
        limits = self._limits
        room = limits.window_bytes + self._reserved_bytes - self._granted_bytes - self._held_bytes
        places = limits.window_messages - self._granted_messages - self._held_messages
        if 4 * room < limits.window_bytes and 4 * places < limits.window_messages:
            return 0, 0
        add_bytes = max(0, min(room, self._bytes.available(now_ms)))
        add_messages = max(0, min(places, self._messages.available(now_ms)))
        if 16 * add_bytes < limits.window_bytes and 16 * add_messages < limits.window_messages:
            return 0, 0
        self._bytes.spend(add_bytes, now_ms)
        self._messages.spend(add_messages, now_ms)
        self._granted_bytes += add_bytes
        self._granted_messages += add_messages
        return add_bytes, add_messages

    def _reserve(self) -> None:
        """Reserve room for a long message that has begun: one a topic, until it is settled."""
        if not self._reserved_bytes and self._pool.reserve(self._wanted_bytes):
            self._reserved_bytes, self._wanted_bytes = self._wanted_bytes, 0
