"""The chain's clock: whoever waits for a height is told, too, when none comes any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from node.client import NotFinal, Unreachable
from node.demo import heights as module
from node.demo.heights import following


class Client:
    """Gives a feed of two blocks that then ends with an error, or stands."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    @asynccontextmanager
    async def subscribe(self, _: str) -> AsyncIterator[Any]:
        yield self

    snapshot = SimpleNamespace(height=4)

    async def __aiter__(self) -> AsyncIterator[Any]:
        for height in (5, 6):
            await asyncio.sleep(0)
            yield SimpleNamespace(height=height)
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "error", [Unreachable("It was closed."), KeyError("params"), ValueError("no JSON")]
)
async def test_however_the_feed_ends_whoever_waits_hears_of_it(error: Exception) -> None:
    client: Any = Client(error)
    async with asyncio.timeout(10), following(client) as heights:
        assert await heights.reach(6) == 6
        for _ in range(2):  # now, and later
            with pytest.raises(type(error)):
                await heights.reach(7)
        assert await heights.reach(5) == 6


async def test_a_chain_that_stands_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS_MAX", 0.2)
    client: Any = Client(None)
    async with asyncio.timeout(10), following(client) as heights:
        waiting = [asyncio.ensure_future(heights.reach(height)) for height in (6, 7, 8)]
        assert await waiting[0] == 6
        for one in waiting[1:]:
            with pytest.raises(NotFinal, match=r"after 0\.2 s"):
                await one
