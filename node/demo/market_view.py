"""What a trading agent sees of one market, and what it may ask for.

Everything in a `MarketView` comes from chain queries at one height; the trace is not among it.
Prices are ticks, sizes lots, money grains. Intents say what an agent wants; turning them into
signed order operations is the driver's work.
"""

from dataclasses import dataclass
from enum import StrEnum

from state.maths import clamp, mul_div_floor
from state.types import PPM


class Side(StrEnum):
    """Which way an order adds lots."""

    BUY = "buy"
    SELL = "sell"


class TimeInForce(StrEnum):
    """How long an order stays: until cancelled, or for one auction only."""

    GTC = "gtc"
    IOC = "ioc"


@dataclass(frozen=True, slots=True)
class OwnOrder:
    """A resting order of the agent itself."""

    order_id: str
    side: Side
    qty_lots: int
    limit: int


@dataclass(frozen=True, slots=True)
class MarketView:
    """One market at one height, seen by one agent."""

    height: int
    height_first: int
    """First height at which the market trades."""
    height_last: int
    """Last height at which the market trades."""
    mark: int
    """The mark, or the floor of the next block where that is higher."""
    floor: int
    """Ticks that the index will have accrued in the next block: a price cannot be lower."""
    reference: int
    """Where the claims that everybody can see point: claimed so far plus run-rate, in ticks."""
    best_bid: int | None
    best_ask: int | None
    position_lots: int
    cash: int
    orders: tuple[OwnOrder, ...]
    open_interest_lots: int
    budget_lots: int
    band_ppm: int
    im_ppm: int
    tick_value: int
    price_cap: int

    @property
    def reach(self) -> int:
        """Half the band: a limit this far from the mark stays inside it if the mark moves on."""
        return max(1, mul_div_floor(self.mark, self.band_ppm, 2 * PPM))

    def within_reach(self, price: int) -> int:
        """The nearest price that a limit may have."""
        lowest = max(1, self.floor, self.mark - self.reach)
        return clamp(price, lowest, max(lowest, min(self.price_cap, self.mark + self.reach)))

    @property
    def margin_lots(self) -> int:
        """Lots that a quarter of the cash would carry at initial margin (markets 2.5)."""
        margin_per_lot = max(1, self.mark) * self.tick_value * self.im_ppm
        return mul_div_floor(self.cash, PPM, 4 * margin_per_lot)


@dataclass(frozen=True, slots=True)
class Place:
    """Ask for an order."""

    side: Side
    qty_lots: int
    limit: int
    tif: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    post_only: bool = False


@dataclass(frozen=True, slots=True)
class Amend:
    """Ask for a resting order to change; refused, it stays as it is."""

    order_id: str
    qty_lots: int
    limit: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask for one resting order to go."""

    order_id: str


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Ask for every resting order of the agent in this market to go."""


Intent = Place | Amend | Cancel | CancelAll
