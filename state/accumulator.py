"""Accumulators: paying any number of holders pro rata without looping over them.

A pool adds `amount * 2^64 / units` to a running sum per unit and carries the remainder of that
division; a holder of n units later takes n times the difference since it last looked. Every
rounding is downward, so the pool never owes more than it was given (assets C.3). The sum wraps at
2^128, as sequence numbers do: only differences are read, and one that wrapped is too small.
"""

from state.codec import Struct
from state.types import U128, Amount

SHIFT = 64


_MASK = (1 << 128) - 1


class Accumulator(Struct):
    """Base units per unit of weight so far, times 2^64, and what the last division left over."""

    per_unit: U128
    carry: Amount

    @property
    def level(self) -> int:
        """The running sum as an integer."""
        return int.from_bytes(self.per_unit, "big")


EMPTY = Accumulator(bytes(16), 0)


def add(pool: Accumulator, amount: int, units: int) -> Accumulator:
    """Return the pool after `amount` was shared out over `units`, which must be positive."""
    assert amount >= 0, "a pool is never paid backwards"
    assert units > 0, "somebody holds the pool"
    step, carry = divmod((amount << SHIFT) + pool.carry, units)
    return Accumulator((pool.level + step & _MASK).to_bytes(16, "big"), carry)


def earned(pool: Accumulator, since: U128, units: int) -> int:
    """Return what a holder of `units` has earned since the running sum was `since`, floored."""
    return (pool.level - int.from_bytes(since, "big") & _MASK) * units >> SHIFT
