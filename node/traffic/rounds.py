"""Rounds: the demo's play on a chain that runs already, one after the other with one cast.

In each of them accounts are funded, channels opened, calls paid and claimed, and futures on their
demand listed, traded and settled; dataset and models are registered in the first. So the state
grows from round to round by what the protocol keeps of calls for ever, 300 rows with 34 kB, and by
no accounts. A claim that comes late counts less, and is nobody's failure: blocks come as the
network makes them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from node.client import Account, SaharaClient
from node.demo.calls import Counter
from node.demo.cast import Cast, cast_of
from node.demo.errors import MachineTooSlow
from node.demo.exchange import all_settled
from node.demo.generator import generated_traces
from node.demo.heights import Heights
from node.demo.profile import DemoPlan
from node.demo.registry import Registered
from node.demo.serving import Serving
from node.demo.stage import Stage, set_stage
from node.demo.trace import Trace
from node.demo.trading import Floor
from state.types import INT_MAX

ONE_CALL_IN = 10
"""Of the demo's day of calls; more of them would keep a processor busy with signing."""

PAYERS = 3
SETTLEMENT_BLOCKS_MAX = 200
"""After a market was due to settle; whoever waits for longer begins anew."""


@dataclass(slots=True)
class Played:
    """What all rounds together have brought about."""

    rounds: int = 0
    calls: int = 0


def plan_of(seed: int, number: int) -> DemoPlan:
    """The plan of a round: one cast for all of them, other calls in each.

    The chain's pace is its own, whatever the plan says of seconds.
    """
    traces = tuple(
        Trace(trace.name, trace.calls[::ONE_CALL_IN], trace.units_per_second)
        for trace in generated_traces(seed + number)
    )
    return DemoPlan(traces, window_seconds=0.0, seed=seed, payers=PAYERS)


class Company:
    """One cast, and what it has registered."""

    def __init__(
        self,
        client: SaharaClient,
        faucet: Account,
        seed: int,
        played: Played,
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._seed = seed
        self._cast: Cast = replace(cast_of(plan_of(seed, 0)), faucet=faucet)
        self._registered: Registered | None = None
        self._played = played
        self._say = say

    async def play(self, heights: Heights) -> None:
        """Play round after round; raises ClientError or DemoError when it cannot go on."""
        client = self._client
        for number in count():
            plan = await asyncio.to_thread(plan_of, self._seed, number)
            stage = await set_stage(client, (), heights, self._cast, plan, self._registered)
            self._registered = stage.registered
            await self._open(heights, plan, stage)
            await self._settled(heights, stage)

    async def _open(self, heights: Heights, plan: DemoPlan, stage: Stage) -> None:
        """Calls are paid and claimed while the agents trade."""
        client, window = self._client, stage.window
        counter = Counter(await client.genesis_hash(), window.bucket_first, stage.start_ms)
        serving = Serving(client, self._cast, plan, stage.lanes, counter)
        floor = Floor(client, self._cast, plan, stage.markets, stage.lanes)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(serving.run(heights, window, height_late=INT_MAX))
                group.create_task(floor.run(heights))
        finally:
            calls = sum(serving.served.claimed.values())
            self._played.rounds += 1
            self._played.calls += calls
            self._say(
                f"round {self._played.rounds}: {calls} calls paid; both sides quoted at "
                + " and ".join(
                    f"{len(seen)} heights of {name}" for name, seen in floor.seen.quoted.items()
                )
            )

    async def _settled(self, heights: Heights, stage: Stage) -> None:
        """Wait until the markets have paid out: a trader's subaccount is in one at a time."""
        last = max(market.height_settle for market in stage.markets.values())
        height = await heights.reach(last)
        while not await all_settled(self._client, stage.markets):
            if height > last + SETTLEMENT_BLOCKS_MAX:
                raise MachineTooSlow(f"the markets had not settled at height {height}")
            height = await heights.reach(height + 1)
