"""Releases: a batch whose dispute window is over is paid through the split and counted.

Served at the end of every block within `release_batches_max`; what is over it waits for the next
block. A batch with an open demand is held, and released when the last one is settled.
"""

from state.codec import replace
from state.context import BlockContext
from state.modules import index, split
from state.modules.inference import events
from state.modules.inference.bonds import bonded
from state.modules.inference.records import (
    BATCHES,
    CHANNELS,
    ESCROW,
    LANES,
    PAYOUTS,
    RELEASES,
    BatchKey,
    BatchRow,
    BatchStatus,
    batch_entry,
    minus,
    shift,
)


def release_due(ctx: BlockContext) -> None:
    """Release the batches that fall due, the oldest first."""
    limit = ctx.params.inference.release_batches_max
    for entry in RELEASES.take(ctx.state, ctx.height, limit=limit):
        key: BatchKey = BATCHES.shape.unpack(entry)
        row = BATCHES.require(ctx.state, key)
        if row.demands_open:
            BATCHES.put(ctx.state, key, replace(row, held=True))
        else:
            release(ctx, key, row)


def resume(ctx: BlockContext, key: BatchKey, row: BatchRow) -> BatchRow:
    """Queue a held batch again once its last demand is settled; return its row to be written."""
    if not row.held or row.demands_open:
        return row
    RELEASES.push(ctx.state, ctx.height, batch_entry(key))
    return replace(row, held=False)


def release(ctx: BlockContext, key: BatchKey, row: BatchRow) -> None:
    """Pay one batch and let the index count it."""
    assert row.status == BatchStatus.PENDING, "a batch is released once"
    state = ctx.state
    channel_id, lane_no, from_seq = key
    channel = CHANNELS.require(state, channel_id)
    lane = LANES.require(state, (channel_id, lane_no))
    sums = minus(row.sums, row.removed)
    before = (lane.released_in, lane.released_cached, lane.released_out, lane.released_amount)
    after = (
        lane.released_in + sums.tokens_in,
        lane.released_cached + sums.tokens_cached,
        lane.released_out + sums.tokens_out,
        lane.released_amount + sums.amount,
    )
    shift(state, pending=-sums.amount, paid=sums.amount)
    if sums.amount:
        model, operator = (lane.model_id, lane.version), channel.operator
        PAYOUTS.put(state, key, split.pay(ctx, ESCROW, sums.amount, *model, operator))
    LANES.put(
        state,
        (channel_id, lane_no),
        replace(
            lane,
            released_in=after[0],
            released_cached=after[1],
            released_out=after[2],
            released_amount=after[3],
            pending=lane.pending - 1,
        ),
    )
    released = replace(row, status=BatchStatus.RELEASED, released_height=ctx.height)
    BATCHES.put(state, key, released)
    index.count(
        ctx,
        index.Release(
            model_id=lane.model_id,
            version=lane.version,
            operator=channel.operator,
            operator_bond=bonded(state, channel.operator),
            payer=channel.payer,
            bucket=row.bucket,
            before=before,
            after=after,
        ),
    )
    ctx.emit(events.BatchReleased(channel_id, lane_no, from_seq, row.bucket, sums))
