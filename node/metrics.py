"""What a node counts and times, for Prometheus.

Every name begins with sahara_ and ends in its unit. A new metric also gets its row in
docs/operations.md, where a test looks for it, and its panel in configs/grafana/sahara.json.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

import cython_ext
from node.clock import Clock
from node.version import VERSION
from state.block import Status

STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BLOCK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class NodeMetrics:
    """The node's own metrics; the registry is what `/metrics` shows."""

    def __init__(self, clock: Clock) -> None:
        self.registry = own = CollectorRegistry()
        about = Gauge("sahara_build_info", "1.", ["version", "kernels"], registry=own)
        about.labels(VERSION, cython_ext.IMPLEMENTATION).set(1)
        ProcessCollector(namespace="sahara", registry=own)
        self._clock = clock
        self._height = Gauge("sahara_height", "Height of the last final block.", registry=own)
        self._blocks = Counter("sahara_blocks", "Blocks made final.", registry=own)
        self._transactions = Counter(
            "sahara_transactions", "Transactions in final blocks.", ["status"], registry=own
        )
        self._by_status = {
            status: self._transactions.labels(status.name.lower()) for status in Status
        }
        self._interval = Histogram(
            "sahara_block_interval_seconds",
            "Time from one final block to the next.",
            buckets=BLOCK_SECONDS,
            registry=own,
        )
        self._final_ns: int | None = None
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

    def block_final(self, height: int, statuses: Iterable[int]) -> None:
        """Count a block that has become final, and how its transactions ended."""
        self._height.set(height)
        self._blocks.inc()
        for status in statuses:
            self._by_status[Status(status)].inc()
        now_ns = self._clock.now_ns()
        if self._final_ns is not None:
            self._interval.observe((now_ns - self._final_ns) / 1e9)
        self._final_ns = now_ns

    def watch_storage(self, folder: Path) -> None:
        """Measure the files of the database whenever somebody looks."""
        gauge = Gauge("sahara_storage_bytes", "Size of the database.", registry=self.registry)
        gauge.set_function(lambda: float(_size_of(folder)))

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


def _size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
