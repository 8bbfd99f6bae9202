"""Fees do not depend on how an order was cut into fills."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from state.modules.futures.fees import maker_rebate, reducing_fee, taker_fee

FILLS = st.lists(st.integers(0, 10**12), min_size=1, max_size=10)


@given(FILLS, st.integers(0, 10_000))
def test_the_fee_of_an_order_rounds_once(notionals: list[int], ppm: int) -> None:
    total, charged, paid = 0, 0, 0
    for notional in notionals:
        total += notional
        fee, rebate = taker_fee(total, ppm, charged), maker_rebate(total, ppm, paid)
        assert fee >= 0
        assert rebate >= 0
        charged += fee
        paid += rebate
    assert charged == -(-sum(notionals) * ppm // 10**6)
    assert paid == sum(notionals) * ppm // 10**6
    assert charged - paid in (0, 1)


def test_a_fee_rounds_up_once() -> None:
    assert [taker_fee(1, 500, 0), taker_fee(2, 500, 1), taker_fee(2001, 500, 1)] == [1, 0, 1]
    assert ceil(2001 * 500 / 10**6) == 2


def test_leaving_a_position_bankrupts_nobody() -> None:
    assert reducing_fee(10, 100, 100) == 10
    assert reducing_fee(10, 4, 100) == 4
    assert reducing_fee(10, 100, 3) == 3
    assert reducing_fee(10, 100, -3) == 0
