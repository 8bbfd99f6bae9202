"""Rows split over payers and buckets: nothing lost, nothing twice, sequences without a gap."""

from hypothesis import given
from hypothesis import strategies as st

from node.demo.expected import IndexWeights, Prices, expected_of
from node.demo.receipts import CallTotals, deposit_of, payer_of, planned_batches
from node.demo.trace import Trace, TraceCall

PRICES = Prices(5 * 10**9 + 1, 5 * 10**8 + 3, 20 * 10**9 + 7, 11)


def trace_of(times: list[int]) -> Trace:
    times.sort()
    calls = [TraceCall(t - times[0], i % 7, i % 3, 1 + i % 5) for i, t in enumerate(times)]
    return Trace("chat", tuple(calls), 1_000)


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=80),
    st.integers(1, 6),
    st.integers(1, 15),
)
def test_batches_cover_every_row_once_in_sequence(
    times: list[int], payers: int, buckets: int
) -> None:
    trace = trace_of(times)
    planned = planned_batches(trace, PRICES, payers, buckets)
    batches = [batch for bucket in planned for batch in bucket]
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(times)))
    for bucket, here in enumerate(planned):
        assert all(batch.bucket == bucket for batch in here)
        assert [batch.payer for batch in here] == sorted({batch.payer for batch in here})
    for payer in range(payers):
        lane = [batch for batch in batches if batch.payer == payer]
        seq = 0
        summed = CallTotals()
        for batch in lane:
            assert batch.seq_first == seq + 1
            seq = batch.seq_last
            summed = summed.plus(batch.totals)
            assert batch.cumulative == summed
            for row in batch.rows:
                assert payer_of(row, payers) == payer
                assert trace.bucket_of(trace.calls[row].time, buckets) == batch.bucket
        assert summed.grains == deposit_of(trace, PRICES, payer, payers)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=80), st.integers(1, 6))
def test_batches_add_up_to_what_the_trace_alone_says(times: list[int], payers: int) -> None:
    trace = trace_of(times)
    expected = expected_of(trace, PRICES, IndexWeights(1, 0, 4, 1_000), 12)
    total = CallTotals()
    for here in planned_batches(trace, PRICES, payers, 12):
        for batch in here:
            total = total.plus(batch.totals)
    assert total == CallTotals(
        expected.calls,
        expected.tokens_in,
        expected.tokens_cached,
        expected.tokens_out,
        expected.grains_paid,
    )
