"""How fast a node of one validator makes its first block, and how much memory it takes idle.

Run as `python -m bench.start [--runs N] [--idle SECONDS]`. Each run starts a process on a new home.
The limit is an interpreter that does nothing but import the libraries that a node stands on, and
open a database: what the node adds to it is ours.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.measure import ratio, report

BAR_SECONDS = 1.0
GOAL_SECONDS = 0.5
BAR_MEMORY_MB = 150
GOAL_MEMORY_MB = 80
BAR_STOP_SECONDS = 3.0
LIBRARIES = "aiohttp.web, click, cryptography, msgspec, nacl.signing, plyvel, prometheus_client"
BARE = f"import {LIBRARIES}, uvloop, sys; plyvel.DB(sys.argv[1], create_if_missing=True).close()"
SAHARA = (sys.executable, "-P", "-m", "node")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def bare_seconds(folder: Path) -> float:
    """Seconds of the limit."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", BARE, str(folder / "bare")], check=True)
    return time.perf_counter() - start


def memory_mb(process_id: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(found.split()[1]) / 1_024


def one_run(folder: Path, idle: float) -> dict[str, float]:
    """Start a node, wait for its first block, let it idle, and stop it."""
    home = folder / "home"
    made = [*SAHARA, "init", "--home", str(home)]
    subprocess.run(made, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    command = [*SAHARA, "run", "--home", str(home), "--rpc-port", "0", "--p2p-port", "0", "--json"]
    start = time.perf_counter()
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None, "it is a pipe"
        for line in process.stderr:
            said = json.loads(line)
            if said["message"] == "serving":
                assert said["height"] >= 1, "a node serves when its first block is final"
                break
        seconds = time.perf_counter() - start
        time.sleep(idle)
        memory = memory_mb(process.pid)
        stopping = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        stopped = time.perf_counter() - stopping
    assert code == 0, "the node stops as it should"
    return {"start": seconds, "memory": memory, "stop": stopped}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--idle", type=float, default=3.0)
    given = parser.parse_args()
    found: dict[str, list[float]] = {"start": [], "memory": [], "stop": [], "bare": []}
    for _ in range(given.runs):
        with tempfile.TemporaryDirectory() as folder:
            found["bare"].append(bare_seconds(Path(folder)))
            for name, value in one_run(Path(folder), given.idle).items():
                found[name].append(value)
    start, memory, stop = (median(found[name]) for name in ("start", "memory", "stop"))
    figures = {
        "runs": given.runs,
        "start_to_first_block_seconds": round(start, 3),
        "over_limit": ratio(found["start"], found["bare"]),
        "start_bar_and_goal_seconds": [BAR_SECONDS, GOAL_SECONDS],
        "idle_memory_mb": round(memory, 1),
        "memory_bar_and_goal_mb": [BAR_MEMORY_MB, GOAL_MEMORY_MB],
        "stop_seconds": round(stop, 3),
    }
    met = start <= BAR_SECONDS and memory <= BAR_MEMORY_MB and stop <= BAR_STOP_SECONDS
    report("start", figures, met)


if __name__ == "__main__":
    main()
