"""A long gap between two blocks: every market waits, and nobody is liquidated on old prices."""

from typing import Any

import pytest

from state.codec import replace
from state.modules.futures.records import CLOCK, MARKETS

PARAMS = {"gap_ms": (2_000, 4_000), "gap_auction_blocks": (4, 9), "stale_blocks": 3}


@pytest.fixture
def market(make_exchange: Any) -> Any:
    """A market that waits 4 blocks after two seconds without a block, 9 after four."""
    return make_exchange(**PARAMS)


def pause(exchange: Any, gap_ms: int) -> None:
    """Execute a block so many milliseconds after the last one."""
    state = exchange.chain.state
    clock = CLOCK.require(state, 0)
    later = (exchange.chain.height + 1) * 1_000
    CLOCK.put(state, 0, replace(clock, time_ms=later - gap_ms))
    exchange.chain.end_block()


def test_a_short_gap_holds_nothing_back(market: Any) -> None:
    pause(market, 2_000)
    assert market.events("futures.gap") == []
    assert market.view().status.name == "OPEN"


@pytest.mark.parametrize(("gap", "blocks"), [(2_001, 4), (4_000, 4), (4_001, 9), (5_000, 9)])
def test_the_longer_the_gap_the_longer_all_markets_wait(
    market: Any, orders: Any, gap: int, blocks: int
) -> None:
    buy, sell = orders
    second = market.list_market(first=6)
    market.chain.advance_to(8)
    pause(market, gap)
    start = market.chain.height
    assert market.events("futures.gap")[0][1:] == [gap, blocks, start + blocks + 3]
    for number in (market.market, second):
        view = market.view(number)
        assert (view.status.name, view.auction.end) == ("AUCTION", start + blocks)
    assert market.trade((1, buy(10, 1_000)), (2, sell(10, 1_000))) == ["OK", "OK"]
    while market.chain.height < start + blocks - 1:
        market.chain.end_block()
        assert market.events("futures.cleared") == []
    market.chain.end_block()
    assert market.events("futures.cleared")[0][2:4] == [1_000, 10]
    assert {market.view(n).status.name for n in (market.market, second)} == {"OPEN"}


def test_accounts_are_left_alone_until_blocks_have_come_again(
    make_exchange: Any, start: Any
) -> None:
    """Neither flags nor close-outs nor variation while prices are old; then all at once."""
    exchange = start(make_exchange, 0, **{**PARAMS, "epoch_blocks": 2})
    exchange.match(1, 2, 200, 1_000)
    pause(exchange, 2_001)
    begun = exchange.chain.height
    state = exchange.chain.state
    row = MARKETS.require(state, exchange.market)
    fields = {"mark": 600, "average_price": 600 * 2**16, "average_basis": -400 * 2**16}
    MARKETS.put(state, exchange.market, replace(row, **fields, traded_height=begun))
    held = exchange.account(1).cash
    for _ in range(6):
        exchange.chain.end_block()
        assert exchange.events("futures.flagged") == exchange.events("futures.closed_out") == []
        assert exchange.events("futures.variation") == []
        assert (exchange.account(1).lots, exchange.account(1).cash) == (200, held)
    assert exchange.account(1).equity < 0
    exchange.chain.end_block()
    assert exchange.chain.height == begun + 7
    assert len(exchange.events("futures.closed_out")) == 1
    assert exchange.account(1).lots == 0


def test_a_gap_before_the_end_of_trading_leaves_its_last_block(market: Any) -> None:
    market.chain.advance_to(76)
    pause(market, 4_001)
    assert market.view().auction.end == 79
    market.chain.advance_to(80)
    assert market.view().status.name == "TERMINATED"


def test_without_a_table_no_gap_is_looked_for(exchange: Any) -> None:
    assert CLOCK.get(exchange.chain.state, 0) is None
