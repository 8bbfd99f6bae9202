"""The settlement as anyone can compute it from the trace file alone.

Nothing here asks the chain: the demo compares these figures with what the chain settled on.
With caps and winsorising off, and every unit paid at least p_min, the demand index is the plain
weighted sum of the tokens (markets 2.3, 0a.12-15).
"""

from dataclasses import dataclass

from node.demo.trace import Trace, TraceCall
from state.maths import ceil_div, floor_div

TOKENS_PER_PRICE = 10**6
"""Prices are stated in grains per this many tokens."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Grains per 10^6 tokens of each kind, and grains per call (assets C.1)."""

    grains_in: int
    grains_cached: int
    grains_out: int
    grains_call: int

    def cost_of(self, call: TraceCall) -> int:
        """Grains of one call, rounded up once."""
        numerator = (
            call.tokens_in * self.grains_in
            + call.tokens_cached * self.grains_cached
            + call.tokens_out * self.grains_out
        )
        return ceil_div(numerator, TOKENS_PER_PRICE) + self.grains_call


@dataclass(frozen=True, slots=True)
class IndexWeights:
    """Index units of one token of each kind, and index units of one price tick."""

    units_in: int
    units_cached: int
    units_out: int
    tick_index: int

    def units_of(self, call: TraceCall) -> int:
        """Index units of one call."""
        return (
            call.tokens_in * self.units_in
            + call.tokens_cached * self.units_cached
            + call.tokens_out * self.units_out
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What one model's calls must add up to on the chain."""

    calls: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    grains_paid: int
    units_by_bucket: tuple[int, ...]
    settlement_price: int

    @property
    def units(self) -> int:
        """The demand index over the whole window."""
        return sum(self.units_by_bucket)


def expected_of(trace: Trace, prices: Prices, weights: IndexWeights, buckets: int) -> Expected:
    """Recompute totals, payment and settlement price from the trace."""
    units_by_bucket = [0] * buckets
    for call in trace.calls:
        units_by_bucket[trace.bucket_of(call.time, buckets)] += weights.units_of(call)
    return Expected(
        calls=len(trace.calls),
        tokens_in=sum(call.tokens_in for call in trace.calls),
        tokens_cached=sum(call.tokens_cached for call in trace.calls),
        tokens_out=sum(call.tokens_out for call in trace.calls),
        grains_paid=sum(prices.cost_of(call) for call in trace.calls),
        units_by_bucket=tuple(units_by_bucket),
        settlement_price=floor_div(sum(units_by_bucket), weights.tick_index),
    )
