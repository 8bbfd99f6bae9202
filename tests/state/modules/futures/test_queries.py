"""What clients are told agrees with what then happens."""

from typing import Any

import pytest

from state.errors import Malformed, NotFound
from state.modules.futures import queries
from state.modules.futures.insurance import DepositInsurance
from state.modules.futures.requests import Side


def test_a_preview_is_the_margin_that_the_order_then_takes(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    chain = exchange.chain
    for account, make, side, limit in ((1, buy, Side.BUY, 1_020), (2, sell, Side.SELL, 1_030)):
        told = chain.query(
            queries.preview, chain.address(account), 0, exchange.market, side, 40, limit
        )
        assert told.admissible
        before = exchange.account(account).scan_initial
        exchange.trade((account, make(40, limit)))
        assert before - exchange.account(account).scan_initial == told.initial_margin
    outside = chain.query(queries.preview, chain.address(3), 0, exchange.market, Side.BUY, 1, 1_200)
    nobody = chain.query(queries.preview, chain.address(3), 9, exchange.market, Side.BUY, 1, 1_000)
    assert not outside.admissible
    assert not nobody.admissible


def test_book_risk_positions_and_markets(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    chain, market = exchange.chain, exchange.market
    exchange.match(1, 2, 30, 1_000)
    exchange.match(3, 2, 10, 1_000)
    exchange.trade((4, buy(3, 990)), (5, buy(4, 990)), (6, sell(2, 1_010)))
    exchange.trade((4, buy(1, 980)))
    book = chain.query(queries.book, market, 1)
    assert [(x.price, x.lots, x.orders) for x in book.bids] == [(990, 7, 2)]
    assert [(x.price, x.lots, x.orders) for x in book.asks] == [(1_010, 2, 1)]
    risk = chain.query(queries.risk, market)
    assert (risk.open_interest, risk.longs, risk.shorts) == (40, 2, 1)
    assert (risk.long_share_max_ppm, risk.short_share_max_ppm) == (750_000, 10**6)
    assert (risk.capacity, risk.used) == (350_000, 40 * 175)
    held = {p.owner: p.lots for p in chain.query(queries.positions, market, None)}
    assert held[chain.address(2)] == -40
    first = min(held)
    rest = chain.query(queries.positions, market, first)
    assert {p.owner for p in rest} == {owner for owner in held if owner != first}
    second = exchange.list_market(first=6)
    listed = chain.query(queries.markets, None, 0)
    assert [view.market_id for view in listed] == [market, second]
    assert chain.query(queries.markets, bytes(32), 0) == []
    assert [view.market_id for view in chain.query(queries.markets, None, market)] == [second]
    view = exchange.view()
    assert (view.best_bid, view.best_ask, view.open_interest) == (990, 1_010, 40)
    assert (view.first_trading_height, view.last_trading_height) == (3, 79)
    assert exchange.view(second).budget_lots == 1_960
    assert len(chain.query(queries.orders, chain.address(4), 0)) == 2


def test_unknown_names_and_sizes_are_refused(exchange: Any) -> None:
    query, market = exchange.chain.query, exchange.market
    for ask in (queries.market, queries.risk, queries.settlement):
        with pytest.raises(NotFound):
            query(ask, 99)
    with pytest.raises(NotFound):
        query(queries.insurer, market, bytes(20))
    with pytest.raises(Malformed):
        query(queries.book, market, 0)
    exchange.chain.accept(DepositInsurance(market, 500), by=1)
    assert query(queries.insurer, market, exchange.chain.address(1)).shares == 500
