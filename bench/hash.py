"""Tagged hashing against the naked pointer, and the Merkle-sum tree against its hashes alone.

Run as `python -m bench.hash`. Costs are multiples of the limit: a hash called per item without
the GIL (bar 1.1), and a tree of 100,000 leaves over (hashes it needs x the cost of one) (bar 2.0).
"""

from statistics import median

from bench.measure import interleave, ratio, report
from cython_ext import _bare, _hashing, _sumtree

ITEMS = 100_000
LEAVES = 100_000
NODE_PREIMAGE = 1 + 2 * (32 + 5 * 8)
BAR_HASH = 1.1
BAR_TREE = 2.0
TAG = b"bench"


def main() -> None:
    """Measure and report."""
    data = b"\x5a" * 64
    items = [at.to_bytes(4, "big") * 16 for at in range(ITEMS)]
    hashes = _hashing.tagged_hash_many(TAG, items[:LEAVES])
    sums = [(1, 900 + at % 512, at % 64, 200 + at % 128, 10**6 + at) for at in range(LEAVES)]
    node = bytes(NODE_PREIMAGE)
    seconds = interleave(
        {
            "bare": lambda: _bare.hash_loop(TAG, data, ITEMS),
            "kernel": lambda: _bare.tagged_loop(TAG, data, ITEMS),
            "many": lambda: _hashing.tagged_hash_many(TAG, items),
            "singly": lambda: [_hashing.tagged_hash(TAG, item) for item in items],
            "nodes": lambda: _bare.hash_loop(TAG, node, LEAVES - 1),
            "tree": lambda: _sumtree.sum_root(TAG, hashes, sums),
        }
    )
    per_item = ratio(seconds["kernel"], seconds["bare"])
    tree = ratio(seconds["tree"], seconds["nodes"])
    figures = {
        "bare_64_bytes_ns": round(median(seconds["bare"]) / ITEMS * 1e9, 1),
        "per_item_without_gil": per_item,
        "per_item_bar": BAR_HASH,
        "list_in_list_out": ratio(seconds["many"], seconds["bare"]),
        "one_python_call_each": ratio(seconds["singly"], seconds["bare"]),
        "sum_tree_leaves": LEAVES,
        "sum_tree_ms": round(median(seconds["tree"]) * 1e3, 2),
        "sum_tree": tree,
        "sum_tree_bar": BAR_TREE,
    }
    report("hash", figures, per_item <= BAR_HASH and tree <= BAR_TREE)


if __name__ == "__main__":
    main()
