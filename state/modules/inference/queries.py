"""What can be asked about channels, lanes, batches, direct calls and bonds."""

from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.context import QueryContext
from state.errors import NotFound
from state.modules.inference.bonds import bond_of
from state.modules.inference.channels import LaneTotals, channel_id_of, lane_totals
from state.modules.inference.demands import bond_min
from state.modules.inference.leaves import faults
from state.modules.inference.receipts import LaneNo, ReceiptProof, Seq, Sums, verify_receipt
from state.modules.inference.records import (
    BATCHES,
    CHANNELS,
    DEMANDS,
    DIRECT_CALLS,
    FAULTS,
    LANES,
    MODULE,
    PAYOUTS,
    THE_ONE,
    TOTALS,
    BatchRow,
    BatchStatus,
    Bond,
    Channel,
    Demand,
    DirectCall,
    Fault,
    Lane,
    TotalsRow,
    minus,
)
from state.modules.split import Payout
from state.types import ZERO_HASH, Address, Amount, Count, Hash

LISTED_MAX = 100
SEARCHED_MAX = 1_000
"""Rows that a query looks through at most, for batches are kept for ever."""
Limit = Annotated[int, Meta(ge=1, le=LISTED_MAX)]


class ChannelView(Struct):
    """A channel, its id, and what is left of its deposit."""

    channel_id: Hash
    escrow: Amount
    channel: Channel


class LaneView(Struct):
    """A lane and its number."""

    lane_no: LaneNo
    lane: Lane


class BatchView(Struct):
    """A batch, where it stands, and what of it counts."""

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    counted: Sums
    batch: BatchRow


class DemandView(Struct):
    """An open demand and the leaf it is for."""

    seq: Seq
    demand: Demand


class DirectView(Struct):
    """A direct call: its request, its escrow, and its one lane."""

    call: DirectCall
    channel: Channel
    lane: Lane


class ChannelId(Struct):
    """The id that a message will give to its channel."""

    channel_id: Hash


class BondView(Struct):
    """Grains that a demand's bond holds at least."""

    bond_min: Amount


class ProofView(Struct):
    """Whether a receipt stands in its batch, and the rules that it breaks there."""

    in_batch: bool
    faults: tuple[str, ...]


@MODULE.query
def next_channel_id(
    ctx: QueryContext, payer: Address, nonce: Count, message_index: Count = 0
) -> ChannelId:
    """Return the id of the channel that a message of the payer's transaction will open."""
    return ChannelId(channel_id_of(payer, nonce, message_index, ctx.genesis_hash))


@MODULE.query
def channel(ctx: QueryContext, channel_id: Hash) -> ChannelView:
    """Return a channel."""
    row = CHANNELS.require(ctx.state, channel_id)
    return ChannelView(channel_id, row.escrow, row)


@MODULE.query
def channels(
    ctx: QueryContext, after: Hash = ZERO_HASH, limit: Limit = LISTED_MAX
) -> list[ChannelView]:
    """Return channels in order of their ids, from behind `after`."""
    page = CHANNELS.scan(ctx.state, after=after, limit=limit)
    return [ChannelView(channel_id, row.escrow, row) for channel_id, row in page]


@MODULE.query
def lane(ctx: QueryContext, channel_id: Hash, lane_no: LaneNo) -> Lane:
    """Return one lane with its counters."""
    return LANES.require(ctx.state, (channel_id, lane_no))


@MODULE.query
def lanes(ctx: QueryContext, channel_id: Hash) -> list[LaneView]:
    """Return the lanes of a channel, closed ones too."""
    return [
        LaneView(number, row) for (_, number), row in LANES.scan(ctx.state, under=(channel_id,))
    ]


@MODULE.query
def closing_totals(ctx: QueryContext, channel_id: Hash) -> list[LaneTotals]:
    """Return the totals that both sides sign for CoopClose as the state stands now."""
    CHANNELS.require(ctx.state, channel_id)
    return list(lane_totals(ctx.state, channel_id))


@MODULE.query
def batch(ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, from_seq: Seq) -> BatchView:
    """Return the batch that begins at `from_seq`; its sum_root is what receipts are proved by."""
    key = (channel_id, lane_no, from_seq)
    return _view(key, BATCHES.require(ctx.state, key))


@MODULE.query
def batches(
    ctx: QueryContext,
    channel_id: Hash,
    after_lane: LaneNo = 0,
    after_seq: Count = 0,
    limit: Limit = LISTED_MAX,
) -> list[BatchView]:
    """Return the batches of a channel by lane and seq, from behind the one given."""
    after = (channel_id, after_lane, after_seq)
    page = BATCHES.scan(ctx.state, under=(channel_id,), after=after, limit=limit)
    return [_view(key, row) for key, row in page]


@MODULE.query
def pending(
    ctx: QueryContext, channel_id: Hash, after_lane: LaneNo = 0, after_seq: Count = 0
) -> list[BatchView]:
    """Return the batches not yet released among the 1,000 of a channel behind the one given."""
    after = (channel_id, after_lane, after_seq)
    page = BATCHES.scan(ctx.state, under=(channel_id,), after=after, limit=SEARCHED_MAX)
    return [_view(key, row) for key, row in page if row.status == BatchStatus.PENDING]


@MODULE.query
def payout_of(ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, from_seq: Seq) -> Payout:
    """Return how a released batch was split; a batch worth nothing has no payout."""
    row = PAYOUTS.get(ctx.state, (channel_id, lane_no, from_seq))
    if row is None:
        raise NotFound("This batch has paid nothing (yet); ask inference.batch where it stands.")
    return row


@MODULE.query
def demands(
    ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, from_seq: Seq
) -> list[DemandView]:
    """Return the open demands on a batch."""
    under = (channel_id, lane_no, from_seq)
    return [DemandView(key[3], row) for key, row in DEMANDS.scan(ctx.state, under=under)]


@MODULE.query
def demand_bond_min(
    ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, from_seq: Seq
) -> BondView:
    """Return the least bond of a demand on this batch at the present base fee, in grains."""
    row = BATCHES.require(ctx.state, (channel_id, lane_no, from_seq))
    return BondView(bond_min(ctx.state, row))


@MODULE.query
def fault(ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, seq: Seq) -> Fault:
    """Return what was proved against one seq of a lane."""
    return FAULTS.require(ctx.state, (channel_id, lane_no, seq))


@MODULE.query
def check_receipt(
    ctx: QueryContext, channel_id: Hash, lane_no: LaneNo, proof: ReceiptProof
) -> ProofView:
    """Return whether a receipt stands in its batch, and every rule that it breaks there."""
    row = BATCHES.require(ctx.state, (channel_id, lane_no, proof.from_seq))
    found = CHANNELS.require(ctx.state, channel_id)
    its_lane = LANES.require(ctx.state, (channel_id, lane_no))
    broken = tuple(faults(ctx, found, its_lane, proof, (channel_id, lane_no)))
    return ProofView(verify_receipt(row.sum_root, row.sums, proof), broken)


@MODULE.query
def direct_call(ctx: QueryContext, channel_id: Hash) -> DirectView:
    """Return a direct call; its batch is the one at lane 0, seq 1."""
    return DirectView(
        DIRECT_CALLS.require(ctx.state, channel_id),
        CHANNELS.require(ctx.state, channel_id),
        LANES.require(ctx.state, (channel_id, 0)),
    )


@MODULE.query
def bond(ctx: QueryContext, operator: Address) -> Bond:
    """Return an operator's bond and what of it is on its way out."""
    return bond_of(ctx.state, operator)


@MODULE.query
def totals(ctx: QueryContext) -> TotalsRow:
    """Return the running sums; deposits = escrow + pending + paid + refunded."""
    return TOTALS.get(ctx.state, THE_ONE) or TotalsRow(bytes(16), 0, 0, bytes(16), bytes(16))


def _view(key: tuple[Hash, int, int], row: BatchRow) -> BatchView:
    return BatchView(*key, minus(row.sums, row.removed), row)
