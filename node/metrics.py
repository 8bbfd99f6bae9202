"""What a node counts and times, for Prometheus.

Every name begins with sahara_ and ends in its unit. A new metric also gets its row in
docs/operations.md, where a test looks for it, and its panel in configs/grafana/sahara.json.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

import cython_ext
from node.clock import Clock
from node.consensus_metrics import ConsensusMetrics
from node.version import VERSION
from state.block import Status

STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BLOCK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


STORAGE_PARTS = {
    "state": (b"s",),
    "tree": (b"t",),
    "headers": (b"h",),
    "bodies": (b"b",),
    "results": (b"o",),
    "transactions": (b"x",),
    "certificates": (b"e", b"i", b"j", b"l", b"p", b"v"),
}
"""The parts of the database by their key prefixes (chain_store.py, finality_store.py)."""


def about_process() -> CollectorRegistry:
    """Return a registry that tells of this program and its process, and nothing of a chain yet."""
    registry = CollectorRegistry()
    about = Gauge("sahara_build_info", "1.", ["version", "kernels"], registry=registry)
    about.labels(VERSION, cython_ext.IMPLEMENTATION).set(1)
    ProcessCollector(namespace="sahara", registry=registry)
    return registry


class NodeMetrics:
    """The node's own metrics; the registry is what `/metrics` shows."""

    def __init__(self, clock: Clock) -> None:
        self.registry = own = about_process()
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
        self._stage = Histogram(
            "sahara_stage_seconds",
            "Time spent in a stage of making a block final.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=own,
        )
        self._writes = Histogram(
            "sahara_storage_write_seconds",
            "Time of a write that does not wait for the disk.",
            ["file"],
            buckets=STAGE_SECONDS,
            registry=own,
        )
        self._syncs = Histogram(
            "sahara_storage_sync_seconds",
            "Time of a write until it is durable.",
            ["file"],
            buckets=STAGE_SECONDS,
            registry=own,
        )
        self.consensus = ConsensusMetrics(clock, own)

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

    def watch_storage(
        self, folder: Path, size_of: Callable[[bytes], int], memory_bytes: Callable[[], int]
    ) -> None:
        """Measure the database, its parts, and its memory whenever somebody looks."""
        gauge = Gauge("sahara_storage_bytes", "Size of the database.", registry=self.registry)
        gauge.set_function(lambda: float(_size_of(folder)))
        memory = Gauge(
            "sahara_storage_memory_bytes",
            "Memory of the database's caches and newest writes.",
            registry=self.registry,
        )
        memory.set_function(lambda: float(memory_bytes()))
        parts = Gauge(
            "sahara_storage_part_bytes",
            "About how much of it is what; the newest writes are not counted.",
            ["part"],
            registry=self.registry,
        )
        for part, prefixes in STORAGE_PARTS.items():
            parts.labels(part).set_function(partial(_sum_of, size_of, prefixes))

    def watch_tree(self, cached_bytes: Callable[[], int]) -> None:
        """Measure what of the state's tree is in memory whenever somebody looks."""
        memory = Gauge(
            "sahara_storage_tree_memory_bytes",
            "Memory of the cached pages of the state's tree.",
            registry=self.registry,
        )
        memory.set_function(lambda: float(cached_bytes()))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time the block under `with` as one run of a stage."""
        with self._observed(self._stage.labels(stage)):
            yield

    @contextmanager
    def written(self, file: str, *, sync: bool) -> Iterator[None]:
        """Time the block under `with` as a write to a file, durable at its end or not."""
        with self._observed((self._syncs if sync else self._writes).labels(file)):
            yield

    @contextmanager
    def _observed(self, histogram: Histogram) -> Iterator[None]:
        begun = self._clock.now_ns()
        yield
        histogram.observe((self._clock.now_ns() - begun) / 1e9)


def _sum_of(size_of: Callable[[bytes], int], prefixes: tuple[bytes, ...]) -> float:
    return float(sum(size_of(prefix) for prefix in prefixes))


def _size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
