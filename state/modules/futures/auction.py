"""The auction of one market and block: clear, fills, fees, and the mark that follows from it.

Before it, the orders that margin no longer carries are cancelled, so that whoever had initial
margin before the clear has it after (markets 0a.6, I10).
"""

from state.codec import replace
from state.maths import mul_div_ceil, mul_div_floor
from state.modules.futures import mark
from state.modules.futures.clearing import Clearing, clear_market, open_interest_change
from state.modules.futures.desk import BY_ID, Account, Desk
from state.modules.futures.events import Cleared, Filled, Marked, Reason
from state.modules.futures.fees import maker_rebate, reducing_fee, taker_fee
from state.modules.futures.liquidation import lose
from state.modules.futures.margin import (
    NO_LOAD,
    Load,
    Position,
    equity,
    reducing_allowed,
    scan_initial,
    traded,
)
from state.modules.futures.orders import BUY, LIQUIDATION, POST_ONLY, SELL, sort_out
from state.modules.futures.records import AccountKey, Resting, Subaccount
from state.types import PPM


def cancel_uncovered(desk: Desk) -> None:
    """Cancel opening orders without initial margin, and reducing ones beyond bankruptcy."""
    for key, view in desk.quoting():
        if not _surely_covered(desk, view):
            account = desk.at(key)
            buys, sells = desk.load(account, BUY), desk.load(account, SELL)
            left = scan_initial(
                account.cash, account.position, buys, sells, desk.prices, desk.tick_value
            )
            for side in (BUY, SELL):
                if account.reserved[side]:
                    _cancel_side(desk, account, side, uncovered=left < 0)


def _surely_covered(desk: Desk, view: Account | Subaccount) -> bool:
    """Tell by one look at each order that all of an account's orders may stay.

    Takes all orders as opening and their fees together, rounded up once more for each: if that has
    initial margin, the exact scan has it too. Reducing orders at the mark or better harm nobody.
    """
    bounds, value = desk.prices, desk.tick_value
    orders = view.orders
    lots = [0, 0]
    loss = [0, 0]
    for order in orders:
        side = order.side
        lots[side] += order.lots
        beyond = bounds.mark - order.limit if side else order.limit - bounds.mark
        if beyond > 0:
            loss[side] += order.lots * beyond
    if (view.lots > 0 and loss[SELL]) or (view.lots < 0 and loss[BUY]):
        return False
    rate = bounds.band_high * value
    buys, sells = [
        Load(
            lots[side],
            loss[side] * value,
            mul_div_ceil(lots[side] * rate, desk.terms.taker_ppm, PPM) + len(orders),
        )
        for side in (BUY, SELL)
    ]
    position = Position(view.lots, view.quote)
    return scan_initial(view.cash, position, buys, sells, bounds, value) >= 0


def _cancel_side(desk: Desk, account: Account, side: int, *, uncovered: bool) -> None:
    found = sort_out(account.lots, account.side(side))
    if uncovered:
        desk.cancel(account, [order.order_id for order in found.opening], Reason.MARGIN)
    if found.reducing and (uncovered or not found.opening):
        allowed = reducing_allowed(
            account.cash, account.position, found.reducing, desk.prices, desk.tick_value
        )
        if not allowed:
            beyond = [order.order_id for order in found.reducing if not order.flags & LIQUIDATION]
            desk.cancel(account, beyond, Reason.BANKRUPTCY)


def run(desk: Desk) -> None:
    """Clear the market, apply the fills, and let the orders that may not rest lapse."""
    orders: list[Resting] = [order for _, view in desk.quoting() for order in view.orders]
    if not orders:
        return
    orders.sort(key=BY_ID)
    positions = {
        order.account: lots for order in orders if (lots := desk.standing(order.account).lots)
    }
    clearing = clear_market(
        orders,
        reference=desk.prices.mark,
        band=(desk.prices.band_low, desk.prices.band_high),
        positions=positions,
        open_interest=desk.market.open_interest,
        oi_max=desk.outlook.lots_max(desk.contract),
    )
    if clearing.price is not None:
        _apply(desk, clearing, clearing.price, positions)
    _lapse(desk, clearing)


def _lapse(desk: Desk, clearing: Clearing) -> None:
    """Cancel what the clear dropped and what may not rest, one event an account and reason."""
    if not clearing.cancelled:
        return
    owner_of = {order.order_id: key for key, view in desk.quoting() for order in view.orders}
    grouped: dict[tuple[AccountKey, str], list[bytes]] = {}
    for order_id, reason in clearing.cancelled:
        if order_id in owner_of:
            grouped.setdefault((owner_of[order_id], reason), []).append(order_id)
    for (key, reason), order_ids in sorted(grouped.items()):
        desk.cancel(desk.at(key), order_ids, Reason(reason))


def _apply(desk: Desk, clearing: Clearing, price: int, positions: dict[AccountKey, int]) -> None:
    """Move lots and quote, then charge fees on the accounts as they then stand."""
    value = desk.tick_value
    before: dict[AccountKey, tuple[Position, int]] = {}
    for order, lots in clearing.fills:
        account = desk.at(order.account)
        if order.account not in before:
            before[order.account] = (account.position, _initial(desk, account))
        after = traded(account.position, order.side, lots, price, value)
        account.lots, account.quote = after.lots, after.quote
    organic = clearing.volume - _forced(clearing)
    change = open_interest_change(clearing.fills, positions)
    desk.change(
        open_interest=desk.market.open_interest + change,
        last_price=price,
        volume_lots=desk.market.volume_lots + clearing.volume,
    )
    desk.ctx.emit(
        Cleared(
            desk.market_id, price, clearing.volume, clearing.imbalance, desk.market.open_interest
        )
    )
    fees = _charge(desk, clearing, price)
    for key, (position, left) in before.items():
        account = desk.at(key)
        desk.drop_inert(account)
        _assert_covered(desk, account, position, left, fees.get(key, 0))
    if organic >= desk.ctx.params.futures.mark_volume_min_lots:
        _feed(desk, price)


def _initial(desk: Desk, account: Account) -> int:
    return scan_initial(
        account.cash, account.position, NO_LOAD, NO_LOAD, desk.prices, desk.tick_value
    )


def _assert_covered(desk: Desk, account: Account, before: Position, left: int, fees: int) -> None:
    """I10: whoever had initial margin before the clear has it after, fees of reducing apart."""
    after = _initial(desk, account)
    reduced = before.lots * account.lots >= 0 and abs(account.lots) <= abs(before.lots)
    assert left < 0 or after + (fees if reduced else 0) >= 0, "a fill broke initial margin"


def _forced(clearing: Clearing) -> int:
    """Return the lots that traded on liquidation orders, on the side that has more of them."""
    sums = [0, 0]
    for order, lots in clearing.fills:
        if order.flags & LIQUIDATION:
            sums[order.side] += lots
    return max(sums)


def _charge(desk: Desk, clearing: Clearing, price: int) -> dict[AccountKey, int]:
    """Charge takers and liquidations, pay makers from what takers paid, and report every fill."""
    value = desk.tick_value
    paid: dict[AccountKey, int] = {}
    collected = penalties = 0
    makers: list[tuple[Resting, int]] = []
    for fill, lots in clearing.fills:
        account = desk.at(fill.account)
        order = account.book[fill.order_id]
        if not order.flags & LIQUIDATION and (
            order.height < desk.height or order.flags & POST_ONLY
        ):
            makers.append((order, lots))
            continue
        fee = _taken(desk, account, order, lots * price * value)
        paid[account.key] = paid.get(account.key, 0) + fee
        if order.flags & LIQUIDATION:
            account.liquidation_fees += fee
            penalties += fee
        else:
            account.fees += fee
            collected += fee
        _fill(desk, order, lots, price, fee)
    rebates = _rebates(desk, makers, price, collected)
    for (order, lots), rebate in zip(makers, rebates, strict=True):
        account = desk.at(order.account)
        account.cash += rebate
        account.fees -= rebate
        notional = order.maker_notional + lots * price * value
        _fill(desk, replace(order, maker_notional=notional), lots, price, -rebate)
    desk.take_fees(collected - sum(rebates), penalties)
    return paid


def _taken(desk: Desk, account: Account, order: Resting, notional: int) -> int:
    """Take the fee of a taker or of a liquidation; it never costs more than the account has.

    Initial margin has the whole fee of an opening order in it, so only a fill that reduces ever
    pays less (markets 0a.5).
    """
    contract = desk.contract
    if order.flags & LIQUIDATION:
        owed = mul_div_ceil(notional, contract.liquidation_fee_ppm, PPM)
    else:
        owed = taker_fee(notional, contract.taker_ppm, 0)
    worth = equity(account.cash, account.position, desk.prices.mark, desk.tick_value)
    fee = reducing_fee(owed, account.cash, worth)
    lose(account, fee)
    return fee


def _rebates(
    desk: Desk, makers: list[tuple[Resting, int]], price: int, collected: int
) -> list[int]:
    """Return the makers' rebates: never more than their share of what takers paid in this clear.

    Where two resting orders meet nobody is a taker, and a rebate would come out of nothing.
    """
    contract = desk.contract
    earned = []
    for order, lots in makers:
        before, now = order.maker_notional, lots * price * desk.tick_value
        paid = maker_rebate(before, contract.maker_rebate_ppm, 0)
        earned.append(maker_rebate(before + now, contract.maker_rebate_ppm, paid))
    total = sum(earned)
    if not total or not collected:
        return [0] * len(makers)
    fund = mul_div_floor(collected, contract.maker_rebate_ppm, contract.taker_ppm)
    return [mul_div_floor(rebate, min(fund, total), total) for rebate in earned]


def _fill(desk: Desk, order: Resting, lots: int, price: int, fee: int) -> None:
    """Take the traded lots off the order and report the fill."""
    account = desk.at(order.account)
    left = order.lots - lots
    account.remove(order.order_id)
    if left:
        account.add(replace(order, lots=left))
    desk.ctx.emit(
        Filled(
            desk.market_id,
            account.owner,
            account.number,
            order.order_id,
            order.side,
            price,
            lots,
            left,
            fee,
        )
    )


def _feed(desk: Desk, price: int) -> None:
    """Let a clear move the averages that the mark is made of."""
    market, params = desk.market, desk.ctx.params.futures
    basis = price - desk.outlook.anchor
    if market.traded_height == 0:
        averages = (mark.ema_start(price), mark.ema_start(basis))
    else:
        shift = params.mark_average_shift
        averages = (
            mark.ema_next(market.average_price, price, shift),
            mark.ema_next(market.average_basis, basis, shift),
        )
    desk.change(average_price=averages[0], average_basis=averages[1], traded_height=desk.height)


def move_mark(desk: Desk) -> None:
    """Set this block's mark from the clear, the book and the index (markets 2.8)."""
    market, params = desk.market, desk.ctx.params.futures
    fresh = (
        market.traded_height > 0 and desk.height - market.traded_height < params.mark_stale_blocks
    )
    basis = mark.ema_ticks(market.average_basis) if fresh else 0
    bids, asks = _levels(desk, BUY), _levels(desk, SELL)
    sources = (
        mark.ema_ticks(market.average_price) if fresh else None,
        mark.impact_mid(bids, asks, params.impact_lots),
        desk.outlook.anchor + basis,
    )
    set_mark(
        desk,
        mark.next_mark(
            previous=desk.prices.mark,
            sources=sources,
            step_ppm=desk.contract.mark_step_ppm,
            floor=desk.outlook.floor,
            cap=desk.contract.price_cap,
        ),
    )


def set_mark(desk: Desk, price: int) -> None:
    """Write the mark and what it stands between, and take the ranges anew."""
    seen = desk.outlook
    moved = price != desk.initial.mark or seen.floor != desk.initial.floor
    desk.change(mark=price, floor=seen.floor, anchor=seen.anchor)
    desk.reprice()
    if moved:
        desk.ctx.emit(
            Marked(desk.market_id, price, seen.floor, seen.anchor, desk.market.open_interest)
        )


def _levels(desk: Desk, side: int) -> list[tuple[int, int]]:
    """Return (price, lots) of one side of the resting book, the best first."""
    levels: dict[int, int] = {}
    for _, view in desk.quoting():
        for order in view.orders:
            if order.side == side:
                levels[order.limit] = levels.get(order.limit, 0) + order.lots
    return sorted(levels.items(), reverse=side == BUY)
