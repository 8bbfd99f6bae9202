"""Claims: two signatures settle any number of calls of one lane and one bucket.

The operator signs the batch's root and sums, the payer the lane's new cumulative totals. A batch
begins right behind the last one and the totals grow by exactly its sums, so nothing is claimed
twice and only the increase is paid. What is claimed waits for its release (assets C.1, C.2).
"""

from state.codec import replace
from state.context import TxContext
from state.crypto import SignatureClaim, address_of
from state.errors import Malformed
from state.modules import index
from state.modules.inference import events
from state.modules.inference.channels import live_channel
from state.modules.inference.errors import (
    BucketOutOfRange,
    ClaimTooLate,
    CumulativeMismatch,
    LaneIsClosed,
    Overdrawn,
    SequenceGap,
    StaleVoucher,
    ValueOutOfBounds,
    VoucherMismatch,
    WrongSigner,
)
from state.modules.inference.receipts import Batch, Voucher, value_bounds
from state.modules.inference.records import (
    BATCHES,
    CHANNELS,
    LANES,
    MODULE,
    NO_SUMS,
    RELEASES,
    BatchRow,
    BatchStatus,
    Channel,
    Lane,
    batch_entry,
    shift,
)
from state.params import IndexParams
from state.registry import Message
from state.types import ZERO_HASH, Hash, PublicKey, Signature


@MODULE.tx
class ClaimBatch(Message, tag=0x0510):
    """Claim the calls from_seq..to_seq of a lane; anyone may send what both sides signed.

    The weight covers the two signatures and the release that the claim will cause.
    """

    batch: Batch
    voucher: Voucher
    session_key: PublicKey
    session_signature: Signature
    operator_key: PublicKey
    operator_signature: Signature

    WEIGHT = 400

    def check(self) -> None:
        """Refuse a voucher and a batch that do not speak of the same calls."""
        batch, voucher = self.batch, self.voucher
        if batch.to_seq - batch.from_seq + 1 != batch.sums.calls:
            raise Malformed(
                f"The batch spans seq {batch.from_seq} to {batch.to_seq} and sums "
                f"{batch.sums.calls} calls; a batch has one call a seq."
            )
        same = (voucher.channel_id, voucher.lane_no, voucher.last_seq, voucher.bucket) == (
            batch.channel_id,
            batch.lane_no,
            batch.to_seq,
            batch.bucket,
        )
        if not same or voucher.sum_root not in (ZERO_HASH, batch.sum_root):
            raise VoucherMismatch(
                "Voucher and batch differ in channel, lane, last seq, bucket or root; send the "
                "voucher that the payer signed for exactly these calls."
            )

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The payer's signature of the voucher and the operator's of the batch."""
        return [
            (self.session_key, self.voucher.digest(genesis_hash), self.session_signature),
            (self.operator_key, self.batch.digest(genesis_hash), self.operator_signature),
        ]

    def apply(self, ctx: TxContext) -> None:
        """Check signers, order, sums, deposit and bucket; then let the batch wait."""
        batch = self.batch
        channel = live_channel(ctx.state, batch.channel_id)
        lane = LANES.require(ctx.state, (batch.channel_id, batch.lane_no))
        self._require_signers(channel)
        if ctx.height > channel.close_height:
            raise ClaimTooLate(f"The claim window ended at height {channel.close_height}.")
        if lane.closed:
            raise LaneIsClosed("The lane is closed; its vouchers are void.")
        require_next(lane, batch)
        require_cumulative(lane, batch, self.voucher)
        require_value(lane, batch)
        require_covered(channel, batch.sums.amount)
        require_bucket(ctx.params.index, lane, batch.bucket, ctx.height)
        keyed = replace(lane, operator_key=self.operator_key)
        book(ctx, channel, keyed, batch, cosigned=self.voucher.sum_root != ZERO_HASH)

    def _require_signers(self, channel: Channel) -> None:
        if self.session_key != channel.session_key:
            raise WrongSigner(
                "The voucher is not signed by the channel's session key; ask the payer for one."
            )
        if address_of(self.operator_key) != channel.operator:
            raise WrongSigner("The batch is not signed by the channel's operator.")


def require_next(lane: Lane, batch: Batch) -> None:
    """Raise unless the batch begins right behind what the lane has claimed."""
    if batch.to_seq <= lane.last_seq:
        raise StaleVoucher(
            f"Seq {batch.to_seq} was claimed before, the lane stands at {lane.last_seq}; "
            "send the newest voucher."
        )
    if batch.from_seq != lane.last_seq + 1:
        raise SequenceGap(
            f"The batch begins at seq {batch.from_seq} and the next one is {lane.last_seq + 1}; "
            "claim without gaps and overlaps."
        )


def require_cumulative(lane: Lane, batch: Batch, voucher: Voucher) -> None:
    """Raise unless the voucher's totals are the lane's plus the batch's sums."""
    sums = batch.sums
    expected = (
        lane.last_seq + sums.calls,
        lane.cum_in + sums.tokens_in,
        lane.cum_cached + sums.tokens_cached,
        lane.cum_out + sums.tokens_out,
        lane.cum_amount + sums.amount,
    )
    stated = (
        voucher.cum_calls,
        voucher.cum_in,
        voucher.cum_cached,
        voucher.cum_out,
        voucher.cum_amount,
    )
    if stated != expected:
        raise CumulativeMismatch(
            f"The voucher states calls, in, cached, out, amount {stated} and the lane plus the "
            f"batch is {expected}; send the voucher for this batch."
        )


def require_value(lane: Lane, batch: Batch) -> None:
    """Raise unless calls with these token sums can cost this much (assets settled point 3)."""
    low, high = value_bounds(lane.price, batch.sums)
    if not low <= batch.sums.amount <= high:
        raise ValueOutOfBounds(
            f"The batch is worth {low} to {high} grains at the lane's price, not "
            f"{batch.sums.amount}; recompute the receipts' costs."
        )


def require_covered(channel: Channel, amount: int) -> None:
    """Raise Overdrawn when the deposit does not cover another `amount` (settled point 2)."""
    if amount > channel.escrow:
        raise Overdrawn(
            f"The deposit has {channel.escrow} grains left and {amount} are claimed; the payer "
            "has to top the channel up first."
        )


def require_bucket(params: IndexParams, lane: Lane, bucket: int, height: int) -> None:
    """Raise unless the bucket of service is recent and not before the lane's (markets 0a.15)."""
    if not index.accepts(params, bucket, height) or bucket < lane.bucket:
        now = index.bucket_of(params, height)
        low = max(lane.bucket, now - params.claim_lag_buckets)
        raise BucketOutOfRange(
            f"The bucket of service is {bucket} and this block accepts {low} to {now}; claim in "
            "order and within the lag."
        )


def book(ctx: TxContext, channel: Channel, lane: Lane, batch: Batch, *, cosigned: bool) -> None:
    """Move the batch's value from escrow to pending and queue its release."""
    state, sums = ctx.state, batch.sums
    release_height = ctx.height + ctx.params.inference.dispute_window_blocks
    key = (batch.channel_id, batch.lane_no, batch.from_seq)
    CHANNELS.put(state, batch.channel_id, replace(channel, claimed=channel.claimed + sums.amount))
    LANES.put(
        state,
        (batch.channel_id, batch.lane_no),
        replace(
            lane,
            last_seq=batch.to_seq,
            cum_in=lane.cum_in + sums.tokens_in,
            cum_cached=lane.cum_cached + sums.tokens_cached,
            cum_out=lane.cum_out + sums.tokens_out,
            cum_amount=lane.cum_amount + sums.amount,
            bucket=batch.bucket,
            pending=lane.pending + 1,
        ),
    )
    BATCHES.put(
        state,
        key,
        BatchRow(
            to_seq=batch.to_seq,
            bucket=batch.bucket,
            sum_root=batch.sum_root,
            sums=sums,
            removed=NO_SUMS,
            release_height=release_height,
            released_height=0,
            status=BatchStatus.PENDING,
            cosigned=cosigned,
            held=False,
            demands_open=0,
            data_ref=batch.data_ref,
        ),
    )
    RELEASES.push(state, release_height, batch_entry(key))
    shift(state, escrow=-sums.amount, pending=sums.amount)
    ctx.emit(
        events.BatchClaimed(
            batch.channel_id,
            batch.lane_no,
            batch.from_seq,
            batch.to_seq,
            batch.bucket,
            batch.sum_root,
            sums,
            release_height,
        )
    )
