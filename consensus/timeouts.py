"""How long each step waits, and the pace of blocks (consensus 2.4).

All base times are fixed; back-off is local and serves only progress, never safety. Integers in
milliseconds throughout.
"""

from dataclasses import dataclass

from state.finality import NULLIFICATIONS_MAX

BACKOFF_STEPS_MAX = 20
"""More steps reach every cap that is set."""
NEVER = 2**62
"""A time that does not come."""
GAP_FREE_VIEWS = 256
"""Views in a row may be nullified as fast as they fail; from here on each takes its time."""
GAP_STEP_VIEWS = 64
"""Then the wait before Nullify doubles with every so many further views."""
VIEWS_UNDER_WAY_MAX = 3
"""While a message is under way, so many views may begin."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long blocks wait: while transactions are pending, and while none are."""

    block_interval_ms_min: int
    idle_interval_ms: int

    def __post_init__(self) -> None:
        """Hold the relation that pacing rests on."""
        assert 0 <= self.block_interval_ms_min <= self.idle_interval_ms, "busy is not slower"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The bound on one-way delay and what follows from it; settled point 21 gives the profiles."""

    delta_ms: int = 1_000
    retry_ms: int = 2_000
    backoff_ms_max: int = 30_000
    status_ms: int = 2_000
    future_ms_max: int = 500
    """A proposal's time may lie so far ahead of the local clock (settled point 16)."""
    skip_ms: int = 10_000
    """A leader silent for so long, while a quorum was active, is not waited for (R4)."""

    def __post_init__(self) -> None:
        """Hold the relations that progress rests on."""
        assert self.delta_ms > 0, "delays are bounded by something"
        assert self.retry_ms > 0, "retries are spaced"
        assert self.skip_ms > self.advance_ms(0), "a view may fail without its leader being away"
        assert self.skip_ms > self.retry_ms, "whoever lost a message has sent it again by then"
        assert self.backoff_ms_max >= 3 * self.delta_ms, "back-off never shortens a wait"

    def _scaled(self, base_ms: int, failed_views: int) -> int:
        """Return the base times 1.5 for each failed view in a row, up to the cap."""
        scaled = base_ms
        for _ in range(min(failed_views, BACKOFF_STEPS_MAX)):
            scaled += scaled // 2
        return min(scaled, max(base_ms, self.backoff_ms_max))

    def proposal_ms(self, failed_views: int) -> int:
        """Return t_l: how long a proposal may take after it was due."""
        return self._scaled(2 * self.delta_ms, failed_views)

    def advance_ms(self, failed_views: int) -> int:
        """Return t_a: how long a view may take after its proposal was due; longer than t_l."""
        return self._scaled(3 * self.delta_ms, failed_views) + self.delta_ms

    def nullify_wait_ms(self, gap: int) -> int:
        """Return how long a view must last before Nullify when `gap` views before it failed.

        Proposals do not wait. A justification holds one nullification for each skipped view, so
        their number is bounded; and lest the bound be reached while a leader may still come back,
        the waits before it add up to three months with the times of the main network.
        """
        if gap >= NULLIFICATIONS_MAX:
            return NEVER
        if gap < GAP_FREE_VIEWS:
            return 0
        return self.backoff_ms_max << (gap - GAP_FREE_VIEWS) // GAP_STEP_VIEWS

    @property
    def relay_ms(self) -> int:
        """How long a certificate waits for those who may have it already (settled point 13)."""
        return self.delta_ms // 2


DEVNET = Timeouts(200, 500, 4_000, 1_000, 500, 2_000)
MAINNET = Timeouts()
