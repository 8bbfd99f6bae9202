"""Margin against dense scans, every corner of the orders, and replayed attacks."""

from hashlib import blake2b

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from state.modules.futures.fees import taker_fee
from state.modules.futures.margin import (
    NO_LOAD,
    Load,
    Position,
    Ranges,
    Terms,
    below_maintenance,
    equity,
    liquidation_limit,
    load,
    order_fee,
    order_loss,
    ranges,
    reducing_allowed,
    scan_initial,
    scan_maintenance,
    seasoned,
    traded,
    unseasoned_after,
    value_at,
    withdrawable,
)
from state.modules.futures.orders import BUY, REDUCE_ONLY, SELL, Order, sort_out

TERMS = Terms(
    tick_value=7,
    price_cap=400,
    im_ppm=200_000,
    mm_ppm=100_000,
    range_floor_ppm=100_000,
    band_ppm=100_000,
    taker_ppm=500,
    win_start=100,
    win_end=160,
)
ONE = Terms(1, 10**6, 200_000, 100_000, 100_000, 100_000, 0, 100, 160)


def at(terms: Terms, mark: int, floor: int = 0, height: int = 0, used: int = 0) -> Ranges:
    return ranges(terms, mark=mark, floor=floor, height=height, used=used, capacity=10_000)


def order(number: int, side: int, lots: int, limit: int, flags: int = 0) -> Order:
    order_id = blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
    return Order(order_id, bytes(24), side, lots, limit, 1, flags=flags)


marks = st.integers(1, 400)
positions = st.builds(Position, st.integers(-40, 40), st.integers(-(10**5), 10**5))
loads = st.builds(Load, st.integers(0, 40), st.integers(0, 5000), st.integers(0, 99))


@given(st.integers(0, 10**5), positions, loads, loads, marks, st.data())
def test_scan_equals_a_dense_scan_over_every_price_and_corner(
    cash: int, position: Position, buys: Load, sells: Load, mark: int, data: st.DataObject
) -> None:
    floor = data.draw(st.integers(0, mark))
    bounds = at(TERMS, mark, floor)
    worst: list[int] = []
    for price in range(bounds.initial_low, bounds.initial_high + 1):
        worst.append(min(0, value_at(position, price, 7)))
        for side, orders in ((BUY, buys), (SELL, sells)):
            if orders.lots:
                after = traded(position, side, orders.lots, mark, 7)
                worst.append(min(0, value_at(after, price, 7) - orders.loss) - orders.fee)
    found = scan_initial(cash, position, buys, sells, bounds, 7)
    assert found == cash + min(worst)
    dense = [
        value_at(position, price, 7)
        for price in range(bounds.maintenance_low, bounds.maintenance_high + 1)
    ]
    assert scan_maintenance(cash, position, bounds, 7) == cash + min(dense)


@given(st.integers(0, 10**6), positions, marks)
def test_for_a_plain_future_the_scan_is_ratio_margin(
    cash: int, position: Position, mark: int
) -> None:
    far = Terms(7, 10**9, 200_000, 100_000, 100_000, 100_000, 0, 100, 160)
    bounds = at(far, mark)
    reach = -(-mark * 100_000 // 10**6)
    ratio = equity(cash, position, mark, 7) - abs(position.lots) * reach * 7
    assert scan_maintenance(cash, position, bounds, 7) == ratio


@given(st.lists(st.tuples(st.integers(0, 3000), positions), max_size=6), marks)
def test_the_sweep_flags_whom_the_scan_would(
    accounts: list[tuple[int, Position]], mark: int
) -> None:
    bounds = at(TERMS, mark)
    rows = [(bytes([number]), *account) for number, account in enumerate(accounts)]
    expected = [key for key, cash, held in rows if scan_maintenance(cash, held, bounds, 7) < 0]
    assert below_maintenance(rows, bounds, 7) == expected


def test_ranges_of_the_devnet_profile() -> None:
    bounds = at(TERMS, 101, floor=95, height=0)
    assert bounds == Ranges(101, 95, 122, 95, 112, 95, 111)
    assert at(TERMS, 390).initial_high == 400
    assert at(TERMS, 0) == Ranges(0, 0, 1, 0, 1, 0, 1)


def test_ranges_shrink_with_the_window_down_to_their_floor() -> None:
    terms = Terms(7, 10**6, 200_000, 100_000, 50_000, 50_000, 0, 100, 160)
    widths = {}
    for height in (0, 100, 130, 145, 160, 200):
        bounds = at(terms, 1000, height=height)
        widths[height] = (1000 - bounds.initial_low, bounds.maintenance_high - 1000)
    assert widths == {
        0: (200, 100),
        100: (200, 100),
        130: (100, 50),
        145: (100, 50),
        160: (100, 50),
        200: (100, 50),
    }


def test_initial_range_grows_to_the_whole_price_as_the_budget_fills() -> None:
    lows = [at(TERMS, 100, used=used).initial_low for used in (0, 5000, 7500, 10_000, 20_000)]
    assert lows == [80, 80, 40, 0, 0]
    own = ranges(TERMS, mark=100, floor=0, height=0, used=0, capacity=1, initial_ppm_min=500_000)
    assert own.initial_low == 50
    assert own.maintenance_low == 90


@given(st.integers(0, 10**5), positions, marks, st.integers(1, 20), st.integers(1, 400), st.data())
def test_adding_a_reduce_only_order_never_worsens_health(
    cash: int, position: Position, mark: int, lots: int, limit: int, data: st.DataObject
) -> None:
    assume(position.lots)
    side = SELL if position.lots > 0 else BUY
    bounds = at(TERMS, mark)
    count = data.draw(st.integers(0, 3))
    others = [
        order(number, side, data.draw(st.integers(1, 20)), data.draw(st.integers(1, 400)))
        for number in range(count)
    ]
    others.sort(key=lambda one: one.order_id)
    # Admission leaves a reduce-only order only the room that the orders before it left.
    room = abs(position.lots) - sum(one.lots for one in others)
    assume(room > 0)
    added = order(99, side, min(lots, room), limit, REDUCE_ONLY)

    def scan(orders: list[Order]) -> int:
        found = load(position.lots, orders, bounds, TERMS)
        buys, sells = (found, NO_LOAD) if side == BUY else (NO_LOAD, found)
        return scan_initial(cash, position, buys, sells, bounds, 7)

    assert scan([*others, added]) == scan(others)


def test_a_reduce_only_order_after_an_opening_one_counts_for_nothing() -> None:
    bounds = at(TERMS, 100)
    numbers = sorted(range(2), key=lambda n: order(n, SELL, 1, 1).order_id)
    opening = order(numbers[0], SELL, 30, 100)
    reducer = order(numbers[1], SELL, 10, 95, REDUCE_ONLY)
    assert sort_out(10, [reducer, opening]).inert == [reducer]
    assert load(10, [opening, reducer], bounds, TERMS) == load(10, [opening], bounds, TERMS)
    assert load(10, [order(3, SELL, 10, 95)], bounds, TERMS) == NO_LOAD
    partly = load(10, [order(3, SELL, 11, 95)], bounds, TERMS)
    assert partly == Load(11, 11 * 5 * 7, 5)


@settings(max_examples=200)
@given(st.data())
def test_after_any_fills_initial_margin_still_holds(data: st.DataObject) -> None:
    """I10: fills at one price inside the band, better limits first, the last one partial."""
    mark = data.draw(st.integers(1, 390))
    floor = data.draw(st.integers(0, mark))
    bounds = at(TERMS, mark, floor)
    position = data.draw(positions)
    cash = data.draw(st.integers(0, 3000))
    side = data.draw(st.sampled_from([BUY, SELL]))
    limits = st.integers(max(0, bounds.band_low - 5), bounds.band_high + 5)
    orders = [
        order(number, side, data.draw(st.integers(1, 15)), data.draw(limits))
        for number in range(data.draw(st.integers(1, 4)))
    ]
    found = load(position.lots, orders, bounds, TERMS)
    buys, sells = (found, NO_LOAD) if side == BUY else (NO_LOAD, found)
    assume(scan_initial(cash, position, buys, sells, bounds, 7) >= 0)
    price = data.draw(st.integers(bounds.band_low, bounds.band_high))
    sign = 1 if side == SELL else -1
    able = sorted(
        (o for o in orders if sign * o.limit <= sign * price), key=lambda o: sign * o.limit
    )
    left = data.draw(st.integers(0, sum(o.lots for o in able)))
    after, fees = position, 0
    for one in able:
        lots = min(left, one.lots)
        left -= lots
        before = after
        after = traded(after, side, lots, price, 7)
        if abs(after.lots) > abs(before.lots) or after.lots * before.lots < 0:
            fees += taker_fee(lots * price * 7, TERMS.taker_ppm, 0)
    assert scan_initial(cash - fees, after, NO_LOAD, NO_LOAD, bounds, 7) >= 0


def test_order_loss_is_the_step_beyond_the_mark_and_the_fee_the_dearest() -> None:
    bounds = at(TERMS, 100)
    assert order_loss(order(1, BUY, 10, 105), 100, 7) == 10 * 5 * 7
    assert order_loss(order(1, BUY, 10, 90), 100, 7) == 0
    assert order_loss(order(1, SELL, 10, 90), 100, 7) == 10 * 10 * 7
    assert order_fee(order(1, BUY, 10, 90), bounds, TERMS) == 4


def test_an_unsettled_gain_does_not_pay_fees() -> None:
    bounds = at(TERMS, 100)
    gainer = Position(0, 10**6)
    assert scan_initial(3, gainer, Load(10, 0, 4), NO_LOAD, bounds, 7) == -1


def test_a_bankrupt_seller_cannot_hand_his_loss_to_the_insurance() -> None:
    """Long 100 at 100, mark 85, equity 100: selling at 77 would cost the insurance 700."""
    position = traded(Position(), BUY, 100, 100, 1)
    cash = 1600
    bounds = at(ONE, 85)
    assert equity(cash, position, 85, 1) == 100
    assert bounds.band_low == 77
    assert not reducing_allowed(cash, position, [order(1, SELL, 100, 77)], bounds, 1)
    assert reducing_allowed(cash, position, [order(1, SELL, 100, 84)], bounds, 1)
    assert not reducing_allowed(cash, position, [order(1, SELL, 100, 83)], bounds, 1)
    assert liquidation_limit(cash, position, bounds, 1) == 84
    # Two orders that pass one by one must pass together.
    halves = [order(1, SELL, 50, 83), order(2, SELL, 50, 83)]
    assert all(reducing_allowed(cash, position, [half], bounds, 1) for half in halves)
    assert not reducing_allowed(cash, position, halves, bounds, 1)


def test_reducing_may_not_spend_the_margin_of_what_remains() -> None:
    position = traded(Position(), BUY, 100, 100, 1)
    bounds = at(ONE, 100)
    assert scan_maintenance(1000, position, bounds, 1) == 0
    assert not reducing_allowed(1000, position, [order(1, SELL, 50, 85)], bounds, 1)
    assert reducing_allowed(1000, position, [order(1, SELL, 50, 90)], bounds, 1)


def test_bankruptcy_rounds_in_the_favour_of_who_is_liquidated() -> None:
    assert liquidation_limit(0, Position(3, -100), at(ONE, 35), 1) == 34
    assert liquidation_limit(0, Position(-3, 100), at(ONE, 32), 1) == 33
    assert liquidation_limit(0, Position(-3, 50), at(ONE, 16), 1) == 16


def test_reducing_stays_possible_for_the_healthy_at_the_edge_of_the_band() -> None:
    position = traded(Position(), SELL, 100, 100, 1)
    assert reducing_allowed(2000, position, [order(1, BUY, 100, 110)], at(ONE, 100), 1)


@given(st.integers(0, 10**5), positions, marks)
def test_a_liquidation_at_its_limit_never_ends_below_zero(
    cash: int, position: Position, mark: int
) -> None:
    bounds = at(TERMS, mark)
    assume(position.lots and equity(cash, position, mark, 7) >= 0)
    limit = liquidation_limit(cash, position, bounds, 7)
    assert bounds.band_low <= limit <= bounds.band_high
    side = SELL if position.lots > 0 else BUY
    closed = traded(position, side, abs(position.lots), limit, 7)
    assert closed.lots == 0
    assert cash + closed.quote >= 0


def test_unsettled_and_unseasoned_gains_do_not_leave() -> None:
    """Mango 2022: a paper profit is neither margin nor withdrawable."""
    bounds = at(ONE, 100)
    winner = traded(Position(), BUY, 50, 4, 1)
    assert value_at(winner, 100, 1) == 4800
    scan = scan_initial(300, winner, NO_LOAD, NO_LOAD, bounds, 1)
    assert scan == 300
    assert withdrawable(300, 0, scan) == 300
    assert withdrawable(300, 250, scan) == 50
    assert withdrawable(300, 900, scan) == 0
    assert withdrawable(300, 0, -5) == 0
    assert seasoned(300, 900) == 0
    assert unseasoned_after(250, 100) == 150
    assert unseasoned_after(250, 300) == 0


@pytest.mark.parametrize("lots", [5, -5])
def test_gains_count_for_maintenance_but_not_for_initial(lots: int) -> None:
    bounds = at(ONE, 100)
    held = Position(lots, 10_000)
    assert scan_initial(0, held, NO_LOAD, NO_LOAD, bounds, 1) == 0
    assert scan_maintenance(0, held, bounds, 1) > 0
