"""The end of a block: every market that has something to do takes one step (markets 2.7).

A market whose step breaks a rule of its own is put back to where the step began and quarantined:
it waits for its final settlement, and the chain and all other markets go on.
"""

from collections.abc import Callable
from functools import partial

from state.codec import replace
from state.context import BlockContext
from state.errors import Rejected
from state.modules.futures import admission, auction, liquidation, members, payment
from state.modules.futures.desk import Desk
from state.modules.futures.events import Quarantined, Reason
from state.modules.futures.invariants import assert_sound
from state.modules.futures.records import (
    CALENDAR,
    CONTRACTS,
    LIVE,
    MARKETS,
    MODULE,
    TRADING,
    Status,
    schedule,
)
from state.modules.futures.requests import Batch

BREACHES = (AssertionError, ValueError, OverflowError, Rejected)
"""What a step that has gone wrong raises: a broken invariant, or a row out of its bounds."""


@MODULE.end_block
def run_markets(ctx: BlockContext) -> None:
    """Let each market with orders, positions, operations or an appointment take its step."""
    queued: dict[int, list[Batch]] = {}
    for work in ctx.deferred:
        if isinstance(work, Batch):
            queued.setdefault(work.market_id, []).append(work)
    due = CALENDAR.take(ctx.state, ctx.height, limit=ctx.params.futures.markets_max)
    visited = {int.from_bytes(entry, "big"): True for entry in due}
    visited.update((market_id, True) for market_id, _ in LIVE.scan(ctx.state))
    visited.update((market_id, True) for market_id in queued)
    for market_id in sorted(visited):
        _guarded(ctx, market_id, partial(_step, ctx, market_id, queued.get(market_id, [])))


def _guarded(ctx: BlockContext, market_id: int, step: Callable[[], None]) -> None:
    """Take a step whole or not at all; not at all quarantines the market."""
    events = len(ctx.events)
    ctx.state.begin()
    try:
        step()
    except BREACHES as breach:
        ctx.state.rollback()
        del ctx.events[events:]
        _quarantine(ctx, market_id, _named(breach))
    else:
        ctx.state.commit()


def _named(breach: Exception) -> str:
    """Return what broke, in words of our own alone: they stand under the outcomes root."""
    if isinstance(breach, Rejected):
        return breach.code
    return str(breach) if isinstance(breach, AssertionError) else type(breach).__name__


def _quarantine(ctx: BlockContext, market_id: int, breach: str) -> None:
    market = MARKETS.require(ctx.state, market_id)
    MARKETS.put(ctx.state, market_id, replace(market, status=Status.QUARANTINED))
    LIVE.delete(ctx.state, market_id)
    settle_height = CONTRACTS.require(ctx.state, market_id).settle_height
    if settle_height > ctx.height:
        schedule(ctx.state, settle_height, market_id)
    ctx.emit(Quarantined(market_id, breach[:200]))


def _step(ctx: BlockContext, market_id: int, batches: list[Batch]) -> None:
    """Bring one market from the last block to this one."""
    contract = CONTRACTS.require(ctx.state, market_id)
    market = MARKETS.require(ctx.state, market_id)
    waiting = market.status in (*TRADING, Status.TERMINATED, Status.QUARANTINED)
    if waiting and ctx.height >= contract.settle_height:
        payment.begin_settlement(ctx, contract, market)
        payment.continue_settlement(ctx, contract)
        LIVE.delete(ctx.state, market_id)
        return
    if market.status is Status.SETTLING:
        payment.continue_settlement(ctx, contract)
        return
    if market.status not in (*TRADING, Status.TERMINATED):
        return
    desk = Desk(ctx, market_id)
    _enter(desk)
    if desk.market.status in TRADING:
        _trade(desk, batches)
    else:
        admission.refuse_all(desk, batches, Reason.NOT_TRADING)
        auction.set_mark(desk, desk.prices.mark)
    liquidation.sweep(desk)
    if ctx.height % ctx.params.futures.epoch_blocks == 0:
        payment.settle_variation(desk)
    desk.store()
    assert_sound(desk)
    members.keep(ctx.state, market_id, desk.members)


def _enter(desk: Desk) -> None:
    """Move the market's life along, and let a mark that nobody stands by follow the index."""
    contract, market = desk.contract, desk.market
    seen = desk.outlook
    if not desk.is_live:
        desk.change(mark=seen.anchor, traded_height=0)
        desk.reprice()
    if desk.height >= contract.win_end:
        desk.set_status(Status.TERMINATED)
        payment.cancel_everything(desk, Reason.EXPIRED)
    elif market.status is not Status.OPENING or desk.height >= contract.open_height:
        used = seen.used_by_others + market.open_interest * contract.tick_value
        desk.set_status(Status.CLOSE_ONLY if used > seen.capacity else Status.OPEN)


def _trade(desk: Desk, batches: list[Batch]) -> None:
    """Cancel, expire, liquidate, admit, clear, mark: in this order (markets 2.7)."""
    entering = admission.Admission(desk, batches)
    entering.cancel_resting()
    _expire(desk)
    liquidation.place_orders(desk)
    entering.admit()
    if desk.market.status is Status.OPENING:
        auction.set_mark(desk, desk.prices.mark)
        return
    auction.cancel_uncovered(desk)
    auction.run(desk)
    auction.move_mark(desk)


def _expire(desk: Desk) -> None:
    """Cancel orders whose last height is over, and all orders of clients that fell silent."""
    for key, view in desk.quoting():
        if 0 < view.cancel_at <= desk.height:
            account = desk.at(key)
            desk.cancel_all(account, Reason.DEAD_MAN)
            account.cancel_at = 0
            continue
        over = [o.order_id for o in view.orders if 0 < o.expiry < desk.height]
        if over:
            desk.cancel(desk.at(key), over, Reason.EXPIRED)
