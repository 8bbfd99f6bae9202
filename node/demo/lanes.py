"""Lanes: every payer opens a channel to every model's operator, with one lane each.

Opening a lane takes both sides: the payer sends it and the operator signs its terms.
"""

from dataclasses import dataclass

from node.client import Account, SaharaClient
from node.demo.cast import Cast
from node.demo.profile import PRICE_ROW, PRICES, DemoPlan
from node.demo.receipts import deposit_of
from node.demo.registry import VERSION, Registered
from node.demo.steps import Sending, events_of, perform, require_ok
from state.modules.inference.channels import OpenChannel
from state.modules.inference.events import ChannelOpened
from state.modules.inference.lanes import AddLane
from state.modules.inference.receipts import LaneTerms
from state.types import ZERO_HASH, Hash

EXPIRY_BLOCKS = 5_000
LANE_NO = 0
WORKLOAD = 0
HARDWARE_CLASS = 0


@dataclass(frozen=True, slots=True)
class OpenLane:
    """One payer's lane to one model's operator, and the keys that sign on it."""

    model: str
    payer: int
    terms: LaneTerms
    session: Account
    operator: Account

    @property
    def channel_id(self) -> Hash:
        """The channel that the lane is of."""
        return self.terms.channel_id


Lanes = dict[tuple[str, int], OpenLane]
"""By model and number of the payer."""


async def open_lanes(
    client: SaharaClient, cast: Cast, plan: DemoPlan, registered: Registered
) -> Lanes:
    """Open a channel and a lane for every payer and model that has something to pay."""
    height = (await client.status()).height
    genesis_hash = await client.genesis_hash()
    pairs = [
        (trace.name, number, deposit)
        for trace in plan.traces
        for number in range(plan.payers)
        if (deposit := deposit_of(trace, PRICES, number, plan.payers))
    ]
    opened = await perform(
        client,
        "opening channels",
        [
            opening(cast, name, number, deposit, height + EXPIRY_BLOCKS)
            for name, number, deposit in pairs
        ],
    )
    lanes: Lanes = {}
    for (name, number, _), status in zip(pairs, opened, strict=True):
        event = events_of(require_ok("opening channels", status), ChannelOpened)[0]
        model = registered.models[name]
        terms = LaneTerms(
            event.channel_id,
            LANE_NO,
            model.model_id,
            VERSION,
            model.price_id,
            ZERO_HASH,
            WORKLOAD,
            HARDWARE_CLASS,
        )
        operator = cast.operators[name]
        lanes[name, number] = OpenLane(name, number, terms, cast.sessions[number], operator)
    await perform(
        client,
        "opening lanes",
        [adding(cast, lane, genesis_hash) for lane in lanes.values()],
    )
    return lanes


def opening(cast: Cast, name: str, number: int, deposit: int, expiry_height: int) -> Sending:
    """The payer's transaction that deposits what all its calls of a model will cost."""
    message = OpenChannel(
        operator=cast.operators[name].address,
        session_key=cast.sessions[number].public_key,
        deposit=deposit,
        price_max=PRICE_ROW,
        expiry_height=expiry_height,
    )
    return cast.payers[number], (message,)


def adding(cast: Cast, lane: OpenLane, genesis_hash: Hash) -> Sending:
    """The payer's transaction that opens a lane on terms that the operator has signed."""
    signature = lane.operator.sign(lane.terms.digest(genesis_hash))
    message = AddLane(lane.terms, lane.operator.public_key, signature)
    return cast.payers[lane.payer], (message,)
