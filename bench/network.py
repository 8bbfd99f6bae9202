"""Finalized transfers a second of a whole network on this machine, through JSON-RPC to every node.

Run as `python -m bench.network [--validators N] [--seconds S] [--mode MODE] [--json [FILE]]`. Each
validator is a process; this one sends. Transfers are signed beforehand, and count when a subscriber
hears of them as final. The limit is what the same cores could do if they only verified one
signature for each transfer and node, measured right before and after; other work on the machine
slows both. `machine_share` tells how much of the cores the run got, and `cpu_us_per_tx_and_node`
what a transfer took of them, which other work changes least.

    sustained   as many transfers as the network takes, for S seconds
    half        that, and then half as many a second: how long finality takes under such a load
    single      one transfer after the other on an idle chain
    burst       50,000 transfers as fast as the nodes admit them
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from nacl.signing import SigningKey
from prometheus_client.parser import text_string_to_metric_families

from bench.load import PENDING_MAX, SENDERS, Batch, Load, Stock, funds, one_at_a_time
from cython_ext import _bare
from node.client import SaharaClient
from node.devnet.process import NodeGroup, NodeWishes, start_nodes

MODES = ("sustained", "half", "single", "burst")
BAR_TX_PER_S = {1: 5_000, 4: 2_000}
BAR_SINGLE_MS = {1: 10}
BAR_HALF_MS = {4: (600, 1_500)}
BAR_HALF_RATE_PERCENT = 90
"""So much of half the load has to become final; else its finality is not one under that load."""

BAR_RSS_MB = 300

WARM_SECONDS = 5.0
RAMP_SECONDS = 2.0
REST_SECONDS = 0.3
BLOCK_TIME_MS = 100
VALID_BLOCKS = 9_000
IN_FLIGHT = 4_096
BURST = 50_000
SINGLES = 30
SIGN_MARGIN = 1.3
"""How many more transfers are signed than the rate before the measurement lets expect."""

FIRST_STOCK_PER_S = 4_000
"""So many a second are signed before the rate is known."""

IDLE_MS = 1_000
LIMIT_ITEMS = 4_000
LIMIT_ROUNDS = 5
MILLISECONDS = 1_000
assert SENDERS * PENDING_MAX >= BURST, "no sender has more pending than it may"


def verify_limit() -> list[float]:
    """Return signatures that this machine verifies in a second on all cores, round by round."""
    cores = len(os.sched_getaffinity(0))
    key, message = SigningKey(b"\x01" * 32), b"\x5a" * 200
    items = [(bytes(key.verify_key), key.sign(message).signature + message)]
    found: list[float] = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(LIMIT_ROUNDS):
            start = time.perf_counter()
            loops = [pool.submit(_bare.verify_loop, items, LIMIT_ITEMS) for _ in range(cores)]
            assert sum(loop.result() for loop in loops) == cores * LIMIT_ITEMS
            found.append(cores * LIMIT_ITEMS / (time.perf_counter() - start))
    return found


class Meter:
    """What the nodes' processes and the traffic between them cost over a stretch of time."""

    def __init__(self, nodes: NodeGroup) -> None:
        self._nodes = nodes
        self._names = [f"node_{index}" for index in range(len(nodes.nodes))]
        self._pids = [node.pid for node in nodes.nodes]
        self.begin()

    def begin(self) -> None:
        """Count from here on."""
        self._began = time.perf_counter()
        self._cpu = self._cpu_seconds()
        self._bytes = self._sent_bytes()

    def _cpu_seconds(self) -> dict[str, float]:
        own = dict(zip([*self._names, "client"], [*self._pids, os.getpid()], strict=True))
        return {name: _cpu_seconds(pid) for name, pid in own.items()}

    def _sent_bytes(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for node in self._nodes.nodes:
            with urllib.request.urlopen(f"{node.url}/metrics", timeout=30) as answer:
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = sample.labels
                    if sample.name == "sahara_p2p_bytes_total" and labels["direction"] == "out":
                        found[labels["topic"]] = found.get(labels["topic"], 0.0) + sample.value
        return found

    def end(self, transfers: int) -> dict[str, Any]:
        """Return what was used since the beginning."""
        cpu, sent = self._cpu_seconds(), self._sent_bytes()
        per_tx = {
            topic: round((total - self._bytes.get(topic, 0.0)) / max(1, transfers), 1)
            for topic, total in sent.items()
        }
        used = {name: cpu[name] - self._cpu[name] for name in cpu}
        wall = time.perf_counter() - self._began
        cores = len(os.sched_getaffinity(0))
        nodes = sum(used[name] for name in self._names)
        return {
            "cpu_seconds": {name: round(seconds, 2) for name, seconds in used.items()},
            "cpu_us_per_tx_and_node": round(nodes * 1e6 / max(1, transfers) / len(self._names), 1),
            "machine_share": round(sum(used.values()) / (wall * cores), 3),
            "wire_bytes_per_tx": round(sum(per_tx.values()), 1),
            "wire_bytes_per_tx_by_topic": per_tx,
        }

    def rss_mb_max(self) -> float:
        """Return the most memory that any node has held at once."""
        return max(_peak_mb(pid) for pid in self._pids)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("VmHWM:")]
    return round(int(found.split()[1]) / 1_024, 1)


def percentile_ms(seconds: list[float], percent: int) -> float | None:
    """Return the nearest-rank percentile in milliseconds, None of nothing."""
    if not seconds:
        return None
    rank = -(-len(seconds) * percent // 100)
    return round(sorted(seconds)[max(0, rank - 1)] * MILLISECONDS, 1)


def finality(seconds: list[float], stretch: float) -> dict[str, Any]:
    """Return rate and percentiles of what became final in a stretch of time."""
    return {
        "tx_per_s": round(len(seconds) / stretch, 1),
        "finality_ms_p50": percentile_ms(seconds, 50),
        "finality_ms_p99": percentile_ms(seconds, 99),
    }


class Run:
    """One network and the measurements made on it."""

    def __init__(self, nodes: NodeGroup, load: Load, given: argparse.Namespace) -> None:
        self._load = load
        self._given = given
        self._urls = [node.url for node in nodes.nodes]
        self._stock = Stock(len(nodes.nodes), nodes.genesis_hash)
        self._meter = Meter(nodes)

    async def measure(self) -> dict[str, Any]:
        """Measure what was asked for."""
        match self._given.mode:
            case "single":
                figures = await self._single()
            case "burst":
                figures = await self._burst()
            case _:
                figures = await self._sustained()
        figures.setdefault("lost", 0)
        figures["refused"] = dict(self._load.refused)
        figures["rss_mb_max"] = self._meter.rss_mb_max()
        return figures

    async def _sign(self, transfers: float) -> list[Iterator[Batch]]:
        async with SaharaClient(self._urls[0]) as client:
            until = (await client.status()).height + VALID_BLOCKS
        await asyncio.to_thread(self._stock.add, int(transfers), until)
        return self._stock.batches

    async def _full(self, per_s: float, seconds: float) -> dict[str, Any]:
        """Keep the network full, and measure after a start that is not counted."""
        load, given = self._load, self._given
        whole = RAMP_SECONDS + seconds
        stock = await self._sign(per_s * whole + given.in_flight)
        self._meter.begin()
        start = time.perf_counter()
        until = start + whole
        await load.keep_full(stock, given.in_flight, until)
        until = min(until, load.ran_out_at)
        used = self._meter.end(len(load.finals.within(start, time.perf_counter())))
        done = load.finals.within(start + RAMP_SECONDS, until)
        left = await load.drained()
        stretch = until - start - RAMP_SECONDS
        return {**finality(done, stretch), "seconds": round(stretch, 1), "lost": left, **used}

    async def _sustained(self) -> dict[str, Any]:
        warm = await self._full(FIRST_STOCK_PER_S, WARM_SECONDS)
        figures = await self._full(SIGN_MARGIN * warm["tx_per_s"], self._given.seconds)
        figures["lost"] = max(warm["lost"], figures["lost"])  # what stays lost is in both
        if self._given.mode == "half":
            figures["half_load"] = await self._half(figures["tx_per_s"] / 2)
            figures["lost"] = max(figures["lost"], figures["half_load"]["lost"])
        return figures

    async def _half(self, per_s: float) -> dict[str, Any]:
        load, seconds = self._load, self._given.seconds
        whole = RAMP_SECONDS + seconds
        stock = await self._sign(per_s * whole)
        start = time.perf_counter()
        await load.send_evenly(stock, per_s, start + whole)
        left = await load.drained()
        stretch = start + RAMP_SECONDS, start + whole
        done = load.finals.within(*stretch)
        # of all that were sent: who looks at what is final in time leaves the slowest ones out
        sent = finality(load.finals.sent_within(*stretch), seconds)
        rate = {"tx_per_s": round(len(done) / seconds, 1), "lost": left}
        return {"asked_per_s": round(per_s, 1), **sent, **rate}

    async def _burst(self) -> dict[str, Any]:
        stock = await self._sign(BURST)
        self._meter.begin()
        start = time.perf_counter()
        await self._load.send_at_once(stock, BURST)
        admitted = time.perf_counter() - start
        left = await self._load.drained()
        stretch = time.perf_counter() - start
        done = self._load.finals.within(start, start + stretch)
        figures = finality(done, stretch)
        return {
            **figures,
            "burst": BURST,
            "final": len(done),
            "lost": left,
            "admitted_seconds": round(admitted, 2),
            "seconds": round(stretch, 2),
            **self._meter.end(len(done)),
        }

    async def _single(self) -> dict[str, Any]:
        self._meter.begin()
        start = time.perf_counter()
        seconds = await one_at_a_time(self._urls[0], SINGLES, REST_SECONDS)
        figures = finality(seconds, time.perf_counter() - start)
        return {**figures, "transfers": len(seconds), **self._meter.end(len(seconds))}


def bars(given: argparse.Namespace, figures: dict[str, Any]) -> dict[str, bool]:
    """Return what of the figures has a bar, and whether it is met."""
    met = {"lost": not figures["lost"], "refused": not figures["refused"]}
    met["final"] = figures["tx_per_s"] > 0
    met["rss_mb"] = figures["rss_mb_max"] <= BAR_RSS_MB
    validators = given.validators
    if given.mode == "single" and validators in BAR_SINGLE_MS:
        met["finality"] = _within(figures["finality_ms_p50"], BAR_SINGLE_MS[validators])
    if given.mode in ("sustained", "half") and validators in BAR_TX_PER_S:
        met["tx_per_s"] = figures["tx_per_s"] >= BAR_TX_PER_S[validators]
    half = figures.get("half_load")
    if half is not None:
        met["half_rate"] = 100 * half["tx_per_s"] >= BAR_HALF_RATE_PERCENT * half["asked_per_s"]
    if half is not None and validators in BAR_HALF_MS:
        p50, p99 = BAR_HALF_MS[validators]
        met["half_p50"] = _within(half["finality_ms_p50"], p50)
        met["half_p99"] = _within(half["finality_ms_p99"], p99)
    return met


def _within(value_ms: float | None, bound_ms: float) -> bool:
    return value_ms is not None and value_ms <= bound_ms


async def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start the network, measure, and stop it."""
    wishes = NodeWishes(
        funds=funds(),
        block_interval_ms_min=given.block_time,
        idle_interval_ms=max(IDLE_MS, given.block_time),
        # as validators run; a devnet checks everything with every block, to find bugs
        flags={"--invariants-every-blocks": 100},
    )
    homes = [folder / f"node-{index}" for index in range(given.validators)]
    limits = verify_limit()
    nodes = await start_nodes(homes, wishes)
    try:
        async with Load([node.url for node in nodes.nodes]) as load:
            figures = await Run(nodes, load, given).measure()
    finally:
        await nodes.stop()
    limit = median([*limits, *verify_limit()]) / given.validators
    return {
        "bench": "network",
        "mode": given.mode,
        "validators": given.validators,
        "cores": len(os.sched_getaffinity(0)),
        "in_flight": given.in_flight,
        "block_interval_ms_min": given.block_time,
        **figures,
        "verify_limit_per_s": round(limit),
        "verify_limit_ratio": round(figures["tx_per_s"] / limit, 4),
        "bars_met": bars(given, figures),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--validators", type=int, default=4, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S")
    parser.add_argument("--mode", choices=MODES, default="sustained")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, metavar="TRANSFERS")
    parser.add_argument("--block-time", type=int, default=BLOCK_TIME_MS, metavar="MS")
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="figures are always printed as JSON; with FILE they are written there, too",
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = uvloop.run(run(given, Path(folder)))
    text = json.dumps(figures, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")
    if not all(figures["bars_met"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
