"""Intervals and finality on traces made by hand, against limits worked out another way."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.sim.latency import Latency, constant
from node.sim.measure import Limits, Measures, percentile

A, B, C, D = (bytes([n]) * 32 for n in range(4))


def measures(latency: Latency, stakes: tuple[int, ...]) -> Measures:
    return Measures(latency, Limits(latency, stakes))


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile([], 50) is None
    assert percentile([5.0], 99) == 5.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 99) == 99.0
    assert percentile([float(n) for n in range(1, 102)], 99) == 100.0


def test_a_hand_made_trace_under_constant_latency() -> None:
    found = measures(constant(4, 10_000), (1, 1, 1, 1))
    for height, (block_id, at_us) in enumerate(
        [(A, 0), (B, 20_000), (C, 41_000), (D, 61_000)], start=1
    ):
        found.proposed(block_id, height % 4, at_us)
        found.proposed(block_id, height % 4, at_us + 5_000)  # sent again: the first counts
        for validator in range(4):
            found.finalized(height, block_id, validator, at_us + 30_000 + 1_000 * validator)
    figures = found.figures()
    # Heights 2 and 3 have a successor: 21 and 20 ms. Height 1 is left out.
    assert figures.block_interval_ms_p50 == 20.0
    assert figures.block_interval_ms_p99 == 21.0
    assert figures.block_interval_delays_p99 == 2.1
    assert figures.finality_ms_p50 == 31.0
    assert figures.finality_delays_p50 == 3.1
    assert figures.finality_ms_p99 == 33.0


@given(st.integers(2, 9), st.integers(1, 500))
def test_both_forms_of_a_delay_agree_under_constant_latency(count: int, delay_us: int) -> None:
    same = constant(count, delay_us)
    limits = Limits(same, (7,) * count)
    for leader in range(count):
        for validator in range(count):
            if count == 2 and validator == leader:
                continue  # with both needed, the leader hears the other after two delays
            assert limits.notarized_us(leader, validator) <= 2 * delay_us
            assert limits.finalized_us(leader, validator) <= 3 * delay_us
    if count >= 4:
        others = [each for each in range(count) if each != 0]
        assert {limits.notarized_us(0, each) for each in others} == {2 * delay_us}
        assert {limits.finalized_us(0, each) for each in range(count)} == {3 * delay_us}


def earliest(sent: list[int], delays: list[int], stakes: tuple[int, ...]) -> int:
    """When some quorum's votes are all there, over every set of voters."""
    everyone = range(len(stakes))
    quorums = [
        voters
        for size in range(1, len(stakes) + 1)
        for voters in combinations(everyone, size)
        if 3 * sum(stakes[v] for v in voters) > 2 * sum(stakes)
    ]
    return min(max(sent[v] + delays[v] for v in voters) for voters in quorums)


@given(st.data())
def test_limits_are_the_best_that_any_quorum_can_do(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    stakes = tuple(data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)))
    matrix = [
        [0 if i == j else data.draw(st.integers(0, 99)) for j in range(count)] for i in range(count)
    ]
    limits = Limits(Latency(tuple(map(tuple, matrix)), None, ()), stakes)
    leader = data.draw(st.integers(0, count - 1))
    columns = [[matrix[i][j] for i in range(count)] for j in range(count)]
    notarized = [earliest(matrix[leader], columns[j], stakes) for j in range(count)]
    for j in range(count):
        assert limits.notarized_us(leader, j) == notarized[j]
        assert limits.finalized_us(leader, j) == earliest(notarized, columns[j], stakes)


def nearest_rank(samples: list[float], rank: int) -> float:
    """The smallest sample that at least so many per cent of the samples do not exceed."""
    return min(
        one for one in samples if 100 * sum(each <= one for each in samples) >= rank * len(samples)
    )


@given(st.data())
def test_figures_are_what_the_definitions_say(data: st.DataObject) -> None:
    """A run of random blocks, leaders, delays and stakes against the words of the definition."""
    count = data.draw(st.integers(2, 7))
    everyone = range(count)
    stakes = tuple(data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)))
    d = [[0 if i == j else data.draw(st.integers(1, 99)) for j in everyone] for i in everyone]
    found = measures(Latency(tuple(map(tuple, d)), None, ()), stakes)
    heights = data.draw(st.integers(3, 5))
    leaders = [data.draw(st.sampled_from(everyone)) for _ in range(heights)]
    sent_us = [100 * height + data.draw(st.integers(0, 99)) for height in range(heights)]
    held_us = [
        [sent_us[height] + data.draw(st.integers(1, 300)) for _ in everyone]
        for height in range(heights)
    ]
    for height in range(heights):
        block_id = bytes([height]) * 32
        found.proposed(block_id, leaders[height], sent_us[height])
        for validator in everyone:
            found.finalized(height + 1, block_id, validator, held_us[height][validator])
    intervals, finalities = [], []
    for height in range(1, heights):  # from height 2
        leader = leaders[height]
        n = [earliest(d[leader], [d[i][j] for i in everyone], stakes) for j in everyone]
        f = [earliest(n, [d[i][j] for i in everyone], stakes) for j in everyone]
        for j in everyone:
            if f[j]:
                finalities.append(3 * (held_us[height][j] - sent_us[height]) / f[j])
        if height + 1 < heights and n[leaders[height + 1]]:
            measured = sent_us[height + 1] - sent_us[height]
            intervals.append(2 * measured / n[leaders[height + 1]])
    figures = found.figures()
    for rank, interval, finality in (
        (50, figures.block_interval_delays_p50, figures.finality_delays_p50),
        (99, figures.block_interval_delays_p99, figures.finality_delays_p99),
    ):
        assert interval == (nearest_rank(intervals, rank) if intervals else None)
        assert finality == (nearest_rank(finalities, rank) if finalities else None)


def test_nothing_measured_is_nothing_said() -> None:
    figures = measures(constant(4, 1), (1,) * 4).figures()
    assert figures.block_interval_ms_p50 is None
    assert figures.finality_delays_p99 is None


@pytest.mark.parametrize("height", [1, 2])
def test_samples_count_from_height_two(height: int) -> None:
    found = measures(constant(4, 10_000), (1,) * 4)
    found.proposed(A, 0, 0)
    found.finalized(height, A, 1, 30_000)
    assert found.figures().finality_ms_p50 == (None if height < 2 else 30.0)
