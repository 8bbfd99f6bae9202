"""What strangers may say of transactions: so much a second each, and so much all of them together.

An id is made up for nothing, and costs whoever hears it a place, a question, and a look when no
answer came. So ids of strangers cost them tokens by their number, those that nobody has here many
times more than those that are known, and what is beyond waits in its sender's window: a flood
stays where it comes from. Those who wait share alike, by tokens and not by messages, and what is
short goes first where they are even, so that who says little waits for nobody who says much.
Validators and peers that the operator named are no strangers.
"""

from collections import deque
from typing import Final

from p2p.interface import Delivery
from p2p.limits import TokenBucket
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

ID_BYTES: Final = 32
MESSAGE_TOKENS: Final = 2
UNKNOWN_TOKENS: Final = 2
"""What an id costs that nobody has here; it takes about 6 microseconds."""
KNOWN_PER_TOKEN: Final = 8
TOKENS_PER_S: Final = 8_192
"""Of one: more than twice what a node says that relays 2,500 transactions a second."""
TOKENS_BURST: Final = 2**15
"""A new peer tells 16,384 ids at once."""
TOKENS_PER_S_OF_ALL: Final = 24_576
"""Ids that nobody has take a twelfth of the event loop's time, and no more, whoever tells them."""
TOKENS_BURST_OF_ALL: Final = 2**13
"""So many together take 25 ms, in several turns."""


class Strangers:
    """Messages about ids that wait until those who sent them have tokens."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Delivery]] = {}
        self._tokens: dict[bytes, TokenBucket] = {}
        self._served: dict[bytes, int] = {}
        """How far each has come, in tokens; whoever begins to wait begins where the others are."""
        self._served_last = 0
        self._tokens_of_all = TokenBucket(TOKENS_PER_S_OF_ALL, TOKENS_BURST_OF_ALL, 0)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def add(self, delivery: Delivery) -> bool:
        """Let a message wait; tell whether there was room for one more of this peer."""
        peer_id = delivery.peer_id
        waiting = self._waiting.get(peer_id)
        if waiting is None:
            waiting = self._waiting[peer_id] = deque()
            self._served[peer_id] = max(self._served.get(peer_id, 0), self._served_last)
        has_room = len(waiting) < LIMITS[Topic.TRANSACTIONS].window_messages
        if has_room:
            waiting.append(delivery)
        return has_room

    def pop(self, now_ms: int) -> Delivery | None:
        """Take the next one, of whoever has come least far; None when nobody has tokens."""
        if not self._waiting or self._tokens_of_all.available(now_ms) <= 0:
            return None
        able = [one for one in self._waiting if self._of(one, now_ms).available(now_ms) > 0]
        if not able:
            return None
        peer_id = min(able, key=self._end)
        self._served_last = self._served[peer_id]
        waiting = self._waiting[peer_id]
        delivery = waiting.popleft()
        if not waiting:
            del self._waiting[peer_id]
        return delivery

    def charge(self, peer_id: bytes, ids: int, unknown: int, now_ms: int) -> None:
        """Take the tokens for a message of so many ids, into debt if need be."""
        tokens = MESSAGE_TOKENS + ids // KNOWN_PER_TOKEN + unknown * UNKNOWN_TOKENS
        self._of(peer_id, now_ms).spend(tokens, now_ms)
        self._served[peer_id] = self._served.get(peer_id, 0) + tokens
        self._tokens_of_all.spend(tokens, now_ms)

    def drop(self, peer_id: bytes) -> None:
        """A peer is gone, and what waits of it with it; that it waited is nobody's fault."""
        self._tokens.pop(peer_id, None)
        self._served.pop(peer_id, None)
        for delivery in self._waiting.pop(peer_id, ()):
            delivery.settle(Verdict.DUPLICATE)

    def _end(self, peer_id: bytes) -> int:
        """Return how far a peer comes by its next message, if nobody has any id of it here."""
        length = len(self._waiting[peer_id][0].data)
        return self._served[peer_id] + length * UNKNOWN_TOKENS // ID_BYTES

    def _of(self, peer_id: bytes, now_ms: int) -> TokenBucket:
        tokens = self._tokens.get(peer_id)
        if tokens is None:
            tokens = TokenBucket(TOKENS_PER_S, TOKENS_BURST, now_ms)
            self._tokens[peer_id] = tokens
        return tokens
