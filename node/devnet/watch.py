"""What a running node looks like from outside: its chain through the feed, itself by asking."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from node.client import ClientError, SaharaClient
from node.client.feed import Delta
from node.clock import Clock
from state.types import Hash

ASK_SECONDS = 1.0
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 5.0
RATE_SECONDS = 5.0
BLOCKS_MAX = 4_096


@dataclass(slots=True)
class Sight:
    """What was last seen of one node; None where it does not answer."""

    height: int | None = None
    finality_ms: int | None = None
    """From a block's time, when it was proposed, until this node told that it is final."""
    peers: int | None = None
    mode: str | None = None
    """How it takes part: see node.rpc.backend.NodeStatus."""
    blocks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=BLOCKS_MAX))
    """When each recent block came, and how many transactions it held."""

    def tx_per_s(self, now: float) -> float | None:
        """Transactions in a second, over the last few seconds."""
        if self.height is None:
            return None
        while self.blocks and self.blocks[0][0] < now - RATE_SECONDS:
            self.blocks.popleft()
        return round(sum(count for _, count in self.blocks) / RATE_SECONDS, 1)


class Watch:
    """Follows one node for as long as the devnet runs."""

    def __init__(self, url: Callable[[], str], genesis_hash: Hash, clock: Clock) -> None:
        self.sight = Sight()
        self._url = url
        self._genesis_hash = genesis_hash
        self._clock = clock

    async def run(self) -> None:
        """Follow the node until cancelled, whatever becomes of it."""
        while True:
            with suppress(ClientError):
                async with SaharaClient(
                    self._url(), genesis_hash=self._genesis_hash, timeout_seconds=TIMEOUT_SECONDS
                ) as client:
                    await self._follow(client)
            self.sight = Sight()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, client: SaharaClient) -> None:
        """Take in blocks as they come, and ask for the rest once a second; raises ClientError."""
        sight = self.sight
        async with client.subscribe("blocks") as feed:
            coming = asyncio.ensure_future(anext(feed))
            try:
                while True:
                    status = await client.status()
                    sight.height, sight.peers = status.height, status.peers
                    sight.mode = status.mode or None
                    asked = time.monotonic()
                    while (left := asked + ASK_SECONDS - time.monotonic()) > 0:
                        await asyncio.wait((coming,), timeout=left)
                        if coming.done():
                            self._take(coming.result())
                            coming = asyncio.ensure_future(anext(feed))
            finally:
                coming.cancel()
                with suppress(asyncio.CancelledError, ClientError):
                    await coming

    def _take(self, block: Delta) -> None:
        proposed_ms = int(block.result["header"]["time_ms"])
        self.sight.height = block.height
        self.sight.finality_ms = max(0, self._clock.wall_ms() - proposed_ms)
        self.sight.blocks.append((time.monotonic(), len(block.result["tx_ids"])))
