"""The terms of the demo's world: what calls cost, how payments split, how the index counts.

They are the devnet profile's figures (markets 0a), so that whoever runs the demo on the same
trace gets the same totals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.demo.errors import DemandOverCap
from node.demo.expected import IndexWeights, Prices, expected_of
from node.demo.trace import Trace
from state.maths import ceil_div
from state.modules.inference.receipts import PriceRow
from state.modules.models.records import Split

BUCKETS = 12
"""Index buckets in the window, K of markets 0a."""

PRICES = Prices(grains_in=5 * 10**9, grains_cached=5 * 10**8, grains_out=20 * 10**9, grains_call=0)
PRICE_ROW = PriceRow(PRICES.grains_in, PRICES.grains_cached, PRICES.grains_out, PRICES.grains_call)

WEIGHTS = IndexWeights(units_in=1, units_cached=0, units_out=4, tick_index=1_000)
PRICE_MIN = 5 * 10**9
"""Grains per 10^6 index units: with the prices above every unit carries exactly this much."""

WINSOR_FLOOR_UNITS = 2**61
"""High enough never to cut a bucket, so that the index is the plain sum."""

SPLIT = Split(operator_bps=5_500, developer_bps=2_500, datasets_bps=2_000)

CONTRIBUTOR_WEIGHTS = (5, 3, 2)
"""Weights of the dataset's contributors, who share what the dataset earns."""

REFERENCE_PRICE = 20_000
"""First mark of every future, in ticks: known before the first call, and no look at the trace."""

REFERENCE_PRICE_MAX = 2 * 10**10
"""Ten times as much is the greatest price cap that the listing's bounds allow on a devnet."""

PRICE_CAP_FACTOR = 10


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What one run is asked to do."""

    traces: tuple[Trace, ...]
    window_seconds: float
    """Wall time that the whole window takes."""
    seed: int = 1
    payers: int = 4
    reference_price: int = REFERENCE_PRICE
    buckets: int = BUCKETS

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names in order."""
        return tuple(trace.name for trace in self.traces)


def reference_price_of(traces: Sequence[Trace]) -> int:
    """The reference price when nobody names one: 20,000 ticks, whatever the trace holds.

    Only a trace whose demand would not fit under the price cap, so that no future could settle on
    it, makes it ten, a hundred, ... times as much.
    """
    price = REFERENCE_PRICE
    most = max(expected_of(trace, PRICES, WEIGHTS, BUCKETS).settlement_price for trace in traces)
    while PRICE_CAP_FACTOR * price < most and price < REFERENCE_PRICE_MAX:
        price *= 10
    return price


def require_under_cap(plan: DemoPlan) -> None:
    """Raise DemandOverCap for a trace whose demand no future of this plan could settle on."""
    cap = PRICE_CAP_FACTOR * plan.reference_price
    for trace in plan.traces:
        price = expected_of(trace, PRICES, WEIGHTS, plan.buckets).settlement_price
        if price > cap:
            needed = ceil_div(price, PRICE_CAP_FACTOR)
            raise DemandOverCap(trace.name, price, cap, needed, REFERENCE_PRICE_MAX)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What of one run concerns this machine alone."""

    keep: bool = False
    """Whether the nodes' homes stay when the run is over."""
    validators: int = 1
    """How many nodes make the blocks."""
    rpc_port: int | None = None
    """The node's port; None takes a free one."""
