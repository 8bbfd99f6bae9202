"""What waits for WebSockets that do not read: bounded in messages and bytes, for each and for all.

Answers are made only while there is room for the largest, so they hold back the caller that does
not read them. News waits for nobody: an outbox that has no room for it is cut off. So is the one
that holds the most, once all together hold too much.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from node.rpc.limits import RpcLimits


class Outboxes:
    """The outboxes of one server, and what they hold together."""

    def __init__(self, limits: RpcLimits) -> None:
        self._limits = limits
        self._open: dict[int, Outbox] = {}
        self.held_bytes = 0

    def open(self) -> "Outbox":
        """Return an outbox for a new WebSocket."""
        outbox = Outbox(self._limits, self)
        self._open[id(outbox)] = outbox
        return outbox

    def close(self, outbox: "Outbox") -> None:
        """Forget an outbox and what it holds."""
        outbox.cut_off()
        del self._open[id(outbox)]

    def count(self, change_bytes: int) -> None:
        """Add to what is held; cut off who holds the most while that is too much."""
        self.held_bytes += change_bytes
        while self.held_bytes > self._limits.queued_bytes_total_max:
            max(self._open.values(), key=lambda outbox: outbox.held_bytes).cut_off()


class Outbox:
    """The messages that wait for one WebSocket, oldest first; once it is cut off it takes none."""

    def __init__(self, limits: RpcLimits, all_open: Outboxes) -> None:
        self._limits = limits
        self._all = all_open
        self._messages: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._roomy = asyncio.Event()
        self._roomy.set()
        self.held_bytes = 0
        """Of what waits and of what is being sent."""
        self.overflowed = asyncio.Event()

    async def room(self) -> None:
        """Wait until there is room for an answer, or until the outbox is cut off."""
        await self._roomy.wait()

    def put(self, message: bytes) -> None:
        """Let an answer wait for which there was room when it was begun."""
        if self.overflowed.is_set():
            return
        self._messages.append(message)
        self._filled.set()
        self._count(len(message))

    def offer(self, message: bytes) -> None:
        """Let news wait; without room for it the outbox is cut off."""
        limits = self._limits
        size = self.held_bytes + len(message)
        # What is larger than all the room there is may wait alone.
        if len(self._messages) < limits.queued_messages_max and (
            size <= limits.queued_bytes_max or not self.held_bytes
        ):
            self.put(message)
        else:
            self.cut_off()

    async def send_all(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what comes, for ever; a message counts until the other end has room for it."""
        while True:
            await self._filled.wait()
            message = self._messages.popleft()
            if not self._messages:
                self._filled.clear()
            await send(message)
            if not self.overflowed.is_set():
                self._count(-len(message))

    def cut_off(self) -> None:
        """Let go of everything, and take nothing any more."""
        self.overflowed.set()
        self._messages.clear()
        self._filled.clear()
        self._count(-self.held_bytes)

    def _count(self, change_bytes: int) -> None:
        self.held_bytes += change_bytes
        limits = self._limits
        if self.overflowed.is_set() or not self.held_bytes:
            is_roomy = True
        else:
            is_roomy = (
                len(self._messages) < limits.queued_messages_max
                and self.held_bytes + limits.response_bytes_max <= limits.queued_bytes_max
            )
        if is_roomy:
            self._roomy.set()
        else:
            self._roomy.clear()
        self._all.count(change_bytes)
