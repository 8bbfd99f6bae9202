"""Which payer pays which call, and which calls one claim covers.

Pure bookkeeping over row numbers: payer = row number modulo payers; each payer has one lane to the
model's operator; a claim covers one lane and one bucket (markets 0a.15). Within a lane sequence
numbers run from 1 in order of rows, so buckets of a lane never decrease.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.demo.expected import Prices
from node.demo.trace import Trace, TraceCall


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Calls, tokens and grains that some calls add up to."""

    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    grains: int = 0

    def plus(self, other: "CallTotals") -> "CallTotals":
        """The sum, field by field."""
        return CallTotals(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_cached + other.tokens_cached,
            self.tokens_out + other.tokens_out,
            self.grains + other.grains,
        )


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """The calls of one payer in one bucket: what one claim will cover."""

    model: str
    payer: int
    bucket: int
    seq_first: int
    rows: tuple[int, ...]
    totals: CallTotals
    cumulative: CallTotals
    """Totals of the lane up to and including this batch: what the voucher states."""

    @property
    def seq_last(self) -> int:
        """Sequence number of the batch's last call."""
        return self.seq_first + len(self.rows) - 1


def payer_of(row: int, payers: int) -> int:
    """The number of the payer, 0..payers-1, who pays a row."""
    return row % payers


def planned_batches(
    trace: Trace, prices: Prices, payers: int, buckets: int
) -> list[list[PlannedBatch]]:
    """The batches of each bucket, by payer; a lane without calls in a bucket has none there."""
    planned: list[list[PlannedBatch]] = [[] for _ in range(buckets)]
    for payer in range(payers):
        for batch in lane_batches(trace, prices, payer, payers, buckets):
            planned[batch.bucket].append(batch)
    return planned


def lane_batches(
    trace: Trace, prices: Prices, payer: int, payers: int, buckets: int
) -> list[PlannedBatch]:
    """The batches of one payer's lane in order of bucket and sequence."""
    rows_by_bucket: dict[int, list[int]] = {}
    for row in range(payer, len(trace.calls), payers):
        bucket = trace.bucket_of(trace.calls[row].time, buckets)
        rows_by_bucket.setdefault(bucket, []).append(row)
    batches = []
    cumulative = CallTotals()
    for bucket, rows in rows_by_bucket.items():
        totals = totals_of([trace.calls[row] for row in rows], prices)
        seq_first = cumulative.calls + 1
        cumulative = cumulative.plus(totals)
        batch = PlannedBatch(trace.name, payer, bucket, seq_first, tuple(rows), totals, cumulative)
        batches.append(batch)
    return batches


def totals_of(calls: Sequence[TraceCall], prices: Prices) -> CallTotals:
    """What these calls add up to; every call's cost is rounded by itself."""
    return CallTotals(
        calls=len(calls),
        tokens_in=sum(call.tokens_in for call in calls),
        tokens_cached=sum(call.tokens_cached for call in calls),
        tokens_out=sum(call.tokens_out for call in calls),
        grains=sum(prices.cost_of(call) for call in calls),
    )


def deposit_of(trace: Trace, prices: Prices, payer: int, payers: int) -> int:
    """Grains that cover everything one payer will owe the model's operator."""
    return totals_of(trace.calls[payer::payers], prices).grains
