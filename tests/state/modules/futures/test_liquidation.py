"""Accounts that fall short: flagged, sold in parts, closed out; others pay no grain more."""

from typing import Any

import pytest

from state.codec import replace
from state.errors import BoundExceeded
from state.modules import bank
from state.modules.futures import auction
from state.modules.futures.accounts import DepositMargin, WithdrawMargin
from state.modules.futures.insurance import ClaimInsurance, DepositInsurance
from state.modules.futures.records import MARKETS, Status

TICK_VALUE = 175
LOT = 1_000 * TICK_VALUE
"""Grains that one lot is worth at the reference price."""


@pytest.fixture
def thin(make_exchange: Any) -> Any:
    """Account 1 is long 100 lots with little more than initial margin, 2 is its short."""
    exchange = make_exchange(funded=False, epoch_blocks=1_000)
    for account, lots in ((1, 22), (2, 1_000), (3, 1_000), (4, 1_000)):
        exchange.chain.accept(DepositMargin(0, lots * LOT), by=account)
    exchange.match(1, 2, 100, 1_000)
    return exchange


def set_mark(exchange: Any, mark: int) -> None:
    """Put the market's averages and mark where a test needs them, as a gap would."""
    state = exchange.chain.state
    row = MARKETS.require(state, exchange.market)
    MARKETS.put(
        state,
        exchange.market,
        replace(row, mark=mark, average_price=mark * 2**16, average_basis=(mark - 1_000) * 2**16),
    )


def test_a_flagged_account_is_sold_in_parts_until_it_is_healthy(thin: Any, orders: Any) -> None:
    buy, sell = orders
    thin.chain.advance_to(thin.chain.height)
    assert thin.trade((1, buy(1, 990)), (3, buy(200, 860)), (3, buy(200, 930))) == [
        "OK",
        "BAND",
        "OK",
    ]
    set_mark(thin, 865)
    thin.chain.end_block()
    assert thin.account(1).liquidating
    (flagged,) = thin.events("futures.flagged")
    assert flagged[4] is True
    assert thin.account(1).orders == ()
    assert thin.account(1).lots == 100
    assert thin.trade((1, sell(1, 900))) == ["LIQUIDATION"]
    fills = [e for e in thin.events("futures.filled") if e[2] == thin.chain.address(1)]
    assert [fill[7] for fill in fills] == [20]
    assert thin.account(1).lots == 80
    penalty = fills[0][9]
    assert thin.account(1).liquidation_fees == penalty == thin.view().liquidation_fees
    assert penalty == -(-20 * fills[0][6] * TICK_VALUE * 15_000 // 10**6)
    assert thin.view().insurance >= penalty
    assert not thin.account(1).liquidating  # eighty lots it carries at this mark
    thin.chain.end_block(3)
    assert thin.account(1).lots == 80
    set_mark(thin, 815)
    thin.chain.end_block(2)
    assert thin.account(1).lots == 64
    assert thin.account(1).equity > 0


def test_a_deposit_ends_a_liquidation_before_the_next_auction(thin: Any, orders: Any) -> None:
    buy, _ = orders
    thin.trade((3, buy(200, 930)))
    set_mark(thin, 865)
    thin.chain.end_block()
    assert thin.account(1).liquidating
    thin.chain.accept(DepositMargin(0, 100 * LOT), by=1)
    assert not thin.account(1).liquidating
    assert thin.account(1).lots == 100


def test_without_equity_the_position_is_closed_at_the_mark(thin: Any) -> None:
    """What insurance lacks comes out of the gain of the short, and of nobody else."""
    set_mark(thin, 700)
    before = thin.account(3).equity, thin.account(4).equity
    insured, cash = thin.view().insurance, thin.account(1).cash
    thin.chain.end_block()
    mark = thin.view().mark
    (closed,) = thin.events("futures.closed_out")
    deficit = 100 * (1_000 - mark) * TICK_VALUE - cash
    assert closed[4:] == [100, insured, deficit]
    assert thin.account(1).equity == thin.account(1).lots == 0
    assert thin.account(2).lots == 0
    gain = 100 * (1_000 - mark) * TICK_VALUE
    assert thin.account(2).quote == gain - (deficit - insured)
    assert (thin.account(3).equity, thin.account(4).equity) == before
    assert thin.view().open_interest == 0


def test_insurance_pays_before_anyone_is_deleveraged(thin: Any) -> None:
    thin.chain.accept(DepositInsurance(thin.market, 1_000 * LOT))
    insured = thin.view().insurance
    set_mark(thin, 700)
    thin.chain.end_block()
    deficit = thin.events("futures.closed_out")[0][6]
    assert thin.view().insurance_drawn == deficit
    assert thin.view().insurance == insured - deficit
    gain = 100 * (1_000 - thin.view().mark) * TICK_VALUE
    assert thin.account(2).equity == thin.account(2).cash + gain


def test_an_epoch_draws_no_more_insurance_than_it_may(make_exchange: Any) -> None:
    exchange = make_exchange(funded=False, epoch_blocks=1_000, insurance_draw_epoch_max=7)
    for account, lots in ((1, 22), (2, 1_000)):
        exchange.chain.accept(DepositMargin(0, lots * LOT), by=account)
    exchange.chain.accept(DepositInsurance(exchange.market, 1_000 * LOT))
    exchange.match(1, 2, 100, 1_000)
    set_mark(exchange, 700)
    exchange.chain.end_block()
    assert exchange.view().insurance_drawn == 7


def test_the_whole_open_interest_in_one_insolvent_account(make_exchange: Any) -> None:
    exchange = make_exchange(funded=False, epoch_blocks=1_000)
    exchange.chain.accept(DepositMargin(0, 220 * LOT), by=1)
    for account in (2, 3, 4, 5):
        exchange.chain.accept(DepositMargin(0, 500 * LOT), by=account)
    for account, lots in ((2, 400), (3, 300), (4, 200), (5, 100)):
        exchange.match(1, account, lots, 1_000)
    assert exchange.account(1).lots == exchange.view().open_interest == 1_000
    set_mark(exchange, 400)
    exchange.chain.end_block()
    assert exchange.view().open_interest == 0
    assert all(exchange.account(account).lots == 0 for account in (1, 2, 3, 4, 5))
    exchange.settle()
    assert sum(exchange.profit(n) for n in (1, 2, 3, 4, 5)) == exchange.view().insurance_drawn


def test_an_order_that_would_sell_below_bankruptcy_is_taken_back(
    make_exchange: Any, orders: Any
) -> None:
    """Else a loser sells to an accomplice at a price for which the insurance pays (0a.1)."""
    _, sell = orders
    exchange = make_exchange(funded=False)
    for account, lots in ((1, 22), (2, 1_000)):
        exchange.chain.accept(DepositMargin(0, lots * LOT), by=account)
    exchange.chain.advance_to(11)
    exchange.match(1, 2, 100, 1_000)
    exchange.trade((1, sell(100, 950)))
    set_mark(exchange, 1_300)
    exchange.chain.advance_to(30)
    assert len(exchange.account(1).orders) == 1
    exchange.chain.accept(WithdrawMargin(0, exchange.account(1).withdrawable), by=1)
    (gone,) = exchange.events("futures.cancelled")
    assert gone[4] == "BANKRUPTCY"
    assert exchange.account(1).lots == 100


def test_underwriters_share_what_a_fund_earns_and_loses(thin: Any, orders: Any) -> None:
    chain, market = thin.chain, thin.market
    earned = thin.view().insurance
    chain.accept(DepositInsurance(market, 3 * 10**9), by=5)
    chain.accept(DepositInsurance(market, 10**9), by=6)
    thin.refuse("futures.not_settled", ClaimInsurance(market), by=5)
    for bucket in range(4, 16):
        thin.demand(bucket, 83_334)
    thin.settle()
    held = [chain.query(bank.balance, chain.address(n)).amount for n in (5, 6)]
    residue = thin.view().insurance
    for account in (5, 6):
        chain.accept(ClaimInsurance(market), by=account)
    assert earned > 0
    assert residue == 4 * 10**9 + earned
    got = [
        chain.query(bank.balance, chain.address(n)).amount - before
        for n, before in zip((5, 6), held, strict=True)
    ]
    fees = 10**6
    assert got[0] + fees >= 3 * got[1] > 0
    assert sum(got) <= residue
    thin.refuse("state.not_found", ClaimInsurance(market), by=5)
    thin.refuse("futures.insurance_closed", DepositInsurance(market, 1), by=5)


@pytest.mark.parametrize("breach", [AssertionError("I0"), ValueError("x"), BoundExceeded("x")])
def test_quarantine_takes_back_one_step_of_one_market(
    make_exchange: Any, orders: Any, monkeypatch: pytest.MonkeyPatch, breach: Exception
) -> None:
    """P15: the market whose step fails stops alone; its neighbour's rows are what they were."""
    buy, sell = orders
    move_mark = auction.move_mark

    def fail(desk: Any) -> None:
        if desk.market_id == 1:
            raise breach
        move_mark(desk)

    neighbours = []
    for broken in (False, True):
        exchange = make_exchange()
        chain, second = exchange.chain, exchange.list_market(first=6)
        exchange.match(1, 2, 10, 1_000)
        before = exchange.account(1).lots, exchange.account(1).quote
        if broken:
            monkeypatch.setattr(auction, "move_mark", fail)
        chain.block(
            chain.wire([exchange.message(buy(5, 1_000))], by=1),
            chain.wire([exchange.message(sell(5, 1_000))], by=2),
            chain.wire([exchange.message(buy(5, 1_000), market=second)], by=3),
            chain.wire([exchange.message(sell(5, 1_000), market=second)], by=4),
        )
        monkeypatch.undo()
        neighbours.append([chain.rows[MARKETS.key(second)], exchange.account(3)])
    assert neighbours[0] == neighbours[1]
    assert exchange.view().status is Status.QUARANTINED
    assert (exchange.account(1).lots, exchange.account(1).quote) == before
    assert [e[3] for e in exchange.events("futures.filled")] == [0, 0]
    assert {e[1] for e in exchange.events("futures.filled")} == {second}
    exchange.refuse("futures.not_trading", exchange.message(buy(1, 1_000)), by=1)
    exchange.refuse("futures.settlement_under_way", WithdrawMargin(0, 1), by=1)
    exchange.settle()
    assert exchange.account(1).withdrawable == exchange.account(1).cash
    assert sum(exchange.profit(account) for account in range(8)) == 0


def test_cash_below_margin_does_not_leave(thin: Any) -> None:
    free = thin.account(1).withdrawable
    thin.refuse("futures.not_withdrawable", WithdrawMargin(0, free + 1), by=1)
