"""The settlement recomputed from calls alone, against sums written out by hand."""

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from node.demo.expected import IndexWeights, Prices, expected_of
from node.demo.trace import Trace, TraceCall

DEVNET_PRICES = Prices(5 * 10**9, 5 * 10**8, 20 * 10**9, 0)
DEVNET_WEIGHTS = IndexWeights(1, 0, 4, 1_000)

CALLS = st.lists(
    st.builds(
        TraceCall,
        st.integers(0, 10**9),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=20,
).map(lambda calls: sorted(calls, key=lambda call: call.time))
SMALL = st.integers(0, 10**12)


def test_devnet_profile_by_hand() -> None:
    calls = (TraceCall(0, 374, 0, 44), TraceCall(10, 396, 512, 109), TraceCall(11, 0, 0, 1))
    found = expected_of(Trace("chat", calls, 1_000), DEVNET_PRICES, DEVNET_WEIGHTS, 12)
    assert (found.calls, found.tokens_in, found.tokens_cached, found.tokens_out) == (
        3,
        770,
        512,
        154,
    )
    assert found.units == 770 + 4 * 154
    assert found.units_by_bucket == (550, 0, 0, 0, 0, 0, 0, 0, 0, 0, 832, 4)
    assert found.settlement_price == 1
    assert found.grains_paid == 770 * 5_000 + 512 * 500 + 154 * 20_000


def test_cost_is_rounded_up_once_a_call() -> None:
    prices = Prices(1, 1, 1, 7)
    assert prices.cost_of(TraceCall(0, 1, 1, 1)) == 1 + 7
    assert prices.cost_of(TraceCall(0, 0, 10**6, 0)) == 1 + 7
    assert prices.cost_of(TraceCall(0, 10**6, 0, 1)) == 2 + 7


@given(CALLS, st.tuples(SMALL, SMALL, SMALL, SMALL), st.integers(1, 30))
def test_totals_equal_exact_fractions(
    calls: list[TraceCall], price: tuple[int, int, int, int], buckets: int
) -> None:
    trace = Trace("any", tuple(TraceCall(c.time - calls[0].time, *tokens_of(c)) for c in calls), 1)
    found = expected_of(trace, Prices(*price), IndexWeights(3, 2, 5, 7), buckets)
    paid = 0
    units = 0
    for tokens in map(tokens_of, calls):
        exact = sum(Fraction(n * p, 10**6) for n, p in zip(tokens, price[:3], strict=True))
        paid += ceil(exact) + price[3]
        units += 3 * tokens[0] + 2 * tokens[1] + 5 * tokens[2]
    assert (found.grains_paid, found.units) == (paid, units)
    assert found.settlement_price == units // 7
    assert len(found.units_by_bucket) == buckets


def tokens_of(call: TraceCall) -> tuple[int, int, int]:
    return call.tokens_in, call.tokens_cached, call.tokens_out
