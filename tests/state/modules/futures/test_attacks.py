"""What must not pay: trading with oneself, walking through roundings, and faking demand."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.modules.futures.budget import capacity
from state.modules.futures.requests import CancelAll

TICK_VALUE = 175
KEPT_PPM = 300
"""Taker fee less maker rebate."""

PPM = 10**6


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(-50, 50)), min_size=1, max_size=8))
def test_wash_trading_loses_at_least_the_kept_fee(
    make_exchange: Any, orders: Any, trades: list[tuple[int, int]]
) -> None:
    """P4: two accounts of one purse, one always maker, pass lots to and fro."""
    buy, sell = orders
    exchange = make_exchange(accounts=3, epoch_blocks=1_000)
    start = sum(exchange.account(account).cash for account in (1, 2))
    notional = 0
    for number, (lots, away) in enumerate(trades):
        mark = exchange.view().mark
        limit = max(1, mark + mark * away // 1_000)
        maker, taker = ((1, 2), (2, 1))[number % 2]
        exchange.trade((maker, sell(lots, limit)))
        exchange.trade((taker, buy(lots, limit)))
        notional += sum(e[3] * e[2] for e in exchange.events("futures.cleared")) * TICK_VALUE
        exchange.trade((1, CancelAll()), (2, CancelAll()))
    equity = sum(exchange.account(account).equity for account in (1, 2))
    assert start - equity >= notional * KEPT_PPM // PPM


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 7), st.integers(-9, 9), st.booleans()), min_size=1, max_size=20
    )
)
def test_no_cycle_of_small_trades_gains_by_rounding(
    make_exchange: Any, orders: Any, trades: list[tuple[int, int, bool]]
) -> None:
    """P11: whatever two accounts do with each other, together they never have a grain more."""
    buy, sell = orders
    exchange = make_exchange(accounts=3)
    total = sum(exchange.account(account).equity for account in (1, 2))
    for lots, away, turned in trades:
        limit = max(1, exchange.view().mark + away)
        buyer, seller = (1, 2) if turned else (2, 1)
        exchange.trade((buyer, buy(lots, limit, tif=1)), (seller, sell(lots, limit)))
        now = sum(exchange.account(account).equity for account in (1, 2))
        assert now <= total
        total = now


def attack(open_interest_grains: int, units: int, tau_ppm: int, p_min: int, tick: int) -> int:
    """Profit of one who is payer, provider and every long, for faking so many units.

    Each unit costs the irrecoverable share of its fee; each whole tick pays all longs together.
    """
    cost = -(-units * p_min * tau_ppm // (PPM * PPM))
    return units // tick * open_interest_grains - cost


@given(
    st.integers(10_000, PPM),
    st.integers(10**6, 10**12),
    st.integers(1, 10**6),
    st.integers(0, 10**12),
)
def test_faking_demand_loses_within_the_budget(
    tau_ppm: int, p_min: int, tick: int, units: int
) -> None:
    """P7: at the budget of Bound 1 no number of fake units earns anything."""
    grains = capacity(tau_ppm, p_min, tick, 2)
    assert attack(grains, units, tau_ppm, p_min, tick) <= 0


@pytest.mark.parametrize("tick", [1, 1_000])
def test_faking_demand_earns_beyond_the_budget(tick: int) -> None:
    """The negative control: at three times the budget, with s = 2, the same attack pays."""
    grains = capacity(140_000, 5 * 10**9, tick, 2)
    found = [attack(3 * grains, ticks * tick, 140_000, 5 * 10**9, tick) for ticks in (1, 10, 1_000)]
    assert max(found) > 0
    assert max(attack(grains, ticks * tick, 140_000, 5 * 10**9, tick) for ticks in (1, 10)) < 0
