"""Signature verification: the batch kernel against the bare pointer loop, one thread and two.

Run as `python -m bench.verify`. Speeds are multiples of the bare loop on one core; the bars are
0.95 with one thread and 1.85 with two. When other work holds the second core, the limit that two
bare loops reach falls below that bar too, and only the ratio to it tells something.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from nacl.signing import SigningKey

from bench.measure import interleave, ratio, report
from cython_ext import _bare, _ed25519

ITEMS = 2_000
BAR_ONE_THREAD = 0.95
BAR_TWO_THREADS = 1.85


def main() -> None:
    """Measure and report."""
    message = b"\x5a" * 200
    keys = [SigningKey(bytes([seed]) * 32) for seed in range(1, 65)]
    signed = [(bytes(key.verify_key), message, key.sign(message).signature) for key in keys]
    items = [signed[at % len(signed)] for at in range(ITEMS)]
    bare = [(public_key, signature + text) for public_key, text, signature in signed]
    pool = ThreadPoolExecutor(2)

    def bare_twice() -> None:
        halves = [pool.submit(_bare.verify_loop, bare, ITEMS // 2) for _ in range(2)]
        assert sum(half.result() for half in halves) == ITEMS

    seconds = interleave(
        {
            "bare": lambda: _bare.verify_loop(bare, ITEMS),
            "one": lambda: _ed25519.verify_many(items, threads=1),
            "two": lambda: _ed25519.verify_many(items, threads=2),
            "bare_twice": bare_twice,
            "singly": lambda: [_ed25519.verify(*item) for item in items],
        }
    )
    one, two = (ratio(seconds["bare"], seconds[name]) for name in ("one", "two"))
    figures = {
        "items": ITEMS,
        "cores": os.cpu_count(),
        "bare_us": round(median(seconds["bare"]) / ITEMS * 1e6, 2),
        "one_thread": one,
        "one_thread_bar": BAR_ONE_THREAD,
        "two_threads": two,
        "two_threads_bar": BAR_TWO_THREADS,
        "two_threads_limit": ratio(seconds["bare"], seconds["bare_twice"]),
        "two_threads_of_limit": ratio(seconds["bare_twice"], seconds["two"]),
        "one_call_each": ratio(seconds["bare"], seconds["singly"]),
    }
    report("verify", figures, one >= BAR_ONE_THREAD and two >= BAR_TWO_THREADS)


if __name__ == "__main__":
    main()
