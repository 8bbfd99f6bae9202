"""What a run measures: block interval and finality, in milliseconds and in network delays.

One delay is the latency where it is constant. Else, for a block with leader L and latencies d, the
best any schedule of three phases could do: p(i) = d(L,i) is when i has the proposal, n(j) when
notarizations of more than two thirds of the stake have reached j, f(j) the same over n. Then
interval_delays = 2 x measured / n(next leader) and finality_delays = 3 x measured / f(j). Both
forms agree under constant latency. Percentiles are by nearest rank, and count from height 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.sim.latency import Latency
from node.sim.world import US_PER_MS
from state.finality import is_quorum
from state.types import Hash

FIRST_HEIGHT = 2


def percentile(samples: Sequence[float], rank: int) -> float | None:
    """Return the nearest-rank percentile, None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * rank // 100) - 1)]


class Limits:
    """The shortest interval and finality that latencies and stakes allow, per leader."""

    def __init__(self, latency: Latency, stakes: Sequence[int]) -> None:
        self._matrix = latency.matrix_us
        self._stakes = stakes
        self._total = sum(stakes)
        self._known: dict[int, tuple[list[int], list[int]]] = {}

    def notarized_us(self, leader: int, validator: int) -> int:
        """n(j): when a notarization can be in that validator's hands."""
        return self._of(leader)[0][validator]

    def finalized_us(self, leader: int, validator: int) -> int:
        """f(j): when a finalization can be in that validator's hands."""
        return self._of(leader)[1][validator]

    def _of(self, leader: int) -> tuple[list[int], list[int]]:
        if leader not in self._known:
            notarized = self._phase(list(self._matrix[leader]))
            self._known[leader] = (notarized, self._phase(notarized))
        return self._known[leader]

    def _phase(self, sent_us: list[int]) -> list[int]:
        """Return when votes sent at these times have reached each validator from a quorum."""
        return [self._covered_us(sent_us, receiver) for receiver in range(len(self._stakes))]

    def _covered_us(self, sent_us: list[int], receiver: int) -> int:
        arrivals = sorted(
            (sent + self._matrix[sender][receiver], self._stakes[sender])
            for sender, sent in enumerate(sent_us)
        )
        stake = 0
        for arrival_us, weight in arrivals:
            stake += weight
            if is_quorum(stake, self._total):
                return arrival_us
        raise AssertionError("all of the stake is a quorum")


@dataclass(frozen=True, slots=True)
class Figures:
    """The samples of a run as percentiles; None where there were none."""

    block_interval_ms_p50: float | None
    block_interval_ms_p99: float | None
    block_interval_delays_p50: float | None
    block_interval_delays_p99: float | None
    finality_ms_p50: float | None
    finality_ms_p99: float | None
    finality_delays_p50: float | None
    finality_delays_p99: float | None


@dataclass
class Measures:
    """Collects when blocks were first proposed and when validators held their finalization."""

    latency: Latency
    limits: Limits
    _proposed: dict[Hash, tuple[int, int]] = field(default_factory=dict)
    _final: dict[int, Hash] = field(default_factory=dict)
    _finality: list[tuple[int, Hash, int, int]] = field(default_factory=list)

    def proposed(self, block_id: Hash, leader: int, now_us: int) -> None:
        """A Propose of this block leaves its leader; only the first time counts."""
        self._proposed.setdefault(block_id, (now_us, leader))

    def finalized(self, height: int, block_id: Hash, validator: int, now_us: int) -> None:
        """An honest validator that is up holds the finalization of this block from now on."""
        self._final.setdefault(height, block_id)
        if height >= FIRST_HEIGHT and block_id in self._proposed:
            self._finality.append((height, block_id, validator, now_us))

    def figures(self) -> Figures:
        """Return the percentiles of everything collected."""
        intervals = self._intervals()
        samples = [self._finality_sample(*sample[1:]) for sample in self._finality]
        interval_ms = [us / US_PER_MS for us, _ in intervals]
        interval_delays = [delays for _, delays in intervals if delays is not None]
        finality_ms = [us / US_PER_MS for us, _ in samples]
        finality_delays = [delays for _, delays in samples if delays is not None]
        return Figures(
            percentile(interval_ms, 50),
            percentile(interval_ms, 99),
            percentile(interval_delays, 50),
            percentile(interval_delays, 99),
            percentile(finality_ms, 50),
            percentile(finality_ms, 99),
            percentile(finality_delays, 50),
            percentile(finality_delays, 99),
        )

    def _intervals(self) -> list[tuple[int, float | None]]:
        found: list[tuple[int, float | None]] = []
        for height, block_id in sorted(self._final.items()):
            following = self._proposed.get(self._final.get(height + 1, b""))
            own = self._proposed.get(block_id)
            if height < FIRST_HEIGHT or own is None or following is None:
                continue
            measured_us = following[0] - own[0]
            limit_us = self.limits.notarized_us(own[1], following[1])
            found.append((measured_us, self._delays(measured_us, 2, limit_us)))
        return found

    def _finality_sample(
        self, block_id: Hash, validator: int, now_us: int
    ) -> tuple[int, float | None]:
        proposed_us, leader = self._proposed[block_id]
        limit_us = self.limits.finalized_us(leader, validator)
        measured_us = now_us - proposed_us
        return measured_us, self._delays(measured_us, 3, limit_us)

    def _delays(self, measured_us: int, phases: int, limit_us: int) -> float | None:
        """Return a time in network delays, None where the network has no delay to compare with."""
        if self.latency.constant_us is not None:
            return measured_us / self.latency.constant_us
        return phases * measured_us / limit_us if limit_us else None
