"""The settlement, compared with what the trace alone gives: totals, buckets, price."""

from collections.abc import Iterator
from dataclasses import dataclass

from node.demo.expected import Expected
from state.modules.index import WindowView
from state.modules.inference.receipts import Sums


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What the chain says of one model at the end: its paid calls, its index, its settlement."""

    paid: Sums
    """Added up over all released batches."""
    window: WindowView
    settlement_price: int
    settlement_units: int


def total_faults(expected: Expected, paid: Sums) -> Iterator[str]:
    """Yield which totals of the paid calls differ from the trace's."""
    pairs = {
        "calls": (paid.calls, expected.calls),
        "tokens in": (paid.tokens_in, expected.tokens_in),
        "tokens cached": (paid.tokens_cached, expected.tokens_cached),
        "tokens out": (paid.tokens_out, expected.tokens_out),
        "grains paid": (paid.amount, expected.grains_paid),
    }
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            yield f"{name}: the chain says {found} and the trace {wanted}"


def price_faults(expected: Expected, result: ChainResult) -> Iterator[str]:
    """Yield where index and settlement price differ from the trace's."""
    if result.settlement_price != expected.settlement_price:
        yield (
            f"the future settled at {result.settlement_price} and the trace gives "
            f"{expected.settlement_price}"
        )
    if {result.window.units, result.settlement_units} != {expected.units}:
        yield (
            f"the index counts {result.window.units} units, the settlement "
            f"{result.settlement_units}, the trace {expected.units}"
        )
    found = tuple(bucket.winsorised_units for bucket in result.window.buckets)
    if found != expected.units_by_bucket:
        yield f"the buckets hold {found} and the trace gives {expected.units_by_bucket}"


def cut_faults(window: WindowView) -> Iterator[str]:
    """Yield whether a cap or winsorising took something off the index."""
    if window.cap_hits or window.winsor_hits:
        yield f"{window.cap_hits} caps and {window.winsor_hits} winsorised buckets; expected none"
