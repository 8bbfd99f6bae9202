"""What Prometheus is told of peers, as nodes in memory make it."""

from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from node.network.metrics import GossipCollector, NetworkCollector
from node.network.transactions import GossipCounts
from p2p.counters import count
from p2p.interface import Delivery, Request
from p2p.memory import Hub, MemoryNetwork
from p2p.scores import Verdict
from p2p.topics import Topic


class Judge:
    """A handler that finds every message of this worth."""

    def __init__(self) -> None:
        self.verdict = Verdict.USEFUL

    def on_message(self, delivery: Delivery) -> None:
        delivery.settle(self.verdict)

    def on_request(self, request: Request) -> None:
        request.refuse("nothing")

    def on_peer_up(self, peer_id: bytes) -> None:
        pass

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        pass


async def test_peers_traffic_verdicts_and_bans_are_told() -> None:
    hub, judge = Hub(), Judge()
    one, other = (
        MemoryNetwork(hub, bytes([at]) * 32, b"g" * 32, judge, lambda _: False) for at in (1, 2)
    )
    for network in (one, other):
        await network.start()
    registry = CollectorRegistry()
    registry.register(NetworkCollector(other, lambda: hub.now_ms))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"sahara_p2p_{name}", labels)

    assert (value("peers", direction="in"), value("peers", direction="out")) == (1, 0)
    one.send(other.node_id, Topic.CONSENSUS, b"vote")
    other.send(one.node_id, Topic.TRANSACTIONS, b"ids")
    hub.run()
    assert value("bytes_total", direction="in", topic="consensus") == 4
    assert value("messages_total", direction="in", topic="consensus") == 1
    assert value("bytes_total", direction="out", topic="transactions") == 3
    assert value("messages_total", direction="out", topic="sync") == 0
    assert value("verdicts_total", verdict="useful") == 1
    assert value("drops_total", topic="blocks") == 0
    other.counters.dropped_messages[Topic.BLOCKS] += 2
    other.counters.requests_refused[Topic.SYNC] += 3
    count(other.counters.endings, "p2p.timeout")
    count(other.counters.refused, "p2p.gate")
    assert value("drops_total", topic="blocks") == 2
    assert value("requests_refused_total", topic="sync") == 3
    assert value("endings_total", code="p2p.timeout") == 1
    assert value("refused_total", code="p2p.gate") == 1
    assert value("bans") == 0
    judge.verdict = Verdict.INVALID
    one.send(other.node_id, Topic.CONSENSUS, b"noise")
    hub.run()
    assert value("bans") == 1
    assert value("verdicts_total", verdict="invalid") == 1
    assert value("peers", direction="in") == 0


def test_gossip_is_told_by_kind_and_direction() -> None:
    gossip: Any = SimpleNamespace(counts=GossipCounts(), wanted=4)
    registry = CollectorRegistry()
    registry.register(GossipCollector(gossip))
    gossip.counts.received["told"] += 5
    gossip.counts.sent["brought"] += 2
    name = "sahara_gossip_transactions_total"
    for direction, kind, total in (("in", "told", 5), ("out", "brought", 2), ("out", "told", 0)):
        labels = {"direction": direction, "kind": kind}
        assert registry.get_sample_value(name, labels) == total
    assert registry.get_sample_value("sahara_gossip_wanted") == 4
