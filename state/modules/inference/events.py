"""What subscribers hear of channels, claims, releases, disputes and bonds."""

from state.context import Event
from state.modules.inference.receipts import LaneNo, LaneTerms, Seq, Sums
from state.types import Address, Amount, Count, Hash, Height


class ChannelOpened(Event, tag="inference.channel_opened"):
    """A payer deposited coins for an operator."""

    channel_id: Hash
    payer: Address
    operator: Address
    deposit: Amount
    expiry_height: Height
    direct: bool


class ChannelToppedUp(Event, tag="inference.channel_topped_up"):
    """A payer added to a deposit."""

    channel_id: Hash
    amount: Amount


class ChannelClosing(Event, tag="inference.channel_closing"):
    """One side closes alone; claims are accepted up to close_height."""

    channel_id: Hash
    close_height: Height


class ChannelClosed(Event, tag="inference.channel_closed"):
    """What nobody claimed went back to the payer."""

    channel_id: Hash
    payer: Address
    returned: Amount


class LaneAdded(Event, tag="inference.lane_added"):
    """Payer and operator opened a lane; its number is in the terms."""

    terms: LaneTerms


class LaneClosed(Event, tag="inference.lane_closed"):
    """The operator gave a settled lane up."""

    channel_id: Hash
    lane_no: LaneNo


class BatchClaimed(Event, tag="inference.batch_claimed"):
    """A batch waits for its release; receipts can be proved against its root from now on."""

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    to_seq: Seq
    bucket: Count
    sum_root: Hash
    sums: Sums
    release_height: Height


class BatchReleased(Event, tag="inference.batch_released"):
    """A batch was paid through the split, and counted by the index."""

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    bucket: Count
    sums: Sums


class LeafRefunded(Event, tag="inference.leaf_refunded"):
    """A false or withheld leaf left its batch, and its value went back to the payer."""

    channel_id: Hash
    lane_no: LaneNo
    seq: Seq
    sums: Sums
    reason: str


class LeafDemanded(Event, tag="inference.leaf_demanded"):
    """Somebody wants to see a leaf by due_height; `data_ref` says where leaves are served."""

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    seq: Seq
    account: Address
    bond: Amount
    due_height: Height


class LeafAnswered(Event, tag="inference.leaf_answered"):
    """A demanded leaf was shown, and the demand's bond went to the operator."""

    channel_id: Hash
    lane_no: LaneNo
    seq: Seq
    leaf: Hash


class ReceiptProven(Event, tag="inference.receipt_proven"):
    """A receipt stands in a claimed batch."""

    channel_id: Hash
    lane_no: LaneNo
    seq: Seq
    leaf: Hash
    sums: Sums


class OperatorBonded(Event, tag="inference.operator_bonded"):
    """An operator added to its bond."""

    operator: Address
    amount: Amount


class OperatorUnbonding(Event, tag="inference.operator_unbonding"):
    """An operator takes coins out of its bond; they stay at stake up to unbonded_height."""

    operator: Address
    amount: Amount
    unbonded_height: Height


class OperatorUnbonded(Event, tag="inference.operator_unbonded"):
    """Coins of a bond are free again."""

    operator: Address
    amount: Amount


class OperatorSlashed(Event, tag="inference.operator_slashed"):
    """A proven fault cost an operator part of its bond."""

    operator: Address
    amount: Amount
    reporter: Address
    reward: Amount
    reason: str
