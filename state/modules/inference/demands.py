"""Demands: whoever doubts a leaf can make the operator show it, and pays for the answer.

The demand's bond covers what an answer costs and goes to the operator that answers. A leaf that
nobody shows within `leaf_answer_blocks` counts as false: an equal part of what is left of the batch
is refunded, the operator slashed, and the bond returned (assets settled point 7).
"""

from state.codec import replace
from state.context import BlockContext, TxContext
from state.errors import Malformed
from state.modules import bank, chain
from state.modules.inference import events
from state.modules.inference.disputes import PROOF_WEIGHT, slash_once
from state.modules.inference.errors import (
    AlreadyDemanded,
    BondTooSmall,
    DemandTooLate,
    LeafIsFalse,
    TooManyDemands,
)
from state.modules.inference.leaves import (
    fault_of,
    faults,
    pending_batch,
    refund_leaf,
    require_in_batch,
    require_not_refunded,
    withheld_sums,
)
from state.modules.inference.receipts import LaneNo, ReceiptProof, Seq
from state.modules.inference.records import (
    ANSWERS,
    BATCHES,
    CHANNELS,
    DEMANDS,
    DEMANDS_POT,
    LANES,
    MODULE,
    BatchRow,
    Demand,
    DemandKey,
    demand_entry,
)
from state.modules.inference.release import resume
from state.registry import Message
from state.tables import State
from state.types import Hash, PositiveAmount

ANSWER_BYTES = 1_000
NODE_BYTES = 85
"""Upper bounds of an answer without its path, and of one sibling of the path."""


def bond_min(state: State, row: BatchRow) -> int:
    """Return the grains that answering costs at this block's base fee."""
    weight = PROOF_WEIGHT + ANSWER_BYTES + NODE_BYTES * row.sums.calls.bit_length()
    return weight * chain.base_fee(state)


def settle_unanswered(ctx: BlockContext) -> None:
    """Refund the demanded leaves whose time to be shown ends with this block."""
    limit = ctx.params.inference.due_entries_max
    for entry in ANSWERS.take(ctx.state, ctx.height, limit=limit):
        key: DemandKey = DEMANDS.shape.unpack(entry)
        _withheld(ctx, key, DEMANDS.require(ctx.state, key))


def _withheld(ctx: BlockContext, key: DemandKey, demand: Demand) -> None:
    channel_id, lane_no, from_seq, seq = key
    batch_key = (channel_id, lane_no, from_seq)
    row = _close(ctx, key, BATCHES.require(ctx.state, batch_key))
    bank.move(ctx.state, DEMANDS_POT, demand.account, demand.bond)
    if fault_of(ctx.state, channel_id, lane_no, seq).refunded:
        return  # another proof took the leaf out while the demand was open
    reason = "the operator did not show the leaf in time"
    refund_leaf(ctx, batch_key, row, seq, withheld_sums(row), reason)
    operator = CHANNELS.require(ctx.state, channel_id).operator
    slash_once(ctx, (channel_id, lane_no, seq), operator, demand.account, reason)


def _close(ctx: BlockContext, key: DemandKey, row: BatchRow) -> BatchRow:
    """Delete a demand, and let its batch go on when it was the last one."""
    batch_key = key[:3]
    DEMANDS.delete(ctx.state, key)
    row = resume(ctx, batch_key, replace(row, demands_open=row.demands_open - 1))
    BATCHES.put(ctx.state, batch_key, row)
    return row


@MODULE.tx
class DemandLeaf(Message, tag=0x0524):
    """Demand that the operator of a pending batch shows the leaf at `seq`.

    The bond is at least what the answer costs now, and is lost to the operator when it answers.
    """

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    seq: Seq
    bond: PositiveAmount

    WEIGHT = 150

    def apply(self, ctx: TxContext) -> None:
        """Check the limits, take the bond, start the clock."""
        key = (self.channel_id, self.lane_no, self.from_seq)
        _, row = pending_batch(ctx.state, key, ctx.account)
        if not self.from_seq <= self.seq <= row.to_seq:
            raise Malformed(f"The batch holds seq {self.from_seq} to {row.to_seq}; name one.")
        if ctx.height > row.release_height:
            raise DemandTooLate(f"The dispute window ended at height {row.release_height}.")
        require_not_refunded(ctx.state, key, self.seq)
        if DEMANDS.get(ctx.state, (*key, self.seq)) is not None:
            raise AlreadyDemanded("This leaf is demanded already; wait for the answer.")
        params = ctx.params.inference
        if row.demands_open >= params.leaf_demands_max:
            raise TooManyDemands(
                f"A batch has at most {params.leaf_demands_max} open demands; wait for an answer."
            )
        least = bond_min(ctx.state, row)
        if self.bond < least:
            raise BondTooSmall(
                f"The answer costs up to {least} grains and the bond is {self.bond}; offer more."
            )
        self._open(ctx, row, ctx.height + params.leaf_answer_blocks)

    def _open(self, ctx: TxContext, row: BatchRow, due_height: int) -> None:
        key = (self.channel_id, self.lane_no, self.from_seq, self.seq)
        bank.move(ctx.state, ctx.account, DEMANDS_POT, self.bond)
        DEMANDS.put(ctx.state, key, Demand(ctx.account, self.bond, due_height))
        ANSWERS.push(ctx.state, due_height, demand_entry(key))
        BATCHES.put(ctx.state, key[:3], replace(row, demands_open=row.demands_open + 1))
        ctx.emit(events.LeafDemanded(*key, ctx.account, self.bond, due_height))


@MODULE.tx
class AnswerLeaf(Message, tag=0x0525):
    """Show a demanded leaf; anyone may, and the bond goes to the operator.

    A leaf that breaks a rule is no answer.
    """

    channel_id: Hash
    lane_no: LaneNo
    proof: ReceiptProof

    WEIGHT = PROOF_WEIGHT

    def apply(self, ctx: TxContext) -> None:
        """Check path and leaf, pay the bond out, settle the demand."""
        proof = self.proof
        batch_key = (self.channel_id, self.lane_no, proof.from_seq)
        key = (*batch_key, proof.seq)
        demand = DEMANDS.require(ctx.state, key)
        row = BATCHES.require(ctx.state, batch_key)
        channel = CHANNELS.require(ctx.state, self.channel_id)
        lane = LANES.require(ctx.state, (self.channel_id, self.lane_no))
        require_in_batch(row, proof)
        broken = next(faults(ctx, channel, lane, proof, (self.channel_id, self.lane_no)), None)
        if broken is not None:
            raise LeafIsFalse(f"The leaf answers nothing: {broken}.")
        ANSWERS.drop(ctx.state, demand.due_height, demand_entry(key))
        bank.move(ctx.state, DEMANDS_POT, channel.operator, demand.bond)
        _close(ctx, key, row)
        ctx.emit(events.LeafAnswered(self.channel_id, self.lane_no, proof.seq, proof.receipt.leaf))
