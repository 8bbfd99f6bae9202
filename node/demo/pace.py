"""The pace of blocks: fast while things are set up and settled, the trace's own in between."""

import time
from collections.abc import Sequence

from node.client import SaharaClient
from node.demo.heights import Heights
from node.demo.serving import Window

FAST_MS = 50
MILLISECONDS = 1_000


Pacers = Sequence[SaharaClient]
"""A client for each node: whoever leads a view sets the pace of its block."""


async def set_pace(pacers: Pacers, interval_ms: int) -> None:
    """Let a block follow the one before after so many milliseconds, busy or not."""
    for client in pacers:
        await client.call(
            "node.set_pacing", block_interval_ms_min=interval_ms, idle_interval_ms=interval_ms
        )


def interval_ms_of(seconds: float, blocks: int) -> int:
    """Milliseconds a block so that `blocks` of them take `seconds`."""
    return max(1, round(seconds * MILLISECONDS / max(1, blocks)))


async def keep_pace(pacers: Pacers, heights: Heights, window: Window, seconds: float) -> None:
    """Correct the pace at every bucket, so that the window takes as long as was asked for.

    A block's own work comes on top of the interval; what the last bucket took beyond it is taken
    off the next interval.
    """
    await heights.reach(window.height_first)
    began = time.monotonic()
    interval = interval_ms_of(seconds, window.height_stop - window.height_first)
    await set_pace(pacers, interval)
    overhead = 0.0
    for bucket in range(1, window.buckets):
        at, height = time.monotonic(), heights.height
        reached = await heights.reach(window.height_of(bucket))
        per_block = (time.monotonic() - at) * MILLISECONDS / max(1, reached - height)
        overhead = max(0.0, overhead + (per_block - interval - overhead) / 2)
        left = seconds - (time.monotonic() - began)
        wanted = left * MILLISECONDS / max(1, window.height_stop - reached)
        interval = max(1, round(wanted - overhead))
        await set_pace(pacers, interval)
