"""Liquidation: orders for accounts below maintenance, and the end of those without equity.

Stage A sells a fifth of the position in each auction, never beyond the bankruptcy price nor more
than a share of the depth that stands against it. Once equity is negative, stages C and D close
the whole position at the mark in the same step, whatever the insurance pays, so that no bankrupt
account keeps a free option (markets 2.10, 0a.1-3). Stage B, a backstop vault, does not exist yet.
"""

from state.codec import encode
from state.crypto import Tag, hash_bytes
from state.maths import clamp, floor_div, mul_div_floor
from state.modules import bank
from state.modules.futures.desk import Account, Desk
from state.modules.futures.events import ClosedOut, Deleveraged, Flagged, Reason
from state.modules.futures.margin import (
    Position,
    equity,
    liquidation_limit,
    scan_maintenance,
    unseasoned_after,
)
from state.modules.futures.orders import BUY, IOC, LIQUIDATION, REDUCE_ONLY, SELL
from state.modules.futures.records import CASH, INSURANCE, AccountKey, Resting
from state.modules.futures.settlement import Standing, close_out
from state.types import PPM


def place_orders(desk: Desk) -> None:
    """Put liquidation orders of flagged accounts into the coming auction, the worst off first."""
    flagged: list[tuple[int, AccountKey]] = []
    for key in sorted(desk.members.flagged):
        view = desk.standing(key)
        left = scan_maintenance(
            view.cash, Position(view.lots, view.quote), desk.prices, desk.tick_value
        )
        if left >= 0:
            _flag(desk, desk.at(key), liquidating=False)
        elif view.lots:
            flagged.append((floor_div(left, abs(view.lots)), key))
    if not flagged:
        return
    depths = [_depth(desk, BUY), _depth(desk, SELL)]
    share = desk.ctx.params.futures.liquidation_depth_ppm
    allowed = [mul_div_floor(depth, share, PPM) for depth in depths]
    for _, key in sorted(flagged):
        account = desk.at(key)
        against = BUY if account.lots > 0 else SELL
        size = _size(desk, account, allowed[against])
        allowed[against] -= min(size, allowed[against])
        order = _order(desk, account, size)
        _make_way(desk, account, order)
        account.add(order)


def _size(desk: Desk, account: Account, allowed: int) -> int:
    """Return the lots of one liquidation order: a share of the position, held by the depth."""
    params = desk.ctx.params.futures
    held = abs(account.lots)
    wanted = max(
        params.liquidation_clip_lots, mul_div_floor(held, params.liquidation_clip_ppm, PPM)
    )
    return clamp(min(wanted, max(allowed, params.liquidation_clip_lots)), 1, held)


def _depth(desk: Desk, side: int) -> int:
    """Return the resting lots of one side that an order from the band's other edge would meet."""
    bounds = desk.prices
    return sum(
        order.lots
        for _, view in desk.quoting()
        for order in view.orders
        if order.side == side
        and (order.limit >= bounds.band_low if side == BUY else order.limit <= bounds.band_high)
    )


def _order(desk: Desk, account: Account, lots: int) -> Resting:
    limit = liquidation_limit(account.cash, account.position, desk.prices, desk.tick_value)
    return Resting(
        hash_bytes(Tag.ORDER_ID, encode((account.key, desk.height))),
        account.key,
        SELL if account.lots > 0 else BUY,
        lots,
        max(0, limit),
        desk.height,
        IOC,
        LIQUIDATION | REDUCE_ONLY,
    )


def _make_way(desk: Desk, account: Account, order: Resting) -> None:
    """Cancel what the owner's other subaccounts would trade against the liquidation order."""
    for key, view in desk.quoting():
        if key[:20] == account.owner:
            crossed = [
                other.order_id
                for other in view.orders
                if other.side != order.side
                and (
                    other.limit <= order.limit if order.side == BUY else other.limit >= order.limit
                )
            ]
            desk.cancel(desk.at(key), crossed, Reason.STP)


def sweep(desk: Desk) -> None:
    """Flag the accounts below maintenance at the new mark, and close out those without equity."""
    bounds, value = desk.prices, desk.tick_value
    low, high = bounds.maintenance_low * value, bounds.maintenance_high * value
    mark = bounds.mark * value
    insolvent: list[AccountKey] = []
    for key, view in desk.unsettled():
        lots, funds = view.lots, view.cash + view.quote
        if not lots and not view.quote:
            if view.liquidating:
                _flag(desk, desk.at(key), liquidating=False)
            continue
        below = funds + lots * (low if lots > 0 else high) < 0
        if below != view.liquidating:
            _flag(desk, desk.at(key), liquidating=below)
        if funds + lots * mark < 0:
            insolvent.append(key)
    desk.members.swept = (bounds.mark, bounds.maintenance_low, bounds.maintenance_high)
    desk.members.changed.clear()
    if insolvent:
        close(desk, [key for key in insolvent if desk.at(key).lots >= 0])
        close(desk, [key for key in insolvent if desk.at(key).lots < 0])


def _flag(desk: Desk, account: Account, *, liquidating: bool) -> None:
    account.liquidating = liquidating
    desk.ctx.emit(Flagged(desk.market_id, account.owner, account.number, liquidating))
    if liquidating:
        desk.cancel_all(account, Reason.LIQUIDATION)


def draw_max(desk: Desk) -> int:
    """Return what insurance may still pay in this epoch."""
    params, market = desk.ctx.params.futures, desk.market
    epoch = floor_div(desk.height, params.epoch_blocks)
    drawn = market.drawn_in_epoch if market.drawn_epoch == epoch else 0
    return min(market.insurance, max(0, params.insurance_draw_epoch_max - drawn))


def draw(desk: Desk, amount: int) -> None:
    """Take a payment out of the market's insurance and count it in its epoch."""
    epoch = floor_div(desk.height, desk.ctx.params.futures.epoch_blocks)
    market = desk.market
    before = market.drawn_in_epoch if market.drawn_epoch == epoch else 0
    desk.change(
        insurance=market.insurance - amount,
        drawn_epoch=epoch,
        drawn_in_epoch=before + amount,
        insurance_drawn=market.insurance_drawn + amount,
    )
    bank.move(desk.ctx.state, INSURANCE, CASH, amount)


def close(desk: Desk, insolvent: list[AccountKey]) -> None:
    """Close out the insolvent accounts of one side of the market together (stages C and D).

    Together they are one account without equity; insurance goes to them in the order of keys. So a
    storm costs one pass over the market, not one for each of them.
    """
    if not insolvent:
        return
    failed = [desk.at(key) for key in insolvent]
    gone = dict.fromkeys(insolvent)
    others = [
        (key, view) for key, view in desk.views() if (view.lots or view.quote) and key not in gone
    ]
    standings = [Standing(Position(view.lots, view.quote), view.cash) for _, view in others]
    lots = sum(account.lots for account in failed)
    quote = sum(account.quote for account in failed)
    standings.append(Standing(Position(lots, quote), sum(account.cash for account in failed)))
    mark = desk.prices.mark
    result = close_out(standings, len(others), mark, desk.tick_value, draw_max(desk))
    for (key, view), position, share in zip(others, result.positions, result.shares, strict=False):
        if position.lots != view.lots or position.quote != view.quote:
            account = desk.at(key)
            taken = position.lots - account.lots
            account.lots, account.quote = position.lots, position.quote
            desk.ctx.emit(Deleveraged(desk.market_id, account.owner, account.number, taken, share))
            desk.drop_inert(account)
    if result.insurance_paid:
        draw(desk, result.insurance_paid)
    left = result.insurance_paid
    for account in failed:
        deficit = -equity(account.cash, account.position, mark, desk.tick_value)
        paid = min(deficit, left)
        left -= paid
        desk.ctx.emit(
            ClosedOut(desk.market_id, account.owner, account.number, account.lots, paid, deficit)
        )
        account.cash += paid
        account.lots, account.quote = 0, -account.cash
        desk.cancel_all(account, Reason.LIQUIDATION)
    desk.recount()


def lose(account: Account, amount: int) -> None:
    """Take cash from an account; what is not seasoned yet goes first (markets 0a.7)."""
    account.cash -= amount
    account.unseasoned = unseasoned_after(account.unseasoned, amount)
