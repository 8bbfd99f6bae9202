"""Bound 1 in integers, against rationals and the devnet figures."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.modules.futures.budget import (
    BudgetTooSmall,
    capacity,
    check_listing,
    lots_left,
    open_notional_share_ppm,
    scaled_initial_ppm,
    tick_value,
)

DEVNET = capacity(140_000, 5 * 10**9, 1000, 2)


def test_the_devnet_profile() -> None:
    assert tick_value(DEVNET, 2000) == 175
    assert lots_left(DEVNET, 0, 175) == 2000
    assert open_notional_share_ppm(140_000, 2) == 70_000
    check_listing(DEVNET, 175)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**15),
    st.integers(1, 10**9),
    st.integers(2, 10),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**9)), max_size=5),
)
def test_capacity_is_the_exact_bound(
    tau: int, p_min: int, tick_index: int, safety: int, series: list[tuple[int, int]]
) -> None:
    bound = capacity(tau, p_min, tick_index, safety)
    used = sum(lots * value for lots, value in series)
    assert (used <= bound) == (used * safety * 10**12 <= tau * p_min * tick_index)
    target = 137
    assert tick_value(bound, target) == tau * p_min * tick_index // (safety * 10**12 * target)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**6))
def test_lots_left_fill_the_capacity_and_not_a_lot_more(bound: int, used: int, value: int) -> None:
    lots = lots_left(bound, used, value)
    if used <= bound:
        assert used + lots * value <= bound < used + (lots + 1) * value
    else:
        assert lots == 0


def test_three_times_the_budget_pays_the_attacker_and_the_budget_does_not() -> None:
    """P7: faking one tick costs tau of its price, and pays the longs their tick value."""
    cost = Fraction(140_000 * 5 * 10**9 * 1000, 10**12)
    lots = lots_left(DEVNET, 0, 175)
    assert lots * 175 < cost
    assert 3 * lots * 175 > cost


@pytest.mark.parametrize(("value", "said"), [(0, "tick value of 0"), (DEVNET // 99, "99 lots")])
def test_a_listing_that_cannot_trade_is_refused(value: int, said: str) -> None:
    with pytest.raises(BudgetTooSmall, match=said):
        check_listing(DEVNET, value)
    check_listing(DEVNET, DEVNET // 100)


def test_initial_margin_grows_in_a_straight_line_from_half_the_capacity() -> None:
    used = (0, 500, 501, 750, 999, 1000, 5000)
    scaled = [scaled_initial_ppm(200_000, one, 1000) for one in used]
    assert scaled == [200_000, 200_000, 201_600, 600_000, 998_400, 10**6, 10**6]
    assert scaled_initial_ppm(200_000, 501, 1001) == 201_597, "a requirement rounds up"
    assert scaled_initial_ppm(10**6, 999, 1000) == 10**6
    assert scaled_initial_ppm(200_000, 0, 0) == 200_000
