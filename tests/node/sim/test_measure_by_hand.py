"""Figures of whole runs against a recomputation from the trace, by the words of the definition.

From what the trace records of proposals sent and blocks made final, the latencies and the stakes
alone, interval and finality are worked out once more, with none of the code that measures them.
"""

from typing import Any

import msgspec
import pytest

from consensus.effects import CommitBlock
from consensus.messages import Propose
from node.sim.latency import parse_latency
from node.sim.scenario import Options, make_scenario
from node.sim.simulation import Hooks, Simulation
from state.types import Hash


def nearest_rank(samples: list[float], rank: int) -> float:
    """The sample at place ceil(rank / 100 x count), counted from one."""
    place = -(-rank * len(samples) // 100)
    return sorted(samples)[place - 1]


def covered(sent: list[int], d: list[list[int]], receiver: int, stakes: list[int]) -> int:
    """When what all sent at these times covers more than two thirds of the stake there."""
    everyone = range(len(stakes))
    for at in sorted([sent[i] + d[i][receiver] for i in everyone]):
        there = sum([stakes[i] for i in everyone if sent[i] + d[i][receiver] <= at])
        if 3 * there > 2 * sum(stakes):
            return at
    raise AssertionError("all of the stake is more than two thirds")


@pytest.mark.parametrize(
    "options",
    [
        {"validators": 4, "latency": "20", "views": 25},
        {"validators": 7, "latency": "wan", "views": 25},
        {"validators": 5, "latency": "wan", "stakes": "5,4,3,2,1", "views": 25, "crash": 0.02},
    ],
    ids=str,
)
def test_figures_of_a_run_are_those_that_its_trace_gives(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = msgspec.convert(options, Options)
    simulation = Simulation(make_scenario(given), None, Hooks())
    world, record = simulation.world, simulation.world.record
    sent: dict[Hash, tuple[int, int]] = {}  # when, and by whom, each block was first proposed
    held: list[tuple[int, Hash, int, int]] = []  # height, block, validator, when

    def note(kind: str, who: int, peer: int, digest: bytes, value: object) -> None:
        record(kind, who, peer, digest, value)
        if kind == "effect" and isinstance(value, Propose) and value.vote.validator == who:
            sent.setdefault(value.proposal.block_id, (world.now_us, who))
        if kind == "effect" and isinstance(value, CommitBlock):
            held.append((value.header.height, value.block_id, who, world.now_us))

    monkeypatch.setattr(world, "record", note)
    report = simulation.run()
    stakes = list(simulation.scenario.stakes)
    everyone = range(len(stakes))
    d = [list(row) for row in parse_latency(given.latency, len(stakes)).matrix_us]
    chain = {height: block_id for height, block_id, _, _ in held}
    n = {
        leader: [covered(d[leader], d, j, stakes) for j in everyone]  # p(i) = d(leader, i)
        for leader in everyone
    }
    f = {leader: [covered(n[leader], d, j, stakes) for j in everyone] for leader in everyone}
    constant_us = float(given.latency) * 1_000 if given.latency.isdigit() else None
    intervals: list[float] = []
    for height in range(2, max(chain)):
        began, leader = sent[chain[height]]
        ended, following = sent[chain[height + 1]]
        if constant_us is not None:
            intervals.append((ended - began) / constant_us)
        elif n[leader][following]:
            intervals.append(2 * (ended - began) / n[leader][following])
    finality: list[float] = []
    milliseconds: list[float] = []
    for height, block_id, validator, when in held:
        if height >= 2:
            began, leader = sent[block_id]
            milliseconds.append((when - began) / 1_000)
            if constant_us is not None:
                finality.append((when - began) / constant_us)
            elif f[leader][validator]:
                finality.append(3 * (when - began) / f[leader][validator])
    assert len(intervals) > 15
    assert report.block_interval_delays_p50 == pytest.approx(nearest_rank(intervals, 50))
    assert report.block_interval_delays_p99 == pytest.approx(nearest_rank(intervals, 99))
    assert report.finality_delays_p50 == pytest.approx(nearest_rank(finality, 50))
    assert report.finality_delays_p99 == pytest.approx(nearest_rank(finality, 99))
    assert report.finality_ms_p50 == pytest.approx(nearest_rank(milliseconds, 50))
    assert report.finality_ms_p99 == pytest.approx(nearest_rank(milliseconds, 99))
