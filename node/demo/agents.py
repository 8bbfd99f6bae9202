"""The four traders of the demo: pure functions from what they see to what they want.

Each acts once per height with a generator of its own, H(seed, agent, height). None of them sees
the trace: they know the chain's queries only. Sizes are shares of the open-interest budget, so
that all of them together stay under half of it, where margin is still at its base rate.

    market maker     quotes both sides around what the index points to, leaning against its position
    hedging provider sells forward what it expects to earn, a little more at every height
    compute buyer    buys forward what it expects to use, a little more at every height
    speculator       buys while the index points above the mark, takes profits above it
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from node.demo.market_view import (
    Amend,
    Cancel,
    CancelAll,
    Intent,
    MarketView,
    Place,
    Side,
    TimeInForce,
)
from node.demo.seeds import generator_of
from state.maths import ceil_div, clamp, floor_div, mul_div_ceil, mul_div_floor
from state.types import PPM

Strategy = Callable[[MarketView, random.Random], tuple[Intent, ...]]

PROVIDER_SHARE_PPM = 300_000
BUYER_SHARE_PPM = 180_000
SPECULATOR_SHARE_PPM = 120_000
MAKER_SHARE_PPM = 80_000
BACKSTOP_SHARE_PPM = 40_000

assert PROVIDER_SHARE_PPM >= BUYER_SHARE_PPM + SPECULATOR_SHARE_PPM
assert PROVIDER_SHARE_PPM + MAKER_SHARE_PPM + BACKSTOP_SHARE_PPM < PPM // 2

HALF_SPREAD_PPM = 5_000
QUOTE_WEIGHTS = (1, 2, 3)
"""How the maker spreads a side over its levels, nearest first."""

FULL_TARGET_PPM = 800_000
"""Share of the trading period after which provider and buyer hold all they want."""

PATIENT_ONE_IN = 3
PROFIT_ONE_IN = 4
PROFIT_PPM = 10_000


def fair_price(view: MarketView) -> int:
    """A quarter of the way from the mark to where the index points, at most two fifths of reach."""
    step_max = mul_div_floor(view.reach, 2, 5)
    gap = view.reference - view.mark
    step = min(floor_div(abs(gap), 4), step_max)
    return view.mark + (step if gap > 0 else -step)


def share_of_budget(view: MarketView, share_ppm: int) -> int:
    """Lots of a share of the budget, at least one, at most what margin carries."""
    return min(max(1, mul_div_floor(view.budget_lots, share_ppm, PPM)), view.margin_lots)


def ramped(view: MarketView, lots: int) -> int:
    """The part of a target that should be held by now, rising evenly with height."""
    heights = max(1, mul_div_floor(view.height_last - view.height_first, FULL_TARGET_PPM, PPM))
    elapsed = clamp(view.height - view.height_first + 1, 1, heights)
    return mul_div_ceil(lots, elapsed, heights)


def market_maker(view: MarketView, generator: random.Random) -> tuple[Intent, ...]:
    """Quote three levels afresh at every height, and a far backstop that is never taken back."""
    if not view.margin_lots:
        return fresh(view)
    bids = maker_side(view, generator, Side.BUY)
    asks = maker_side(view, generator, Side.SELL)
    return (*bids, *asks)


def maker_side(view: MarketView, generator: random.Random, side: Side) -> list[Intent]:
    """One side of the maker's quotes; the more it holds, the less and the farther it adds."""
    sign = 1 if side is Side.BUY else -1
    inventory_max = share_of_budget(view, MAKER_SHARE_PPM)
    held = clamp(view.position_lots, -inventory_max, inventory_max)
    half_spread = max(1, mul_div_floor(view.mark, HALF_SPREAD_PPM, PPM))
    centre = fair_price(view) - mul_div_floor(half_spread, held, inventory_max)
    room = inventory_max - sign * held
    quotes = maker_backstop(view, side)
    for level, weight in enumerate(QUOTE_WEIGHTS, start=1):
        qty = mul_div_floor(room, weight, sum(QUOTE_WEIGHTS))
        qty = max(1, qty - generator.randrange(floor_div(qty, 4) + 1))
        limit = view.within_reach(centre - sign * half_spread * level)
        quotes.append(Place(side, qty, limit, post_only=True))
    return quotes


def maker_backstop(view: MarketView, side: Side) -> list[Intent]:
    """Take back the old levels of a side, and move its farthest order to where the mark is now.

    Moving keeps the old order when the new price is refused, so that a side is never left bare.
    """
    sign = 1 if side is Side.BUY else -1
    lots = share_of_budget(view, BACKSTOP_SHARE_PPM)
    limit = view.within_reach(view.mark - sign * view.reach)
    resting = [order for order in view.orders if order.side is side]
    if not resting:
        return [Place(side, lots, limit)]
    farthest = min(resting, key=lambda order: sign * order.limit)
    levels = [Cancel(order.order_id) for order in resting if order is not farthest]
    return [*levels, Amend(farthest.order_id, lots, limit)]


def hedging_provider(view: MarketView, generator: random.Random) -> tuple[Intent, ...]:
    """Sell towards a short position that offsets falling demand."""
    target = ramped(view, share_of_budget(view, PROVIDER_SHARE_PPM))
    return towards(view, generator, Side.SELL, target + view.position_lots)


def compute_buyer(view: MarketView, generator: random.Random) -> tuple[Intent, ...]:
    """Buy towards a long position that offsets rising demand."""
    target = ramped(view, share_of_budget(view, BUYER_SHARE_PPM))
    return towards(view, generator, Side.BUY, target - view.position_lots)


def speculator(view: MarketView, generator: random.Random) -> tuple[Intent, ...]:
    """Buy while the index points up or a first stake is missing; sell part of it into strength."""
    target = share_of_budget(view, SPECULATOR_SHARE_PPM)
    stake = ceil_div(target, 4)
    rich = view.mark * PPM > view.reference * (PPM + PROFIT_PPM)
    if view.position_lots > stake and (rich or generator.randrange(PROFIT_ONE_IN) == 0):
        qty = 1 + generator.randrange(max(1, floor_div(view.position_lots, 3)))
        return (*fresh(view), taking(view, Side.SELL, qty, reduce_only=True))
    wanted = (stake if rich else target) - view.position_lots
    clip = min(wanted, 1 + generator.randrange(max(1, floor_div(target, 6))))
    return towards(view, generator, Side.BUY, clip)


def towards(
    view: MarketView, generator: random.Random, side: Side, missing_lots: int
) -> tuple[Intent, ...]:
    """Ask for what is missing: mostly at once, sometimes as a patient order at the fair price."""
    if missing_lots < 1:
        return fresh(view)
    if generator.randrange(PATIENT_ONE_IN) == 0:
        patient = Place(side, missing_lots, view.within_reach(fair_price(view)))
        return (*fresh(view), patient)
    return (*fresh(view), taking(view, side, missing_lots))


def taking(view: MarketView, side: Side, qty_lots: int, *, reduce_only: bool = False) -> Place:
    """An order for one auction, priced through the maker's levels and short of its backstop."""
    distance = max(2, mul_div_floor(view.reach, 2, 5))
    limit = fair_price(view) + (distance if side is Side.BUY else -distance)
    return Place(side, qty_lots, view.within_reach(limit), TimeInForce.IOC, reduce_only=reduce_only)


def fresh(view: MarketView) -> tuple[Intent, ...]:
    """Take back whatever still rests, so that orders never pile up."""
    return (CancelAll(),) if view.orders else ()


@dataclass(frozen=True, slots=True)
class Role:
    """A trader of the demo: the name it goes by and what it does."""

    name: str
    title: str
    strategy: Strategy

    def act(self, view: MarketView, seed: int, model: str) -> tuple[Intent, ...]:
        """What this role wants in one model's market at the height of the view."""
        return self.strategy(view, generator_of(seed, f"{self.name}/{model}", view.height))


ROLES = (
    Role("market_maker", "market maker", market_maker),
    Role("hedging_provider", "hedging provider", hedging_provider),
    Role("compute_buyer", "compute buyer", compute_buyer),
    Role("speculator", "speculator", speculator),
)
