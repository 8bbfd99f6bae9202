"""Run one fuzzer: `make fuzz TARGET=frames SECONDS=600`, or `python -m fuzz frames --seconds 600`.

Guided by the coverage of our own Python (atheris over libFuzzer). It begins with the seeds of the
target and what earlier runs found worth keeping, under build/fuzz; an input that breaks an oracle
is left there too, and fails the run.
"""

import argparse
import importlib
import random
import sys
from pathlib import Path
from typing import Any, Final

import atheris

from cython_ext import IMPLEMENTATION

TARGETS: Final = (
    "frames",
    "handshake",
    "gossip",
    "messages",
    "engine",
    "chain",
    "rpc",
    "http",
    "sync",
)
ROOMS: Final = ("state", "consensus", "p2p", "node", "fuzz")
FOLDER: Final = Path(__file__).resolve().parents[1] / "build" / "fuzz"
INPUT_BYTES_MAX: Final = 2**15
ONE_SECONDS_MAX: Final = 10
"""One input that takes longer is a finding."""
MEMORY_MB_MAX: Final = 2_048


def main() -> None:
    """Fuzz one target until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    wishes = parser.parse_args()
    assert IMPLEMENTATION == "compiled", "the kernels that nodes use"
    with atheris.instrument_imports(include=list(ROOMS)):
        target: Any = importlib.import_module(f"fuzz.{wishes.target}")

    corpus = FOLDER / wishes.target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(target.seeds()):
        (corpus / f"seed-{at}").write_bytes(seed)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, size_max))
        found: bytes = target.mutate(data, size_max, random.Random(seed))
        return found

    flags = {
        "max_total_time": wishes.seconds,
        "max_len": INPUT_BYTES_MAX,
        "timeout": ONE_SECONDS_MAX,
        "rss_limit_mb": MEMORY_MB_MAX,
        "print_final_stats": 1,
        "artifact_prefix": f"{FOLDER / wishes.target}/",
    }
    words = [sys.argv[0], *[f"-{name}={value}" for name, value in flags.items()], str(corpus)]
    atheris.Setup(words, target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
