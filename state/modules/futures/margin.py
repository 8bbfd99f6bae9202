"""Margin: what is left of an account at the worst price its contract may settle at.

The scan puts the position, with and without the open orders, at both ends of a range of prices
around the mark (markets 2.5). The payoff of a future is a straight line, so the ends are the worst
of the whole range. Prices are ticks, quantities lots, money grains; requirements round up.
"""

from collections.abc import Iterable

from msgspec import Struct

from state.maths import ceil_div, clamp, floor_div, mul_div_ceil, mul_div_floor
from state.modules.futures.budget import scaled_initial_ppm
from state.modules.futures.orders import BUY, SELL, Order, sort_out
from state.types import PPM


class Position(Struct, frozen=True):
    """Signed lots, and the grains they cost so far with the sign turned (markets 2.4)."""

    lots: int = 0
    quote: int = 0


class Terms(Struct, frozen=True):
    """What margin needs of a contract. Ranges, band and fee are parts per million of a price.

    `range_floor_ppm` is where the maintenance range stops shrinking as the window accrues; the
    initial range keeps its proportion to it.
    """

    tick_value: int
    price_cap: int
    im_ppm: int
    mm_ppm: int
    range_floor_ppm: int
    band_ppm: int
    taker_ppm: int
    win_start: int
    win_end: int


class Ranges(Struct, frozen=True):
    """The prices of one block: mark, both margin ranges, and the band in which orders may trade."""

    mark: int
    initial_low: int
    initial_high: int
    maintenance_low: int
    maintenance_high: int
    band_low: int
    band_high: int


class Load(Struct, frozen=True):
    """Open orders of one side: lots, grains lost by filling them at the limit, and taker fees."""

    lots: int = 0
    loss: int = 0
    fee: int = 0


NO_LOAD = Load()


def ranges(
    terms: Terms,
    *,
    mark: int,
    floor: int,
    height: int,
    used: int,
    capacity: int,
    initial_ppm_min: int = 0,
    widening: int = 1,
) -> Ranges:
    """Return the price ranges of this block (markets 2.5, 0a.11).

    `floor` is what has accrued, in ticks: the settlement cannot be lower. `used` and `capacity`
    are open interest times tick value over all series of the index and its bound. The account's
    own leverage may widen the initial range by `initial_ppm_min`, an auction the band `widening`
    times.
    """
    total = terms.win_end - terms.win_start
    remaining = clamp(terms.win_end - height, 0, total)
    maintenance = max(terms.range_floor_ppm, mul_div_ceil(terms.mm_ppm, remaining, total))
    initial = max(
        mul_div_ceil(terms.im_ppm, terms.range_floor_ppm, terms.mm_ppm),
        mul_div_ceil(terms.im_ppm, remaining, total),
    )
    initial = max(scaled_initial_ppm(initial, used, capacity), initial_ppm_min)
    # At least one tick each: at a mark near 0 a share of the price would be no margin at all.
    wide = max(1, mul_div_ceil(mark, initial, PPM))
    narrow = max(1, mul_div_ceil(mark, maintenance, PPM))
    band = max(1, mul_div_floor(mark, terms.band_ppm * widening, PPM))
    return Ranges(
        mark=mark,
        initial_low=max(floor, mark - wide),
        initial_high=min(terms.price_cap, mark + wide),
        maintenance_low=max(floor, mark - narrow),
        maintenance_high=min(terms.price_cap, mark + narrow),
        band_low=max(floor, mark - band),
        band_high=min(terms.price_cap, mark + band),
    )


def traded(position: Position, side: int, lots: int, price: int, tick_value: int) -> Position:
    """Return the position after a fill: lots and quote move together, exactly (markets 2.4)."""
    signed = lots if side == BUY else -lots
    return Position(position.lots + signed, position.quote - signed * price * tick_value)


def value_at(position: Position, price: int, tick_value: int) -> int:
    """Return what the position pays if settled at `price`: at the mark, the unsettled gain."""
    return position.quote + position.lots * price * tick_value


def equity(cash: int, position: Position, mark: int, tick_value: int) -> int:
    """Return cash plus the unsettled gain or loss at the mark."""
    return cash + value_at(position, mark, tick_value)


def order_loss(order: Order, mark: int, tick_value: int) -> int:
    """Return what filling the order at its limit loses against the mark at once."""
    beyond = order.limit - mark if order.side == BUY else mark - order.limit
    return order.lots * max(0, beyond) * tick_value


def order_fee(order: Order, bounds: Ranges, terms: Terms) -> int:
    """Return the most the order can owe as taker: on all its lots at the band's edge (0a.5)."""
    return mul_div_ceil(order.lots * bounds.band_high * terms.tick_value, terms.taker_ppm, PPM)


def load(position: int, orders: Iterable[Order], bounds: Ranges, terms: Terms) -> Load:
    """Add up one account's orders of one side, as far as they need margin.

    Orders that stay within the position it faces only reduce it and need none (markets 0a.1).
    Once one of them opens, all of them together are the worst case.
    """
    found = sort_out(position, orders)
    if not found.opening:
        return NO_LOAD
    counted = found.reducing + found.opening
    return Load(
        sum(order.lots for order in counted),
        sum(order_loss(order, bounds.mark, terms.tick_value) for order in counted),
        sum(order_fee(order, bounds, terms) for order in counted),
    )


def scan_initial(
    cash: int, position: Position, buys: Load, sells: Load, bounds: Ranges, tick_value: int
) -> int:
    """Return the initial margin left, in grains; an account that opens must keep it >= 0.

    The worst of the position alone, with all buys, and with all sells. Unsettled gains never
    fund initial margin (markets 2.5), nor the fees, which are paid in cash.
    """
    worst = min(0, _worst(position, bounds.initial_low, bounds.initial_high, tick_value))
    for side, side_load in ((BUY, buys), (SELL, sells)):
        if side_load.lots:
            after = traded(position, side, side_load.lots, bounds.mark, tick_value)
            stressed = _worst(after, bounds.initial_low, bounds.initial_high, tick_value)
            worst = min(worst, min(0, stressed - side_load.loss) - side_load.fee)
    return cash + worst


def scan_maintenance(cash: int, position: Position, bounds: Ranges, tick_value: int) -> int:
    """Return the maintenance margin left, in grains; below 0 the account is flagged.

    Open orders are left out: flagging cancels them first, and before every clear the opening
    orders of whoever falls short of initial margin are cancelled anyway (markets 0a.6, 2.10).
    """
    low, high = bounds.maintenance_low, bounds.maintenance_high
    return cash + _worst(position, low, high, tick_value)


def below_maintenance(
    accounts: Iterable[tuple[bytes, int, Position]], bounds: Ranges, tick_value: int
) -> list[bytes]:
    """Return the keys of the accounts whose maintenance scan is negative, in the order given.

    The same as `scan_maintenance` on every (key, cash, position), for sweeps over all accounts.
    """
    low, high = bounds.maintenance_low * tick_value, bounds.maintenance_high * tick_value
    return [
        key
        for key, cash, position in accounts
        if cash + position.quote + position.lots * (low if position.lots > 0 else high) < 0
    ]


def reducing_allowed(
    cash: int, position: Position, orders: Iterable[Order], bounds: Ranges, tick_value: int
) -> bool:
    """Tell whether reducing orders of one side stay on this side of bankruptcy (markets 0a.1).

    They need no initial margin, but filled together at their limits they may leave neither the
    maintenance scan nor the equity lower than it was or than 0. Else a losing trader sells to an
    accomplice at a price for which the insurance pays.
    """
    after = position
    for order in orders:
        after = traded(after, order.side, order.lots, order.limit, tick_value)
    scan_before = scan_maintenance(cash, position, bounds, tick_value)
    scan_after = scan_maintenance(cash, after, bounds, tick_value)
    equity_before = equity(cash, position, bounds.mark, tick_value)
    equity_after = equity(cash, after, bounds.mark, tick_value)
    return scan_after >= min(0, scan_before) and equity_after >= min(0, equity_before)


def liquidation_limit(cash: int, position: Position, bounds: Ranges, tick_value: int) -> int:
    """Return the limit of a liquidation order: the edge of the band, or bankruptcy if nearer.

    Sells stop at the bankruptcy price rounded up, buys at it rounded down (markets 0a.1), so a
    fill never leaves less than nothing. The position must not be flat.
    """
    funds = cash + position.quote
    if position.lots > 0:
        return max(bounds.band_low, ceil_div(-funds, position.lots * tick_value))
    return min(bounds.band_high, floor_div(funds, -position.lots * tick_value))


def seasoned(cash: int, unseasoned: int) -> int:
    """Return the cash that may leave: all but the gain credited at the last settlement (0a.7)."""
    return cash - min(cash, unseasoned)


def unseasoned_after(unseasoned: int, loss: int) -> int:
    """Return what is left unseasoned after a loss between settlements: it is eaten first (0a.7)."""
    return max(0, unseasoned - loss)


def withdrawable(cash: int, unseasoned: int, scanned_initial: int) -> int:
    """Return the most that may leave the subaccount, in grains (markets 2.5, 0a.7)."""
    return max(0, min(seasoned(cash, unseasoned), scanned_initial))


def _worst(position: Position, low: int, high: int, tick_value: int) -> int:
    lots = position.lots
    return position.quote + min(lots * low, lots * high) * tick_value
