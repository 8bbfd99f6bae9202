"""The batch auction against brute force over every tick, and its rules one by one."""

from fractions import Fraction
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.modules.futures.clearing import (
    REASON_BUDGET,
    REASON_FOK,
    REASON_IOC,
    Clearing,
    Cross,
    clear,
    clear_market,
    open_interest_change,
)
from state.modules.futures.orders import (
    BUY,
    FOK,
    GTC,
    IOC,
    LIQUIDATION,
    REDUCE_ONLY,
    SELL,
    Order,
)

TICKS = 24
LEVELS = st.dictionaries(st.integers(0, TICKS), st.integers(1, 30), max_size=10)
WIDE_BAND = (0, 10**9)
UNBOUNDED = 2**62


def name(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=32).digest()


def account(number: int) -> bytes:
    return number.to_bytes(24, "big")


@st.composite
def books(
    draw: st.DrawFn, tifs: tuple[int, ...] = (GTC,), flags: tuple[int, ...] = (0,)
) -> list[Order]:
    """Orders of six accounts none of which crosses itself."""
    orders: list[Order] = []
    for number in range(draw(st.integers(0, 16))):
        owner = draw(st.integers(0, 5))
        # Odd accounts quote around a middle of their own, so no account crosses itself.
        side = draw(st.sampled_from([BUY, SELL]))
        middle = TICKS // 2 + owner - 3
        reach = draw(st.integers(0, TICKS // 2))
        limit = middle - reach + 9 * (owner % 2) if side == BUY else middle + 10 - reach
        mine = [o for o in orders if o.account == account(owner) and o.side != side]
        if side == BUY and mine:
            limit = min(limit, min(o.limit for o in mine) - 1)
        elif mine:
            limit = max(limit, max(o.limit for o in mine) + 1)
        flag = draw(st.sampled_from(flags))
        order = Order(
            order_id=name(number),
            account=account(owner),
            side=side,
            lots=draw(st.integers(1, 12)),
            limit=max(limit, -5),
            height=draw(st.integers(1, 3)),
            tif=draw(st.sampled_from(tifs)),
            flags=flag,
        )
        orders.append(order)
    return orders


def settle(
    orders: list[Order],
    *,
    reference: int = 12,
    band: tuple[int, int] = WIDE_BAND,
    positions: dict[bytes, int] | None = None,
    oi_max: int = UNBOUNDED,
) -> Clearing:
    held = positions or {}
    return clear_market(
        orders,
        reference=reference,
        band=band,
        positions=held,
        open_interest=sum(max(0, lots) for lots in held.values()),
        oi_max=oi_max,
    )


def order(number: int, side: int, lots: int, limit: int, **more: int) -> Order:
    height = more.pop("height", 1)
    owner = more.pop("owner", number)
    return Order(name(number), account(owner), side, lots, limit, height, **more)


def brute_force(bids: dict[int, int], asks: dict[int, int], reference: int) -> Cross | None:
    """Try every tick: most volume, least imbalance, nearest to the reference."""
    best: tuple[int, int, int] | None = None
    found: Cross | None = None
    for price in range(-8, TICKS + 8):
        demand = sum(lots for limit, lots in bids.items() if limit >= price)
        supply = sum(lots for limit, lots in asks.items() if limit <= price)
        merit = (min(demand, supply), -abs(demand - supply), -abs(price - reference))
        if merit[0] > 0 and (best is None or merit > best):
            best, found = merit, Cross(price, merit[0], demand - supply)
    return found


@given(LEVELS, LEVELS, st.integers(-3, TICKS + 3))
def test_clear_equals_brute_force_over_every_tick(
    bids: dict[int, int], asks: dict[int, int], reference: int
) -> None:
    found = clear(bids, asks, reference)
    expected = brute_force(bids, asks, reference)
    assert found == expected


@given(books(), st.integers(0, TICKS), st.integers(0, 8), st.integers(0, 8))
def test_a_market_clear_equals_brute_force_inside_its_band(
    orders: list[Order], reference: int, below: int, above: int
) -> None:
    low, high = reference - below, reference + above
    found = settle(orders, reference=reference, band=(low, high))
    best: tuple[int, int, int] | None = None
    for price in range(low, high + 1):
        demand = sum(o.lots for o in orders if o.side == BUY and o.limit >= price)
        supply = sum(o.lots for o in orders if o.side == SELL and o.limit <= price)
        merit = (min(demand, supply), -abs(demand - supply), -abs(price - reference))
        if merit[0] > 0 and (best is None or merit > best):
            best, expected = merit, (price, merit[0], demand - supply)
    if best is None:
        assert (found.price, found.volume, found.fills) == (None, 0, [])
    else:
        assert (found.price, found.volume, found.imbalance) == expected


def check_fills(orders: list[Order], found: Clearing) -> None:
    """Hold the fills against the definition of the allocation, by exact rationals."""
    filled = {o.order_id: lots for o, lots in found.fills}
    assert len(filled) == len(found.fills)
    for side in (BUY, SELL):
        mine = [o for o in orders if o.side == side]
        assert sum(filled.get(o.order_id, 0) for o in mine) == found.volume
        sign = 1 if side == SELL else -1
        left = found.volume
        for rank in sorted({(sign * o.limit, o.height) for o in mine}):
            cohort = [o for o in mine if (sign * o.limit, o.height) == rank]
            total = sum(o.lots for o in cohort)
            share = min(left, total)
            got = [filled.get(o.order_id, 0) for o in cohort]
            assert sum(got) == share
            exact = [Fraction(share * o.lots, total) for o in cohort]
            for lots, part in zip(got, exact, strict=True):
                assert abs(lots - part) < 1
            extra = sorted(
                ((part - part.__floor__(), o.order_id, lots - part.__floor__()))
                for o, part, lots in zip(cohort, exact, got, strict=True)
            )
            winners = sorted(extra, key=lambda e: (-e[0], e[1]))
            granted = [one for _, _, one in winners]
            assert granted == sorted(granted, reverse=True)
            left -= share
    for filled_order, lots in found.fills:
        assert found.price is not None
        assert 0 < lots <= filled_order.lots
        if filled_order.side == BUY:
            assert found.price <= filled_order.limit
        else:
            assert found.price >= filled_order.limit


@given(books(), st.integers(0, TICKS))
def test_fills_follow_price_then_height_then_pro_rata(orders: list[Order], reference: int) -> None:
    found = settle(orders, reference=reference)
    check_fills(orders, found)
    filled = {o.order_id: lots for o, lots in found.fills}
    left = [(o, o.lots - filled.get(o.order_id, 0)) for o in orders]
    bids = [o.limit for o, lots in left if lots and o.side == BUY]
    asks = [o.limit for o, lots in left if lots and o.side == SELL]
    assert not bids or not asks or max(bids) < min(asks), "the residual book is crossed"
    sides: dict[bytes, set[int]] = {}
    for o, _ in found.fills:
        sides.setdefault(o.account, set()).add(o.side)
    assert all(len(s) == 1 for s in sides.values()), "an account traded with itself"


@given(books((GTC, IOC, FOK), (0, REDUCE_ONLY)), st.permutations(range(16)))
def test_the_order_of_arrival_has_no_value(orders: list[Order], places: list[int]) -> None:
    held = {account(0): 5, account(1): -5, account(2): 7, account(3): -7}
    shuffled = [orders[place] for place in places if place < len(orders)]
    one = settle(orders, positions=held, oi_max=14)
    other = settle(shuffled, positions=held, oi_max=14)
    assert (one.price, one.volume, one.cancelled) == (other.price, other.volume, other.cancelled)
    assert sorted((o.order_id, n) for o, n in one.fills) == sorted(
        (o.order_id, n) for o, n in other.fills
    )


@given(books((GTC, IOC, FOK), (0, REDUCE_ONLY)), st.integers(0, 30))
def test_fok_reduce_only_and_budget_hold_together(orders: list[Order], oi_max: int) -> None:
    held = {account(0): 5, account(1): -5, account(2): 7, account(3): -7}
    found = settle(orders, positions=held, oi_max=oi_max)
    filled = {o.order_id: lots for o, lots in found.fills}
    cancelled = dict(found.cancelled)
    after = dict(held)
    for o, lots in found.fills:
        after[o.account] = after.get(o.account, 0) + (lots if o.side == BUY else -lots)
    assert sum(after.values()) == 0
    open_interest = sum(max(0, lots) for lots in after.values())
    assert open_interest <= max(oi_max, 12)
    assert open_interest == 12 + open_interest_change(found.fills, held)
    for o in orders:
        lots = filled.get(o.order_id, 0)
        if o.tif == FOK and not o.flags & REDUCE_ONLY:
            assert lots == o.lots or (lots == 0 and cancelled[o.order_id] in ("FOK", "BUDGET"))
        if o.tif == IOC and lots < o.lots:
            assert cancelled[o.order_id] in (REASON_IOC, REASON_BUDGET)
        if o.tif == GTC:
            assert cancelled.get(o.order_id, REASON_BUDGET) == REASON_BUDGET
        if lots:
            assert cancelled.get(o.order_id) in (None, REASON_IOC, REASON_FOK)
    for owner in {o.account for o in orders}:
        before = held.get(owner, 0)
        mine = [o for o in orders if o.account == owner]
        reduced = sum(filled.get(o.order_id, 0) for o in mine if o.flags & REDUCE_ONLY)
        if all(o.flags & REDUCE_ONLY for o in mine):
            assert abs(after.get(owner, 0)) == abs(before) - reduced


def test_the_tie_interval_takes_the_price_nearest_to_the_reference() -> None:
    assert clear({10: 5}, {4: 5}, 7) == Cross(7, 5, 0)
    assert clear({10: 5}, {4: 5}, 99) == Cross(10, 5, 0)
    assert clear({10: 5}, {4: 5}, 1) == Cross(4, 5, 0)
    assert clear({10: 5, 9: 1}, {4: 5}, 1) == Cross(10, 5, 0)
    assert clear({3: 5}, {4: 5}, 4) is None
    assert clear({}, {4: 5}, 4) is None


def test_a_marginal_level_is_rationed_by_height_then_size_then_id() -> None:
    older, a, b, c = (
        order(0, BUY, 4, 10, height=1),
        order(1, BUY, 3, 10, height=2),
        order(2, BUY, 3, 10, height=2),
        order(3, BUY, 3, 10, height=2),
    )
    upside_down = sorted([a, b, c], key=lambda one: one.order_id, reverse=True)
    found = settle([order(9, SELL, 8, 10), *upside_down, older])
    lots = {o.order_id: n for o, n in found.fills}
    assert lots[older.order_id] == 4
    first, second, third = sorted([a.order_id, b.order_id, c.order_id])
    assert (lots[first], lots[second], lots[third]) == (2, 1, 1)


def test_every_fok_that_is_not_full_leaves_in_the_same_pass() -> None:
    big = order(1, BUY, 20, 11, tif=FOK)
    small = order(2, BUY, 5, 12, tif=FOK)
    late = order(4, BUY, 1, 10, tif=FOK)
    resting = order(5, BUY, 1, 10)
    found = settle([order(3, SELL, 6, 10), big, small, late, resting])
    dropped = sorted((o.order_id, REASON_FOK) for o in (big, late))
    assert found.cancelled == dropped
    bought = [(o.order_id, n) for o, n in found.fills if o.side == BUY]
    assert sorted(bought) == sorted([(small.order_id, 5), (resting.order_id, 1)])


def test_fok_orders_that_fail_one_after_another_are_all_dropped_in_the_end() -> None:
    # Ten are offered for every nine wanted: each drop starves the other side's last order.
    orders = [order(step, SELL, 10, 1 + step, tif=FOK) for step in range(6)]
    orders += [order(10 + step, BUY, 9, 30 - step, tif=FOK) for step in range(6)]
    resting = [order(20, BUY, 1, 20), order(21, SELL, 1, 20)]
    found = settle(orders + resting)
    assert found.cancelled == sorted((o.order_id, REASON_FOK) for o in orders)
    assert sorted(o.order_id for o, _ in found.fills) == sorted(o.order_id for o in resting)


def test_a_fok_that_the_budget_starves_is_cancelled_and_so_is_what_leant_on_it() -> None:
    held = {account(1): 10, account(2): -10}
    closing = order(1, SELL, 10, 10, tif=FOK)
    opening = order(3, SELL, 5, 10)
    buyer = order(4, BUY, 15, 12, tif=FOK)
    cover = order(2, BUY, 3, 11)
    found = settle([closing, opening, buyer, cover], positions=held, oi_max=10)
    reasons = {opening: REASON_BUDGET, buyer: REASON_FOK, closing: REASON_FOK}
    assert found.cancelled == sorted((o.order_id, why) for o, why in reasons.items())
    assert found.fills == []


def test_a_fok_that_stays_full_after_the_budget_stays() -> None:
    held = {account(1): 10, account(2): -10}
    closing, opening = order(1, SELL, 10, 10), order(3, SELL, 5, 10)
    starved, full = order(4, BUY, 13, 12, tif=FOK), order(5, BUY, 2, 13, tif=FOK)
    cover = order(2, BUY, 3, 11)
    found = settle([closing, opening, starved, full, cover], positions=held, oi_max=10)
    reasons = {opening: REASON_BUDGET, starved: REASON_FOK}
    assert found.cancelled == sorted((o.order_id, why) for o, why in reasons.items())
    assert found.fills == [(full, 2), (cover, 3), (closing, 5)]


def test_the_band_holds_the_price_where_the_book_would_leave_it() -> None:
    bids = [order(1, BUY, 5, 30), order(2, BUY, 5, 15)]
    asks = [order(3, SELL, 5, 10)]
    found = settle(bids + asks, reference=12, band=(5, 14))
    assert (found.price, found.volume, found.imbalance) == (12, 5, 5)
    assert found.fills == [(bids[0], 5), (asks[0], 5)]
    assert settle(bids + asks, reference=12, band=(5, 40)).price == 16
    bids, asks = [order(1, BUY, 5, 20)], [order(2, SELL, 5, 2), order(3, SELL, 5, 15)]
    found = settle(bids + asks, reference=17, band=(16, 25))
    assert (found.price, found.imbalance) == (17, -5)
    assert settle(bids + asks, reference=17, band=(1, 25)).price == 14


def test_ioc_leaves_nothing_behind() -> None:
    taker, resting = order(1, BUY, 10, 10, tif=IOC), order(2, SELL, 4, 10)
    found = settle([taker, resting])
    assert (found.volume, found.cancelled) == (4, [(taker.order_id, REASON_IOC)])
    assert settle([taker]).cancelled == [(taker.order_id, REASON_IOC)]


def test_over_budget_drops_opening_buys_on_a_tie_and_leaves_far_quotes_alone() -> None:
    buy, sell = order(1, BUY, 5, 12), order(2, SELL, 5, 12)
    far = order(3, BUY, 5, 3)
    found = settle([buy, sell, far], oi_max=4)
    assert (found.volume, found.cancelled) == (0, [(buy.order_id, REASON_BUDGET)])
    assert settle([buy, sell, far], oi_max=5).volume == 5


def test_over_budget_keeps_the_side_that_leaves_more_volume() -> None:
    # A long wants out; opening buys may take his lots, opening sells may not add to them.
    held = {account(7): 6, account(8): -6}
    closing = order(4, SELL, 6, 12, owner=7)
    opening = order(5, SELL, 5, 12, owner=9)
    buy = order(6, BUY, 11, 12, owner=10)
    far = order(7, SELL, 5, 13, owner=11)
    found = settle([closing, opening, buy, far], positions=held, oi_max=6)
    assert found.cancelled == [(opening.order_id, REASON_BUDGET)]
    assert found.volume == 6


def test_over_budget_drops_the_side_on_which_liquidations_stand() -> None:
    held = {account(1): 3, account(2): -3, account(3): 20, account(4): -20}
    liquidation = order(1, SELL, 3, 10, owner=1, flags=LIQUIDATION | REDUCE_ONLY, tif=IOC)
    cover = order(2, BUY, 20, 12, owner=4)
    opener = order(3, SELL, 30, 9, owner=5)
    buyer = order(4, BUY, 30, 13, owner=6)
    found = settle([liquidation, cover, opener, buyer], positions=held, oi_max=23)
    assert found.cancelled == [(opener.order_id, REASON_BUDGET)]
    assert found.volume == 3


@pytest.mark.parametrize("tif", [GTC, IOC])
def test_reduce_only_is_trimmed_to_what_earlier_orders_leave(tif: int) -> None:
    numbers = sorted(range(1, 3), key=name)
    first = order(numbers[0], SELL, 4, 10, owner=1)
    second = order(numbers[1], SELL, 9, 10, owner=1, flags=REDUCE_ONLY, tif=tif)
    held = {account(1): 6, account(2): -6}
    found = settle([first, second, order(5, BUY, 50, 10)], positions=held)
    assert found.volume == 6
    assert (second, 2) in found.fills, "the fill names the order as it was given"
    flat = settle([second, order(5, BUY, 50, 10)])
    assert flat.volume == 0
