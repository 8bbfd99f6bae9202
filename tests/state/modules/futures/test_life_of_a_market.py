"""The first thread: list, deposit, trade, mark, settle each epoch, and pay out at the end."""

from typing import Any

from state.modules.futures import queries

TICK_VALUE = 175


def test_whole_life(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    view = exchange.view()
    assert view.status.name == "OPEN"
    assert view.contract.tick_value == TICK_VALUE
    assert view.budget_lots == 2_000
    assert view.mark == view.anchor == 1_000
    assert exchange.trade((1, buy(10, 1_010)), (2, sell(10, 990)), (3, sell(5, 1_005))) == [
        "OK",
        "OK",
        "OK",
    ]
    (cleared,) = exchange.events("futures.cleared")
    assert cleared[2:] == [1_000, 10, 0, 10]
    long, short = exchange.account(1), exchange.account(2)
    assert (long.lots, short.lots) == (10, -10)
    assert long.quote == -short.quote == -10 * 1_000 * TICK_VALUE
    assert long.fees == short.fees == 875
    book = exchange.chain.query(queries.book, exchange.market, 20)
    assert [(level.price, level.lots) for level in book.asks] == [(1_005, 5)]
    exchange.chain.advance_to(20)
    for bucket in range(4, 16):
        exchange.demand(bucket, 100_000)
    exchange.chain.advance_to(80)
    proof = exchange.settle()
    assert proof.settlement.price == 1_200
    assert proof.settlement.buckets == (100_000,) * 12
    gain = 10 * 200 * TICK_VALUE
    assert [exchange.profit(account) for account in (1, 2, 3)] == [gain, -gain, 0]
    assert exchange.account(1).withdrawable == exchange.account(1).cash
    assert exchange.view().insurance == 875
