"""The traders of the demo in a small market of their own: each trades, none breaks a bound.

The market here is written for the test alone: one uniform-price auction a height by trying every
price, no margin, a mark that follows trades and the reference.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.demo.agents import ROLES
from node.demo.market_view import (
    Amend,
    Cancel,
    CancelAll,
    Intent,
    MarketView,
    OwnOrder,
    Place,
    Side,
    TimeInForce,
)

HEIGHTS = 70


@dataclass
class Resting:
    role: str
    place: Place
    left: int


@dataclass
class ToyMarket:
    mark: int
    reference_at: Callable[[int], int]
    budget_lots: int = 2_000
    positions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(names(), 0))
    bought: dict[str, int] = field(default_factory=lambda: dict.fromkeys(names(), 0))
    sold: dict[str, int] = field(default_factory=lambda: dict.fromkeys(names(), 0))
    book: list[Resting] = field(default_factory=list)
    one_sided_heights: int = 0
    open_interest_max: int = 0

    def view(self, role: str, height: int) -> MarketView:
        own = [order for order in self.book if order.role == role]
        return MarketView(
            height=height,
            height_first=1,
            height_last=HEIGHTS,
            mark=self.mark,
            floor=0,
            reference=self.reference_at(height),
            best_bid=max(self.prices(Side.BUY), default=None),
            best_ask=min(self.prices(Side.SELL), default=None),
            position_lots=self.positions[role],
            cash=10**12,
            orders=tuple(OwnOrder(str(id(o)), o.place.side, o.left, o.place.limit) for o in own),
            open_interest_lots=self.open_interest(),
            budget_lots=self.budget_lots,
            band_ppm=100_000,
            im_ppm=200_000,
            tick_value=175,
            price_cap=10**9,
        )

    def open_interest(self) -> int:
        return sum(lots for lots in self.positions.values() if lots > 0)

    def prices(self, side: Side) -> Iterator[int]:
        return (order.place.limit for order in self.book if order.place.side is side)

    def step(self, height: int, seed: int) -> None:
        asked = {r.name: r.act(self.view(r.name, height), seed, "chat") for r in ROLES}
        for name, intents in asked.items():
            if CancelAll() in intents:
                self.book = [order for order in self.book if order.role != name]
            gone = {intent.order_id for intent in intents if isinstance(intent, Cancel)}
            self.book = [order for order in self.book if str(id(order)) not in gone]
            for intent in intents:
                if isinstance(intent, Amend):
                    self.amend(intent)
        for name, intents in asked.items():
            self.admit(name, intents)
        price = self.clear()
        self.book = [o for o in self.book if o.left and o.place.tif is not TimeInForce.IOC]
        both = any(self.prices(Side.BUY)) and any(self.prices(Side.SELL))
        self.one_sided_heights += not both
        self.open_interest_max = max(self.open_interest_max, self.open_interest())
        pull = (self.reference_at(height) - self.mark) // 8
        step_max = max(1, self.mark // 20)
        self.mark = max(1, self.mark + max(-step_max, min(price - self.mark + pull, step_max)))

    def amend(self, intent: Amend) -> None:
        """Move an order, unless the new price is out of the band."""
        (order,) = [order for order in self.book if str(id(order)) == intent.order_id]
        if abs(intent.limit - self.mark) * 10 <= max(10, self.mark):
            order.place = replace(order.place, limit=intent.limit)
            order.left = intent.qty_lots

    def admit(self, name: str, intents: tuple[Intent, ...]) -> None:
        for place in intents:
            if isinstance(place, Place):
                assert place.qty_lots >= 1
                assert place.limit >= 1
                assert abs(place.limit - self.mark) * 10 <= max(10, self.mark)
                if place.reduce_only:
                    against = self.positions[name] * (1 if place.side is Side.SELL else -1)
                    assert place.qty_lots <= against
                self.book.append(Resting(name, place, place.qty_lots))

    def clear(self) -> int:
        """Trade at the price of most volume, nearest the mark; earlier orders first."""
        best = (0, 0, self.mark)
        for price in {order.place.limit for order in self.book}:
            volume = min(self.eager(Side.BUY, price), self.eager(Side.SELL, price))
            best = max(best, (volume, -abs(price - self.mark), price))
        volume, _, price = best
        for side, sign in ((Side.BUY, 1), (Side.SELL, -1)):
            self.fill(side, sign, price, volume)
        return price

    def eager(self, side: Side, price: int) -> int:
        return sum(order.left for order in self.book if accepts(order.place, side, price))

    def fill(self, side: Side, sign: int, price: int, volume: int) -> None:
        queue = [order for order in self.book if accepts(order.place, side, price)]
        queue.sort(key=lambda order: -sign * order.place.limit)
        for order in queue:
            lots = min(order.left, volume)
            volume -= lots
            order.left -= lots
            self.positions[order.role] += sign * lots
            (self.bought if sign > 0 else self.sold)[order.role] += lots
        assert volume == 0


def accepts(place: Place, side: Side, price: int) -> bool:
    if place.side is not side:
        return False
    return place.limit >= price if side is Side.BUY else place.limit <= price


def names() -> list[str]:
    return [role.name for role in ROLES]


def traded(seed: int, mark: int, reference_at: Callable[[int], int], budget: int) -> ToyMarket:
    market = ToyMarket(mark, reference_at, budget)
    for height in range(1, HEIGHTS + 1):
        market.step(height, seed)
        assert sum(market.positions.values()) == 0
        assert market.positions["hedging_provider"] <= 0
        assert market.positions["compute_buyer"] >= 0
        assert market.positions["speculator"] >= 0
    return market


PATHS: dict[str, tuple[int, Callable[[int], int]]] = {
    "steady": (38_716, lambda _: 38_716),
    "reference far above": (4_000, lambda _: 38_716),
    "reference far below": (38_716, lambda _: 3_000),
    "rising": (20_000, lambda height: 20_000 + 300 * height),
    "falling": (20_000, lambda height: 20_000 - 150 * height),
    "swinging": (2_900, lambda height: 2_900 + 400 * (height // 6 % 2)),
}


@pytest.mark.parametrize("budget", [100, 2_000])
@pytest.mark.parametrize("path", PATHS)
def test_every_role_trades_inside_the_budget_with_both_sides_quoted(path: str, budget: int) -> None:
    mark, reference_at = PATHS[path]
    for seed in range(3):
        market = traded(seed, mark, reference_at, budget)
        assert market.one_sided_heights == 0
        assert market.open_interest_max * 2 < budget
        assert all(market.bought[name] + market.sold[name] for name in names())
        assert market.bought["market_maker"] and market.sold["market_maker"]
        assert market.bought["speculator"] and market.bought["compute_buyer"]
        assert market.positions["hedging_provider"] <= -budget * 8 // 100


def test_speculator_takes_profits_when_the_mark_is_over_the_reference() -> None:
    market = traded(5, 20_000, lambda height: 30_000 if height < 30 else 15_000, 2_000)
    assert market.sold["speculator"] > 0


VIEW = ToyMarket(38_716, lambda _: 40_000).view("market_maker", 9)


def test_maker_leans_against_what_it_holds() -> None:
    def quotes(held: int, side: Side) -> list[Place]:
        view = replace(VIEW, reference=VIEW.mark, position_lots=held)
        placed = [i for i in ROLES[0].act(view, 1, "chat") if isinstance(i, Place)]
        return [place for place in placed if place.side is side and place.post_only]

    for side, away in ((Side.BUY, 160), (Side.SELL, -160)):
        flat, full = quotes(0, side), quotes(away, side)
        assert sum(place.qty_lots for place in flat) > 100
        assert [place.qty_lots for place in full] == [1, 1, 1]
        moved = [f.limit - n.limit for f, n in zip(full, flat, strict=True)]
        assert all(step < 0 if side is Side.BUY else step > 0 for step in moved)


def test_equal_seed_agent_and_height_want_the_same() -> None:
    for role in ROLES:
        assert role.act(VIEW, 4, "chat") == role.act(VIEW, 4, "chat")
    maker = ROLES[0]
    assert maker.act(VIEW, 4, "chat") != maker.act(VIEW, 5, "chat")
    assert maker.act(VIEW, 4, "chat") != maker.act(VIEW, 4, "code")
    assert maker.act(VIEW, 4, "chat") != maker.act(replace(VIEW, height=10), 4, "chat")


@given(
    mark=st.integers(20, 10**7),
    reference=st.integers(0, 10**7),
    position=st.integers(-2_000, 2_000),
    cash=st.integers(0, 10**13),
    budget=st.integers(100, 5_000),
    height=st.integers(1, HEIGHTS),
)
@settings(max_examples=200)
def test_any_view_gives_orders_inside_band_margin_and_budget(
    mark: int, reference: int, position: int, cash: int, budget: int, height: int
) -> None:
    view = replace(
        VIEW,
        height=height,
        mark=mark,
        reference=reference,
        position_lots=position,
        cash=cash,
        budget_lots=budget,
    )
    for role in ROLES:
        placed = [i for i in role.act(view, 1, "chat") if isinstance(i, Place)]
        for place in placed:
            assert place.qty_lots >= 1
            assert 1 <= place.limit <= view.price_cap
            assert abs(place.limit - mark) * 10**6 <= mark * view.band_ppm
        if role.name == "market_maker" and view.margin_lots:
            assert {place.side for place in placed} == {Side.BUY, Side.SELL}
            bids = [place.limit for place in placed if place.side is Side.BUY]
            asks = [place.limit for place in placed if place.side is Side.SELL]
            assert max(bids) < min(asks) or mark < 100
        else:
            after = max(
                (abs(position + sign(place) * place.qty_lots) for place in placed), default=0
            )
            assert after <= max(abs(position), budget * 3 // 10, 1)


def sign(place: Place) -> int:
    return 1 if place.side is Side.BUY else -1
