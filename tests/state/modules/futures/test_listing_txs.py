"""Listing: what a market needs before it opens."""

from typing import Any

import pytest

from state.modules.futures.contracts import ListFuture
from state.modules.index import CreateIndex
from state.modules.models.txs import RegisterModel


def listing(exchange: Any, **changes: Any) -> ListFuture:
    fields = {
        "model_id": exchange.model,
        "first_bucket": 6,
        "buckets": 12,
        "ref_price": 1_000,
        "price_cap": 10_000,
    }
    return ListFuture(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_id": bytes(32)}, "state.not_found"),
        ({"first_bucket": 1}, "futures.window_refused"),
        ({"ref_price": 2_000, "price_cap": 1_999}, "futures.terms_refused"),
        ({"ref_price": 10, "price_cap": 1_001}, "futures.terms_refused"),
        ({"ref_price": 2**40, "price_cap": 2**45}, "futures.terms_refused"),
    ],
)
def test_refusals(exchange: Any, changes: dict[str, Any], code: str) -> None:
    exchange.chain.advance_to(8)
    exchange.refuse(code, listing(exchange, **changes))


def test_history_bond_and_number_of_markets(make_exchange: Any, make_chain: Any) -> None:
    exchange = make_exchange(markets_max=1)
    exchange.refuse("futures.too_many_markets", listing(exchange))
    exchange = make_exchange(listing_bond=10**9)
    assert exchange.view().insurance == 10**9
    with pytest.raises(AssertionError, match="history_too_short"):
        make_exchange(listing_history_buckets=3)


def test_an_index_that_is_cheap_to_fake_carries_no_market(exchange: Any) -> None:
    model = exchange.chain.accept(RegisterModel("cheap"))[0][1]
    exchange.chain.accept(CreateIndex(model, 1, 0, 4, 10**6, 1_000, 0))
    sentence = exchange.refuse("futures.budget_too_small", listing(exchange, model_id=model))
    assert "tick value of 0" in sentence


def test_an_opening_market_collects_orders_and_opens_with_one_auction(
    make_exchange: Any, orders: Any
) -> None:
    buy, sell = orders
    exchange = make_exchange(opening_blocks=20)
    assert exchange.view().status.name == "OPENING"
    exchange.trade((1, buy(5, 1_010)))
    exchange.trade((2, sell(5, 990)))
    assert exchange.view().open_interest == 0
    assert exchange.view().best_bid == 1_010
    exchange.chain.advance_to(exchange.view().first_trading_height)
    assert exchange.view().open_interest == 5
    assert exchange.view().status.name == "OPEN"
    # Both were there before the auction: nobody took, so nobody pays and nobody is paid.
    assert exchange.account(1).fees == exchange.account(2).fees == 0


def test_the_anchor_follows_ripe_buckets_only(exchange: Any) -> None:
    exchange.demand(4, 60_000)
    exchange.demand(5, 60_000)
    exchange.chain.advance_to(49)
    view = exchange.view()
    assert (view.floor, view.anchor) == (120, 1_000)
    exchange.chain.end_block()  # bucket 4 ended with block 24, and a dispute takes 25 blocks more
    assert exchange.view().anchor == 60 * 12
