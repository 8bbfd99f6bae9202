"""Accumulators against exact fractions: never owing more than was given, losing next to nothing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.accumulator import EMPTY, SHIFT, Accumulator, add, earned
from state.types import INT_MAX

_gifts = st.lists(
    st.tuples(st.integers(0, INT_MAX), st.integers(1, INT_MAX)), min_size=1, max_size=20
)


@given(_gifts)
def test_the_carry_makes_the_sum_exact(gifts: list[tuple[int, int]]) -> None:
    """What stands in the running sum plus the carry is what was given, to the last 2^-64."""
    pool, spread = EMPTY, 0
    for amount, units in gifts:
        following = add(pool, amount, units)
        step = (following.level - pool.level) % 2**128
        spread += step * units
        pool = following
    assert spread + pool.carry == sum(amount for amount, _ in gifts) << SHIFT
    assert 0 <= pool.carry < gifts[-1][1]


@given(
    st.lists(st.integers(1, 10**12), min_size=1, max_size=8),
    st.lists(st.integers(0, 10**15), min_size=1, max_size=10),
)
def test_holders_get_their_exact_part_less_than_one_below(
    held: list[int], gifts: list[int]
) -> None:
    total = sum(held)
    pool = EMPTY
    for amount in gifts:
        pool = add(pool, amount, total)
    paid = [earned(pool, EMPTY.per_unit, units) for units in held]
    assert sum(paid) <= sum(gifts)
    for got, units in zip(paid, held, strict=True):
        exact = Fraction(sum(gifts) * units, total)
        assert exact - 2 < got <= exact


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), max_size=20))
def test_looking_often_never_pays_more(gifts: list[tuple[int, int]]) -> None:
    """One holder that always holds everything settles each time; rounding stays below."""
    pool, since, got = EMPTY, EMPTY.per_unit, 0
    for amount, units in gifts:
        pool = add(pool, amount, units)
        got += earned(pool, since, units)
        since = pool.per_unit
    assert got <= sum(amount for amount, _ in gifts)


def test_the_sum_wraps_and_differences_stay_right() -> None:
    """All coins shared out over one unit again and again must not stop the chain."""
    pool = EMPTY
    for _ in range(5):
        since = pool.per_unit
        pool = add(pool, INT_MAX, 1)
        assert earned(pool, since, 1) == INT_MAX
    assert pool.level < 5 * (INT_MAX << SHIFT)


def test_the_golden_step() -> None:
    assert add(EMPTY, 10, 3) == Accumulator(((10 << 64) // 3).to_bytes(16, "big"), 1)


@pytest.mark.parametrize(("amount", "units"), [(-1, 1), (1, 0)])
def test_nonsense_is_a_bug(amount: int, units: int) -> None:
    with pytest.raises(AssertionError):
        add(EMPTY, amount, units)
