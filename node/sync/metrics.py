"""How a node syncs and serves who syncs, for Prometheus, read whenever somebody looks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.sync.server import SyncServer
from node.sync.syncer import Syncer


class SyncCollector(Collector):
    """Whether a node syncs and how far, and what it gives to others."""

    def __init__(self, syncer: Syncer, server: SyncServer) -> None:
        self._syncer = syncer
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        syncer, server = self._syncer, self._server
        yield GaugeMetricFamily(
            "sahara_sync_active", "1 while blocks come by sync, else 0.", value=syncer.is_syncing
        )
        yield GaugeMetricFamily(
            "sahara_sync_target_height", "The highest height proven.", value=syncer.target_height
        )
        yield CounterMetricFamily(
            "sahara_sync_blocks", "Blocks made final by sync.", value=syncer.blocks
        )
        yield CounterMetricFamily(
            "sahara_sync_served_bytes", "Bytes of answers to who syncs.", value=server.served_bytes
        )
