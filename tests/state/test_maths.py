"""The integer helpers against exact rationals."""

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.maths import (
    ceil_div,
    clamp,
    floor_div,
    isqrt,
    largest_remainder,
    lower_median,
    mul_div_ceil,
    mul_div_floor,
)

WIDE = st.integers(min_value=-(2**130), max_value=2**130)
POSITIVE = st.integers(min_value=1, max_value=2**70)
WEIGHTS = st.lists(st.integers(min_value=0, max_value=2**40), max_size=12)


@given(WIDE, WIDE, POSITIVE)
def test_named_rounding_agrees_with_rationals(value: int, factor: int, divisor: int) -> None:
    assert floor_div(value, divisor) == floor(Fraction(value, divisor))
    assert ceil_div(value, divisor) == ceil(Fraction(value, divisor))
    assert mul_div_floor(value, factor, divisor) == floor(Fraction(value * factor, divisor))
    assert mul_div_ceil(value, factor, divisor) == ceil(Fraction(value * factor, divisor))


@pytest.mark.parametrize("divisor", [0, -1, -7])
def test_a_divisor_that_is_not_positive_is_refused(divisor: int) -> None:
    for divide in (floor_div, ceil_div):
        with pytest.raises(ValueError, match="positive"):
            divide(5, divisor)


@given(st.integers(min_value=0, max_value=2**140))
def test_isqrt_brackets_its_argument(value: int) -> None:
    root = isqrt(value)
    assert root * root <= value < (root + 1) * (root + 1)


def test_isqrt_refuses_negatives() -> None:
    with pytest.raises(ValueError, match="square root"):
        isqrt(-1)


def test_clamp_and_its_empty_range() -> None:
    assert [clamp(value, 2, 4) for value in range(7)] == [2, 2, 2, 3, 4, 4, 4]
    with pytest.raises(ValueError, match="empty"):
        clamp(0, 5, 4)


def test_lower_median() -> None:
    assert lower_median([5]) == 5
    assert lower_median([9, 1]) == 1
    assert lower_median([3, 1, 2]) == 2
    assert lower_median([4, 1, 3, 2]) == 2
    with pytest.raises(ValueError, match="no values"):
        lower_median([])


@given(st.integers(min_value=0, max_value=2**80), WEIGHTS)
def test_largest_remainder_is_exact_and_fair(amount: int, weights: list[int]) -> None:
    total = sum(weights)
    if total == 0:
        assert largest_remainder(0, weights) == [0] * len(weights)
        return
    shares = largest_remainder(amount, weights)
    assert sum(shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(amount * weight, total)) < 1
        assert share <= weight or amount > total


@settings(max_examples=60)
@given(st.integers(min_value=0, max_value=40), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_largest_remainder_hands_units_out_one_by_one(amount: int, weights: list[int]) -> None:
    total = sum(weights)
    if total == 0:
        return
    exact = [Fraction(amount * weight, total) for weight in weights]
    expected = [floor(part) for part in exact]
    while sum(expected) < amount:
        gaps = [part - share for part, share in zip(exact, expected, strict=True)]
        expected[gaps.index(max(gaps))] += 1
    assert largest_remainder(amount, weights) == expected


def test_largest_remainder_ties_go_to_the_lower_index() -> None:
    assert largest_remainder(2, [1, 1, 1]) == [1, 1, 0]
    assert largest_remainder(1, [0, 5, 5]) == [0, 1, 0]
    assert largest_remainder(7, [3, 3, 1]) == [3, 3, 1]


@pytest.mark.parametrize(("amount", "weights"), [(1, []), (1, [0, 0]), (-1, [1]), (1, [2, -1])])
def test_largest_remainder_refuses_what_has_no_split(amount: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match=r"sum to 0|0 or more"):
        largest_remainder(amount, weights)
