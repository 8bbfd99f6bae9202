"""Integer arithmetic with named rounding: the only place in the state machine that divides.

Python's `//` rounds toward minus infinity, which is easy to get wrong where a sign can turn.
Every helper here says its rounding in its name, and refuses a divisor that is not positive
(markets 2.1): money from a user rounds up, money to a user rounds down.
"""

from collections.abc import Iterable, Sequence
from math import isqrt as _isqrt


def floor_div(value: int, divisor: int) -> int:
    """Divide and round toward minus infinity; `divisor` must be positive."""
    if divisor <= 0:
        raise ValueError(f"the divisor is {divisor}; a positive one is expected")
    return value // divisor


def ceil_div(value: int, divisor: int) -> int:
    """Divide and round toward plus infinity; `divisor` must be positive."""
    if divisor <= 0:
        raise ValueError(f"the divisor is {divisor}; a positive one is expected")
    return -(-value // divisor)


def mul_div_floor(value: int, factor: int, divisor: int) -> int:
    """Return value * factor / divisor rounded toward minus infinity, without overflow between."""
    return floor_div(value * factor, divisor)


def mul_div_ceil(value: int, factor: int, divisor: int) -> int:
    """Return value * factor / divisor rounded toward plus infinity, without overflow between."""
    return ceil_div(value * factor, divisor)


def isqrt(value: int) -> int:
    """Return the largest integer whose square is at most `value`, which must not be negative."""
    if value < 0:
        raise ValueError(f"the square root of {value} does not exist; 0 or more is expected")
    return _isqrt(value)


def clamp(value: int, low: int, high: int) -> int:
    """Return the member of [low, high] nearest to `value`; `low` must not exceed `high`."""
    if low > high:
        raise ValueError(f"the range [{low}, {high}] is empty")
    return low if value < low else min(value, high)


def lower_median(values: Iterable[int]) -> int:
    """Return the middle value, the lower of the two middle ones if their number is even."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("the median of no values does not exist; at least one is expected")
    return ordered[(len(ordered) - 1) // 2]


def largest_remainder(amount: int, weights: Sequence[int]) -> list[int]:
    """Split `amount` in proportion to `weights`; the shares sum to `amount` exactly.

    Each share is the floor of its exact part, and the units left over go one each to the largest
    remainders, ties to the lower index. So a share differs from its exact part by less than one,
    a zero weight gets nothing, and no share exceeds its weight while amount <= sum(weights).
    """
    total = sum(weights)
    if amount < 0 or (weights and min(weights) < 0):
        raise ValueError("the amount and every weight must be 0 or more")
    if total == 0:
        if amount:
            raise ValueError(f"{amount} cannot be split over weights that sum to 0")
        return [0] * len(weights)
    shares: list[int] = []
    remainders: list[int] = []
    for weight in weights:
        share, remainder = divmod(amount * weight, total)
        shares.append(share)
        remainders.append(remainder)
    left = amount - sum(shares)
    if left:
        # A stable sort keeps ties in index order; there are always more remainders than units left.
        by_remainder = sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)
        for index in by_remainder[:left]:
            shares[index] += 1
    return shares
