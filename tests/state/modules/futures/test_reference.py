"""The market against a model of it in exact fractions that shares no code with it.

Traders are rich here, so margin never binds; what happens to poor ones is in test_storms. The model
looks at every tick of the band for the auction price, and settles each trade against the final
price at once, without marks or variation: the chain must end with the same cash to the grain.
"""

from fractions import Fraction
from math import ceil, floor
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.modules.futures.requests import CancelAll, PlaceOrders, order_id

TICK_VALUE = 175
TAKER, REBATE = Fraction(500, 10**6), Fraction(200, 10**6)
TRADERS = (1, 2, 3, 4)


class Order:
    def __init__(
        self, name: bytes, owner: int, sign: int, lots: int, limit: int, height: int
    ) -> None:
        self.name, self.owner, self.sign = name, owner, sign
        self.lots, self.limit, self.height = lots, limit, height
        self.made = Fraction(0)


class Model:
    """A book, what each trader bought and sold at which price, and what it paid in fees."""

    def __init__(self) -> None:
        self.book: list[Order] = []
        self.trades: list[tuple[int, int, int]] = []
        self.fees = dict.fromkeys(TRADERS, Fraction(0))

    def place(self, order: Order, low: int, high: int) -> None:
        if not low <= order.limit <= high:
            return
        self.book = [
            other
            for other in self.book
            if other.owner != order.owner
            or other.sign == order.sign
            or (order.limit - other.limit) * order.sign < 0
        ]
        self.book.append(order)

    def clear(self, mark: int, low: int, high: int, height: int) -> list[tuple[bytes, int, int]]:
        """Trade at the best tick; return (order, lots, price) of every fill."""

        def merit(price: int) -> tuple[int, int, int]:
            demand = sum(o.lots for o in self.book if o.sign > 0 and o.limit >= price)
            supply = sum(o.lots for o in self.book if o.sign < 0 and o.limit <= price)
            return -min(demand, supply), abs(demand - supply), abs(price - mark)

        price = min(range(low, high + 1), key=merit)
        volume = -merit(price)[0]
        if not volume:
            return []
        fills = [fill for sign in (1, -1) for fill in self.share(sign, price, volume)]
        taken = Fraction(0)
        makers = []
        for order, lots in fills:
            notional = Fraction(lots * price * TICK_VALUE)
            self.trades.append((order.owner, order.sign * lots, price))
            order.lots -= lots
            if order.height == height:
                fee = ceil(notional * TAKER)
                self.fees[order.owner] += fee
                taken += fee
            else:
                before = floor(order.made * REBATE)
                order.made += notional
                makers.append((order, floor(order.made * REBATE) - before))
        total = sum(earned for _, earned in makers)
        for order, earned in makers:
            if total:
                paid = min(Fraction(total), Fraction(floor(taken * REBATE / TAKER)))
                self.fees[order.owner] -= floor(Fraction(earned) * paid / total)
        self.book = [order for order in self.book if order.lots]
        return [(order.name, lots, price) for order, lots in fills]

    def share(self, sign: int, price: int, volume: int) -> list[tuple[Order, int]]:
        """Best limits first, then the oldest, then by size: largest remainder, then lower id."""
        able = [o for o in self.book if o.sign == sign and (o.limit - price) * sign >= 0]
        found = []
        for limit, height in sorted({(-o.limit * sign, o.height) for o in able}):
            group = [o for o in able if (-o.limit * sign, o.height) == (limit, height)]
            size = sum(o.lots for o in group)
            part = min(size, volume)
            exact = {o: Fraction(o.lots * part, size) for o in group}
            lots = {o: floor(exact[o]) for o in group}
            rest = part - sum(lots.values())
            order = sorted(group, key=lambda o: (lots[o] - exact[o], o.name))
            for lucky in order[:rest]:
                lots[lucky] += 1
            found += [(o, lots[o]) for o in group if lots[o]]
            volume -= part
        return found

    def profit(self, trader: int, price: int) -> int:
        return sum(
            lots * (price - paid) * TICK_VALUE
            for owner, lots, paid in self.trades
            if owner == trader
        )


moves = st.lists(
    st.tuples(
        st.sampled_from(TRADERS),
        st.sampled_from(("buy", "sell", "ioc-buy", "ioc-sell", "cancel")),
        st.integers(1, 30),
        st.integers(-12, 12),
    ),
    max_size=4,
    unique_by=lambda move: move[0],
)


@settings(max_examples=40)
@given(st.lists(moves, min_size=3, max_size=25), st.lists(st.integers(0, 200_000), max_size=12))
def test_the_chain_trades_and_pays_like_the_model(
    make_exchange: Any, orders: Any, story: list[Any], demand: list[int]
) -> None:
    buy, sell = orders
    exchange = make_exchange(accounts=5)
    chain, model = exchange.chain, Model()
    for block in story:
        view = exchange.view()
        low, high = view.band_low, view.band_high
        wires, lapsing = [], []
        for trader, what, lots, away in block:
            nonce = chain._nonces[chain.address(trader)] + 1
            name = order_id(chain.address(trader), nonce, 0, 0)
            if what == "cancel":
                model.book = [order for order in model.book if order.owner != trader]
                wires.append(chain.wire([exchange.message(CancelAll())], by=trader))
                continue
            side = buy if what.endswith("buy") else sell
            limit = max(1, view.mark + view.mark * away // 100)
            place = side(lots, limit, tif=1 if what.startswith("ioc") else 0)
            wires.append(chain.wire([PlaceOrders(exchange.market, 0, (place,))], by=trader))
            sign = 1 if what.endswith("buy") else -1
            order = Order(name, trader, sign, lots, limit, chain.height + 1)
            model.place(order, low, high)
            if what.startswith("ioc"):
                lapsing.append(order)
        chain.block(*wires)
        expected = model.clear(view.mark, low, high, chain.height)
        model.book = [order for order in model.book if order not in lapsing]
        fills = [(event[4], event[7], event[6]) for event in exchange.events("futures.filled")]
        assert sorted(fills) == sorted(expected)
        resting = [
            (order.order_id, order.lots) for n in TRADERS for order in exchange.account(n).orders
        ]
        assert sorted(resting) == sorted((order.name, order.lots) for order in model.book)
    chain.advance_to(max(chain.height, 80))
    for bucket, units in enumerate(demand, 4):
        exchange.demand(bucket, units)
    price = min(10_000, floor(Fraction(sum(demand), 1_000)))
    assert exchange.settle().settlement.price == price
    for trader in TRADERS:
        assert exchange.profit(trader) == model.profit(trader, price)
        assert exchange.account(trader).fees == model.fees[trader]
    assert sum(exchange.profit(trader) for trader in TRADERS) == 0
