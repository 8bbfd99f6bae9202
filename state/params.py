"""Parameters of the chain: what governance may set, with bounds, and relations asserted at once.

Defaults are the mainnet profile of the design; configs/chains/*/params.toml overrides by name.
Heights and counts are in blocks, shares in basis points or parts per million, amounts in grains.
"""

from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.errors import Malformed
from state.types import Amount, Bps, Count, Ppm

Blocks = Annotated[int, Meta(ge=1, le=10**9)]
Gap = Annotated[int, Meta(ge=1, le=2**62)]
"""Milliseconds between the times of two blocks."""


BASE_FEE_MAX = 2**62
"""Grains per weight unit that the base fee never passes, so that it stays within bounds at rest."""

BLOCK_BYTES_MAX = 15 * 2**20
"""Transactions in a block, at most: with votes and evidence they fit into a body of 16 MiB."""


class FeeParams(Struct):
    """The base fee per weight unit, which follows block fullness in the shape of EIP-1559."""

    base_fee_min: Amount = 1
    base_fee_start: Amount = 1
    base_fee_change_max_ppm: Ppm = 125_000
    block_weight_max: Annotated[int, Meta(ge=10_000, le=10**9)] = 10_000_000
    block_weight_target: Annotated[int, Meta(ge=1, le=10**9)] = 5_000_000
    block_bytes_max: Annotated[int, Meta(ge=10_000, le=BLOCK_BYTES_MAX)] = 2**22
    transaction_bytes_max: Annotated[int, Meta(ge=1_000, le=2**20)] = 2**17
    validity_blocks_max: Blocks = 10_000
    burn_bps: Bps = 5_000

    def check(self) -> None:
        """Raise Malformed unless target and limits fit each other."""
        _require(self.base_fee_min >= 1, "fees.base_fee_min is at least 1")
        _require(self.base_fee_start >= self.base_fee_min, "fees.base_fee_start >= base_fee_min")
        _require(self.base_fee_start <= BASE_FEE_MAX, "fees.base_fee_start <= 2^62")
        _require(
            self.block_weight_target <= self.block_weight_max,
            "fees.block_weight_target <= block_weight_max",
        )
        _require(
            self.transaction_bytes_max <= self.block_bytes_max,
            "fees.transaction_bytes_max <= block_bytes_max",
        )


class StakingParams(Struct):
    """Bonding, epochs and their sets, presence, and what offences cost.

    slash_bps holds the fraction of stake that each offence costs, E1 to E5; reporter_bps is of what
    the offender's own stake loses.
    """

    epoch_blocks: Blocks = 600
    unbonding_blocks: Blocks = 1_814_400
    evidence_blocks: Blocks = 1_209_600
    delegation_min: Amount = 10**9
    self_bond_min: Amount = 10**12
    unbonding_entries_max: Annotated[int, Meta(ge=1, le=64)] = 16
    redelegation_entries_max: Annotated[int, Meta(ge=1, le=64)] = 16
    validators_min: Annotated[int, Meta(ge=1, le=200)] = 4
    validators_max: Annotated[int, Meta(ge=1, le=200)] = 100
    commission_blocks: Blocks = 86_400
    proposer_bps: Bps = 1_000
    participation_blocks: Annotated[int, Meta(ge=2, le=10**6)] = 1_000
    jail_blocks: Blocks = 600
    slash_bps: Annotated[tuple[Bps, ...], Meta(min_length=5, max_length=5)] = (500,) * 5
    reporter_bps: Bps = 2_000
    reporter_reward_max: Amount = 10**12

    def check(self) -> None:
        """Raise Malformed unless stake stays slashable for as long as evidence is taken (2.8.6).

        A set is fixed two epochs before its last block, and evidence against it is taken for
        evidence_blocks after that.
        """
        _require(
            self.evidence_blocks + 2 * self.epoch_blocks <= self.unbonding_blocks,
            "staking.evidence_blocks + 2 x epoch_blocks <= unbonding_blocks",
        )
        _require(
            self.evidence_blocks >= self.epoch_blocks,
            "staking.evidence_blocks >= epoch_blocks",
        )
        _require(
            self.validators_min <= self.validators_max,
            "staking.validators_min <= validators_max",
        )


class SplitParams(Struct):
    """What the protocol keeps of each settled batch before the version's own table (assets C.3)."""

    burn_bps: Bps = 200
    validators_bps: Bps = 400
    audit_bps: Bps = 200
    treasury_bps: Bps = 200

    def check(self) -> None:
        """Raise Malformed when the protocol would keep more than a fifth."""
        _require(self.total_bps <= 2_000, "split: the protocol keeps at most 2,000 bps")

    @property
    def total_bps(self) -> int:
        """Basis points that the protocol keeps in all."""
        return self.burn_bps + self.validators_bps + self.audit_bps + self.treasury_bps

    @property
    def irrecoverable_ppm(self) -> int:
        """The share a self-dealer cannot get back: burn and treasury alone (markets 0a.12)."""
        return (self.burn_bps + self.treasury_bps) * 100


class AssetParams(Struct):
    """Models, datasets, and the limits of their lineage."""

    model_stake_min: Amount = 0
    parents_max: Annotated[int, Meta(ge=0, le=16)] = 8
    ancestors_max: Annotated[int, Meta(ge=0, le=64)] = 64
    stack_bps_max: Bps = 5_000
    datasets_max: Annotated[int, Meta(ge=0, le=64)] = 32
    price_delay_blocks: Blocks = 10
    transfer_blocks: Blocks = 7_200


CLAIM_WEIGHT_MIN = 625
"""No claim or answer, whatever it shares its envelope with, weighs less; each causes a release."""

ENTRY_WEIGHT_MIN = 160
"""No demand, and nothing that opens a channel or asks a bond back, weighs less than this."""


class InferenceParams(Struct):
    """Channels, claims and disputes (assets C.1, C.2).

    release_batches_max and due_entries_max bound what one block serves of each queue.
    """

    lanes_max: Annotated[int, Meta(ge=1, le=32)] = 32
    expiry_blocks: Blocks = 2_592_000
    claim_window_blocks: Blocks = 7_200
    dispute_window_blocks: Blocks = 1_800
    leaf_answer_blocks: Blocks = 100
    leaf_demands_max: Annotated[int, Meta(ge=1, le=64)] = 8
    direct_timeout_blocks: Blocks = 600
    release_batches_max: Annotated[int, Meta(ge=1, le=10**6)] = 16_000
    due_entries_max: Annotated[int, Meta(ge=1, le=10**6)] = 62_500
    operator_unbonding_blocks: Blocks = 14_400
    operator_slash_bps: Bps = 2_000
    reporter_bps: Bps = 1_000

    def check(self) -> None:
        """Raise Malformed unless demands can be answered, and bonds outlast disputes."""
        _require(
            self.leaf_answer_blocks + 2 < self.dispute_window_blocks,
            "inference.leaf_answer_blocks + 2 < dispute_window_blocks",
        )
        _require(
            self.operator_unbonding_blocks >= self.dispute_window_blocks + self.leaf_answer_blocks,
            "inference.operator_unbonding_blocks >= dispute_window_blocks + leaf_answer_blocks",
        )


class IndexParams(Struct):
    """Caps and bucket rules shared by every demand index (markets 2.3, 0a.13-15)."""

    bucket_blocks: Blocks = 600
    claim_lag_buckets: Annotated[int, Meta(ge=0, le=10_000)] = 24
    payer_cap_units: Amount = 10**9
    payer_cap_units_per_bonded_age: Amount = 1
    provider_cap_units: Amount = 0
    provider_cap_units_per_bonded_grain: Amount = 1_000
    winsor_ppm: Annotated[int, Meta(ge=0, le=10**9)] = 1_500_000
    winsor_history: Annotated[int, Meta(ge=1, le=365)] = 30


class FuturesParams(Struct):
    """Limits and rates of every futures market (markets 2.5-2.12)."""

    epoch_blocks: Blocks = 600
    safety: Annotated[int, Meta(ge=2, le=100)] = 2
    open_interest_target_lots: Annotated[int, Meta(ge=100, le=10**9)] = 2_000
    listing_history_buckets: Annotated[int, Meta(ge=0, le=10_000)] = 30
    listing_bond: Amount = 10**12
    price_cap_multiple_max: Annotated[int, Meta(ge=2, le=10**6)] = 100
    opening_blocks: Annotated[int, Meta(ge=0, le=10**6)] = 10
    initial_margin_ppm: Ppm = 200_000
    maintenance_margin_ppm: Ppm = 100_000
    range_floor_ppm: Ppm = 100_000
    band_ppm: Ppm = 100_000
    mark_clamp_ppm: Ppm = 50_000
    auction_blocks: Annotated[int, Meta(ge=0, le=10**6)] = 60
    auction_blocks_max: Annotated[int, Meta(ge=0, le=10**6)] = 300
    breaker_blocks: Annotated[int, Meta(ge=0, le=600)] = 120
    breaker_ppm: Ppm = 150_000
    gap_ms: Annotated[tuple[Gap, ...], Meta(max_length=8)] = (10_000, 60_000, 600_000, 3_600_000)
    gap_auction_blocks: Annotated[tuple[Blocks, ...], Meta(max_length=8)] = (60, 300, 3_600, 3_600)
    stale_blocks: Annotated[int, Meta(ge=0, le=10**6)] = 3
    mark_average_shift: Annotated[int, Meta(ge=0, le=16)] = 2
    mark_stale_blocks: Blocks = 30
    mark_volume_min_lots: Annotated[int, Meta(ge=1, le=10**9)] = 1
    impact_lots: Annotated[int, Meta(ge=1, le=10**9)] = 10
    taker_fee_ppm: Ppm = 500
    maker_rebate_ppm: Ppm = 200
    kept_fee_min_ppm: Ppm = 100
    liquidation_fee_ppm: Ppm = 15_000
    liquidation_clip_lots: Count = 10
    liquidation_clip_ppm: Ppm = 200_000
    liquidation_depth_ppm: Ppm = 500_000
    insurance_draw_epoch_max: Amount = 10**15
    insurance_fee_share_ppm: Ppm = 500_000
    grace_blocks: Blocks = 1_800
    orders_open_max: Annotated[int, Meta(ge=1, le=10_000)] = 200
    order_lots_max: Annotated[int, Meta(ge=1, le=10**9)] = 100_000
    settle_positions_max: Annotated[int, Meta(ge=1, le=10**6)] = 5_000
    subaccounts_max: Annotated[int, Meta(ge=1, le=10**6)] = 1_024
    markets_max: Annotated[int, Meta(ge=1, le=10_000)] = 256

    def check(self) -> None:
        """Raise Malformed unless the margin relations of markets 0a.1 hold."""
        _require(
            self.maintenance_margin_ppm < self.initial_margin_ppm,
            "futures.maintenance_margin_ppm < initial_margin_ppm",
        )
        _require(
            self.range_floor_ppm <= self.maintenance_margin_ppm,
            "futures.range_floor_ppm <= maintenance_margin_ppm",
        )
        _require(
            0 < self.band_ppm <= self.range_floor_ppm,
            "0 < futures.band_ppm <= range_floor_ppm",
        )
        _require(
            0 < 2 * self.mark_clamp_ppm <= self.range_floor_ppm,
            "0 < 2 x futures.mark_clamp_ppm <= range_floor_ppm",
        )
        _require(
            self.auction_blocks <= self.auction_blocks_max,
            "futures.auction_blocks <= auction_blocks_max",
        )
        _require(
            self.breaker_blocks == 0 or (self.auction_blocks > 0 and self.breaker_ppm > 0),
            "futures.auction_blocks > 0 and breaker_ppm > 0 where breaker_blocks > 0",
        )
        _require(
            list(self.gap_ms) == sorted({gap: True for gap in self.gap_ms}),
            "futures.gap_ms rises",
        )
        _require(
            len(self.gap_auction_blocks) == len(self.gap_ms),
            "futures.gap_auction_blocks has one length for each of gap_ms",
        )
        _require(
            self.maker_rebate_ppm + self.kept_fee_min_ppm <= self.taker_fee_ppm,
            "futures.maker_rebate_ppm + kept_fee_min_ppm <= taker_fee_ppm",
        )


class Params(Struct):
    """Every parameter of a chain, by module."""

    fees: FeeParams = FeeParams()
    staking: StakingParams = StakingParams()
    split: SplitParams = SplitParams()
    assets: AssetParams = AssetParams()
    inference: InferenceParams = InferenceParams()
    index: IndexParams = IndexParams()
    futures: FuturesParams = FuturesParams()

    def check(self) -> None:
        """Raise Malformed, naming the relation, unless all parameters fit each other."""
        self.fees.check()
        self.staking.check()
        self.split.check()
        self.inference.check()
        self.futures.check()
        self._check_queues()

    def _check_queues(self) -> None:
        """Raise Malformed unless a block serves whatever one block can bring into a queue.

        Otherwise a flood of cheap claims would hold back everybody's releases, past the height at
        which a future settles on them.
        """
        weight = self.fees.block_weight_max
        _require(
            self.inference.release_batches_max * CLAIM_WEIGHT_MIN >= weight,
            f"inference.release_batches_max x {CLAIM_WEIGHT_MIN} >= fees.block_weight_max",
        )
        _require(
            self.inference.due_entries_max * ENTRY_WEIGHT_MIN >= weight,
            f"inference.due_entries_max x {ENTRY_WEIGHT_MIN} >= fees.block_weight_max",
        )


def _require(holds: bool, relation: str) -> None:
    if not holds:
        raise Malformed(f"The parameters break the relation {relation}; change one of them.")
