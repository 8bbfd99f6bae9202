"""Why the inference module refuses: one leaf a reason, each with a stable code.

Rejected
├── channels  ChannelIsClosed ExpiryOutOfRange LaneUnsettled NotAParty NotDirect TotalsDiffer
├── lanes     PriceTooHigh PriceNotInForce LicenceUnknown LaneOutOfOrder LaneLimit LaneIsClosed
├── claims    VoucherMismatch StaleVoucher SequenceGap CumulativeMismatch Overdrawn
│             ValueOutOfBounds BucketOutOfRange WrongSigner ClaimTooLate
├── disputes  NotPending Cosigned ProofInvalid LeafIsTrue LeafIsFalse NoEquivocation AlreadyProven
├── demands   BondTooSmall TooManyDemands DemandTooLate AlreadyDemanded
└── bonds     UnbondingUnderWay
"""

from state.errors import Rejected


class ChannelIsClosed(Rejected):
    """The channel is closed, closing or expired, and takes no more of this."""

    code = "inference.channel_closed"


class ExpiryOutOfRange(Rejected):
    """A channel's expiry lies behind, or further ahead than the chain allows."""

    code = "inference.expiry_out_of_range"


class LaneUnsettled(Rejected):
    """A lane still has batches that are not released."""

    code = "inference.lane_unsettled"


class NotAParty(Rejected):
    """The account is neither side of the channel, or not the side that may ask for this."""

    code = "inference.not_a_party"


class NotDirect(Rejected):
    """A direct call was addressed as a channel, or a channel as a direct call."""

    code = "inference.wrong_kind"


class TotalsDiffer(Rejected):
    """The final totals that both sides signed are not those of the lanes."""

    code = "inference.totals_differ"


class PriceTooHigh(Rejected):
    """A component of the price row exceeds the channel's maximum."""

    code = "inference.price_too_high"


class PriceNotInForce(Rejected):
    """The price row is another operator's, or takes effect later."""

    code = "inference.price_not_in_force"


class LicenceUnknown(Rejected):
    """A lane names a licence that the chain does not hold."""

    code = "inference.licence_unknown"


class LaneOutOfOrder(Rejected):
    """Lanes are numbered from 0 without gaps."""

    code = "inference.lane_out_of_order"


class LaneLimit(Rejected):
    """The channel holds as many open lanes as it may."""

    code = "inference.lane_limit"


class LaneIsClosed(Rejected):
    """The lane is closed and takes no more claims."""

    code = "inference.lane_closed"


class VoucherMismatch(Rejected):
    """Voucher and batch do not speak of the same calls."""

    code = "inference.voucher_mismatch"


class StaleVoucher(Rejected):
    """Everything up to the voucher's last seq was claimed before."""

    code = "inference.stale_voucher"


class SequenceGap(Rejected):
    """The batch does not begin right behind the last claimed seq."""

    code = "inference.sequence_gap"


class CumulativeMismatch(Rejected):
    """The voucher's totals are not the lane's totals plus the batch's sums."""

    code = "inference.cumulative_mismatch"


class Overdrawn(Rejected):
    """The lanes of the channel would claim more than was deposited."""

    code = "inference.overdrawn"


class ValueOutOfBounds(Rejected):
    """No calls with these token sums can have this value at the lane's price."""

    code = "inference.value_out_of_bounds"


class BucketOutOfRange(Rejected):
    """The bucket of service lies ahead, too far behind, or before the lane's last one."""

    code = "inference.bucket_out_of_range"


class WrongSigner(Rejected):
    """A signature is valid, but not of the key that has to sign here."""

    code = "inference.wrong_signer"


class ClaimTooLate(Rejected):
    """The channel's claim window is over."""

    code = "inference.claim_too_late"


class NotPending(Rejected):
    """The batch is released, so that nothing of it can be refunded."""

    code = "inference.not_pending"


class Cosigned(Rejected):
    """The payer co-signed the root, and with it every leaf."""

    code = "inference.cosigned"


class ProofInvalid(Rejected):
    """The path does not lead from this receipt to the batch's root and totals."""

    code = "inference.proof_invalid"


class LeafIsTrue(Rejected):
    """The accused leaf obeys every rule."""

    code = "inference.leaf_is_true"


class LeafIsFalse(Rejected):
    """The leaf that was shown breaks a rule, so that it answers nothing."""

    code = "inference.leaf_is_false"


class NoEquivocation(Rejected):
    """The two Responses are the same, or not both the operator's for one seq."""

    code = "inference.no_equivocation"


class AlreadyProven(Rejected):
    """This leaf was refunded before, or the operator slashed for it."""

    code = "inference.already_proven"


class BondTooSmall(Rejected):
    """A demand's bond does not cover what the answer costs, or an operator's bond its duty."""

    code = "inference.bond_too_small"


class TooManyDemands(Rejected):
    """The batch has as many open demands as it may."""

    code = "inference.too_many_demands"


class DemandTooLate(Rejected):
    """The time to demand, or to answer, is over."""

    code = "inference.demand_too_late"


class AlreadyDemanded(Rejected):
    """This leaf is demanded already."""

    code = "inference.already_demanded"


class UnbondingUnderWay(Rejected):
    """The operator already has an unbonding that has not ended."""

    code = "inference.unbonding_under_way"
