"""Lanes: what a channel pays for, one (model, version, price, licence, workload, hardware) each.

Opening one takes both signatures; from then on every Request names the lane, and the chain knows
model, workload and hardware of every settled token without reading a leaf (assets C.1).
"""

from state.codec import replace
from state.context import TxContext
from state.crypto import SignatureClaim
from state.modules import models
from state.modules.inference import events
from state.modules.inference.channels import live_channel, party_key, require_growing
from state.modules.inference.errors import (
    LaneIsClosed,
    LaneLimit,
    LaneOutOfOrder,
    LaneUnsettled,
    LicenceUnknown,
    NotAParty,
    PriceNotInForce,
    PriceTooHigh,
)
from state.modules.inference.receipts import LaneNo, LaneTerms, PriceRow
from state.modules.inference.records import CHANNELS, LANES, MODULE, Channel, Lane
from state.modules.models import prices
from state.registry import Message
from state.tables import State
from state.types import ZERO_HASH, Address, Hash, Height, PublicKey, Signature

LANES_OPENED_MAX = 128
"""Lanes that a channel can ever open, closed ones too, so that listing them stays cheap."""


def price_in_force(
    state: State, operator: Address, model_id: Hash, version: int, price_id: int, height: Height
) -> PriceRow:
    """Return the operator's price row; raises PriceNotInForce when it is not his or not yet."""
    models.version_of(state, model_id, version)
    row = prices.price_of(state, model_id, version, price_id)
    if not models.may_operate(state, model_id, operator):
        raise prices.NotAdmitted("The owner of the model has not admitted the operator.")
    if row.operator != operator or row.effective_height > height:
        raise PriceNotInForce(
            f"Price {price_id} is another operator's, or in force from {row.effective_height}; "
            "name a row of this operator that is in force."
        )
    return PriceRow(row.in_, row.cached, row.out, row.call)


def new_lane(terms: LaneTerms, price: PriceRow) -> Lane:
    """Return a lane on which nothing was claimed."""
    return Lane(
        model_id=terms.model_id,
        version=terms.version,
        price_id=terms.price_id,
        licence_id=terms.licence_id,
        workload=terms.workload,
        hw_class=terms.hw_class,
        price=price,
        operator_key=ZERO_HASH,
        last_seq=0,
        cum_in=0,
        cum_cached=0,
        cum_out=0,
        cum_amount=0,
        released_in=0,
        released_cached=0,
        released_out=0,
        released_amount=0,
        bucket=0,
        pending=0,
        closed=False,
    )


def require_price_within(price: PriceRow, price_max: PriceRow) -> None:
    """Raise PriceTooHigh unless no component exceeds the channel's maximum."""
    for name in PriceRow.__struct_fields__:
        value, limit = getattr(price, name), getattr(price_max, name)
        if value > limit:
            raise PriceTooHigh(
                f"The price's {name} is {value} and the channel allows {limit}; choose another "
                "price row or open a channel that allows it."
            )


def require_no_licence(licence_id: Hash) -> None:
    """Raise LicenceUnknown for any licence: this chain holds none yet, so none can be checked."""
    if licence_id != ZERO_HASH:
        raise LicenceUnknown("The chain holds no such licence; use the zero id for open models.")


@MODULE.tx
class AddLane(Message, tag=0x0505):
    """Open the next lane of a channel; sent by one side and signed by the other.

    `lane_no` in the terms is the number of lanes opened before, so that a signature opens one
    lane once.
    """

    terms: LaneTerms
    key: PublicKey
    signature: Signature

    WEIGHT = 220

    def check(self) -> None:
        """Refuse licences, of which the chain holds none."""
        require_no_licence(self.terms.licence_id)

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The signature of the side that does not send the transaction."""
        return [(self.key, self.terms.digest(genesis_hash), self.signature)]

    def apply(self, ctx: TxContext) -> None:
        """Check price and limits, then open the lane."""
        terms = self.terms
        channel = live_channel(ctx.state, terms.channel_id)
        party_key(channel, ctx.account, self.key)
        require_growing(ctx, channel)
        self._require_room(channel, ctx.params.inference.lanes_max)
        price = price_in_force(
            ctx.state,
            channel.operator,
            terms.model_id,
            terms.version,
            terms.price_id,
            ctx.height,
        )
        require_price_within(price, channel.price_max)
        LANES.put(ctx.state, (terms.channel_id, terms.lane_no), new_lane(terms, price))
        CHANNELS.put(
            ctx.state,
            terms.channel_id,
            replace(
                channel,
                lanes_opened=channel.lanes_opened + 1,
                lanes_open=channel.lanes_open + 1,
            ),
        )
        ctx.emit(events.LaneAdded(terms))

    def _require_room(self, channel: Channel, lanes_max: int) -> None:
        if self.terms.lane_no != channel.lanes_opened:
            raise LaneOutOfOrder(
                f"The next lane is number {channel.lanes_opened}, not {self.terms.lane_no}; "
                "let both sides sign that."
            )
        if channel.lanes_open >= lanes_max or channel.lanes_opened >= LANES_OPENED_MAX:
            raise LaneLimit(
                f"A channel holds {lanes_max} open lanes and {LANES_OPENED_MAX} in its life; "
                "close a settled one, or open another channel."
            )


@MODULE.tx
class CloseLane(Message, tag=0x0506):
    """Give up a lane whose batches are all released, so that another can take its place.

    The operator's to send: vouchers that it has not claimed lose their worth.
    """

    channel_id: Hash
    lane_no: LaneNo

    WEIGHT = 100

    def apply(self, ctx: TxContext) -> None:
        """Mark the lane as closed."""
        channel = live_channel(ctx.state, self.channel_id)
        if ctx.account != channel.operator:
            raise NotAParty("Only the operator may close a lane; ask it to.")
        lane = LANES.require(ctx.state, (self.channel_id, self.lane_no))
        if lane.closed:
            raise LaneIsClosed("The lane is closed already.")
        if lane.pending:
            raise LaneUnsettled(
                f"{lane.pending} batches of the lane are not released; close it afterwards."
            )
        LANES.put(ctx.state, (self.channel_id, self.lane_no), replace(lane, closed=True))
        CHANNELS.put(
            ctx.state, self.channel_id, replace(channel, lanes_open=channel.lanes_open - 1)
        )
        ctx.emit(events.LaneClosed(self.channel_id, self.lane_no))
