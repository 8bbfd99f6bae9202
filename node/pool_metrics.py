"""What Prometheus is told of the mempool: what waits, what got in, what did not, what had to go.

Codes are those of the errors (docs/reference.md), so they are few whatever is sent.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.mempool import Mempool


def _by_code() -> Counter[str]:
    return Counter()


@dataclass(slots=True)
class PoolCounts:
    """Totals since the start; they only grow."""

    admitted: int = 0
    refused: Counter[str] = field(default_factory=_by_code)
    """Transactions that were not let in, by the code of the reason."""
    dropped: Counter[str] = field(default_factory=_by_code)
    """Transactions that were let in and had to go again without a block, by the code."""


class PoolCollector(Collector):
    """The mempool of one node, as it is when somebody looks."""

    def __init__(self, mempool: Mempool, counts: PoolCounts) -> None:
        self._mempool = mempool
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        counts = self._counts
        yield GaugeMetricFamily(
            "sahara_mempool_transactions",
            "Transactions that wait for a block.",
            value=len(self._mempool),
        )
        yield GaugeMetricFamily(
            "sahara_mempool_bytes", "Their size on the wire.", value=self._mempool.bytes_held
        )
        yield CounterMetricFamily(
            "sahara_mempool_admitted", "Transactions that were let in.", value=counts.admitted
        )
        for name, meaning, totals in (
            ("refused", "Transactions that were not let in, by the code of why.", counts.refused),
            ("dropped", "Transactions let in that had to go again, by the code.", counts.dropped),
        ):
            family = CounterMetricFamily(f"sahara_mempool_{name}", meaning, labels=["code"])
            for code, total in totals.items():
                family.add_metric([code], total)
            yield family
