"""The mark price: the median of three sources, moved and bounded by what the state knows (2.8).

No single source decides: the batch price is thin, the book can be painted, and the anchor knows
only the past. A cumulative index cannot fall, so what has accrued is a floor that no trade moves.
Prices are ticks; averages are kept in units of 2^-16 tick, because in whole ticks the average
would stand still at low prices and drift down at all others.
"""

from collections.abc import Iterable

from state.maths import ceil_div, clamp, floor_div, lower_median, mul_div_floor
from state.types import PPM

FINE = 2**16
"""Units of a moving average per tick."""

HALF = 2**15

PRICE_CAP_MAX = 2**46
"""A price cap above this would not fit a moving average at rest (markets 0a.16)."""


def ema_start(price: int) -> int:
    """Return a moving average, in fine units, that stands at `price` ticks."""
    return price * FINE


def ema_next(average: int, price: int, shift: int) -> int:
    """Move the average 2^-shift of the way to `price`; average in fine units, price in ticks."""
    return average + floor_div(price * FINE - average, 2**shift)


def ema_ticks(average: int) -> int:
    """Return the moving average in ticks, rounded to the nearest, halves up."""
    return floor_div(average + HALF, FINE)


def impact_mid(
    bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]], lots: int
) -> int | None:
    """Return the price half-way between selling and buying `lots` at once; None if it is stale.

    Both sides are (price, lots), best first. A side that cannot fill `lots` says nothing about
    the price, and the source is stale (markets 2.8).
    """
    sold, bought = _cost(bids, lots), _cost(asks, lots)
    if sold is None or bought is None:
        return None
    return floor_div(floor_div(sold, lots) + ceil_div(bought, lots), 2)


def _cost(levels: Iterable[tuple[int, int]], lots: int) -> int | None:
    cost = 0
    left = lots
    for price, depth in levels:
        taken = min(left, depth)
        cost += taken * price
        left -= taken
        if left == 0:
            return cost
    return None


def anchor(
    *,
    accrued_units: int,
    closed_units: int,
    closed_blocks: int,
    remaining_blocks: int,
    tick_index: int,
    reference: int,
) -> int:
    """Return accrued + run-rate * remaining, in ticks, rounded down (markets 2.8, 0a.11).

    The run-rate is that of the closed buckets: their units over their blocks. Until one bucket is
    closed there is none, and the anchor is the listing's reference price.
    """
    if closed_blocks == 0:
        return reference
    expected = mul_div_floor(closed_units, remaining_blocks, closed_blocks)
    return floor_div(accrued_units + expected, tick_index)


def next_mark(
    *,
    previous: int,
    sources: Iterable[int | None],
    step_ppm: int,
    floor: int,
    cap: int,
) -> int:
    """Return this block's mark: median of the live sources, then the step, then floor and cap.

    A stale source is None and drops out; without any the mark stays. A block moves the mark by at
    most max(1, step_ppm of the previous one), except that what the state knows, the accrued floor
    and the cap, comes last and always wins (markets 2.8).
    """
    live = [price for price in sources if price is not None]
    raw = lower_median(live) if live else previous
    step = max(1, mul_div_floor(previous, step_ppm, PPM))
    return clamp(clamp(raw, previous - step, previous + step), floor, cap)
