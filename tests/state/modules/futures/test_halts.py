"""Volatility auctions: what stops a market, what a call period keeps still, how it reopens."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.codec import replace
from state.modules.futures import halts
from state.modules.futures.accounts import DepositMargin, WithdrawMargin
from state.modules.futures.records import CLEARS, MARKETS
from state.modules.futures.requests import CancelAll

ON = {"auction_blocks": 4, "auction_blocks_max": 10, "epoch_blocks": 1_000}


@pytest.fixture
def market(make_exchange: Any) -> Any:
    """A market with auctions of 4 blocks, at most 10, and no breaker."""
    return make_exchange(**ON)


def status(exchange: Any) -> str:
    name: str = exchange.view().status.name
    return name


def breach(exchange: Any, orders: Any, lots: int = 10) -> list[str]:
    """Sell some lots at the upper edge of the band to somebody who wants twice as many there."""
    buy, sell = orders
    edge = exchange.view().band_high
    reasons: list[str] = exchange.trade((1, buy(2 * lots, edge)), (2, sell(lots, edge)))
    return reasons


def test_a_clear_that_the_band_holds_back_does_not_trade(market: Any, orders: Any) -> None:
    assert breach(market, orders) == ["OK", "OK"]
    start = market.chain.height
    assert market.events("futures.cleared") == market.events("futures.filled") == []
    (indicated,) = market.events("futures.indicated")
    assert indicated[2:] == [1_100, 10, 10, start + 4]
    view = market.view()
    assert (view.status.name, view.open_interest, view.volume_lots) == ("AUCTION", 0, 0)
    assert (view.auction.price, view.auction.lots, view.auction.end) == (1_100, 10, start + 4)
    assert (view.band_low, view.band_high) == (800, 1_200)
    assert view.mark == 1_000


def test_orders_collect_cancels_work_and_nothing_trades_until_the_end(
    market: Any, orders: Any
) -> None:
    buy, sell = orders
    market.chain.accept(WithdrawMargin(0, 10**12 - 10**6), by=6)
    breach(market, orders)
    start = market.chain.height
    assert market.trade((3, sell(25, 1_150)), (4, buy(5, 1_250)), (5, sell(3, 1_100, tif=1))) == [
        "OK",
        "BAND",
        "OK",
    ]
    assert market.trade((6, buy(10**6, 1_200)), (6, buy(20, 1_200))) == ["TOO_MANY", "MARGIN"]
    assert market.events("futures.indicated")[0][2:] == [1_100, 13, 7, start + 4]
    assert market.trade((2, CancelAll())) == ["OK"]
    assert market.chain.height == start + 3
    assert market.events("futures.indicated")[0][2:] == [1_100, 3, 17, start + 4]
    assert status(market) == "AUCTION"
    assert market.events("futures.cleared") == []
    assert market.trade((2, sell(17, 1_090))) == ["OK"]
    assert market.chain.height == start + 4
    (cleared,) = market.events("futures.cleared")
    assert cleared[2:] == [1_100, 20, 0, 20]
    view = market.view()
    assert (view.status.name, view.auction) == ("OPEN", None)
    assert view.band_high - view.mark == view.mark // 10
    assert view.mark == 1_050


def test_a_market_reopens_beyond_the_band_that_stopped_it(market: Any, orders: Any) -> None:
    buy, sell = orders
    breach(market, orders)
    market.trade((3, buy(30, 1_180)), (4, sell(20, 1_170)))
    while status(market) == "AUCTION":
        market.chain.end_block()
    (cleared,) = market.events("futures.cleared")
    assert 1_100 < cleared[2] < 1_200
    assert cleared[3] == 30


def test_a_further_breach_extends_and_widens_up_to_the_bound(market: Any, orders: Any) -> None:
    buy, sell = orders
    breach(market, orders)
    start = market.chain.height
    market.trade((3, buy(50, 1_200)), (4, sell(15, 1_200)))
    market.chain.end_block(3)
    assert market.chain.height == start + 4
    view = market.view()
    assert (view.status.name, view.auction.end, view.band_high) == ("AUCTION", start + 8, 1_300)
    market.trade((5, buy(200, 1_300)), (6, sell(100, 1_300)))
    market.chain.end_block(3)
    assert market.chain.height == start + 8
    view = market.view()
    assert (view.auction.end, view.auction.stop, view.band_high) == (start + 10, start + 10, 1_400)
    market.trade((5, buy(2_000, 1_400)), (7, sell(200, 1_400)))
    market.chain.end_block()
    assert market.chain.height == start + 10
    (cleared,) = market.events("futures.cleared")
    assert cleared[2] == 1_400
    assert status(market) == "OPEN"


def test_the_last_block_of_trading_always_clears(market: Any, orders: Any) -> None:
    market.chain.advance_to(77)
    breach(market, orders)
    assert market.chain.height == 78
    assert market.view().auction.end == 79
    market.chain.end_block()
    assert len(market.events("futures.cleared")) == 1
    market.chain.end_block()
    assert status(market) == "TERMINATED"


def test_without_imbalance_and_at_the_cap_an_edge_is_no_breach(
    make_exchange: Any, orders: Any
) -> None:
    buy, sell = orders
    exchange = make_exchange(**ON)
    assert exchange.trade((1, buy(10, 1_100)), (2, sell(10, 1_100))) == ["OK", "OK"]
    assert len(exchange.events("futures.cleared")) == 1
    capped = make_exchange(cap=1_050, **ON)
    breach(capped, orders)
    assert capped.events("futures.cleared")[0][2:4] == [1_050, 10]


def test_with_parameter_zero_there_are_no_auctions(exchange: Any, orders: Any) -> None:
    breach(exchange, orders)
    assert len(exchange.events("futures.cleared")) == 1
    assert status(exchange) == "OPEN"


def test_a_clear_far_from_recent_clears_trips_the_breaker(make_exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange = make_exchange(**ON, breaker_blocks=5, breaker_ppm=20_000)
    exchange.match(1, 2, 10, 1_000)
    exchange.match(1, 2, 10, 1_020)
    assert exchange.trade((1, buy(10, 1_041)), (2, sell(10, 1_041))) == ["OK", "OK"]
    assert status(exchange) == "AUCTION"
    exchange.chain.end_block(4)
    assert exchange.events("futures.cleared")[0][2] == 1_041
    kept = [row.price for _, row in CLEARS.scan(exchange.chain.state)]
    assert kept == [1_020, 1_041]
    exchange.chain.end_block(5)
    exchange.match(1, 2, 10, 1_075)
    assert status(exchange) == "OPEN", "a clear of six blocks ago is forgotten"
    exchange.chain.advance_to(81)
    assert list(CLEARS.scan(exchange.chain.state)) == []


def test_in_a_call_period_the_mark_follows_the_accrued_floor_alone(
    market: Any, orders: Any
) -> None:
    market.chain.advance_to(24)
    breach(market, orders)
    market.chain.end_block()
    assert market.view().mark == 1_000
    market.demand(4, 1_050_000)
    market.chain.end_block()
    assert (market.view().status.name, market.view().mark) == ("AUCTION", 1_050)


def test_a_flagged_account_is_offered_when_the_market_reopens(
    make_exchange: Any, orders: Any
) -> None:
    """Its own order that stops the market is taken back, and trades in the clear that reopens."""
    buy, _ = orders
    exchange = make_exchange(funded=False, band_ppm=50_000, **ON)
    for account, lots in ((1, 22), (2, 1_000), (3, 1_000)):
        exchange.chain.accept(DepositMargin(0, lots * 175_000), by=account)
    exchange.match(1, 2, 100, 1_000)
    state = exchange.chain.state
    row = MARKETS.require(state, exchange.market)
    fields = {"mark": 860, "average_price": 860 * 2**16, "average_basis": -140 * 2**16}
    MARKETS.put(state, exchange.market, replace(row, **fields))
    exchange.chain.end_block()
    assert exchange.account(1).liquidating
    edge = exchange.view().band_low
    exchange.trade((3, buy(5, edge)))
    assert status(exchange) == "AUCTION"
    assert exchange.account(1).orders == ()
    mark = exchange.view().mark
    for _ in range(3):
        exchange.chain.end_block()
        assert exchange.view().mark == mark
        assert (exchange.events("futures.filled"), exchange.account(1).orders) == ([], ())
    exchange.chain.end_block()
    assert exchange.account(1).lots == 95


def test_a_market_that_trades_in_its_call_period_is_quarantined(
    market: Any, orders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: without the wait the step is taken back by I6."""
    breach(market, orders)
    whole = halts.interrupt

    def impatient(desk: Any) -> bool:
        halts.auction.carry_out(desk, halts.auction.solve(desk))
        return whole(desk)

    monkeypatch.setattr(halts, "interrupt", impatient)
    market.chain.end_block()
    assert "I6" in market.events("futures.quarantined")[0][2]
    assert market.view().auction is None
    assert market.view().volume_lots == 0


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_storms_with_auctions_are_accounted_for_whatever_the_order_of_transactions(
    make_exchange: Any, orders: Any, start: Any, play: Any, story_of: Any, seed: int
) -> None:
    story = [
        (list({move[0]: move for move in moves}.values()), units) for moves, units in story_of(seed)
    ]
    rows = []
    for order in (1, -1):
        exchange = start(
            make_exchange,
            10**6,
            auction_blocks=2,
            auction_blocks_max=5,
            breaker_blocks=6,
            breaker_ppm=2_000,
        )
        _, quarantined = play(exchange, orders, story, order=order)
        assert quarantined == []
        rows.append(exchange.chain.rows)
    assert rows[0] == rows[1]
    exchange.settle()
    view = exchange.view()
    profit = sum(exchange.profit(account) for account in (1, 2, 3, 4, 5))
    assert profit + view.liquidation_fees - view.insurance_drawn + view.dust == 0
