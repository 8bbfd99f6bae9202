"""Random markets with too little money in them: whatever fails, every grain is accounted for."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.modules.futures.accounts import DepositMargin, WithdrawMargin
from state.modules.futures.insurance import DepositInsurance
from state.modules.futures.requests import CancelAll, PlaceOrders

TRADERS = (1, 2, 3, 4, 5)
CASH = 60 * 1_000 * 175
"""Sixty lots at full price, three hundred at initial margin."""

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


def play(
    exchange: Any, orders: Any, story: list[Any], *, order: int = 1
) -> tuple[list[bytes], list[Any]]:
    """Play a story of blocks; `order` -1 puts each block's transactions backwards."""
    buy, sell = orders
    chain = exchange.chain
    quarantined: list[Any] = []
    for moves, units in story:
        bucket = chain.height // 5
        if 4 <= bucket < 16 and units:
            exchange.demand(bucket, units * 10)
        mark = exchange.view().mark
        wires = []
        for account, what, lots, away, tif, reduce in moves:
            limit = max(1, mark + mark * away // 1_000)
            message: Any
            if what in ("buy", "sell"):
                place = (buy if what == "buy" else sell)(
                    lots, limit, tif=tif, reduce_only=reduce and tif < 2
                )
                message = PlaceOrders(exchange.market, 0, (place,))
            elif what == "cancel":
                message = PlaceOrders(exchange.market, 0, (CancelAll(),))
            elif what == "deposit":
                message = DepositMargin(0, lots * 1_000)
            else:
                free = exchange.account(account).withdrawable
                message = WithdrawMargin(0, max(1, free * lots // 120))
            wires.append(chain.wire([message], by=account))
        chain.block(*wires[::order])
        quarantined += exchange.events("futures.quarantined")
    return wires, quarantined


def assert_accounted(exchange: Any, insured: int) -> None:
    """The identity of profits: what traders lost is what insurance and fees gained."""
    view = exchange.view()
    profit = sum(exchange.profit(account) for account in TRADERS)
    assert profit + view.liquidation_fees - view.insurance_drawn + view.dust == 0
    assert view.trading_fees == sum(exchange.account(account).fees for account in TRADERS)
    gained = view.insurance_fees + view.liquidation_fees + view.dust - view.insurance_drawn
    assert view.insurance == insured + gained


def start(make_exchange: Any, insured: int, **changes: Any) -> Any:
    exchange = make_exchange(funded=False, accounts=6, **changes)
    for account in TRADERS:
        exchange.chain.accept(DepositMargin(0, CASH), by=account)
    if insured:
        exchange.chain.accept(DepositInsurance(exchange.market, insured))
    return exchange


@settings(max_examples=60)
@given(blocks, st.sampled_from((0, 10**6, 10**9)), st.sampled_from((1, 2, 100)))
def test_storms_end_with_every_grain_accounted_for(
    make_exchange: Any, orders: Any, story: list[Any], insured: int, chunk: int
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
    make_exchange: Any, orders: Any, story: list[Any]
) -> None:
    """P1: each trader sends at most one transaction a block; forwards and backwards are equal."""
    once = [(list({move[0]: move for move in moves}.values()), units) for moves, units in story]
    roots = []
    for order in (1, -1):
        exchange = start(make_exchange, 10**6)
        play(exchange, orders, once, order=order)
        roots.append(exchange.chain.rows)
    assert roots[0] == roots[1]
