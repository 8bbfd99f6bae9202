"""What the index says of a market: what it has accrued, where it points, what it carries.

Everything here reads the index and the contracts; nothing is written.
"""

from msgspec import Struct

from state.context import QueryContext
from state.maths import clamp, floor_div
from state.modules import index
from state.modules.futures import budget, mark
from state.modules.futures.margin import Ranges, ranges
from state.modules.futures.records import CONTRACTS, MARKETS, SERIES, Contract, Market


class Outlook(Struct, frozen=True):
    """An index as a market sees it: the accrued floor and the anchor in ticks, and its budget."""

    floor: int
    anchor: int
    capacity: int
    """Most that open interest times tick value may sum to over all series (markets 2.3)."""
    used_by_others: int
    """What the other series of the index use of it."""

    def lots_max(self, contract: Contract) -> int:
        """Return the most open interest that the budget leaves to this market."""
        return budget.lots_left(self.capacity, self.used_by_others, contract.tick_value)


def capacity_of(ctx: QueryContext, terms: index.Index) -> int:
    """Return how much open interest an index carries, in grains per tick (markets 0a.12)."""
    return budget.capacity(
        ctx.params.split.irrecoverable_ppm,
        terms.price_min,
        terms.tick_index,
        ctx.params.futures.safety,
    )


def used_of(ctx: QueryContext, model_id: bytes, *, without: int) -> int:
    """Return open interest times tick value over the series of an index, one market left out."""
    used = 0
    for (_, market_id), _ in SERIES.scan(ctx.state, under=(model_id,)):
        lots = MARKETS.require(ctx.state, market_id).open_interest
        if lots and market_id != without:
            used += lots * CONTRACTS.require(ctx.state, market_id).tick_value
    return used


def outlook(ctx: QueryContext, contract: Contract) -> Outlook:
    """Return what the index says of a market at this height.

    The run-rate is that of the window's ripe buckets: those that ended long enough ago for their
    claims to have passed the dispute window. The newest buckets are still being paid for, and
    counting them as they stand would have every anchor point too low.
    """
    terms = index.INDICES.require(ctx.state, contract.model_id)
    params = ctx.params.index
    now = index.bucket_of(params, ctx.height)
    stop = clamp(now + 1, contract.win_first_bucket, contract.win_stop_bucket)
    found = index.window(ctx.state, params, terms, contract.win_first_bucket, stop)
    lag = ctx.params.inference.dispute_window_blocks + params.bucket_blocks
    ripe_stop = index.bucket_of(params, max(0, ctx.height - lag))
    ripe = clamp(ripe_stop - contract.win_first_bucket, 0, len(found.buckets))
    ripe_units = sum(found.buckets[:ripe])
    floor = min(contract.price_cap, floor_div(found.units, contract.tick_index))
    anchor = mark.anchor(
        accrued_units=ripe_units,
        closed_units=ripe_units,
        closed_blocks=ripe * params.bucket_blocks,
        remaining_blocks=contract.win_end - contract.win_start - ripe * params.bucket_blocks,
        tick_index=contract.tick_index,
        reference=contract.ref_price,
    )
    return Outlook(
        floor,
        clamp(anchor, floor, contract.price_cap),
        capacity_of(ctx, terms),
        used_of(ctx, contract.model_id, without=contract.market_id),
    )


def ranges_of(contract: Contract, market: Market, seen: Outlook, height: int) -> Ranges:
    """Return the price ranges of a market at its mark and this height."""
    return ranges(
        contract.terms,
        mark=max(market.mark, seen.floor),
        floor=seen.floor,
        height=height,
        used=seen.used_by_others + market.open_interest * contract.tick_value,
        capacity=seen.capacity,
        widening=market.widening,
    )
