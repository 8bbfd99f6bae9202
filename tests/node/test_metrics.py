"""What `/metrics` shows, and that pages, dashboard and alerts speak of the same names."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from node.devnet.process import NodeWishes, start_node
from node.genesis_file import configs_folder
from node.metrics import NodeMetrics
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
    metrics.watch_storage(tmp_path, lambda prefix: 10 if prefix == b"b" else 0, lambda: 5)
    metrics.watch_tree(lambda: 6)
    metrics.block_final(1, [])
    metrics.block_final(2, [Status.OK, Status.OK, Status.FAILED])
    with metrics.timed("execute"):
        (tmp_path / "file").write_bytes(bytes(77))
    with metrics.written("journal", sync=True), metrics.written("database", sync=False):
        pass
    lines = {*generate_latest(metrics.registry).decode().splitlines()}
    assert lines >= {
        "sahara_height 2.0",
        "sahara_blocks_total 2.0",
        'sahara_transactions_total{status="ok"} 2.0',
        'sahara_transactions_total{status="failed"} 1.0',
        'sahara_transactions_total{status="refused"} 0.0',
        "sahara_block_interval_seconds_count 1.0",
        "sahara_block_interval_seconds_sum 0.25",
        'sahara_stage_seconds_sum{stage="execute"} 0.25',
        'sahara_storage_sync_seconds_sum{file="journal"} 0.75',
        'sahara_storage_write_seconds_sum{file="database"} 0.25',
        "sahara_storage_bytes 77.0",
        "sahara_storage_memory_bytes 5.0",
        "sahara_storage_tree_memory_bytes 6.0",
        'sahara_storage_part_bytes{part="bodies"} 10.0',
        'sahara_storage_part_bytes{part="state"} 0.0',
    }


GROUPS = (
    *("consensus", "p2p", "mempool", "gossip", "stage", "storage", "rpc", "process"),
    *("sync", "state_sync", "pruning"),
)
"""What a node has to tell of, by the first word of the names."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a node tells that runs, and has made blocks."""

    async def read() -> str:
        node = await start_node(tmp_path_factory.mktemp("node") / "home", NodeWishes(funds=()))
        try:
            async with ClientSession() as session, session.get(f"{node.url}/metrics") as answer:
                return await answer.text()
        finally:
            await node.stop()

    return asyncio.run(read())


@pytest.fixture
def families(shown: str) -> dict[str, Metric]:
    found = {family.name: family for family in text_string_to_metric_families(shown)}
    return {name: family for name, family in found.items() if not name.endswith("_created")}


ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


@pytest.fixture
def samples(families: dict[str, Metric]) -> set[str]:
    """The names that queries may use: histograms have three, and counters end in _total."""
    return {
        name + ending
        for name, family in families.items()
        for ending in ENDINGS.get(family.type, ("",))
    }


def named(text: str) -> set[str]:
    """Every name of a metric in an expression."""
    return {*re.findall(r"\bsahara_[a-z0-9_]+\b", text)}


def test_names_begin_alike_and_end_in_their_unit(families: dict[str, Metric]) -> None:
    units = ("seconds", "bytes", "fds", "info")
    nouns = {
        *("height", "blocks", "transactions", "requests", "websockets", "epoch", "view", "mode"),
        *("views", "votes", "admitted", "refused", "dropped", "wanted", "peers", "messages"),
        *("drops", "bans", "verdicts", "endings", "active", "stage", "chunks"),
    }
    for name, family in families.items():
        assert name.startswith("sahara_"), name
        assert name.rsplit("_", 1)[1] in nouns.union(units), name
        assert family.documentation, f"{name} has no HELP"
        assert family.type in ("counter", "gauge", "histogram"), name


def test_every_group_is_told_of(families: dict[str, Metric]) -> None:
    for group in GROUPS:
        assert any(name.startswith(f"sahara_{group}_") for name in families), group


def test_a_running_node_has_counted_what_it_did(families: dict[str, Metric]) -> None:
    def values(name: str) -> dict[tuple[str, ...], float]:
        found = families[name].samples
        return {(one.name, *sorted(one.labels.values())): one.value for one in found}

    modes = values("sahara_consensus_mode")
    assert [mode for mode, is_now in modes.items() if is_now] == [
        ("sahara_consensus_mode", "votes")
    ]
    finality = "sahara_consensus_finality_seconds"
    assert values(finality)[(f"{finality}_count",)] >= 1
    syncs = "sahara_storage_sync_seconds"
    for file in ("journal", "guard", "database"):
        assert values(syncs)[(f"{syncs}_count", file)] >= 1
    assert values("sahara_p2p_peers") == {
        ("sahara_p2p_peers", "in"): 0,
        ("sahara_p2p_peers", "out"): 0,
    }


def test_every_metric_stands_in_the_table_of_the_operations_page(
    families: dict[str, Metric],
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("| metric | meaning |") :].split("\n\n")[0]
    assert named(table) == {*families}


def test_the_dashboard_asks_for_metrics_that_exist(
    families: dict[str, Metric], samples: set[str]
) -> None:
    board = json.loads((configs_folder() / "grafana" / "sahara.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert {*map(bool, asked)} == {True}
    assert named(" ".join(asked)) <= samples
    seen = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named(" ".join(asked))}
    started = "sahara_process_start_time_seconds"
    assert {*families} - seen == {started, "sahara_process_virtual_memory_bytes"}
    assert all('instance=~"$instance"' in expression for expression in asked)
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({*places}) == len(places) == len({panel["id"] for panel in board["panels"]})


def test_alerts_ask_for_metrics_that_exist(samples: set[str]) -> None:
    text = (configs_folder() / "prometheus" / "alerts.yml").read_text()
    rules = re.split(r"^      - alert: ", text, flags=re.MULTILINE)[1:]
    page = (ROOT / "docs" / "operations.md").read_text()
    of_all: set[str] = set()
    for rule in rules:
        (expression,) = re.findall(r"^        expr: (.+)$", rule, re.MULTILINE)
        asked = named(re.sub(r'"[^"]*"', "", expression))
        assert asked <= samples
        of_all |= asked
        assert asked or expression.startswith("up{")
        assert {"severity:", "summary:", "action:"} <= {*re.findall(r"\w+:", rule)}
        assert f"`{rule.split()[0]}`" in page
    for group in ("consensus", "p2p", "mempool", "storage", "process", "sync", "state_sync"):
        assert any(name.startswith(f"sahara_{group}_") for name in of_all), group
