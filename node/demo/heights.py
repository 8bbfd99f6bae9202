"""The chain's clock as the demo hears it: the height of the newest final block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.client import NotFinal, SaharaClient
from node.client.feed import Feed

QUIET_SECONDS_MAX = 60.0
"""After so long without a block the chain stands: empty ones, too, come every few seconds."""


class Heights:
    """The height of the head, kept up to date by a subscription to blocks."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._changed = asyncio.Event()
        self._lost: BaseException | None = None

    async def advance(self, height: int) -> None:
        """Take in a new head."""
        self.height = max(self.height, height)
        self._wake()

    def ended(self, feed: "asyncio.Task[None]") -> None:
        """Tell everybody who waits, now or later, what the feed of heads ended with."""
        if not feed.cancelled():
            self._lost = feed.exception()
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def reach(self, height: int) -> int:
        """Wait until the head is at `height` or above and return where it is; raises what the
        feed ended with.
        """
        while self.height < height:
            if self._lost is not None:
                raise self._lost
            await self._changed.wait()
        return self.height


@asynccontextmanager
async def following(client: SaharaClient) -> AsyncIterator[Heights]:
    """Follow the chain while the context lasts; losing the feed shows in whoever waits for it."""
    async with client.subscribe("blocks") as feed:
        heights = Heights(feed.snapshot.height)
        task = asyncio.ensure_future(_follow(feed, heights))
        task.add_done_callback(heights.ended)
        try:
            yield heights
        finally:
            task.cancel()


async def _follow(feed: Feed, heights: Heights) -> None:
    """Hear of every head; raises NotFinal when the chain stands, and what the feed ends with."""
    try:
        async with asyncio.timeout(QUIET_SECONDS_MAX) as quiet:
            async for delta in feed:
                await heights.advance(delta.height)
                quiet.reschedule(asyncio.get_running_loop().time() + QUIET_SECONDS_MAX)
    except TimeoutError as error:
        what = f"A block above height {heights.height}"
        raise NotFinal(what, QUIET_SECONDS_MAX) from error
