"""What a node counts and times, for Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from node.clock import Clock

STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class NodeMetrics:
    """The node's own metrics; the registry is what `/metrics` shows."""

    def __init__(self, clock: Clock) -> None:
        self.registry = own = CollectorRegistry()
        self._clock = clock
        self._height = Gauge("sahara_height", "Height of the last final block.", registry=own)
        self._blocks = Counter("sahara_blocks", "Blocks made final.", registry=own)
        self._transactions = Counter(
            "sahara_transactions", "Transactions in final blocks.", registry=own
        )
        self._pending = Gauge(
            "sahara_mempool_transactions", "Transactions that wait for a block.", registry=own
        )
        self._pending_bytes = Gauge("sahara_mempool_bytes", "Their size on the wire.", registry=own)
        self._stage = Histogram(
            "sahara_stage_seconds",
            "Time spent in a stage of making a block final.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=own,
        )

    def block_final(self, height: int, transactions: int) -> None:
        """Count a block that has become final."""
        self._height.set(height)
        self._blocks.inc()
        self._transactions.inc(transactions)

    def mempool(self, transactions: int, size_bytes: int) -> None:
        """Note how much the mempool holds."""
        self._pending.set(transactions)
        self._pending_bytes.set(size_bytes)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time the block under `with` as one run of a stage."""
        begun = self._clock.now_ns()
        yield
        self._stage.labels(stage).observe((self._clock.now_ns() - begun) / 1e9)
