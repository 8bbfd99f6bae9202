"""The settings of simulated engines: time-outs from Δ, and a mempool that is never empty."""

from consensus.timeouts import Pacing, Timeouts

PACING = Pacing(0, 1_000)
"""Blocks wait for nothing (the default pacing of the simulator)."""


def timeouts_for(delta_ms: int) -> Timeouts:
    """Return the time-outs in the proportions of the devnet profile."""
    return Timeouts(
        delta_ms=delta_ms,
        retry_ms=delta_ms * 5 // 2,
        backoff_ms_max=20 * delta_ms,
        status_ms=5 * delta_ms,
        future_ms_max=max(500, 2 * delta_ms),
        skip_ms=10 * delta_ms,
    )
