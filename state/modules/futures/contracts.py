"""Contracts: listing a future on the demand for a model (markets 2.2, 0a.12)."""

from typing import Annotated

from msgspec import Meta

from state.context import TxContext
from state.maths import floor_div
from state.modules import index
from state.modules.futures import budget
from state.modules.futures.errors import HistoryTooShort, TooManyMarkets, WindowRefused
from state.modules.futures.events import Listed
from state.modules.futures.insurance import underwrite
from state.modules.futures.listing import TermsRefused, check_terms
from state.modules.futures.prices import capacity_of
from state.modules.futures.records import (
    CONTRACTS,
    COUNTER,
    MARKETS,
    MODULE,
    SERIES,
    THE_ONE,
    Contract,
    Counter,
    Market,
    Series,
    Status,
    schedule,
)
from state.params import FuturesParams
from state.registry import Message
from state.types import Hash, Height


@MODULE.tx
class ListFuture(Message, tag=0x0701):
    """List a cash-settled future on a model's demand over whole index buckets to come.

    Settlement is the index over the buckets first_bucket .. first_bucket + buckets - 1, in ticks
    and at most price_cap. The bond becomes the first insurance of the market.
    """

    model_id: Hash
    first_bucket: Height
    buckets: Annotated[int, Meta(ge=1, le=index.BUCKETS_MAX)]
    ref_price: Annotated[int, Meta(ge=1, le=2**46)]
    price_cap: Annotated[int, Meta(ge=1, le=2**46)]

    WEIGHT = 500

    def apply(self, ctx: TxContext) -> None:
        """Check window, history, budget and terms, then open the market."""
        params = ctx.params.futures
        terms = index.INDICES.require(ctx.state, self.model_id)
        now = index.bucket_of(ctx.params.index, ctx.height)
        if self.first_bucket <= now:
            raise WindowRefused(
                f"The window starts in bucket {self.first_bucket} and bucket {now} has begun; "
                "start it in a later one."
            )
        if now - terms.first_bucket < params.listing_history_buckets:
            raise HistoryTooShort(
                f"The index began in bucket {terms.first_bucket}; listing needs "
                f"{params.listing_history_buckets} buckets of history, so wait."
            )
        market_id = _next_id(ctx)
        capacity = capacity_of(ctx, terms)
        value = budget.tick_value(capacity, params.open_interest_target_lots)
        budget.check_listing(capacity, value)
        contract = self._contract(ctx, market_id, terms.tick_index, value)
        check_terms(
            contract.terms,
            mark_step_ppm=contract.mark_step_ppm,
            reference=self.ref_price,
            oi_lots_max=floor_div(capacity, value),
        )
        if self.price_cap > params.price_cap_multiple_max * self.ref_price:
            raise TermsRefused(
                f"The price cap is {self.price_cap}; at most {params.price_cap_multiple_max} "
                "times the reference price is expected."
            )
        market = Market(_first_status(params), self.ref_price, anchor=self.ref_price)
        COUNTER.put(ctx.state, THE_ONE, Counter(market_id))
        CONTRACTS.put(ctx.state, market_id, contract)
        MARKETS.put(ctx.state, market_id, market)
        SERIES.put(ctx.state, (self.model_id, market_id), Series())
        for height in (contract.open_height, contract.win_end, contract.settle_height):
            schedule(ctx.state, height, market_id)
        ctx.emit(
            Listed(
                market_id,
                self.model_id,
                ctx.account,
                value,
                contract.win_start,
                contract.win_end,
            )
        )
        if params.listing_bond:
            underwrite(ctx, market_id, params.listing_bond)

    def _contract(
        self, ctx: TxContext, market_id: int, tick_index: int, tick_value: int
    ) -> Contract:
        params, blocks = ctx.params.futures, ctx.params.index.bucket_blocks
        stop = self.first_bucket + self.buckets
        return Contract(
            market_id,
            self.model_id,
            ctx.account,
            ctx.height,
            tick_index,
            tick_value,
            self.ref_price,
            self.price_cap,
            self.first_bucket,
            stop,
            self.first_bucket * blocks,
            stop * blocks,
            ctx.height + params.opening_blocks,
            stop * blocks + params.grace_blocks,
            params.initial_margin_ppm,
            params.maintenance_margin_ppm,
            params.range_floor_ppm,
            params.band_ppm,
            params.mark_clamp_ppm,
            params.taker_fee_ppm,
            params.maker_rebate_ppm,
            params.liquidation_fee_ppm,
        )


def _first_status(params: FuturesParams) -> Status:
    return Status.OPENING if params.opening_blocks else Status.OPEN


def _next_id(ctx: TxContext) -> int:
    """Return the next market's number, unless the chain carries enough markets."""
    last = COUNTER.get(ctx.state, THE_ONE) or Counter(0)
    unsettled = sum(market.status is not Status.SETTLED for _, market in MARKETS.scan(ctx.state))
    limit = ctx.params.futures.markets_max
    if unsettled >= limit:
        raise TooManyMarkets(f"{limit} markets are not settled yet; wait until one of them is.")
    return last.last + 1
