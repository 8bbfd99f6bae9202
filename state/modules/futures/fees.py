"""Trading fees, charged per order on its running total (markets 2.12, 0a.5).

Charging the difference of rounded totals makes the fee of an order independent of how many fills
it took, and rounds up once an order instead of once a fill.
"""

from state.maths import mul_div_ceil, mul_div_floor
from state.types import PPM


def taker_fee(notional_total: int, taker_ppm: int, charged: int) -> int:
    """Return what a taker order owes now: its whole fee rounded up, less what it was charged.

    `notional_total` is the order's traded notional as taker so far, in grains, this fill included.
    """
    return mul_div_ceil(notional_total, taker_ppm, PPM) - charged


def maker_rebate(notional_total: int, rebate_ppm: int, paid: int) -> int:
    """Return what a maker order earns now: its whole rebate rounded down, less what it was paid."""
    return mul_div_floor(notional_total, rebate_ppm, PPM) - paid


def reducing_fee(fee: int, cash: int, equity: int) -> int:
    """Return the fee of a reducing or liquidation fill: never more than the account has left.

    `equity` is that after the fill. So leaving a position cannot itself bankrupt anyone.
    """
    return min(fee, cash, max(0, equity))
