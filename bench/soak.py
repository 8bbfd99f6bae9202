"""A devnet with traffic for long: memory and open files stay flat, what is on disk is explained.

Run as `python -m bench.soak [--seconds S] [--validators N] [--json FILE] [--plot FILE]`. It runs
`sahara devnet --traffic` as anybody would, looks at every process from outside, and stops it. It is
a measurement with a verdict, not something that a user of the node needs, so it stands here.

Flat is what, over all samples but the first third, grows by no more than a twentieth of itself for
memory, and by no more than a few handles, all processes together: a client that changes its node
takes its connections with it. Memory is what the process has made itself: pages of the database's
files come on top, as many as the system has room for. One part of it has a known size, grows for a
known reason and has a bound of its own, so it is held to that, and the rest has to be flat: cached
pages of the state's tree, as many as the state has until the cache is full. What the database keeps
of its newest writes stays in: it fills and goes every few seconds within room that stays. Disk is
explained when the files of the database are what their parts add up to, and journal, guard and log
are within bounds of their own: what is left after that would grow for a reason that nobody knows.

All that says something only of processes that work: blocks and transactions go on to the end, no
process is another than at first, for one that was started again looks flatter than one that lives,
and all of them answer nearly always.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from node.devnet.errors import DevnetMissing
from node.devnet.process import ROOMS_FOLDER, environment
from node.devnet.state_file import NodeEntry, read_state

EVERY_SECONDS = 5.0
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
WARM_SHARE = 3
"""One sample in so many, the first ones, is not judged."""

MEMORY_GROWTH_PERCENT_MAX = 5
HANDLES_GROWTH_MAX = 8
"""Connections and database files come and go; a leak passes this."""

UNEXPLAINED_BYTES_MAX = 48 * 2**20
"""LevelDB's write-ahead log and table in memory, and files that a compaction has not removed."""

DATABASE_MEMORY_BYTES_MAX = 40 * 2**20
"""Its cache of blocks, 16 MiB, and two tables of 8 MiB that are being written, and a little."""

TREE_MEMORY_BYTES_MAX = 64 * 2**20
"""CACHED_PAGES_MAX pages of a kilobyte."""

JOURNAL_BYTES_MAX = 32 * 2**20
GUARD_BYTES_MAX = 16 * 2**20
LOG_BYTES_PER_S_MAX = 200
STAND_SECONDS_MAX = 30
"""So long a node may have no new block, or no new transaction."""

ANSWERED_PERCENT_MIN = 90
"""So many of the looks, at least, found every process."""

SAMPLES_MIN = 9
TELL_EVERY = 12
"""Samples between two lines of progress."""
MB = 1e6
HOUR = 3_600

F = TypeVar("F", bound="Footprint")


@dataclass(frozen=True, slots=True)
class Footprint:
    """One process at one moment."""

    seconds: float
    rss_bytes: int
    anonymous_bytes: int
    """Without the pages of files, which the system takes back when it needs room."""

    handles: int
    pids: tuple[int, ...]
    """Which process it was, or which they were."""

    @property
    def own_bytes(self) -> int:
        """What has to be flat of its memory."""
        return self.anonymous_bytes


@dataclass(frozen=True, slots=True)
class Sample(Footprint):
    """One node at one moment."""

    height: int
    transactions: int
    data_bytes: int
    journal_bytes: int
    guard_bytes: int
    log_bytes: int
    database_memory_bytes: int
    tree_memory_bytes: int
    parts: dict[str, int]

    @property
    def own_bytes(self) -> int:
        """Memory without the cached pages of the state's tree."""
        return self.anonymous_bytes - self.tree_memory_bytes

    @property
    def stored_bytes(self) -> int:
        """What the parts of the database add up to."""
        return sum(self.parts.values())

    @property
    def unexplained_bytes(self) -> int:
        """What the files of the database hold besides its parts."""
        return self.data_bytes - self.stored_bytes


def take(node: NodeEntry, began: float) -> Sample | None:
    """Look at one node, None while it does not answer."""
    process, home = node.process, Path(node.home)
    if process is None:
        return None
    try:
        with urllib.request.urlopen(f"{node.rpc}/metrics", timeout=10) as answer:
            told = told_by(answer.read().decode())
        at = footprint(process.pid, began)
    except OSError:
        return None
    return Sample(
        at.seconds,
        at.rss_bytes,
        at.anonymous_bytes,
        at.handles,
        at.pids,
        int(told["sahara_height"][""]),
        int(sum(told["sahara_transactions_total"].values())),
        sum(_size(path) for path in (home / "data").iterdir()),
        _size(home / "journal"),
        _size(home / "guard"),
        _size(home / "node.log"),
        int(told["sahara_storage_memory_bytes"][""]),
        int(told["sahara_storage_tree_memory_bytes"][""]),
        {part: int(size) for part, size in told["sahara_storage_part_bytes"].items()},
    )


def footprint(pid: int, began: float) -> Footprint:
    """Look at one process; raises OSError when it is gone."""
    pages, of_files = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    handles = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    rss_bytes, anonymous_bytes = pages * page_bytes, (pages - of_files) * page_bytes
    return Footprint(time.monotonic() - began, rss_bytes, anonymous_bytes, handles, (pid,))


def summed(found: Sequence[Footprint]) -> Footprint:
    """Return what several processes take together, at the moment of the last."""
    return Footprint(
        found[-1].seconds,
        sum(one.rss_bytes for one in found),
        sum(one.anonymous_bytes for one in found),
        sum(one.handles for one in found),
        tuple([pid for one in found for pid in one.pids]),
    )


def told_by(text: str) -> dict[str, dict[str, float]]:
    """Return the samples of metrics by name, then by the value of their one label."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = "".join(sample.labels.values())
            found.setdefault(sample.name, {})[label] = sample.value
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def slope(points: list[tuple[float, float]]) -> float:
    """Return the growth in a second: the median over all pairs, so that no peak moves it."""
    pairs = combinations(points, 2)
    return median([(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1] or [0.0])


def growth(samples: Sequence[Footprint], name: str) -> float:
    """Return by how much a figure grows in a second."""
    return slope([(sample.seconds, getattr(sample, name)) for sample in samples])


def stood_seconds(samples: Sequence[Sample], name: str) -> float:
    """Return the longest that a figure did not rise."""
    since, highest, longest = samples[0].seconds, getattr(samples[0], name), 0.0
    for sample in samples:
        if getattr(sample, name) > highest:
            since, highest = sample.seconds, getattr(sample, name)
        longest = max(longest, sample.seconds - since)
    return longest


def goes_on(samples: Sequence[Sample], name: str) -> bool:
    """Tell whether a figure rises all the time."""
    has_risen = getattr(samples[-1], name) > getattr(samples[0], name)
    return has_risen and stood_seconds(samples, name) <= STAND_SECONDS_MAX


def steady_part(samples: Sequence[F]) -> Sequence[F]:
    """Return the samples that are judged."""
    return samples[len(samples) // WARM_SHARE :]


def judged_process(samples: Sequence[Footprint]) -> dict[str, Any]:
    """Return what a process takes, how that grows, and whether it is flat."""
    steady = steady_part(samples)
    stretch = steady[-1].seconds - steady[0].seconds
    memory, handles = growth(steady, "own_bytes"), growth(steady, "handles")
    memory_max = median(one.own_bytes for one in steady) * MEMORY_GROWTH_PERCENT_MAX / 100
    return {
        "samples": len(samples),
        "seconds_judged": round(stretch),
        "rss_mb": round(steady[-1].rss_bytes / MB, 1),
        "rss_mb_per_hour": round(growth(steady, "rss_bytes") * HOUR / MB, 1),
        "anonymous_mb": round(steady[-1].anonymous_bytes / MB, 1),
        "anonymous_mb_per_hour": round(growth(steady, "anonymous_bytes") * HOUR / MB, 1),
        "own_mb": round(steady[-1].own_bytes / MB, 1),
        "own_mb_per_hour": round(memory * HOUR / MB, 1),
        "handles": steady[-1].handles,
        "handles_per_hour": round(handles * HOUR, 1),
        "held": {
            "memory_flat": memory * stretch <= memory_max,
            "never_restarted": all(one.pids == samples[0].pids for one in samples),
        },
    }


def has_flat_handles(whole: Sequence[Footprint]) -> bool:
    """Tell whether all processes together open no more and more files and connections."""
    steady = steady_part(whole)
    stretch = steady[-1].seconds - steady[0].seconds
    return growth(steady, "handles") * stretch <= HANDLES_GROWTH_MAX


def judged_node(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the same of a node, and what it keeps on disk."""
    process = judged_process(samples)
    steady = steady_part(samples)
    first, last = steady[0], steady[-1]
    stretch = last.seconds - first.seconds
    transactions, blocks = last.transactions - first.transactions, last.height - first.height
    stored = last.stored_bytes - first.stored_bytes
    log_bytes_per_s = growth(steady, "log_bytes")
    held = {
        **process["held"],
        "database_memory_bounded": all(
            one.database_memory_bytes <= DATABASE_MEMORY_BYTES_MAX for one in steady
        ),
        "tree_memory_bounded": all(
            one.tree_memory_bytes <= TREE_MEMORY_BYTES_MAX for one in steady
        ),
        "database_explained": all(
            abs(one.unexplained_bytes) <= UNEXPLAINED_BYTES_MAX for one in steady
        ),
        "journal_bounded": last.journal_bytes <= JOURNAL_BYTES_MAX,
        "guard_bounded": last.guard_bytes <= GUARD_BYTES_MAX,
        "log_quiet": log_bytes_per_s <= LOG_BYTES_PER_S_MAX,
        "blocks_go_on": goes_on(steady, "height"),
        "transactions_go_on": goes_on(steady, "transactions"),
    }
    return {
        **process,
        "blocks": blocks,
        "transactions": transactions,
        "tx_per_s": round(transactions / max(1.0, stretch), 1),
        "stored_mb_per_hour": round(stored * HOUR / MB / max(1.0, stretch), 1),
        "stored_bytes_per_tx": round(stored / max(1, transactions)),
        "stored_bytes_per_block": round(stored / max(1, blocks)),
        "part_bytes_per_tx": {
            part: round((last.parts[part] - first.parts[part]) / max(1, transactions))
            for part in last.parts
        },
        "database_memory_mb": round(last.database_memory_bytes / MB, 1),
        "tree_memory_mb": round(last.tree_memory_bytes / MB, 1),
        "unexplained_mb": round(last.unexplained_bytes / MB, 1),
        "journal_mb": round(last.journal_bytes / MB, 2),
        "guard_mb": round(last.guard_bytes / MB, 2),
        "log_mb_per_hour": round(log_bytes_per_s * HOUR / MB, 3),
        "held": held,
    }


@dataclass(slots=True)
class Taken:
    """All samples of a run."""

    nodes: dict[int, list[Sample]]
    traffic: list[Footprint]
    whole: list[Footprint]
    """Sums over all processes, of the moments at which each of them answered."""
    looks: int
    """How often they were looked at since all of them had answered once."""


def reported(taken: Taken, seconds: float) -> dict[str, Any]:
    """Return the report; whatever has too few samples for a verdict does not hold."""
    found = {
        f"node_{index}": judged_node(samples)
        for index, samples in taken.nodes.items()
        if len(samples) >= SAMPLES_MIN
    }
    if len(taken.traffic) >= SAMPLES_MIN:
        found["traffic"] = judged_process(taken.traffic)
    is_whole = len(found) == len(taken.nodes) + 1 and len(taken.whole) >= SAMPLES_MIN
    held = {
        "handles_flat": is_whole and has_flat_handles(taken.whole),
        "answered": 100 * len(taken.whole) >= ANSWERED_PERCENT_MIN * max(1, taken.looks),
    }
    verdicts = [holds for one in found.values() for holds in one["held"].values()]
    return {
        "bench": "soak",
        "seconds": round(seconds),
        "processes": found,
        "held": held,
        "bar_met": is_whole and all(verdicts) and all(held.values()),
    }


@contextmanager
def devnet(folder: Path, given: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    """Run a devnet with traffic; nothing of it runs afterwards."""
    line = [sys.executable, "-m", "node", "devnet", "--home", str(folder), "--json", "--traffic"]
    wishes = ["--validators", given.validators, "--transfers", given.transfers]
    words = [*line, *map(str, wishes), "--block-time", str(given.block_time)]
    with subprocess.Popen(
        words, cwd=ROOMS_FOLDER, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            finally:
                process.kill()


def soak(folder: Path, given: argparse.Namespace) -> Taken:
    """Sample all processes as long as asked for."""
    taken = Taken({index: [] for index in range(given.validators)}, [], [], 0)
    with devnet(folder, given) as process:
        began = time.monotonic()
        while time.monotonic() < began + given.seconds:
            time.sleep(given.every)
            if process.poll() is not None:
                raise SystemExit(f"The devnet ended by itself: exit code {process.returncode}.")
            try:
                state = read_state(folder)
            except DevnetMissing:
                assert time.monotonic() < began + START_SECONDS_MAX, "the devnet does not start"
                continue
            found: list[Footprint] = []
            for node in state.nodes:
                sample = take(node, began)
                if sample is not None:
                    taken.nodes[node.index].append(sample)
                    found.append(sample)
            if state.traffic is not None and state.traffic.lives:
                taken.traffic.append(footprint(state.traffic.pid, began))
                found.append(taken.traffic[-1])
            if len(found) == given.validators + 1:
                taken.whole.append(summed(found))
            taken.looks += bool(taken.whole)
            if len(taken.whole) % TELL_EVERY == 1:
                tell(taken)
    return taken


def tell(taken: Taken) -> None:
    """Say how far it is."""
    at = taken.whole[-1]
    memory = [round(samples[-1].anonymous_bytes / MB, 1) for samples in taken.nodes.values()]
    height = max(samples[-1].height for samples in taken.nodes.values())
    text = f"{at.seconds:5.0f} s  height {height}  nodes {memory} MB  handles {at.handles}"
    print(text, file=sys.stderr, flush=True)


def draw(nodes: dict[int, list[Sample]], path: Path) -> None:
    """Write a picture of memory, handles, disk and transactions a second over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    memory, handles, disk, rate = figure.subplots(2, 2).flat
    for index, taken in nodes.items():
        minutes = [sample.seconds / 60 for sample in taken]
        name = f"node {index}"
        memory.plot(minutes, [sample.anonymous_bytes / MB for sample in taken], label=name)
        handles.plot(minutes, [sample.handles for sample in taken], label=name)
        disk.plot(minutes, [sample.data_bytes / MB for sample in taken], label=name)
        rates = [
            (after.transactions - before.transactions) / (after.seconds - before.seconds)
            for before, after in pairwise(taken)
        ]
        rate.plot(minutes[1:], rates, label=name)
    for axes, title, unit in (
        (memory, "Anonymous memory", "MB"),
        (handles, "Open files", "files"),
        (disk, "Database", "MB"),
        (rate, "Transactions a second", "tx/s"),
    ):
        axes.set_title(title)
        axes.set_xlabel("minutes")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
    memory.legend()
    figure.savefig(path)


def main() -> None:
    """Run, report, and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1_800.0, metavar="S")
    parser.add_argument("--validators", type=int, default=4, metavar="N")
    parser.add_argument("--transfers", type=float, default=50.0, metavar="PER_S")
    parser.add_argument("--block-time", type=int, default=200, metavar="MS")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, metavar="S")
    parser.add_argument("--home", type=Path, help="keep the devnet there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write report and samples there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the samples")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = soak(given.home or Path(folder) / "devnet", given)
    report = reported(taken, given.seconds)
    print(json.dumps(report, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps({**report, "taken": asdict(taken)}) + "\n")
    if given.plot is not None:
        draw(taken.nodes, given.plot)
    if not report["bar_met"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
