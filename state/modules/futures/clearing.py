"""The batch auction: one price per market and block (markets 2.7, 0a.4).

All orders of a block meet at once. The price is the one that trades the most lots; among those
the one that leaves the least imbalance; among those the one nearest to the reference. Inside a
block the order of arrival therefore has no value, and one function serves the continuous market
and every kind of auction. Lots and prices only: no money is computed here.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from operator import attrgetter

from msgspec import Struct

from state.maths import clamp, largest_remainder
from state.modules.futures.orders import (
    BUY,
    FOK,
    GTC,
    LIQUIDATION,
    REDUCE_ONLY,
    SELL,
    Order,
    opening_orders,
    trim_reduce_only,
)

FOK_PASSES_MAX = 3
"""After so many clears in which some fill-or-kill order failed, all of them are dropped."""

TIE_REACH = 4
"""How many stretches to either side of the turn a tie for the best price can reach."""

BY_ID = attrgetter("order_id")

REASON_IOC = "IOC"
REASON_FOK = "FOK"
REASON_BUDGET = "BUDGET"

Fill = tuple[Order, int]
"""An order as it was given, and the lots of it that traded."""


class Cross(Struct, frozen=True):
    """Where demand meets supply: the price in ticks, the lots traded, and demand minus supply."""

    price: int
    volume: int
    imbalance: int


class Clearing(Struct, frozen=True):
    """What one clear decided. Without a trade `price` is None and `volume` 0.

    `fills` holds buys, then sells, each side in price priority only as far as rationing needs it;
    give the orders in a canonical order to get the fills in one. `imbalance` is demand minus
    supply at the price, in lots. `cancelled` holds (order id, reason).
    """

    price: int | None
    volume: int
    imbalance: int
    fills: list[Fill]
    cancelled: list[tuple[bytes, str]]


def clear_market(
    orders: Sequence[Order],
    *,
    reference: int,
    band: tuple[int, int],
    positions: Mapping[bytes, int],
    open_interest: int,
    oi_max: int,
) -> Clearing:
    """Clear one market: trim reduce-only orders, auction, enforce FOK, then the index budget.

    `reference` is the prior mark and `band` the lowest and highest price allowed, in ticks.
    `positions` maps accounts to signed lots before the clear, `open_interest` is their sum of
    longs, and `oi_max` the most open interest the index budget leaves to this market, in lots
    (markets 2.7, 0a.4).
    """
    special = [order for order in orders if order.tif or order.flags]
    reducers = [order for order in special if order.flags & REDUCE_ONLY]
    trimmed = trim_reduce_only(orders, reducers, positions)
    auction = _Auction(trimmed, reference, band, [order for order in special if order.tif == FOK])
    for _ in range(FOK_PASSES_MAX):
        auction.drop(auction.failed_fok(), REASON_FOK)
    auction.drop_all_fok_on_failure()
    if open_interest + auction.volume > oi_max:
        after = open_interest + open_interest_change(auction.fills, positions)
        if after > max(oi_max, open_interest):
            auction.drop(_over_budget(auction, positions), REASON_BUDGET)
            auction.drop(auction.failed_fok(), REASON_FOK)
            auction.drop_all_fok_on_failure()
    fills = auction.fills
    if trimmed is not orders:
        given = {order.order_id: order for order in orders}
        fills = [(given[order.order_id], lots) for order, lots in fills]
    lapsed = _lapsed([order for order in special if order.tif != GTC], fills)
    cancelled = sorted((lapsed | auction.cancelled).items())
    cross = auction.crossing.cross
    if cross is None:
        return Clearing(None, 0, 0, [], cancelled)
    return Clearing(cross.price, cross.volume, cross.imbalance, fills, cancelled)


def _lapsed(passing: Sequence[Order], fills: Iterable[Fill]) -> dict[bytes, str]:
    """Return those of the orders that may not rest that were not filled in full."""
    if not passing:
        return {}
    filled = {order.order_id: lots for order, lots in fills if order.tif != GTC}
    return {
        order.order_id: REASON_FOK if order.tif == FOK else REASON_IOC
        for order in passing
        if filled.get(order.order_id, 0) < order.lots
    }


def open_interest_change(fills: Iterable[Fill], positions: Mapping[bytes, int]) -> int:
    """Return by how many lots the fills change the sum of long positions."""
    traded: dict[bytes, int] = {}
    for order, lots in fills:
        signed = lots if order.side == BUY else -lots
        traded[order.account] = traded.get(order.account, 0) + signed
    change = 0
    for account, lots in traded.items():
        before = positions.get(account, 0)
        change += max(0, before + lots) - max(0, before)
    return change


def clear(bids: Mapping[int, int], asks: Mapping[int, int], reference: int) -> Cross | None:
    """Find the uniform price of two level maps price -> lots; None when nothing trades.

    Most volume first, least imbalance next. What ties then is one interval of prices, because
    demand only falls and supply only rises with the price; the reference is clamped to it.
    """
    if not bids or not asks:
        return None
    lowest, highest = min(asks), max(bids)
    if highest < lowest:
        return None
    prices = sorted(price for price in {**bids, **asks} if lowest <= price <= highest)
    # Supply at or below, and demand at or above, each of the prices.
    supply = list(accumulate(map(asks.get, prices, repeat(0))))
    demand = list(accumulate(map(bids.get, reversed(prices), repeat(0))))
    demand.reverse()

    def excess(stretch: int) -> int:
        """Demand minus supply at price n for 2n, strictly between prices n and n + 1 for 2n + 1."""
        return demand[(stretch + 1) >> 1] - supply[stretch >> 1]

    # The excess only falls. Where it turns, volume is highest, and a run of equal demand and
    # supply spans at most a price, a gap and a price, so the ties lie close by.
    last = 2 * len(prices) - 2
    turn = bisect_left(range(last), True, key=lambda stretch: excess(stretch) <= 0)
    best: tuple[int, int] | None = None
    low = high = lowest
    for stretch in range(max(0, turn - TIE_REACH), min(last, turn + TIE_REACH) + 1):
        index = stretch >> 1
        start = end = prices[index]
        if stretch & 1:
            start, end = start + 1, prices[index + 1] - 1
            if start > end:
                continue
        merit = (min(demand[(stretch + 1) >> 1], supply[index]), -abs(excess(stretch)))
        if best is None or merit > best:
            best, low, high = merit, start, end
        elif merit == best:
            high = end
    price = clamp(reference, low, high)
    demanded = sum(lots for limit, lots in bids.items() if limit >= price)
    supplied = sum(lots for limit, lots in asks.items() if limit <= price)
    return Cross(price, min(demanded, supplied), demanded - supplied)


def allocate(orders: Sequence[Order], levels: Mapping[int, int], cross: Cross) -> list[Fill]:
    """Share the volume among the orders of one side; `levels` holds their lots by limit.

    Better limits first, then the older admitted height, then in proportion to the lots by
    largest remainder with ties to the lower order id (markets 2.7).
    """
    if not orders:
        return []
    sign = 1 if orders[0].side == SELL else -1
    accepting = sorted(
        (limit for limit in levels if sign * limit <= sign * cross.price), reverse=sign > 0
    )
    # Of the lots that accept the price, the surplus goes without, worst limits first.
    surplus = sum(levels[limit] for limit in accepting) - cross.volume
    marginal = cross.price
    for marginal in accepting:
        if levels[marginal] > surplus:
            break
        surplus -= levels[marginal]
    if surplus == 0:
        if sign > 0:
            return [(order, order.lots) for order in orders if order.limit <= marginal]
        return [(order, order.lots) for order in orders if order.limit >= marginal]
    if sign > 0:
        fills = [(order, order.lots) for order in orders if order.limit < marginal]
    else:
        fills = [(order, order.lots) for order in orders if order.limit > marginal]
    cohort = [order for order in orders if order.limit == marginal]
    fills.extend(_ration(cohort, levels[marginal] - surplus))
    return fills


def _ration(orders: Iterable[Order], lots: int) -> Iterator[Fill]:
    """Share lots among orders of one limit: older heights whole, the marginal height pro rata."""
    heights: dict[int, list[Order]] = {}
    for order in orders:
        heights.setdefault(order.height, []).append(order)
    for height in sorted(heights):
        cohort = sorted(heights[height], key=BY_ID)
        weights = [order.lots for order in cohort]
        shares = largest_remainder(min(lots, sum(weights)), weights)
        yield from ((order, share) for order, share in zip(cohort, shares, strict=True) if share)
        lots -= sum(shares)
        if lots == 0:
            return


class _Auction:
    """The orders still in the running, and what their clear gives."""

    def __init__(
        self,
        orders: Sequence[Order],
        reference: int,
        band: tuple[int, int],
        fok: Sequence[Order],
    ) -> None:
        self.live = orders
        self.reference = reference
        self.band = band
        self.fok = fok
        self.cancelled: dict[bytes, str] = {}
        self.crossing, self.fills = uncross(orders, reference, band)

    @property
    def volume(self) -> int:
        """Lots traded in the last clear."""
        return self.crossing.cross.volume if self.crossing.cross else 0

    def drop(self, orders: Iterable[Order], reason: str) -> None:
        """Cancel the orders and clear again."""
        gone = {order.order_id: reason for order in orders}
        if gone:
            self.cancelled.update(gone)
            self.live = [order for order in self.live if order.order_id not in gone]
            self.crossing, self.fills = uncross(self.live, self.reference, self.band)

    def volume_without(self, side: int, orders: Iterable[Order]) -> int:
        """Return the lots that would trade if these orders of one side were dropped."""
        levels = [dict(self.crossing.bid_levels), dict(self.crossing.ask_levels)]
        for limit, lots in _levels(orders).items():
            levels[side][limit] -= lots
            if not levels[side][limit]:
                del levels[side][limit]
        cross = _cross_in_band(levels[BUY], levels[SELL], self.reference, self.band)
        return cross.volume if cross else 0

    def live_fok(self) -> list[Order]:
        """Return the fill-or-kill orders as trimmed that are still in the running."""
        return [order for order in self.live if order.tif == FOK] if self.fok else []

    def failed_fok(self) -> list[Order]:
        """Return the live fill-or-kill orders that the last clear did not fill in full."""
        candidates = self.live_fok()
        if not candidates:
            return []
        full = {order.order_id for order, lots in self.fills if lots == order.lots}
        return [order for order in candidates if order.order_id not in full]

    def drop_all_fok_on_failure(self) -> None:
        """End a search that has not settled: without fill-or-kill orders nothing can fail."""
        if self.failed_fok():
            self.drop(self.live_fok(), REASON_FOK)


class Crossing(Struct, frozen=True):
    """Lots by limit of both sides, and where they cross within the band, if they do."""

    bid_levels: dict[int, int]
    ask_levels: dict[int, int]
    cross: Cross | None


def uncross(
    orders: Iterable[Order], reference: int, band: tuple[int, int]
) -> tuple[Crossing, list[Fill]]:
    """Clear the orders as they stand, at a price within the band; see `clear` and `allocate`.

    A limit beyond the band trades as if it stood at the band's edge, a limit that only prices
    outside the band could meet stays out; priority goes by the limit itself.
    """
    bids = [order for order in orders if not order.side]
    asks = [order for order in orders if order.side]
    bid_levels, ask_levels = _levels(bids), _levels(asks)
    cross = _cross_in_band(bid_levels, ask_levels, reference, band)
    crossing = Crossing(bid_levels, ask_levels, cross)
    if cross is None:
        return crossing, []
    return crossing, allocate(bids, bid_levels, cross) + allocate(asks, ask_levels, cross)


def _cross_in_band(
    bids: Mapping[int, int], asks: Mapping[int, int], reference: int, band: tuple[int, int]
) -> Cross | None:
    low, high = band
    demand: dict[int, int] = {}
    for limit, lots in bids.items():
        if limit >= low:
            edge = min(limit, high)
            demand[edge] = demand.get(edge, 0) + lots
    supply: dict[int, int] = {}
    for limit, lots in asks.items():
        if limit <= high:
            edge = max(limit, low)
            supply[edge] = supply.get(edge, 0) + lots
    return clear(demand, supply, reference)


def _levels(orders: Iterable[Order]) -> dict[int, int]:
    """Add up the lots of one side by limit."""
    levels: dict[int, int] = {}
    get = levels.get
    for order in orders:
        limit = order.limit
        levels[limit] = get(limit, 0) + order.lots
    return levels


def _over_budget(auction: _Auction, positions: Mapping[bytes, int]) -> list[Order]:
    """Choose the side whose opening orders leave, and return those of them that could trade.

    The side on which liquidation orders stand, so that they meet opening orders of the other
    side. With such orders on neither or on both sides, the side whose removal leaves more volume,
    and on a tie the buys (markets 0a.4).
    """
    forced = {order.side for order in auction.live if order.flags & LIQUIDATION}
    if len(forced) == 1:
        return _opening_in_reach(auction, BUY if BUY in forced else SELL, positions)
    choices = [_opening_in_reach(auction, side, positions) for side in (BUY, SELL)]
    volumes = [auction.volume_without(side, choices[side]) for side in (BUY, SELL)]
    return choices[SELL if volumes[SELL] > volumes[BUY] else BUY]


def _opening_in_reach(auction: _Auction, side: int, positions: Mapping[bytes, int]) -> list[Order]:
    """Return the opening orders of a side whose limit reaches the best limit it faces.

    The others cannot add to the open interest of this clear, so they keep resting: else one
    crossing pair at the edge of the budget would sweep a whole side of quotes away.
    """
    opening = opening_orders(auction.live, side, positions)
    crossing = auction.crossing
    if side == BUY:
        best_ask = min(crossing.ask_levels)
        return [order for order in opening if order.limit >= best_ask]
    best_bid = max(crossing.bid_levels)
    return [order for order in opening if order.limit <= best_bid]
