"""The state tree in memory and in LevelDB, against the hashes that no tree of its shape can avoid.

Run as `python -m bench.tree [--keys N] [--changes N] [--blocks N]`. The limit is (hashes needed x
the cost of one, measured beside every block): three for each changed key (path, value, leaf), and
one for each inner node above a changed leaf. Stored blocks end with one synced LevelDB batch.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench.measure import ratio, report
from cython_ext import _bare, tagged_hash
from node.storage.kv import LevelDb, MemoryStore
from state.codec import encode
from state.tree import CACHED_PAGES_MAX, EMPTY_ROOT, Change, Tree, verify_proof

BAR_MEMORY = 150_000
BAR_STORED = 40_000
BAR_PROOF_BYTES = 1_500
VALUE_BYTES = 60
LOAD_BATCH = 5_000

Write = Callable[[Tree, bytes, list[Change]], None]
Series = dict[str, list[float]]


def key_of(number: int) -> bytes:
    """The shape of a balance row's key: a table, an account, a denomination."""
    return b"\x01\x01" + number.to_bytes(20, "big") + b"sahara"


def load(tree: Tree, keys: int, write: Write) -> None:
    """Fill the tree, batch by batch."""
    for start in range(0, keys, LOAD_BATCH):
        changes: list[Change] = [
            (key_of(number), number.to_bytes(VALUE_BYTES, "big"))
            for number in range(start, min(keys, start + LOAD_BATCH))
        ]
        version = b"load %d" % start
        tree.update(tree.version, version, changes)
        write(tree, version, changes)


def blocks(keys: int, changes: int, count: int) -> Iterator[list[Change]]:
    """Blocks of distinct keys drawn evenly: the worst case, since real blocks have favourites."""
    chance = random.Random(20)
    for _ in range(count):
        numbers = chance.sample(range(keys), changes)
        yield [(key_of(number), chance.randbytes(VALUE_BYTES)) for number in numbers]


def hashes_needed(tree: Tree, changes: list[Change]) -> int:
    """Count what any tree of this shape hashes when these keys get other values."""
    inner: set[tuple[int, int]] = set()
    for key, _ in changes:
        path = int.from_bytes(tagged_hash(b"tree/key", key), "big")
        depth = tree.prove(tree.version, key).depth
        inner.update((level, path >> (256 - level)) for level in range(depth))
    return 3 * len(changes) + len(inner)


def measure(tree: Tree, batches: list[list[Change]], write: Write) -> Series:
    """Seconds of every block: the root, writing it, and as many bare hashes as it needed."""
    series: Series = {"root": [], "write": [], "block": [], "bare": []}
    needed = hashes_needed(tree, batches[0])
    for number, changes in enumerate(batches):
        version = b"block %d" % number
        start = time.perf_counter()
        tree.update(tree.version, version, changes)
        rooted = time.perf_counter()
        write(tree, version, changes)
        written = time.perf_counter()
        _bare.hash_loop(b"tree/node", bytes(64), needed)
        series["root"].append(rooted - start)
        series["write"].append(written - rooted)
        series["block"].append(written - start)
        series["bare"].append(time.perf_counter() - written)
    series["needed"] = [float(needed)]
    return series


def figures_of(name: str, series: Series, changes: int, part: str) -> dict[str, float]:
    """Medians of one run, per changed key."""
    each = {kind: median(series[kind]) / changes * 1e6 for kind in ("root", "write", "bare")}
    return {
        f"{name}_updates_per_second": round(changes / median(series[part])),
        f"{name}_over_limit": ratio(series[part], series["bare"]),
        f"{name}_root_us": round(each["root"], 2),
        f"{name}_write_us": round(each["write"], 2),
        f"{name}_limit_us": round(each["bare"], 2),
        f"{name}_slowest_block_ms": round(max(series[part]) * 1e3, 1),
    }


def proof_bytes(tree: Tree, batch: list[Change]) -> dict[str, float]:
    """Sizes of encoded proofs, of presence and of absence."""
    sizes: dict[str, list[int]] = {"proof": [], "absence": []}
    for key, value in batch[:500]:
        proof = tree.prove(tree.version, key)
        assert verify_proof(tree.root, key, value, proof)
        sizes["proof"].append(len(encode(proof)))
        proof = tree.prove(tree.version, key + b"?")
        assert verify_proof(tree.root, key + b"?", None, proof)
        sizes["absence"].append(len(encode(proof)))
    return {
        "proof_bytes_median": median(sizes["proof"]),
        "proof_bytes_max": max(sizes["proof"]),
        "absence_bytes_median": median(sizes["absence"]),
        "absence_bytes_max": max(sizes["absence"]),
    }


def stored(folder: str, keys: int, batches: list[list[Change]]) -> dict[str, float]:
    """The run over LevelDB: pages alone, then pages and rows in the same batch."""
    store = LevelDb(Path(folder) / "db", create=True)
    tree = Tree(store, EMPTY_ROOT, b"genesis", prefix=b"t")
    traffic: list[tuple[int, int]] = []

    def write(tree: Tree, version: bytes, changes: list[Change]) -> None:
        puts, deletes = tree.commit(version)
        traffic.append((len(puts), sum(len(page) for _, page in puts)))
        store.write(puts, deletes, sync=True)

    def write_with_rows(tree: Tree, version: bytes, changes: list[Change]) -> None:
        puts, deletes = tree.commit(version)
        rows = [(b"s" + key, value) for key, value in changes if value is not None]
        store.write([*puts, *rows], deletes, sync=True)

    load(tree, keys, write)
    changes = len(batches[0])
    figures = figures_of("stored", measure(tree, batches, write), changes, "block")
    puts, size = (median(column) for column in zip(*traffic[-len(batches) :], strict=True))
    store.close()
    store = LevelDb(Path(folder) / "db", create=False)
    start = time.perf_counter()
    again = Tree(store, tree.root, tree.version, prefix=b"t")
    again.prove(again.version, batches[0][0][0])
    opened = time.perf_counter() - start
    both = measure(again, batches, write_with_rows)
    figures |= figures_of("stored_with_rows", both, changes, "block")
    store.close()
    return figures | {
        "stored_puts_per_update": round(puts / changes, 2),
        "stored_bytes_per_update": round(size / changes),
        "open_to_first_proof_ms": round(opened * 1e3, 2),
        "cached_pages_max": CACHED_PAGES_MAX,
    }


def commit_only(tree: Tree, version: bytes, changes: list[Change]) -> None:
    """Make the version the stored one and write it nowhere: all its pages stay in the cache."""
    tree.commit(version)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--blocks", type=int, default=60)
    given = parser.parse_args()
    batches = list(blocks(given.keys, given.changes, given.blocks))
    figures: dict[str, float] = {"keys": given.keys, "changes": given.changes}
    with tempfile.TemporaryDirectory() as folder:
        figures |= stored(folder, given.keys, batches)
    figures["stored_peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    tree = Tree(MemoryStore(), EMPTY_ROOT, b"genesis", cached_pages_max=10**9)
    load(tree, given.keys, commit_only)
    series = measure(tree, batches, commit_only)
    figures |= figures_of("memory", series, given.changes, "root")
    figures["hashes_per_update"] = round(series["needed"][0] / given.changes, 2)
    figures |= proof_bytes(tree, batches[-1])
    bars = {
        "memory_updates_per_second": BAR_MEMORY,
        "stored_updates_per_second": BAR_STORED,
        "proof_bytes_max": -BAR_PROOF_BYTES,  # negative: at most
    }
    met = all((-figures[name] if bar < 0 else figures[name]) >= bar for name, bar in bars.items())
    report("tree", {**figures, "bars": bars}, met)


if __name__ == "__main__":
    main()
