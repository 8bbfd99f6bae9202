"""How much open interest an index carries: no more than faking it would cost (markets 2.3, 0a.12).

Whoever is payer, provider and the whole long side gets back all of a fake unit's price but the
irrecoverable share tau. If moving the index by one unit pays the longs less than that, the attack
loses money however many accounts it uses. With p_min in grains per 10^6 index units, tau in parts
per million and a safety factor s, that is, over all series of the index:

    sum(open interest * tick value) * s * 10^12 <= tau * p_min * tick_index
"""

from typing import ClassVar

from state.errors import Rejected
from state.maths import floor_div, mul_div_ceil, mul_div_floor
from state.types import PPM

LOTS_MIN = 100
"""A listing whose budget is smaller is refused: such a market could hardly trade."""


class BudgetTooSmall(Rejected):
    """The index is too cheap to fake for a market of this size."""

    code: ClassVar[str] = "futures.budget_too_small"


def capacity(tau_ppm: int, p_min: int, tick_index: int, safety: int) -> int:
    """Return the most that open interest times tick value may sum to, in grains per tick.

    Flooring loses nothing: the sum on the left is an integer.
    """
    return floor_div(tau_ppm * p_min * tick_index, safety * PPM * PPM)


def tick_value(capacity_grains: int, target_lots: int) -> int:
    """Return the grains per tick and lot with which the capacity is about `target_lots`.

    The floor of a floor is the floor of the whole, so this is the formula of markets 0a.12.
    """
    return floor_div(capacity_grains, target_lots)


def lots_left(capacity_grains: int, used_by_others: int, tick_value_grains: int) -> int:
    """Return the most lots of open interest one series may reach, given what the others use.

    `used_by_others` is the sum of open interest times tick value over the other series.
    """
    return floor_div(max(0, capacity_grains - used_by_others), tick_value_grains)


def check_listing(capacity_grains: int, tick_value_grains: int) -> None:
    """Refuse a listing whose tick value is 0 or whose whole budget is under LOTS_MIN lots."""
    if tick_value_grains <= 0:
        raise BudgetTooSmall(
            f"The index carries {capacity_grains} grains per tick, which leaves a tick value of 0. "
            "List fewer target lots, a larger tick, or an index with a higher minimum price."
        )
    lots = floor_div(capacity_grains, tick_value_grains)
    if lots < LOTS_MIN:
        raise BudgetTooSmall(
            f"The index carries {lots} lots at a tick value of {tick_value_grains} grains, and a "
            f"listing needs at least {LOTS_MIN}. List a smaller tick value or raise the burn share."
        )


def scaled_initial_ppm(base_ppm: int, used: int, capacity_grains: int) -> int:
    """Return the initial margin range as the budget fills, in parts per million.

    Up to half of the capacity it is the base; from there it grows in a straight line to the whole
    price at full capacity (markets 2.3). `used` is open interest times tick value over all series.
    """
    lower = floor_div(capacity_grains, 2)
    if used <= lower or base_ppm >= PPM:
        return base_ppm
    if used >= capacity_grains:
        return PPM
    return base_ppm + mul_div_ceil(PPM - base_ppm, used - lower, capacity_grains - lower)


def open_notional_share_ppm(tau_ppm: int, safety: int) -> int:
    """Return the bound on open notional as a share of the window's fees: tau / s.

    Lots are free to choose, notional is not; a market sized by this rule is never a full hedge.
    """
    return mul_div_floor(tau_ppm, 1, safety)
