"""Measure how fast one market clears, against adding up the same orders by price.

Prints one JSON object. The limit is what no clear can avoid: reading every order's limit and
lots once into a map of levels. `ratio` is the time of a clear over the time of the limit.
`bar_met` tells whether every shape of book clears a million orders a second.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from hashlib import blake2b

from state.modules.futures.clearing import clear_market
from state.modules.futures.orders import BUY, SELL, Order

ORDERS = 50_000
RUNS = 15
BAR = 1_000_000
REFERENCE = 20_000


def book(spread: int, heights: int) -> list[Order]:
    """Return orders of 1,000 accounts, limits within `spread` ticks, half crossing."""
    orders = []
    for number in range(ORDERS):
        noise = int.from_bytes(blake2b(number.to_bytes(8, "big"), digest_size=8).digest(), "big")
        side = BUY if noise & 1 else SELL
        limit = REFERENCE - spread + (noise >> 8) % (2 * spread + 1)
        orders.append(
            Order(
                order_id=blake2b(number.to_bytes(8, "little"), digest_size=32).digest(),
                account=(noise % 1000).to_bytes(24, "big"),
                side=side,
                lots=1 + (noise >> 24) % 50,
                limit=limit,
                height=1 + (noise >> 40) % heights,
            )
        )
    return sorted(orders, key=lambda order: order.order_id)


def add_levels(orders: list[Order]) -> int:
    """The limit: one pass that adds up lots by limit."""
    levels: dict[int, int] = {}
    for order in orders:
        levels[order.limit] = levels.get(order.limit, 0) + order.lots
    return len(levels)


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(orders: list[Order], oi_max: int) -> dict[str, float]:
    """Clear the orders and time the limit right beside each run, because machines are noisy."""

    def clear_once() -> object:
        return clear_market(
            orders,
            reference=REFERENCE,
            band=(0, 10 * REFERENCE),
            positions={},
            open_interest=0,
            oi_max=oi_max,
        )

    pairs = [(seconds(clear_once), seconds(lambda: add_levels(orders))) for _ in range(RUNS)]
    clears, limits = zip(*pairs, strict=True)
    return {
        "orders_per_s": round(len(orders) / statistics.median(clears)),
        "limit_orders_per_s": round(len(orders) / statistics.median(limits)),
        "ratio": round(statistics.median(took / limit for took, limit in pairs), 2),
    }


def is_met(results: dict[str, dict[str, float]]) -> bool:
    """Whether every shape of book clears as many orders a second as the bar says."""
    return all(result["orders_per_s"] >= BAR for result in results.values())


def main() -> None:
    """Run every shape of book."""
    shapes = {
        "levels_200": (book(100, 50), 2**62),
        "levels_40000": (book(20_000, 50), 2**62),
        "one_level": (book(0, 1), 2**62),
        "levels_200_over_budget": (book(100, 50), 1000),
    }
    results = {name: measure(orders, oi_max) for name, (orders, oi_max) in shapes.items()}
    bar_met = is_met(results)
    print(
        json.dumps(
            {
                "bench": "matching",
                "orders": ORDERS,
                "runs": RUNS,
                "python": platform.python_version(),
                "results": results,
                "bar_orders_per_s": BAR,
                "bar_met": bar_met,
            }
        )
    )
    if not bar_met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
