"""Cash in and out of margin accounts, and what may not leave."""

from typing import Any

from state.modules.futures.accounts import DepositMargin, TransferMargin, WithdrawMargin

MARGIN = 10**12
TICK_VALUE = 175


def test_deposits_withdrawals_and_transfers_are_counted(exchange: Any) -> None:
    chain = exchange.chain
    chain.accept(WithdrawMargin(0, 100), by=1)
    chain.accept(TransferMargin(0, 3, 50), by=1)
    first, third = exchange.account(1), exchange.account(1, 3)
    assert (first.cash, first.withdrawn, first.deposited) == (MARGIN - 150, 150, MARGIN)
    assert (third.cash, third.deposited) == (50, 50)
    exchange.refuse("state.not_found", WithdrawMargin(7, 1), by=1)
    exchange.refuse("futures.subaccount_limit", DepositMargin(1_024, 1), by=1)
    exchange.refuse("futures.subaccount_limit", TransferMargin(0, 5_000, 1), by=1)
    exchange.refuse("futures.not_withdrawable", WithdrawMargin(3, 51), by=1)
    exchange.refuse("bank.insufficient_funds", DepositMargin(0, 10**16), by=1)
    assert exchange.account(1).cash == MARGIN - 150


def test_initial_margin_and_unsettled_gains_do_not_leave(exchange: Any, orders: Any) -> None:
    buy, _sell = orders
    exchange.match(1, 2, 100, 1_000)
    held = exchange.account(1)
    margin = 100 * 200 * TICK_VALUE
    assert held.cash - held.withdrawable == margin
    exchange.refuse("futures.not_withdrawable", WithdrawMargin(0, held.withdrawable + 1), by=1)
    exchange.chain.accept(WithdrawMargin(0, held.withdrawable), by=1)
    assert exchange.account(1).scan_initial == 0
    exchange.refuse("futures.not_withdrawable", TransferMargin(0, 1, 1), by=1)
    assert exchange.trade((1, buy(1, 1_000))) == ["MARGIN"]


def test_a_gain_is_seasoned_one_epoch_after_its_settlement(exchange: Any, orders: Any) -> None:
    buy, sell = orders
    exchange.chain.advance_to(11)
    exchange.match(1, 2, 10, 1_000)
    exchange.match(3, 4, 10, 1_050)
    exchange.match(3, 4, 10, 1_060)
    mark = exchange.view().mark
    assert mark > 1_000
    assert exchange.account(1).equity > exchange.account(1).cash
    exchange.chain.advance_to(20)
    gain = 10 * (exchange.view().mark - 1_000) * TICK_VALUE
    winner = exchange.account(1)
    assert winner.cash == MARGIN - winner.fees + gain
    assert winner.quote == -10 * exchange.view().mark * TICK_VALUE
    assert exchange.trade((1, sell(10, 1_000)), (2, buy(10, 1_050))) == ["OK", "OK"]
    winner = exchange.account(1)
    assert winner.lots == 0
    assert winner.cash - winner.withdrawable > 0  # flat, and still not all may leave
    exchange.chain.advance_to(30)
    assert exchange.account(1).withdrawable == exchange.account(1).cash


def test_a_subaccount_is_in_one_market_at_a_time(exchange: Any, orders: Any) -> None:
    buy, _sell = orders
    chain, first = exchange.chain, exchange.market
    second = exchange.list_market(first=6)
    exchange.trade((1, buy(1, 990)))
    exchange.refuse("futures.other_market", exchange.message(buy(1, 990), market=second), by=1)
    chain.accept(DepositMargin(1, MARGIN), by=1)
    chain.accept(exchange.message(buy(1, 990), number=1, market=second), by=1)
    assert exchange.account(1, 1).market_id == second
    # Two markets at once in one block: the one that comes first has it.
    chain.accept(DepositMargin(2, MARGIN), by=1)
    chain.block(
        chain.wire([exchange.message(buy(1, 990), number=2, market=second)], by=1),
        chain.wire([exchange.message(buy(1, 990), number=2, market=first)], by=1),
    )
    reasons = {event[3]: event[4][0][0] for event in exchange.events("futures.operations")}
    assert reasons == {first: "OK", second: "OTHER_MARKET"}


def test_an_idle_subaccount_may_change_markets(exchange: Any, orders: Any) -> None:
    buy, _sell = orders
    second = exchange.list_market(first=6)
    assert exchange.trade((1, buy(1, 990, tif=1))) == ["OK"]
    assert exchange.account(1).market_id == exchange.market
    exchange.chain.accept(exchange.message(buy(1, 990), market=second), by=1)
    assert exchange.account(1).market_id == second
    assert exchange.view(second).best_bid == 990


def test_nothing_leaves_while_a_market_pays_out(make_exchange: Any, orders: Any) -> None:
    exchange = make_exchange(settle_positions_max=1)
    exchange.match(1, 2, 10, 1_000)
    exchange.match(3, 4, 10, 1_000)
    exchange.chain.advance_to(exchange.view().settle_height)
    assert exchange.view().status.name == "SETTLING"
    waiting = [n for n in (1, 2, 3, 4) if exchange.account(n).lots]
    exchange.refuse("futures.settlement_under_way", WithdrawMargin(0, 1), by=waiting[-1])
    exchange.refuse("futures.not_trading", exchange.message(orders[0](1, 990)), by=5)
    exchange.settle()
    assert [exchange.account(n).lots for n in (1, 2, 3, 4)] == [0] * 4
