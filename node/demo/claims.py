"""What anyone can read off the claims: the index as it will be once they are released.

Claims are public as soon as they are in a block, and count one dispute window later. So the chain
itself tells how far the accrued floor will rise in the next block, and where demand points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.client.protocol import Call
from node.demo.profile import WEIGHTS
from state.maths import floor_div, mul_div_floor
from state.modules.futures.records import Contract
from state.modules.index import WindowView
from state.modules.inference.queries import BatchView
from state.modules.inference.receipts import Sums
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Claims:
    """The units of one window: released ones by bucket, and pending ones with their heights."""

    released: tuple[int, ...]
    pending: tuple[tuple[int, int, int], ...]
    """Bucket within the window, release height, units."""

    def floor_ticks(self, height: int, tick_index: int) -> int:
        """Ticks that the index has accrued at `height`, as far as claims tell now."""
        due = sum(units for _, at, units in self.pending if at <= height)
        return floor_div(sum(self.released) + due, tick_index)

    def outlook_ticks(self, tick_index: int) -> int | None:
        """All claims plus their run-rate over the buckets to come; None before the first claim."""
        by_bucket = list(self.released)
        for bucket, _, units in self.pending:
            by_bucket[bucket] += units
        known = max((bucket + 1 for bucket, units in enumerate(by_bucket) if units), default=0)
        if not known:
            return None
        return floor_div(mul_div_floor(sum(by_bucket), len(by_bucket), known), tick_index)


def claim_questions(contract: Contract, channels: Sequence[Hash]) -> list[Call]:
    """What to ask the node about one model's claims."""
    first, stop = contract.win_first_bucket, contract.win_stop_bucket
    over: Call = (
        "index.over",
        {"model_id": contract.model_id, "first_bucket": first, "buckets": stop - first},
    )
    return [over, *(("inference.pending", {"channel_id": channel}) for channel in channels)]


def claims_of(contract: Contract, answers: Sequence[WindowView | list[BatchView]]) -> Claims:
    """Put the answers to `claim_questions` together."""
    over, *waiting = answers
    assert isinstance(over, WindowView), "the first question was for the index"
    first, stop = contract.win_first_bucket, contract.win_stop_bucket
    pending = [
        (view.batch.bucket - first, view.batch.release_height, units_of(view.counted))
        for views in waiting
        if isinstance(views, list)
        for view in views
        if first <= view.batch.bucket < stop
    ]
    return Claims(tuple(bucket.winsorised_units for bucket in over.buckets), tuple(pending))


def units_of(sums: Sums) -> int:
    """Index units of a batch."""
    return (
        sums.tokens_in * WEIGHTS.units_in
        + sums.tokens_cached * WEIGHTS.units_cached
        + sums.tokens_out * WEIGHTS.units_out
    )
