"""The mark price: sources, averages, steps, bounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.modules.futures.mark import (
    FINE,
    PRICE_CAP_MAX,
    anchor,
    ema_next,
    ema_start,
    ema_ticks,
    impact_mid,
    next_mark,
)

PRICES = st.integers(0, 10**6)
SOURCES = st.lists(st.none() | PRICES, max_size=4)


@given(PRICES, SOURCES, st.integers(0, 200_000), PRICES, PRICES)
def test_the_mark_stays_within_step_and_state(
    previous: int, sources: list[int | None], step_ppm: int, one: int, other: int
) -> None:
    floor, cap = min(one, other), max(one, other)
    mark = next_mark(previous=previous, sources=sources, step_ppm=step_ppm, floor=floor, cap=cap)
    assert floor <= mark <= cap
    step = max(1, previous * step_ppm // 10**6)
    if floor < mark < cap:
        assert abs(mark - previous) <= step
        live = sorted(price for price in sources if price is not None)
        if mark not in (previous - step, previous + step):
            assert mark == (live[(len(live) - 1) // 2] if live else previous)


def step(previous: int, sources: list[int | None], floor: int = 0) -> int:
    return next_mark(previous=previous, sources=sources, step_ppm=50_000, floor=floor, cap=10**6)


def test_one_painted_source_does_not_move_the_mark() -> None:
    """XPL 2025: a book pushed to three times the price, two sources that do not follow."""
    assert step(1000, [3000, 1000, 1000]) == 1000
    assert step(1000, [3000, 3000, 1000]) == 1050
    assert step(1000, [3000, None, 1000]) == 1000
    assert step(1000, [None, None, None]) == 1000
    assert step(5, [100, 100, 100]) == 6


def test_the_accrued_floor_wins_over_the_step() -> None:
    assert step(1000, [1000, 1000, 1000], floor=1400) == 1400


@given(PRICES, PRICES, st.integers(0, 8))
def test_the_average_approaches_and_never_passes(start: int, price: int, shift: int) -> None:
    average = ema_start(start)
    assert ema_ticks(average) == start
    for _ in range(6):
        following = ema_next(average, price, shift)
        exact = average + Fraction(price * FINE - average, 2**shift)
        assert exact - 1 < following <= exact
        assert min(average, price * FINE) <= following <= max(average, price * FINE)
        average = following


@pytest.mark.parametrize(("start", "target"), [(1, 4), (4, 1), (1000, 1001), (1001, 1000)])
def test_the_average_arrives_at_low_prices_too(start: int, target: int) -> None:
    average = ema_start(start)
    for _ in range(120):
        average = ema_next(average, target, 3)
    assert ema_ticks(average) == target


def test_the_dearest_average_fits_at_rest() -> None:
    assert ema_start(PRICE_CAP_MAX) < 2**63


def test_impact_mid_weighs_depth_and_goes_stale_without_it() -> None:
    assert impact_mid([(10, 5), (8, 5)], [(12, 10)], 10) == 10
    assert impact_mid([(10, 5), (8, 5)], [(12, 10)], 11) is None
    assert impact_mid([(10, 50)], [], 1) is None
    # Ten lots sold bring 90, bought cost 121: 9 and 13 (12.1 rounded up), half-way is 11.
    assert impact_mid([(9, 10)], [(12, 9), (13, 1)], 10) == 11


def test_the_anchor_extrapolates_the_closed_buckets() -> None:
    def expect(accrued: int, closed: int, blocks: int, remaining: int) -> int:
        return anchor(
            accrued_units=accrued,
            closed_units=closed,
            closed_blocks=blocks,
            remaining_blocks=remaining,
            tick_index=1000,
            reference=777,
        )

    assert expect(0, 0, 0, 60) == 777
    assert expect(5_000_000, 5_000_000, 5, 55) == 60_000
    assert expect(6_999, 5_000, 3, 0) == 6
    assert expect(6_000, 5_000, 3, 2) == 9
