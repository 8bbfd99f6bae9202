"""What `/metrics` shows, and that pages, dashboard and alerts speak of the same names."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest

from node.genesis_file import configs_folder
from node.metrics import NodeMetrics
from node.rpc.server import RpcServer
from state.block import Status

ROOT = Path(__file__).resolve().parents[2]


class StepClock:
    """A quarter of a second passes with every look."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        self._now_ns += 250_000_000
        return self._now_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms()


def test_what_is_counted_and_timed(tmp_path: Path) -> None:
    metrics = NodeMetrics(StepClock())
    metrics.watch_storage(tmp_path)
    metrics.block_final(1, [])
    metrics.block_final(2, [Status.OK, Status.OK, Status.FAILED])
    metrics.mempool(3, 400)
    with metrics.timed("execute"):
        (tmp_path / "file").write_bytes(bytes(77))
    lines = {*generate_latest(metrics.registry).decode().splitlines()}
    assert lines >= {
        "sahara_height 2.0",
        "sahara_blocks_total 2.0",
        'sahara_transactions_total{status="ok"} 2.0',
        'sahara_transactions_total{status="failed"} 1.0',
        'sahara_transactions_total{status="refused"} 0.0',
        "sahara_mempool_transactions 3.0",
        "sahara_mempool_bytes 400.0",
        "sahara_block_interval_seconds_count 1.0",
        "sahara_block_interval_seconds_sum 0.25",
        'sahara_stage_seconds_sum{stage="execute"} 0.25',
        "sahara_storage_bytes 77.0",
    }


@pytest.fixture
def registry(tmp_path: Path, memory_node: Any) -> CollectorRegistry:
    """What a node shows, with everything that adds metrics of its own."""
    metrics = NodeMetrics(StepClock())
    metrics.watch_storage(tmp_path)
    metrics.block_final(1, [])
    metrics.block_final(2, [])
    with metrics.timed("execute"):
        pass
    RpcServer(memory_node, registry=metrics.registry)
    return metrics.registry


def families(registry: CollectorRegistry) -> dict[str, Metric]:
    return {family.name: family for family in registry.collect()}


def samples(registry: CollectorRegistry) -> set[str]:
    """The names that queries may use: histograms have three, and counters end in _total."""
    found = {sample.name for family in registry.collect() for sample in family.samples}
    return {name for name in found if not name.endswith("_created")}


def named(text: str) -> set[str]:
    """Every name of a metric in an expression."""
    return {*re.findall(r"\bsahara_[a-z_]+\b", text)}


def test_names_begin_alike_and_end_in_their_unit(registry: CollectorRegistry) -> None:
    units = ("seconds", "bytes", "fds", "info")
    nouns = {
        *("sahara_height", "sahara_blocks", "sahara_transactions", "sahara_mempool_transactions"),
        *("sahara_rpc_requests", "sahara_rpc_websockets"),
    }
    for name, family in families(registry).items():
        assert name.startswith("sahara_"), name
        assert name in nouns or name.rsplit("_", 1)[1] in units, name
        assert family.documentation, name


def test_every_metric_stands_in_the_table_of_the_operations_page(
    registry: CollectorRegistry,
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("| metric | meaning |") :].split("\n\n")[0]
    assert named(table) == {*families(registry)}


def test_the_dashboard_asks_for_metrics_that_exist(registry: CollectorRegistry) -> None:
    board = json.loads((configs_folder() / "grafana" / "sahara.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert {*map(bool, asked)} == {True}
    assert named(" ".join(asked)) <= samples(registry)
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named(" ".join(asked))}
    started = "sahara_process_start_time_seconds"
    assert {*families(registry)} - shown == {started, "sahara_process_virtual_memory_bytes"}
    assert all('instance=~"$instance"' in expression for expression in asked)
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({*places}) == len(places) == len({panel["id"] for panel in board["panels"]})


def test_alerts_ask_for_metrics_that_exist(registry: CollectorRegistry) -> None:
    text = (configs_folder() / "prometheus" / "alerts.yml").read_text()
    rules = re.split(r"^      - alert: ", text, flags=re.MULTILINE)[1:]
    page = (ROOT / "docs" / "operations.md").read_text()
    assert len(rules) >= 6
    for rule in rules:
        (expression,) = re.findall(r"^        expr: (.+)$", rule, re.MULTILINE)
        asked = named(re.sub(r'"[^"]*"', "", expression))
        assert asked <= samples(registry)
        assert asked or expression.startswith("up{")
        assert {"severity:", "summary:", "action:"} <= {*re.findall(r"\w+:", rule)}
        assert f"`{rule.split()[0]}`" in page
