"""How a node that began with a snapshot got it, for Prometheus, read whenever somebody looks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.snapshot.progress import STAGES, StateSync


class StateSyncCollector(Collector):
    """Where the state sync is, or how it ended."""

    def __init__(self, progress: StateSync) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        """Yield every family; of the stages one is 1, and none where no snapshot was needed."""
        progress = self._progress
        yield GaugeMetricFamily(
            "sahara_state_sync_active",
            "1 while an empty home waits for a snapshot, else 0.",
            value=progress.is_active,
        )
        stages = GaugeMetricFamily(
            "sahara_state_sync_stage", "1 for where it is, or how it ended.", labels=["stage"]
        )
        for stage in STAGES:
            stages.add_metric([stage], stage == progress.stage)
        yield stages
        yield GaugeMetricFamily(
            "sahara_state_sync_height", "Height of the snapshot.", value=progress.height
        )
        chunks = GaugeMetricFamily(
            "sahara_state_sync_chunks", "Chunks of the snapshot.", labels=["which"]
        )
        chunks.add_metric(["all"], progress.chunks)
        chunks.add_metric(["here"], progress.chunks_here)
        yield chunks
        yield CounterMetricFamily(
            "sahara_state_sync_bytes",
            "Bytes of chunks that peers gave.",
            value=progress.chunk_bytes,
        )
