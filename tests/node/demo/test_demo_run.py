"""The whole demo in seconds: a real node process, dozens of paid calls, futures, every check."""

import asyncio
import os
from pathlib import Path

import pytest
from rich.console import Console

from node.demo.expected import expected_of
from node.demo.profile import BUCKETS, PRICES, WEIGHTS, DemoOptions, DemoPlan
from node.demo.progress import ProgressView
from node.demo.run import Result, run_demo, while_alive
from node.demo.trace import Trace, TraceCall
from node.devnet.errors import NodeDied

CALLS = 36
WINDOW_SECONDS = 8.0

TIMING = "the machine is too slow"
"""What a check says that fails for want of time alone."""


def small_trace(name: str, scale: int) -> Trace:
    """A few calls in every bucket but one, around the reference price."""
    calls = tuple(
        TraceCall(
            1_000 * number + 9_000 * (number > 20), 250_000 * scale, 17 * number, 80_000 + number
        )
        for number in range(CALLS)
    )
    return Trace(name, calls, 1_000)


PLAN = DemoPlan((small_trace("chat", 1), small_trace("code", 2)), WINDOW_SECONDS, seed=7, payers=3)


def run(plan: DemoPlan, options: DemoOptions) -> Result:
    with Path(os.devnull).open("w") as nowhere, ProgressView(Console(file=nowhere)) as view:
        return asyncio.run(run_demo(plan, options, view))


def test_a_small_demo_holds_every_check_and_leaves_nothing_behind() -> None:
    result = run(PLAN, DemoOptions())
    report = result.report
    late = {name for name, sentence in report.failures.items() if TIMING in sentence}
    assert late <= {"both_sides_quoted"}
    assert {name for name, held in report.checks.items() if not held} == late, report.failures
    assert len(report.checks) == 13
    for trace in PLAN.traces:
        expected = expected_of(trace, PRICES, WEIGHTS, BUCKETS)
        model = report.models[trace.name]
        assert model.calls == CALLS == expected.calls
        assert model.index == expected.units
        assert model.settlement_price == expected.settlement_price
        assert model.grains_paid == str(expected.grains_paid)
        assert sum(int(part) for part in model.payment_split.values()) == expected.grains_paid
        assert model.open_interest_lots_max > 100
    assert report.pnl_sum == "0"
    assert any(grains != "0" for grains in report.pnl.values())
    assert [history.name for history in result.histories] == ["chat", "code"]
    assert all(len(history.moments) > 60 for history in result.histories)
    assert result.home is None


class Node:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def death(self) -> NodeDied:
        await asyncio.sleep(self.seconds)
        return NodeDied("It is gone.")


async def test_a_dying_node_ends_the_work_at_once() -> None:
    async def work() -> int:
        await asyncio.sleep(60)
        return 1

    with pytest.raises(NodeDied, match="gone"):
        await while_alive(Node(0.01), work())


async def test_work_that_ends_before_the_node_is_returned_or_raised() -> None:
    async def work(*, fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise ValueError("no")
        return 7

    assert await while_alive(Node(60), work(fails=False)) == 7
    with pytest.raises(ValueError, match="no"):
        await while_alive(Node(60), work(fails=True))
