"""Serving: the calls of each bucket are signed while the one before runs, and claimed in time.

A claim may name a bucket from its first height on; all of them have to be in by the end of the
window, so that they are released, and counted, before the grace blocks are over.
"""

import asyncio
from dataclasses import dataclass, field

from node.client import SaharaClient
from node.demo.calls import Counter, SignedBatch, sign_batch
from node.demo.cast import Cast
from node.demo.errors import MachineTooSlow
from node.demo.heights import Heights
from node.demo.lanes import Lanes
from node.demo.profile import PRICES, DemoPlan
from node.demo.receipts import PlannedBatch, planned_batches
from node.demo.steps import perform


@dataclass(frozen=True, slots=True)
class Window:
    """The blocks over which demand is counted: `buckets` buckets from `bucket_first` on."""

    bucket_first: int
    buckets: int
    bucket_blocks: int

    @property
    def height_first(self) -> int:
        """The first height of the window."""
        return self.bucket_first * self.bucket_blocks

    @property
    def height_stop(self) -> int:
        """The first height after the window."""
        return (self.bucket_first + self.buckets) * self.bucket_blocks

    def height_of(self, bucket: int) -> int:
        """The first height of a bucket, counted from the window's first."""
        return (self.bucket_first + bucket) * self.bucket_blocks


@dataclass(slots=True)
class Served:
    """What has been signed, sent and claimed so far, by model."""

    batches: list[SignedBatch] = field(default_factory=list)
    claim_heights: list[int] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)

    def of(self, model: str) -> list[SignedBatch]:
        """The claimed batches of one model."""
        return [batch for batch in self.batches if batch.planned.model == model]

    def claimed_by(self, model: str, height: int) -> int:
        """Calls of one model whose claims stand in blocks up to `height`."""
        return sum(
            len(batch.receipts)
            for batch, at in zip(self.batches, self.claim_heights, strict=True)
            if at <= height and batch.planned.model == model
        )


class Serving:
    """Signs and claims the calls of all traces, bucket by bucket."""

    def __init__(
        self, client: SaharaClient, cast: Cast, plan: DemoPlan, lanes: Lanes, counter: Counter
    ) -> None:
        self._client = client
        self._cast = cast
        self._lanes = lanes
        self._counter = counter
        self._traces = {trace.name: trace for trace in plan.traces}
        self._planned: list[list[PlannedBatch]] = [[] for _ in range(plan.buckets)]
        for trace in plan.traces:
            for bucket, batches in enumerate(
                planned_batches(trace, PRICES, plan.payers, plan.buckets)
            ):
                self._planned[bucket] += batches
        self.served = Served(
            sent=dict.fromkeys(self._traces, 0), claimed=dict.fromkeys(self._traces, 0)
        )

    async def run(
        self, heights: Heights, window: Window, *, height_late: int | None = None
    ) -> None:
        """Serve the whole window; raises MachineTooSlow when a claim comes at `height_late`.

        That is the window's end unless told otherwise.
        """
        too_late = window.height_stop if height_late is None else height_late
        ready = asyncio.ensure_future(self._sign(0))
        try:
            for bucket in range(window.buckets):
                signed = await ready
                if bucket + 1 < window.buckets:
                    ready = asyncio.ensure_future(self._sign(bucket + 1))
                await heights.reach(window.height_of(bucket))
                await self._claim(signed)
                late = max(self.served.claim_heights, default=0)
                if late >= too_late:
                    raise MachineTooSlow(
                        f"claims of bucket {bucket + 1} of {window.buckets} came into block {late} "
                        f"and the window ended with block {window.height_stop - 1}"
                    )
        finally:
            ready.cancel()

    async def _sign(self, bucket: int) -> list[SignedBatch]:
        """Sign a bucket's calls in a thread, one batch at a time, so that the agents are heard."""
        signed = []
        for planned in self._planned[bucket]:
            lane = self._lanes[planned.model, planned.payer]
            trace = self._traces[planned.model]
            signed.append(await asyncio.to_thread(sign_batch, trace, planned, lane, self._counter))
        return signed

    async def _claim(self, signed: list[SignedBatch]) -> None:
        for batch in signed:
            self.served.sent[batch.planned.model] += len(batch.receipts)
        sendings = [(self._cast.operators[batch.planned.model], (batch.claim,)) for batch in signed]
        statuses = await perform(self._client, "claiming batches", sendings)
        self.served.batches += signed
        for batch, status in zip(signed, statuses, strict=True):
            assert status.height is not None, "a final transaction has a height"
            self.served.claim_heights.append(status.height)
            self.served.claimed[batch.planned.model] += len(batch.receipts)
