"""The inbox: what peers sent and nobody has looked at, taken in turns that are fair to all of them.

A turn takes so many messages of each topic, one of each peer after the other, so a peer that floods
waits for itself alone. What is taken is settled afterwards; until then it holds its place in its
sender's window, and more than a window a peer may not have waiting here either.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final

from p2p.interface import Delivery
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

TURN_MESSAGES: Final = {Topic.CONSENSUS: 512, Topic.BLOCKS: 16, Topic.SYNC: 4}
"""Messages of each topic in one turn; 512 signatures take about 30 ms."""
STRANGERS_MESSAGES: Final = 8
"""How many of a topic's may be of one peer that is no validator: a certificate of a large set holds
over a hundred signatures, and who forges them is known only after the turn."""
STRANGERS_BYTES: Final = 2**15
"""What a turn looks at of a topic's messages of all of them together, and the last one whole: about
500 signatures, for whoever likes is many strangers at once."""


class Rotation:
    """Deliveries that wait, so many of each peer: next is whose turn came the longest ago."""

    def __init__(self, messages_max: int) -> None:
        self._messages_max = messages_max
        self._waiting: OrderedDict[bytes, deque[Delivery]] = OrderedDict()
        self._aside: dict[bytes, deque[Delivery]] = {}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def add(self, delivery: Delivery) -> bool:
        """Let a message wait; tell whether there was room for one more of this peer."""
        waiting = self._waiting.setdefault(delivery.peer_id, deque())
        has_room = len(waiting) < self._messages_max
        if has_room:
            waiting.append(delivery)
        return has_room

    @property
    def next_peer(self) -> bytes:
        """Whose turn it is; something waits."""
        return next(iter(self._waiting))

    def pop(self) -> Delivery:
        """Take the next one; something waits."""
        peer_id, waiting = self._waiting.popitem(last=False)
        delivery = waiting.popleft()
        if waiting:
            self._waiting[peer_id] = waiting  # behind everybody else
        return delivery

    def set_aside(self, peer_id: bytes) -> None:
        """Let a peer wait until those set aside are put back."""
        waiting = self._waiting.pop(peer_id, None)
        if waiting is not None:
            self._aside[peer_id] = waiting

    def put_back(self) -> None:
        """Those that were set aside are behind everybody else."""
        self._waiting.update(self._aside)
        self._aside.clear()

    def drop(self, peer_id: bytes, verdict: Verdict = Verdict.USELESS) -> None:
        """A peer is gone, and what waits of it with it."""
        for delivery in self._waiting.pop(peer_id, ()):
            delivery.settle(verdict)


class Inbox:
    """Deliveries that wait, by topic and peer."""

    def __init__(self) -> None:
        self._waiting = {topic: Rotation(LIMITS[topic].window_messages) for topic in TURN_MESSAGES}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._waiting.values())

    def add(self, delivery: Delivery) -> bool:
        """Let a message wait; tell whether there was room for one more of this peer."""
        return self._waiting[delivery.topic].add(delivery)

    def take(self, is_validator: Callable[[bytes], bool]) -> list[Delivery]:
        """Take one turn: the most urgent topic first, one message of each peer in rotation."""
        taken: list[Delivery] = []
        for topic, rotation in self._waiting.items():
            taken += _turn_of(rotation, TURN_MESSAGES[topic], is_validator)
            rotation.put_back()
        return taken

    def drop(self, peer_id: bytes) -> None:
        """Look at nothing more of a peer; it may be no fault of its own that it is gone."""
        for rotation in self._waiting.values():
            rotation.drop(peer_id, Verdict.DUPLICATE)


def _turn_of(
    rotation: Rotation, messages_max: int, is_validator: Callable[[bytes], bool]
) -> list[Delivery]:
    """Take a topic's part of a turn; strangers whose part is over are set aside."""
    taken: list[Delivery] = []
    counts: Counter[bytes] = Counter()
    strangers_bytes = 0
    while rotation and len(taken) < messages_max:
        peer_id = rotation.next_peer
        is_stranger = not is_validator(peer_id)
        has_had_its_part = counts[peer_id] >= STRANGERS_MESSAGES
        if is_stranger and (has_had_its_part or strangers_bytes >= STRANGERS_BYTES):
            rotation.set_aside(peer_id)
            continue
        delivery = rotation.pop()
        taken.append(delivery)
        counts[peer_id] += 1
        strangers_bytes += len(delivery.data) if is_stranger else 0
    return taken
