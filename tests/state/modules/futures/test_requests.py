"""Order operations: every kind, every refusal with its reason, and who gives way."""

from typing import Any

import pytest

from state.modules.futures.accounts import DepositMargin
from state.modules.futures.requests import (
    Cancel,
    CancelAll,
    CancelClient,
    Replace,
    ScheduleCancel,
    order_id,
)


def own(exchange: Any, account: int) -> list[tuple[int, int, int]]:
    return [(int(o.side), o.lots, o.limit) for o in exchange.account(account).orders]


def cancelled(exchange: Any) -> list[tuple[str, int]]:
    return [(e[4], len(e[5])) for e in exchange.events("futures.cancelled")]


def test_a_batch_runs_cancels_then_changes_then_places(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.trade((1, buy(4, 950)), (2, buy(9, 940)))
    old = exchange.account(1).orders[0].order_id
    exchange.chain.accept(
        exchange.message(buy(2, 960), Replace(old, 3, 950), CancelAll(), sell(1, 1_050)), by=1
    )
    results = exchange.events("futures.operations")[0][4]
    assert [r[0] for r in results] == ["OK", "UNKNOWN_ORDER", "OK", "OK"]
    assert [r[2] for r in results] == [0, 0, 1, 0]
    assert own(exchange, 1) == [(0, 2, 960), (1, 1, 1_050)]
    assert own(exchange, 2) == [(0, 9, 940)]


def test_order_ids_are_known_beforehand(exchange: Any, orders: Any) -> None:
    nonce = exchange.chain._nonces[exchange.chain.address(1)] + 1
    exchange.chain.accept(exchange.message(orders[0](1, 950), orders[0](1, 951)), by=1)
    expected = [order_id(exchange.chain.address(1), nonce, 0, n) for n in (0, 1)]
    assert [o.order_id for o in exchange.account(1).orders] == expected


def test_cancels_by_id_and_by_client_id(exchange: Any, orders: Any) -> None:
    buy, _ = orders
    exchange.trade((1, buy(1, 950, client_id=7)), (2, buy(1, 940)))
    identifier = exchange.account(2).orders[0].order_id
    assert exchange.trade((1, CancelClient(8)), (3, Cancel(identifier))) == ["UNKNOWN_ORDER"] * 2
    assert exchange.trade((1, CancelClient(7)), (2, Cancel(identifier))) == ["OK", "OK"]
    assert own(exchange, 1) == own(exchange, 2) == []


def test_a_cancel_in_the_block_of_a_match_wins(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.trade((1, buy(1, 1_000)))
    assert exchange.trade((2, sell(1, 1_000)), (1, CancelAll())) == ["OK", "OK"]
    assert exchange.view().open_interest == 0


def test_a_later_cancel_takes_back_an_order_of_the_same_block(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    chain = exchange.chain
    nonce = chain._nonces[chain.address(1)] + 1
    identifier = order_id(chain.address(1), nonce, 0, 0)
    chain.block(
        chain.wire([exchange.message(buy(1, 1_000))], by=1),
        chain.wire([exchange.message(Cancel(identifier))], by=1),
        chain.wire([exchange.message(sell(1, 1_000))], by=2),
    )
    assert exchange.view().open_interest == 0
    assert own(exchange, 1) == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda buy, sell: buy(1, 1_101), "BAND"),
        (lambda buy, sell: sell(1, 899), "BAND"),
        (lambda buy, sell: buy(100_001, 1_000), "TOO_MANY"),
        (lambda buy, sell: buy(1, 1_000, client_id=5), "CLIENT_ID"),
        (lambda buy, sell: buy(1, 1_020, post_only=True), "POST_ONLY"),
        (lambda buy, sell: sell(1, 980, post_only=True), "POST_ONLY"),
        (lambda buy, sell: buy(1, 1_000, reduce_only=True), "REDUCE_ONLY"),
        (lambda buy, sell: buy(1, 1_000, expiry_height=3), "EXPIRED"),
        (lambda buy, sell: sell(1, 960, self_trade=1), "STP"),
        (lambda buy, sell: Replace(bytes(32), 1, 1_000), "UNKNOWN_ORDER"),
    ],
)
def test_refusals(exchange: Any, orders: Any, make: Any, reason: str) -> None:
    buy, sell = orders
    exchange.trade((1, buy(3, 970, client_id=5)), (2, sell(3, 1_020)), (3, buy(3, 980)))
    before = exchange.account(1).orders
    assert exchange.trade((1, make(buy, sell))) == [reason]
    assert exchange.account(1).orders == before
    assert exchange.view().open_interest == 0


def test_contradictions_are_refused_at_once(exchange: Any, orders: Any) -> None:
    buy, _ = orders
    for order in (buy(1, 1_000, post_only=True, tif=1), buy(1, 1_000, reduce_only=True, tif=2)):
        with pytest.raises(Exception, match=r"drop one of the two|use IOC"):
            exchange.chain.submit(exchange.message(order), by=1)
    exchange.refuse("state.not_found", exchange.message(buy(1, 1_000), number=9), by=1)
    exchange.refuse("state.not_found", exchange.message(buy(1, 1_000), market=9), by=1)


def test_too_many_open_orders(make_exchange: Any, orders: Any) -> None:
    exchange = make_exchange(orders_open_max=2)
    exchange.chain.accept(exchange.message(*[orders[0](1, 950 + n) for n in range(3)]), by=1)
    results = exchange.events("futures.operations")[0][4]
    assert [r[0] for r in results] == ["OK", "OK", "TOO_MANY"]


def test_post_only_looks_at_the_resting_book_and_adds_to_it(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.trade((1, sell(5, 1_010)))
    assert exchange.trade((2, buy(5, 1_009, post_only=True))) == ["OK"]
    # Against a taker of the same block a post-only order is the maker.
    exchange.trade((3, buy(2, 1_020, post_only=False)), (1, CancelAll()))
    assert exchange.trade((4, sell(1, 1_030, post_only=True)), (5, buy(1, 1_030))) == ["OK", "OK"]
    fees = {e[3]: e[9] for e in exchange.events("futures.filled")}
    assert exchange.account(4).fees <= 0 < exchange.account(5).fees
    assert fees


def test_ioc_and_fok_do_not_rest(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.trade((1, sell(5, 1_000)))
    exchange.trade((2, buy(8, 1_000, tif=1)))
    assert exchange.account(2).lots == 5
    assert cancelled(exchange) == [("IOC", 1)]
    exchange.trade((1, sell(5, 1_000)))
    exchange.trade((2, buy(8, 1_000, tif=2)))
    assert exchange.account(2).lots == 5
    assert cancelled(exchange) == [("FOK", 1)]
    assert own(exchange, 2) == []


def test_orders_expire_after_their_last_height(exchange: Any, orders: Any) -> None:
    buy, _sell = orders
    last = exchange.chain.height + 2
    exchange.trade((1, buy(1, 1_000, expiry_height=last)))
    exchange.chain.end_block()
    assert own(exchange, 1)
    exchange.chain.end_block()
    assert own(exchange, 1) == []
    assert cancelled(exchange) == [("EXPIRED", 1)]


def test_a_silent_client_is_cancelled(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    at = exchange.chain.height + 4
    exchange.chain.accept(exchange.message(ScheduleCancel(at), buy(1, 990), sell(1, 1_010)), by=1)
    exchange.chain.advance_to(at - 1)
    assert len(own(exchange, 1)) == 2
    exchange.chain.end_block()
    assert cancelled(exchange) == [("DEAD_MAN", 2)]
    assert exchange.account(1).cancel_at == 0


def test_an_owner_does_not_trade_with_itself(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.chain.accept(DepositMargin(1, 10**12), by=1)
    exchange.trade((1, buy(5, 1_000)), (2, buy(5, 999)))
    exchange.chain.accept(exchange.message(sell(5, 990), number=1), by=1)
    assert cancelled(exchange) == [("STP", 1)]
    assert exchange.account(1).lots == 0
    assert exchange.account(1, 1).lots == -5
    assert exchange.account(2).lots == 5


def test_replace_keeps_or_loses_priority_and_fails_whole(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.trade((1, buy(10, 990)))
    exchange.trade((2, buy(10, 990)))
    first = exchange.account(1).orders[0]
    assert exchange.trade((1, Replace(first.order_id, 6, 990))) == ["OK"]
    kept = exchange.account(1).orders[0]
    assert (kept.order_id, kept.height, kept.lots) == (first.order_id, first.height, 6)
    assert exchange.trade((1, Replace(first.order_id, 6, 2_000))) == ["BAND"]
    assert exchange.account(1).orders[0] == kept
    exchange.trade((3, sell(7, 990)))
    assert (exchange.account(1).lots, exchange.account(2).lots) == (6, 1)
    second = exchange.account(2).orders[0]
    assert exchange.trade((2, Replace(second.order_id, 12, 991))) == ["OK"]
    moved = exchange.account(2).orders[0]
    assert (moved.lots, moved.limit, moved.height) == (12, 991, exchange.chain.height)
    assert moved.order_id != second.order_id


def test_reduce_only_orders_are_trimmed_and_go_with_the_position(
    exchange: Any, orders: Any
) -> None:
    buy, sell = orders
    exchange.match(1, 2, 10, 1_000)
    assert exchange.trade((1, sell(6, 1_050)), (3, buy(1, 900))) == ["OK", "OK"]
    assert exchange.trade((1, sell(9, 1_040, reduce_only=True))) == ["OK"]
    assert own(exchange, 1) == [(1, 6, 1_050), (1, 4, 1_040)]
    exchange.trade((1, sell(10, 1_000)), (2, buy(10, 1_000)))
    assert exchange.account(1).lots == 0
    assert ("REDUCE_ONLY", 1) in cancelled(exchange)
    assert own(exchange, 1) == [(1, 6, 1_050)]


def test_a_market_on_a_shrunken_index_only_closes(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.match(1, 2, 1_900, 1_000)
    assert exchange.trade((3, buy(300, 1_000)), (4, sell(300, 1_000))) == ["OK", "OK"]
    # 100 lots are left of the budget: a side's opening orders are dropped whole.
    assert exchange.view().open_interest == 1_900
    assert [c for c in cancelled(exchange) if c[0] == "BUDGET"] == [("BUDGET", 1)]
    assert exchange.view().budget_lots == 2_000
