"""The run: a fresh node, the stage, the window with calls and trading, settlement, verdict."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from node.client import SaharaClient
from node.demo.calls import Counter
from node.demo.cast import Cast, cast_of
from node.demo.contributors import pay_contributors
from node.demo.errors import MachineTooSlow
from node.demo.exchange import all_settled
from node.demo.heights import Heights, following
from node.demo.pace import FAST_MS, Pacers, keep_pace, set_pace
from node.demo.plot import MarketHistory
from node.demo.profile import DemoOptions, DemoPlan
from node.demo.progress import ModelProgress, ProgressView, Status
from node.demo.report import Report
from node.demo.serving import Serving
from node.demo.stage import Stage, set_stage
from node.demo.trading import Floor
from node.demo.verify import Closing, verify
from node.devnet.errors import NodeDied, NodeSilent
from node.devnet.process import NodeGroup, NodeProcess, NodeWishes, start_nodes
from state.genesis import Allocation
from state.types import GRAINS_PER_SAHARA

FAUCET_GRAINS = 8 * 10**9 * GRAINS_PER_SAHARA
SECONDS_AROUND = 12
"""What setting up and settling take besides the window, roughly; for the progress view."""

REFRESH_SECONDS = 0.25
SETTLEMENT_BLOCKS_MAX = 40

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves behind."""

    report: Report
    histories: list[MarketHistory]
    home: Path | None
    """The folder of the nodes' homes, when it was kept."""


async def run_demo(plan: DemoPlan, options: DemoOptions, view: ProgressView) -> Result:
    """Run the whole demo; raises DemoError, NodeError or ClientError when it cannot go on."""
    began = time.monotonic()
    cast = cast_of(plan)
    folder = Path(tempfile.mkdtemp(prefix="sahara-demo-"))
    names = [f"node-{index}" for index in range(options.validators)]
    view.show(Status("starting the nodes", 0, expected_seconds(plan)))
    keep = options.keep
    try:
        nodes = await start_nodes([folder / name for name in names], node_wishes(cast, options))
        try:
            show = Show(plan, view, began)
            report, histories = await while_alive(nodes, play(nodes, cast, plan, show))
        finally:
            await nodes.stop()
    except (NodeDied, NodeSilent):
        keep = True  # its log is what tells why
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return Result(report, histories, folder if options.keep else None)


def node_wishes(cast: Cast, options: DemoOptions) -> NodeWishes:
    """A node of this run: all coins are the faucet's, and blocks follow each other quickly."""
    return NodeWishes(
        funds=(Allocation(cast.faucet.address, FAUCET_GRAINS),),
        rpc_port=options.rpc_port or 0,
        block_interval_ms_min=FAST_MS,
        idle_interval_ms=FAST_MS,
    )


async def while_alive(node: NodeProcess | NodeGroup, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; raises NodeDied when the node's process ends before it."""
    task = asyncio.ensure_future(work)
    death = asyncio.ensure_future(node.death())
    try:
        await asyncio.wait((task, death), return_when=asyncio.FIRST_COMPLETED)
        if death.done():
            raise death.result()
        return task.result()
    finally:
        await ended(task, death)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks that still run and wait for all; what they raised has been dealt with."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def expected_seconds(plan: DemoPlan) -> int:
    """How long the whole run will take, roughly."""
    return round(plan.window_seconds) + SECONDS_AROUND


async def play(
    nodes: NodeGroup, cast: Cast, plan: DemoPlan, show: "Show"
) -> tuple[Report, list[MarketHistory]]:
    """Everything that happens on the chain, from the first transfer to the last check."""
    async with (
        SaharaClient(nodes.url, genesis_hash=nodes.genesis_hash) as client,
        pacing(nodes) as pacers,
        following(client) as heights,
    ):
        show.stage("setting the stage", heights)
        stage = await set_stage(client, pacers, heights, cast, plan)
        counter = Counter(nodes.genesis_hash, stage.window.bucket_first, stage.start_ms)
        serving = Serving(client, cast, plan, stage.lanes, counter)
        floor = Floor(client, cast, plan, stage.markets, stage.lanes)
        watching = asyncio.ensure_future(show.watch(heights, serving, floor, stage))
        try:
            await open_window(pacers, heights, plan, stage, serving, floor, show)
            await settle(client, pacers, heights, stage, show)
            paid = await pay_contributors(client, cast, stage.registered.dataset_id)
        finally:
            await ended(watching)
        show.stage("checking from outside", heights)
        closing = Closing(client, cast, plan, stage, serving.served, floor.seen, paid)
        return await verify(closing, show.seconds())


@asynccontextmanager
async def pacing(nodes: NodeGroup) -> AsyncIterator[Pacers]:
    """Give a client for each node."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(SaharaClient(node.url)) for node in nodes.nodes]


async def open_window(
    pacers: Pacers,
    heights: Heights,
    plan: DemoPlan,
    stage: Stage,
    serving: Serving,
    floor: Floor,
    show: "Show",
) -> None:
    """Calls are served and claimed while the agents trade, at the trace's pace."""
    window = stage.window
    show.stage("serving calls and trading futures on them", heights)
    tasks = [
        asyncio.ensure_future(work)
        for work in (
            serving.run(heights, window),
            floor.run(heights),
            keep_pace(pacers, heights, window, plan.window_seconds),
        )
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        await ended(*tasks)


async def settle(
    client: SaharaClient, pacers: Pacers, heights: Heights, stage: Stage, show: "Show"
) -> None:
    """Let the grace blocks pass quickly; raises MachineTooSlow when a market does not settle."""
    show.stage("the window is over: last releases, then settlement", heights)
    await set_pace(pacers, FAST_MS)
    height = max(market.height_settle for market in stage.markets.values())
    for _ in range(SETTLEMENT_BLOCKS_MAX):
        height = await heights.reach(height + 1)
        if await all_settled(client, stage.markets):
            return
    raise MachineTooSlow(f"the markets had not settled at height {height}")


class Show:
    """What the person who runs the demo sees while it runs."""

    def __init__(self, plan: DemoPlan, view: ProgressView, began: float) -> None:
        self._plan = plan
        self._view = view
        self._began = began
        self._stage = ""
        self._models: tuple[ModelProgress, ...] = ()

    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def stage(self, name: str, heights: Heights) -> None:
        """Enter another part of the run."""
        self._stage = name
        self.refresh(heights.height)

    def refresh(self, height: int) -> None:
        """Show where things stand."""
        seconds = int(self.seconds())
        expected = expected_seconds(self._plan)
        self._view.show(Status(self._stage, seconds, expected, height, self._models))

    async def watch(self, heights: Heights, serving: Serving, floor: Floor, stage: Stage) -> None:
        """Refresh a few times a second until cancelled."""
        while True:
            released = heights.height - stage.dispute_blocks
            self._models = tuple(
                ModelProgress(
                    name=trace.name,
                    calls=len(trace.calls),
                    sent=serving.served.sent[trace.name],
                    claimed=serving.served.claimed[trace.name],
                    counted=serving.served.claimed_by(trace.name, released),
                    mark=floor.seen.marks.get(trace.name),
                    open_interest_lots=floor.seen.open_interest.get(trace.name, 0),
                    budget_lots=stage.markets[trace.name].budget_lots,
                )
                for trace in self._plan.traces
            )
            self.refresh(heights.height)
            await asyncio.sleep(REFRESH_SECONDS)
