"""What waits for callers that do not read: bounded in messages and bytes, for each and for all.

Over a WebSocket answers are made only while there is room for the largest, so they hold back the
caller that does not read them. News waits for nobody: an outbox that has no room for it is cut off.

Over HTTP one answer at a time waits, and only so long as its length allows.

Once all together hold too much, the one that holds the most is cut off: whoever asks for little
has nothing to fear from those who ask for much.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from node.rpc.limits import RpcLimits


class Outboxes:
    """What waits for the callers of one server, by WebSocket and HTTP, and its bytes together."""

    def __init__(self, limits: RpcLimits) -> None:
        self.limits = limits
        self._open: dict[int, Outbox | Untaken] = {}
        self.held_bytes = 0

    def open(self) -> "Outbox":
        """Return an outbox for a new WebSocket."""
        outbox = Outbox(self.limits, self)
        self._open[id(outbox)] = outbox
        return outbox

    def close(self, outbox: "Outbox") -> None:
        """Forget an outbox and what it holds."""
        outbox.cut_off()
        del self._open[id(outbox)]

    def add(self, untaken: "Untaken") -> None:
        """Count an answer over HTTP that waits."""
        self._open[id(untaken)] = untaken
        self.count(untaken.held_bytes)

    def remove(self, untaken: "Untaken") -> None:
        """Count an answer over HTTP no more."""
        del self._open[id(untaken)]
        self.count(-untaken.held_bytes)

    def count(self, change_bytes: int) -> None:
        """Add to what is held; cut off who holds the most while that is too much."""
        self.held_bytes += change_bytes
        while self.held_bytes > self.limits.queued_bytes_total_max:
            max(self._open.values(), key=lambda each: each.held_bytes).cut_off()


class Untaken:
    """The answer over HTTP that one connection has not taken yet; without one it costs nothing."""

    __slots__ = ("_all", "_ends", "_has_outbox", "_transport", "answer_bytes", "held_bytes")

    def __init__(self, all_open: Outboxes, transport: asyncio.Transport) -> None:
        # A transport then says at once that something waits, and that nothing does any more.
        transport.set_write_buffer_limits(high=0)
        self._all = all_open
        self._transport = transport
        self._has_outbox = False
        self._ends: asyncio.TimerHandle | None = None
        self.held_bytes = 0
        self.answer_bytes = 0
        """The length of the answer written last, all of which is kept until its end is taken."""

    def begin(self) -> None:
        """Something waits: count it, and let go of the connection unless it is taken in time."""
        if self._ends is not None or self._has_outbox:
            return
        limits = self._all.limits
        self.held_bytes = max(self.answer_bytes, self._transport.get_write_buffer_size())
        seconds = limits.taken_seconds + self.held_bytes / limits.taken_bytes_per_second
        self._ends = asyncio.get_running_loop().call_later(seconds, self.cut_off)
        self._all.add(self)

    def end(self) -> None:
        """Nothing waits any more."""
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
            self._all.remove(self)
            self.held_bytes = 0

    def cut_off(self) -> None:
        """Let go of the connection and of what waits for it."""
        self.end()
        # Not at once: the transport may be in the midst of writing.
        asyncio.get_running_loop().call_soon(self._transport.abort)

    def leave_to_outbox(self) -> None:
        """Count nothing from now on: the connection is a WebSocket, whose outbox does."""
        self.end()
        self._has_outbox = True

    def take_back(self) -> None:
        """Count again, what its outbox has left behind too."""
        self._has_outbox = False
        self.answer_bytes = 0
        if self._transport.get_write_buffer_size():
            self.begin()


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
        try:
            while True:
                await self._filled.wait()
                message = self._messages.popleft()
                if not self._messages:
                    self._filled.clear()
                await send(message)
                if not self.overflowed.is_set():
                    self._count(-len(message))
        finally:
            self.cut_off()  # the other end is gone: whoever waits for room here has to hear of it

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
