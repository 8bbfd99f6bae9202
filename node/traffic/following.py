"""The chain's height over nodes that come and go, as the demo's parts wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from node.client import ClientError, RoamingClient
from node.demo.heights import Heights

QUIET_SECONDS_MAX = 3.0
"""After so long without a block the feed may hang with its node: another one is asked."""

RETRY_SECONDS = 0.25


@asynccontextmanager
async def following(client: RoamingClient) -> AsyncIterator[Heights]:
    """Follow the chain while the context lasts, on whichever node is ahead."""
    heights = Heights((await client.status()).height)
    task = asyncio.create_task(_follow(client, heights))
    try:
        yield heights
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _follow(client: RoamingClient, heights: Heights) -> None:
    while True:
        with suppress(ClientError, TimeoutError):
            async with (
                asyncio.timeout(QUIET_SECONDS_MAX) as quiet,
                client.subscribe("blocks") as feed,
            ):
                await heights.advance(feed.snapshot.height)
                async for delta in feed:
                    await heights.advance(delta.height)
                    loop = asyncio.get_running_loop()
                    quiet.reschedule(loop.time() + QUIET_SECONDS_MAX)
        await asyncio.sleep(RETRY_SECONDS)
        with suppress(ClientError):
            await client.choose()
