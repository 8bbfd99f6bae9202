"""Volatility auctions: when a market stops trading, how long, and how it reopens (markets 2.8).

A clear that only its band holds back, or one far from all recent clears, does not trade. Instead
the market is in AUCTION: orders collect in a wider band, cancellations work, nobody is liquidated,
and the mark stands but for the accrued floor. The block that ends the call period clears at the
price its orders then agree on. A further breach extends the period, and widens the band, up to a
bound; the block of that bound clears whatever its price.

A long gap between the times of two blocks does the same to all markets, because whoever saw the
world go on in it knows more than their prices. Liquidations wait until some blocks after.
"""

from state.codec import replace
from state.context import BlockContext
from state.maths import mul_div_ceil, mul_div_floor
from state.modules.futures import auction
from state.modules.futures.clearing import Clearing
from state.modules.futures.desk import Desk
from state.modules.futures.events import GapFound, Indicated, Reason
from state.modules.futures.orders import LIQUIDATION
from state.modules.futures.records import (
    CLEARS,
    CLOCK,
    THE_ONE,
    Call,
    ClearPrice,
    Clock,
    Status,
)
from state.tables import State
from state.types import PPM


def watch_clock(ctx: BlockContext) -> int:
    """Note the time of this block; return the blocks of auction that a gap before it costs."""
    params, state = ctx.params.futures, ctx.state
    if not params.gap_ms:
        return 0
    last = CLOCK.get(state, THE_ONE) or Clock(ctx.time_ms)
    gap = ctx.time_ms - last.time_ms
    blocks, calm = 0, last.calm_height
    for threshold, length in zip(params.gap_ms, params.gap_auction_blocks, strict=True):
        if gap > threshold:
            blocks = length
    if blocks:
        calm = max(calm, ctx.height + blocks + params.stale_blocks)
        ctx.emit(GapFound(gap, blocks, calm))
    CLOCK.put(state, THE_ONE, Clock(ctx.time_ms, calm))
    return blocks


def is_calm(ctx: BlockContext) -> bool:
    """Tell whether no gap in time keeps accounts from being liquidated any more."""
    clock = CLOCK.get(ctx.state, THE_ONE)
    return clock is None or ctx.height >= clock.calm_height


def wait_after_gap(desk: Desk, blocks: int) -> None:
    """Put an open market into AUCTION for so many blocks, or for as long as it already is."""
    running, last = desk.market.call, desk.contract.win_end - 1
    end = min(desk.height + blocks, last)
    if desk.market.status is Status.OPENING or end <= desk.height:
        return
    stop = min(end + desk.ctx.params.futures.auction_blocks_max, last)
    if running is not None:
        end, stop = max(end, running.end), max(stop, running.stop)
    desk.change(call=Call(end, stop, max(2, desk.market.widening)))
    desk.set_status(Status.AUCTION)
    desk.reprice()


def is_calling(desk: Desk) -> bool:
    """Tell whether this block lies inside a call period, so that nothing may trade in it."""
    call = desk.market.call
    return call is not None and desk.height < call.end


def set_open(desk: Desk) -> None:
    """Let the market trade, everybody or only those who reduce, as the index budget has it."""
    seen = desk.outlook
    used = seen.used_by_others + desk.market.open_interest * desk.tick_value
    desk.set_status(Status.CLOSE_ONLY if used > seen.capacity else Status.OPEN)


def interrupt(desk: Desk) -> bool:
    """Trade, or begin or go on with a call period; tell whether it was the latter."""
    clearing = auction.solve(desk)
    call = _next_call(desk, clearing)
    if call is None:
        auction.carry_out(desk, clearing)
        _record(desk, clearing)
        if desk.market.call is not None:
            desk.change(call=None)
            set_open(desk)
        return False
    _withdraw_liquidations(desk)
    price = clearing.price or 0
    desk.change(call=replace(call, price=price, lots=clearing.volume, imbalance=clearing.imbalance))
    desk.set_status(Status.AUCTION)
    desk.ctx.emit(Indicated(desk.market_id, price, clearing.volume, clearing.imbalance, call.end))
    return True


def _withdraw_liquidations(desk: Desk) -> None:
    """Take back this block's liquidation orders: they enter again in the clear that reopens."""
    for key, view in desk.quoting():
        forced = [order.order_id for order in view.orders if order.flags & LIQUIDATION]
        if forced:
            desk.cancel(desk.at(key), forced, Reason.IOC)


def _next_call(desk: Desk, clearing: Clearing) -> Call | None:
    """Return the call period that the clear has to wait for, None if it may trade.

    The last block of trading always clears: orders would have no other.
    """
    params, height, running = desk.ctx.params.futures, desk.height, desk.market.call
    if running is not None and height < running.end:
        return running
    if params.auction_blocks == 0 or not _breaches(desk, clearing):
        return None
    stop = min(height + params.auction_blocks_max, desk.contract.win_end - 1)
    if running is not None:
        stop = running.stop
    end = min(height + params.auction_blocks, stop)
    return Call(end, stop, desk.market.widening + 1) if end > height else None


def _breaches(desk: Desk, clearing: Clearing) -> bool:
    """Tell whether the band holds the price back, or the price has left the recent ones behind.

    The accrued floor and the price cap are no such edges: no settlement lies beyond them.
    """
    price, bounds = clearing.price, desk.prices
    if price is None:
        return False
    if clearing.imbalance > 0 and price == bounds.band_high < desk.contract.price_cap:
        return True
    if clearing.imbalance < 0 and price == bounds.band_low > desk.outlook.floor:
        return True
    params = desk.ctx.params.futures
    recent = _recent(desk)
    if not recent:
        return False
    width = params.breaker_ppm * desk.market.widening
    highest, lowest = max(recent), min(recent)
    above = highest + max(1, mul_div_floor(highest, width, PPM))
    below = lowest - max(1, mul_div_ceil(lowest, width, PPM))
    return not below <= price <= above


def _recent(desk: Desk) -> list[int]:
    """Return the prices of the clears that the breaker looks back on, in ticks."""
    first = desk.height - desk.ctx.params.futures.breaker_blocks
    return [
        row.price
        for (_, height), row in CLEARS.scan(desk.ctx.state, under=(desk.market_id,))
        if height >= first
    ]


def _record(desk: Desk, clearing: Clearing) -> None:
    """Keep the price of a clear for as long as the breaker looks back on it."""
    kept, state = desk.ctx.params.futures.breaker_blocks, desk.ctx.state
    if clearing.price is None or kept == 0:
        return
    old = [
        key for key, _ in CLEARS.scan(state, under=(desk.market_id,)) if key[1] < desk.height - kept
    ]
    for key in old:
        CLEARS.delete(state, key)
    CLEARS.put(state, (desk.market_id, desk.height), ClearPrice(clearing.price))


def forget(state: State, market_id: int) -> None:
    """Drop the prices of a market that trades no more."""
    for key in [key for key, _ in CLEARS.scan(state, under=(market_id,))]:
        CLEARS.delete(state, key)
