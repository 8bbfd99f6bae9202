"""The network's counters for Prometheus, read whenever somebody looks."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from p2p.counters import Counters


class NetworkCollector(Collector):
    """Peers, bytes, messages and drops of one node's network."""

    def __init__(self, counters: Counters, peers: Callable[[], int]) -> None:
        self._counters = counters
        self._peers = peers

    def collect(self) -> Iterator[Metric]:
        """Yield every family; topics and directions are labels."""
        counters = self._counters
        yield GaugeMetricFamily("sahara_p2p_peers", "Nodes connected.", value=self._peers())
        carried = CounterMetricFamily(
            "sahara_p2p_bytes", "Bytes of messages.", labels=["direction", "topic"]
        )
        messages = CounterMetricFamily(
            "sahara_p2p_messages", "Messages.", labels=["direction", "topic"]
        )
        for direction, sizes, numbers in (
            ("in", counters.received_bytes, counters.received_messages),
            ("out", counters.sent_bytes, counters.sent_messages),
        ):
            for topic, total in sizes.items():
                labels = [direction, topic.name.lower()]
                carried.add_metric(labels, total)
                messages.add_metric(labels, numbers[topic])
        yield carried
        yield messages
        drops = CounterMetricFamily(
            "sahara_p2p_drops", "Messages that gave way in a full queue.", labels=["topic"]
        )
        for topic, total in counters.dropped_messages.items():
            drops.add_metric([topic.name.lower()], total)
        yield drops
