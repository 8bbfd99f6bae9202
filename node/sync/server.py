"""Serving who syncs: each kind of request has one handler, which reads the database in a thread.

One request is read at a time, one of each peer after the other, and each peer has a budget of bytes
a second. So nobody who asks holds up the event loop, or those who ask less.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from node.sync.messages import ServedAnswer, decode_request
from p2p.interface import Request
from p2p.limits import TokenBucket
from p2p.scores import Verdict
from p2p.topics import LIMITS, MIB, Topic
from state.codec import encode
from state.errors import Malformed

Handler = Callable[[Any], ServedAnswer | None]
"""Takes a request of its kind and returns the answer, None when it is not here; in a thread."""

PEER_BYTES_S: Final = 8 * MIB
"""What one peer is served a second, in the long run."""
PEER_BYTES_BURST: Final = 16 * MIB
PEER_WAITING_MAX: Final = 8
"""Requests of one peer that wait for their turn; more are refused at once."""
PEERS_MAX: Final = 1_024
"""Peers whose budget is remembered, the last ones that asked."""

ANSWER_BYTES_MAX: Final = LIMITS[Topic.SYNC].message_bytes_max
"""What is longer cannot be sent, so who asks is told that it is not here."""

SEARCH_BYTES: Final = 2**16
"""What it counts for to look for something that is not here."""

NOT_HERE: Final = "sync.not_here"
BUSY: Final = "sync.busy"

log = logging.getLogger("sahara.sync")


class SyncServer:
    """Answers requests on the topic SYNC by their kind."""

    def __init__(self, handlers: Mapping[type[Any], Handler], now_ms: Callable[[], int]) -> None:
        self._handlers = handlers
        self._now_ms = now_ms
        self._budgets: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._waiting: OrderedDict[bytes, deque[tuple[Request, Any]]] = OrderedDict()
        self._reading: asyncio.Future[bytes | None] | None = None
        self._is_stopped = False
        self.served_bytes = 0
        """Bytes of all answers."""

    def on_request(self, request: Request) -> None:
        """Let a request wait for its turn, or refuse it."""
        try:
            asked = decode_request(request.data)
        except Malformed as error:
            log.warning(
                "not a request", extra={"peer": request.peer_id.hex(), "reason": error.sentence}
            )
            request.refuse("sync.malformed", Verdict.INVALID)
            return
        waiting = self._waiting.get(request.peer_id, ())
        if self._is_stopped or len(waiting) >= PEER_WAITING_MAX or not self._may_have(request):
            request.refuse(BUSY)
            return
        self._waiting.setdefault(request.peer_id, deque()).append((request, asked))
        if self._reading is None:
            self._next()

    async def stop(self) -> None:
        """Answer nobody any more; the database is not read once this returns."""
        self._is_stopped = True
        while self._waiting:
            _, waiting = self._waiting.popitem()
            for request, _ in waiting:
                request.refuse(BUSY)
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def _may_have(self, request: Request) -> bool:
        return self._budget(request.peer_id).available(self._now_ms()) > 0

    def _budget(self, peer_id: bytes) -> TokenBucket:
        budget = self._budgets.get(peer_id)
        if budget is None:
            budget = TokenBucket(PEER_BYTES_S, PEER_BYTES_BURST, self._now_ms())
            self._budgets[peer_id] = budget
            if len(self._budgets) > PEERS_MAX:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(peer_id)
        return budget

    def _next(self) -> None:
        """Read for the next peer in rotation."""
        self._reading = None
        if not self._waiting:
            return
        peer_id, waiting = self._waiting.popitem(last=False)
        request, asked = waiting.popleft()
        if waiting:
            self._waiting[peer_id] = waiting  # behind everybody else
        handler = self._handlers.get(type(asked))
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(None, _read, handler, asked)
        self._reading.add_done_callback(lambda done: self._answer(request, done))

    def _answer(self, request: Request, done: "asyncio.Future[bytes | None]") -> None:
        data = done.result()
        if data is not None and len(data) > ANSWER_BYTES_MAX:
            log.warning("answer too long", extra={"bytes": len(data)})
            data = None
        if data is None:
            self._budget(request.peer_id).spend(SEARCH_BYTES, self._now_ms())
            request.refuse(NOT_HERE)
        elif not self._may_have(request):
            request.refuse(BUSY)
        else:
            self._budget(request.peer_id).spend(len(data), self._now_ms())
            self.served_bytes += len(data)
            request.answer(data)
        self._next()


def _read(handler: Handler | None, asked: object) -> bytes | None:
    """Return the bytes of the answer; who serves no requests of this kind has none."""
    answer = None if handler is None else handler(asked)
    return None if answer is None else encode(answer)
