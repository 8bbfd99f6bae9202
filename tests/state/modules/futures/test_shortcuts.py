"""Shortcuts of admission and payment give what the plain rules give."""

from typing import Any

import pytest

from state.modules.futures import auction
from state.modules.futures.margin import Position, load, scan_initial
from state.modules.futures.orders import BUY, SELL, sort_out


def exact_scan(desk: Any, view: Any) -> int:
    """Initial margin left, from every order anew."""
    sides = [[order for order in view.orders if order.side == side] for side in (BUY, SELL)]
    buys, sells = [load(view.lots, side, desk.prices, desk.terms) for side in sides]
    position = Position(view.lots, view.quote)
    return scan_initial(view.cash, position, buys, sells, desk.prices, desk.tick_value)


def opens_now(desk: Any, view: Any) -> bool:
    """Whether an order admitted in this block opens something."""
    sides = [[order for order in view.orders if order.side == side] for side in (BUY, SELL)]
    opening = [order for side in sides for order in sort_out(view.lots, side).opening]
    return any(order.height == desk.height for order in opening)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Look at every account between admission and the cancellation of uncovered orders."""
    seen = [0, 0]
    cancel_uncovered = auction.cancel_uncovered

    def check(desk: Any) -> None:
        for _, view in desk.quoting():
            left = exact_scan(desk, view)
            if opens_now(desk, view):
                seen[0] += 1
                assert left >= 0, "an order was admitted that margin does not carry"
            if auction._surely_covered(desk, view):
                seen[1] += 1
                assert left >= 0, "an account passed for covered that is not"
        cancel_uncovered(desk)

    monkeypatch.setattr(auction, "cancel_uncovered", check)
    return seen


def test_admission_agrees_with_a_scan_from_scratch(
    make_exchange: Any, orders: Any, checked: list[int], story_of: Any, start: Any, play: Any
) -> None:
    for seed in range(12):
        exchange = start(make_exchange, 10**6)
        _, quarantined = play(exchange, orders, story_of(seed))
        assert quarantined == []
    assert min(checked) > 100


@pytest.mark.parametrize("lots", [(250, 100), (120, 250), (37, 91)])
def test_chunks_make_no_difference_to_what_anyone_is_paid(
    make_exchange: Any, start: Any, lots: tuple[int, int]
) -> None:
    """P5: a settlement far below the mark, one, three or all positions at a time.

    Demand stops in mid-window, so the price ends at half the mark and losers cannot pay it all.
    """
    ends = []
    for chunk in (1, 3, 100):
        exchange = start(make_exchange, 10**6, settle_positions_max=chunk, epoch_blocks=1_000)
        for bucket in range(4, 10):
            exchange.demand(bucket, 83_334)
        exchange.match(1, 2, lots[0], 1_000)
        exchange.match(3, 4, lots[1], 1_000)
        exchange.match(5, 2, 7, 1_000)
        proof = exchange.settle().settlement
        assert proof.price == 500
        assert proof.gains - proof.fund > 1 or lots == (37, 91)
        assert proof.collected + proof.drawn == proof.paid
        paid = [exchange.account(account).cash for account in (1, 2, 3, 4, 5)]
        assert min(paid) >= 0
        ends.append((paid, proof.gains, proof.fund, exchange.view().insurance))
    assert ends[0] == ends[1] == ends[2]
