"""The topics: what is sent before what, how much of each may wait, arrive and be held.

One explicit table. A topic's `share` is what it gets of a busy link even while more urgent ones
have enough to fill it; what is left goes by urgency, in the order of the table. A peer may have
`window_bytes` of a topic on their way to us or unread; it gets more as we are done with what came,
at no more than `rate_bytes_s` and `rate_messages_s` in the long run. So no flood of one topic can
fill a buffer, a queue or a link that another one needs.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Topic(IntEnum):
    """What a message is about, the most urgent first."""

    CONSENSUS = 0
    """Proposals, votes, certificates, and requests for them."""
    BLOCKS = 1
    """Bodies of blocks that consensus waits for, and proposals too long for CONSENSUS."""
    TRANSACTIONS = 2
    """Ids of transactions, and transactions that were asked for by id."""
    SYNC = 3
    """Old blocks and snapshots for who fell behind."""
    PEERS = 4
    """Addresses and announcements; the network speaks it itself."""


class Overflow(Enum):
    """What gives way when too much waits for a peer."""

    DROP_OLDEST = "drop_oldest"
    """Newer messages say more: votes and statuses are sent again anyway."""
    DROP_NEW = "drop_new"
    """What waits longest goes first: an answer or a transaction is not made better by waiting."""


KIB: Final = 2**10
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """The bounds of one topic, per peer."""

    message_bytes_max: int
    """No message is longer; checked before anything is kept of it."""
    queue_bytes_max: int
    """Bytes that may wait to be sent."""
    queue_messages_max: int
    """Messages that may wait to be sent."""
    overflow: Overflow
    share_percent: int
    """The least part of a busy link."""
    window_bytes: int
    """Bytes on their way to us or held by us, beyond what a long message has reserved."""
    window_messages: int
    """Messages on their way to us or held by us."""
    rate_bytes_s: int
    """Bytes a second that a peer may send for ever."""
    rate_messages_s: int
    """Messages a second that a peer may send for ever."""


LIMITS: Final[dict[Topic, TopicLimits]] = {
    Topic.CONSENSUS: TopicLimits(
        message_bytes_max=2 * MIB,
        queue_bytes_max=4 * MIB,
        queue_messages_max=8_192,
        overflow=Overflow.DROP_OLDEST,
        share_percent=40,
        window_bytes=MIB,
        window_messages=2_048,
        rate_bytes_s=16 * MIB,
        rate_messages_s=4_096,
    ),
    Topic.BLOCKS: TopicLimits(
        message_bytes_max=32 * MIB,
        queue_bytes_max=64 * MIB,
        queue_messages_max=256,
        overflow=Overflow.DROP_OLDEST,
        share_percent=20,
        window_bytes=2 * MIB,
        window_messages=256,
        rate_bytes_s=64 * MIB,
        rate_messages_s=1_024,
    ),
    Topic.TRANSACTIONS: TopicLimits(
        message_bytes_max=MIB,
        queue_bytes_max=8 * MIB,
        queue_messages_max=16_384,
        overflow=Overflow.DROP_NEW,
        share_percent=10,
        window_bytes=MIB,
        window_messages=4_096,
        rate_bytes_s=16 * MIB,
        rate_messages_s=16_384,
    ),
    Topic.SYNC: TopicLimits(
        message_bytes_max=32 * MIB,
        queue_bytes_max=64 * MIB,
        queue_messages_max=64,
        overflow=Overflow.DROP_NEW,
        share_percent=10,
        window_bytes=2 * MIB,
        window_messages=64,
        rate_bytes_s=64 * MIB,
        rate_messages_s=256,
    ),
    Topic.PEERS: TopicLimits(
        message_bytes_max=64 * KIB,
        queue_bytes_max=512 * KIB,
        queue_messages_max=256,
        overflow=Overflow.DROP_NEW,
        share_percent=2,
        window_bytes=64 * KIB,
        window_messages=64,
        rate_bytes_s=32 * KIB,
        rate_messages_s=32,
    ),
}

assert list(LIMITS) == sorted(Topic), "the table is in the order of urgency and has every topic"
assert sum(limits.share_percent for limits in LIMITS.values()) <= 90, "urgency has room to act"
assert all(limits.queue_bytes_max >= limits.message_bytes_max for limits in LIMITS.values())
