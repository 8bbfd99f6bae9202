"""Rounds: the demo's play on a chain that runs already, one after the other with a new cast.

In each of them accounts are funded, a dataset and two models registered, calls paid through
channels and claimed, and futures on them traded; they settle while the next round begins. A claim
that comes late counts less, and is nobody's failure: blocks come as the network makes them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from node.client import Account, SaharaClient
from node.demo.calls import Counter
from node.demo.cast import cast_of
from node.demo.generator import generated_traces
from node.demo.heights import Heights
from node.demo.profile import DemoPlan
from node.demo.serving import Serving
from node.demo.stage import set_stage
from node.demo.trace import Trace
from node.demo.trading import Floor
from state.types import INT_MAX

ONE_CALL_IN = 10
"""Of the demo's day of calls; more of them would keep a processor busy with signing."""

PAYERS = 3


@dataclass(slots=True)
class Played:
    """What all rounds together have brought about."""

    rounds: int = 0
    calls: int = 0
    trading_heights: int = 0


def plan_of(seed: int) -> DemoPlan:
    """The plan of one round; the chain's pace is its own, whatever the plan says of seconds."""
    traces = tuple(
        Trace(trace.name, trace.calls[::ONE_CALL_IN], trace.units_per_second)
        for trace in generated_traces(seed)
    )
    return DemoPlan(traces, window_seconds=0.0, seed=seed, payers=PAYERS)


async def play(
    client: SaharaClient,
    heights: Heights,
    faucet: Account,
    seed: int,
    played: Played,
    say: Callable[[str], None],
) -> None:
    """Play one round; raises ClientError or DemoError when it cannot go on."""
    plan = await asyncio.to_thread(plan_of, seed)
    cast = replace(cast_of(plan), faucet=faucet)
    stage = await set_stage(client, (), heights, cast, plan)
    window = stage.window
    counter = Counter(await client.genesis_hash(), window.bucket_first, stage.start_ms)
    serving = Serving(client, cast, plan, stage.lanes, counter)
    floor = Floor(client, cast, plan, stage.markets, stage.lanes)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(serving.run(heights, window, height_late=INT_MAX))
            group.create_task(floor.run(heights))
    finally:
        calls = sum(serving.served.claimed.values())
        traded = sum(len(seen) for seen in floor.seen.quoted.values())
        played.rounds += 1
        played.calls += calls
        played.trading_heights += traded
        say(
            f"round {played.rounds}: {calls} calls paid, both sides quoted at {traded} heights "
            f"of {len(stage.markets)} markets"
        )
