"""Setting the stage: accounts funded, assets registered, lanes open, margin in, futures listed.

All of it happens before the first call.
"""

from dataclasses import dataclass

from node.client import SaharaClient
from node.demo.cast import Cast, funding
from node.demo.exchange import Market, deposit_margin, list_futures
from node.demo.heights import Heights
from node.demo.lanes import Lanes, open_lanes
from node.demo.pace import Pacers, interval_ms_of, set_pace
from node.demo.profile import DemoPlan
from node.demo.readings import insurance_coins
from node.demo.registry import Registered, register
from node.demo.serving import Window
from node.demo.steps import perform
from state.maths import ceil_div
from state.transaction import MESSAGES_MAX

OPENING_MS_MIN = 200
"""Markets are listed and opened in no more hurry than this, however short the window is."""

BLOCKS_BEFORE_WINDOW = 6
"""Blocks between now and the window at least: for listing, the opening, and an auction or two."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is in place before the first call."""

    registered: Registered
    lanes: Lanes
    window: Window
    markets: dict[str, Market]
    height_listed: int
    dispute_blocks: int
    insurance_before: int
    """Grains in the markets' insurance before the first trade."""
    start_ms: int
    """The chain's time when the stage was set; the traces' clocks begin here."""


async def set_stage(
    client: SaharaClient,
    pacers: Pacers,
    heights: Heights,
    cast: Cast,
    plan: DemoPlan,
    registered: Registered | None = None,
) -> Stage:
    """Bring everything onto the chain, in the fast pace that the node was started with.

    What an earlier stage of the same cast has registered is used again when it is given.

    The futures come last and in the pace of the window, so that the traders meet every block of
    theirs.
    """
    params = await client.params()
    transfers = funding(cast, plan, params.futures.listing_bond)
    parts = [transfers[at : at + MESSAGES_MAX] for at in range(0, len(transfers), MESSAGES_MAX)]
    await perform(client, "funding the accounts", [(cast.faucet, tuple(part)) for part in parts])
    if registered is None:
        registered = await register(client, cast, plan)
    await heights.reach(max(model.price_height for model in registered.models.values()))
    lanes = await open_lanes(client, cast, plan, registered)
    await deposit_margin(client, cast, plan)
    insurance = await insurance_coins(client)
    bucket_blocks = params.index.bucket_blocks
    interval_ms = interval_ms_of(plan.window_seconds, plan.buckets * bucket_blocks)
    await set_pace(pacers, max(OPENING_MS_MIN, interval_ms))
    status = await client.status()
    first = ceil_div(status.height + BLOCKS_BEFORE_WINDOW, bucket_blocks)
    window = Window(first, plan.buckets, bucket_blocks)
    markets = await list_futures(client, cast, plan, registered, window)
    insurance += params.futures.listing_bond * len(markets)
    listed = heights.height
    dispute = params.inference.dispute_window_blocks
    return Stage(registered, lanes, window, markets, listed, dispute, insurance, status.time_ms)
