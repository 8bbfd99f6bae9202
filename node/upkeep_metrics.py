"""What Prometheus is told of pruning, read whenever somebody looks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.upkeep import Upkeep


class PruningCollector(Collector):
    """How far a node's blocks are pruned, and what that cost."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        pruner, spent = self._upkeep.pruner, self._upkeep.spent
        yield GaugeMetricFamily(
            "sahara_pruning_height", "The lowest height whose block is kept.", value=pruner.floor
        )
        yield CounterMetricFamily(
            "sahara_pruning_blocks", "Blocks that were pruned.", value=pruner.blocks
        )
        yield CounterMetricFamily(
            "sahara_pruning_bytes", "About their bytes.", value=pruner.pruned_bytes
        )
        yield CounterMetricFamily(
            "sahara_pruning_seconds", "Time spent on pruning, rests included.", value=spent.pruning
        )
        yield CounterMetricFamily(
            "sahara_pruning_compaction_seconds",
            "Time spent on giving back the room.",
            value=spent.compacting,
        )
