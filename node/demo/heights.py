"""The chain's clock as the demo hears it: the height of the newest final block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.client import ClientError, SaharaClient


class Heights:
    """The height of the head, kept up to date by a subscription to blocks."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._changed = asyncio.Condition()
        self._lost: ClientError | None = None

    async def advance(self, height: int) -> None:
        """Take in a new head."""
        async with self._changed:
            self.height = max(self.height, height)
            self._changed.notify_all()

    async def lose(self, error: ClientError) -> None:
        """Tell everybody who waits, now or later, that no more heads will be heard of."""
        async with self._changed:
            self._lost = error
            self._changed.notify_all()

    async def reach(self, height: int) -> int:
        """Wait until the head is at `height` or above and return where it is; raises what the
        feed ended with.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.height >= height or self._lost is not None)
            if self.height < height and self._lost is not None:
                raise self._lost
            return self.height


@asynccontextmanager
async def following(client: SaharaClient) -> AsyncIterator[Heights]:
    """Follow the chain while the context lasts; losing the feed shows in whoever waits for it."""
    async with client.subscribe("blocks") as feed:
        heights = Heights(feed.snapshot.height)

        async def follow() -> None:
            try:
                async for delta in feed:
                    await heights.advance(delta.height)
            except ClientError as error:
                await heights.lose(error)

        task = asyncio.ensure_future(follow())
        try:
            yield heights
        finally:
            task.cancel()
