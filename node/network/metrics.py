"""The network's counters for Prometheus, read whenever somebody looks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.network.transactions import GossipCounts
from p2p.counters import Counters
from p2p.interface import PeerInfo
from p2p.scores import Scores
from p2p.topics import Topic


class Sockets(Protocol):
    """What of a network there is to tell."""

    counters: Counters
    scores: Scores

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now."""
        ...


class Gossip(Protocol):
    """What of transaction gossip there is to tell."""

    counts: GossipCounts

    @property
    def wanted(self) -> int:
        """How many transactions were told of and have not come."""
        ...


class NetworkCollector(Collector):
    """Peers, bytes, messages, drops, bans and verdicts of one node's network."""

    def __init__(self, sockets: Sockets, now_ms: Callable[[], int]) -> None:
        self._sockets = sockets
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        """Yield every family; topics and directions are labels."""
        counters = self._sockets.counters
        peers = GaugeMetricFamily("sahara_p2p_peers", "Nodes connected.", labels=["direction"])
        outbound = [peer.is_outbound for peer in self._sockets.peers()]
        peers.add_metric(["in"], outbound.count(False))
        peers.add_metric(["out"], outbound.count(True))
        yield peers
        banned = len(self._sockets.scores.banned(self._now_ms()))
        yield GaugeMetricFamily("sahara_p2p_bans", "Nodes that are banned now.", value=banned)
        yield from self._traffic(counters)
        yield _by_topic(
            "drops", "Messages that gave way in a full queue.", counters.dropped_messages
        )
        yield _by_topic(
            "requests_refused",
            "Requests of peers beyond what is served to them.",
            counters.requests_refused,
        )
        yield _by_label(
            "verdicts", "verdict", "Messages by what they were worth.", counters.verdicts
        )
        yield _by_label("endings", "code", "Connections that ended, by why.", counters.endings)
        yield _by_label("refused", "code", "Connections not let in, by why.", counters.refused)

    def _traffic(self, counters: Counters) -> Iterator[Metric]:
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


class GossipCollector(Collector):
    """What transaction gossip has told, asked for and brought."""

    def __init__(self, gossip: Gossip) -> None:
        self._gossip = gossip

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield GaugeMetricFamily(
            "sahara_gossip_wanted",
            "Transactions that were told of and have not come.",
            value=self._gossip.wanted,
        )
        ids = CounterMetricFamily(
            "sahara_gossip_transactions",
            "Transactions that messages of gossip were about, by what the message did.",
            labels=["direction", "kind"],
        )
        counts = self._gossip.counts
        for direction, totals in (("in", counts.received), ("out", counts.sent)):
            for kind, total in totals.items():
                ids.add_metric([direction, kind], total)
        yield ids


def _by_topic(name: str, meaning: str, totals: Mapping[Topic, int]) -> Metric:
    family = CounterMetricFamily(f"sahara_p2p_{name}", meaning, labels=["topic"])
    for topic, total in totals.items():
        family.add_metric([topic.name.lower()], total)
    return family


def _by_label(name: str, label: str, meaning: str, totals: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"sahara_p2p_{name}", meaning, labels=[label])
    for value, total in totals.items():
        family.add_metric([value], total)
    return family
