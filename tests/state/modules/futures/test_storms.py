"""Random markets with too little money in them: whatever fails, every grain is accounted for."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

TRADERS = (1, 2, 3, 4, 5)
actions = st.lists(
    st.tuples(
        st.sampled_from(TRADERS),
        st.sampled_from(("buy", "sell", "buy", "sell", "cancel", "withdraw", "deposit")),
        st.integers(1, 120),
        st.integers(-100, 100),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=4,
)
blocks = st.lists(st.tuples(actions, st.integers(0, 60_000)), min_size=5, max_size=40)


def assert_accounted(exchange: Any, insured: int) -> None:
    """The identity of profits: what traders lost is what insurance and fees gained."""
    view = exchange.view()
    profit = sum(exchange.profit(account) for account in TRADERS)
    assert profit + view.liquidation_fees - view.insurance_drawn + view.dust == 0
    assert view.trading_fees == sum(exchange.account(account).fees for account in TRADERS)
    gained = view.insurance_fees + view.liquidation_fees + view.dust - view.insurance_drawn
    assert view.insurance == insured + gained


@settings(max_examples=40)
@given(blocks, st.sampled_from((0, 10**6, 10**9)), st.sampled_from((1, 2, 100)))
def test_storms_end_with_every_grain_accounted_for(
    make_exchange: Any,
    orders: Any,
    start: Any,
    play: Any,
    story: list[Any],
    insured: int,
    chunk: int,
) -> None:
    exchange = start(make_exchange, insured, settle_positions_max=chunk)
    _, quarantined = play(exchange, orders, story)
    assert quarantined == []
    exchange.settle()
    assert exchange.view().open_interest == 0
    assert_accounted(exchange, insured)


@settings(max_examples=25)
@given(blocks)
def test_the_place_of_a_transaction_in_its_block_makes_no_difference(
    make_exchange: Any, orders: Any, start: Any, play: Any, story: list[Any]
) -> None:
    """P1: each trader sends at most one transaction a block; forwards and backwards are equal."""
    once = [(list({move[0]: move for move in moves}.values()), units) for moves, units in story]
    roots = []
    for order in (1, -1):
        exchange = start(make_exchange, 10**6)
        play(exchange, orders, once, order=order)
        roots.append(exchange.chain.rows)
    assert roots[0] == roots[1]
