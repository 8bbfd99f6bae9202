"""Snapshots: made, verified, restored from disk, and fetched over loopback by a node that is empty.

Run as `python -m bench.snapshot [--rows N] [--blocks N] [--peers N]`. A chain with an account a row
grows to a height; its state is made into a snapshot, chunk by chunk. Verifying reads each chunk and
holds it against its mark; the limit is (hashes that no tree of this shape avoids x the cost of one,
measured in the same round): three for each row and one for each node between two. `joined_seconds`
is what a new node takes from the first question to an open database, with a process that serves on
several addresses of loopback.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import uvloop
from nacl.signing import SigningKey

from bench.execute import genesis_of
from bench.measure import interleave, ratio, report
from bench.sync import Quiet, make_chain, network, open_chain
from cython_ext import _bare
from node.clock import SystemClock
from node.history_settings import HistorySettings
from node.network.overlay import Overlay
from node.snapshot.folder import SnapshotFolder
from node.snapshot.make import make_snapshot
from node.snapshot.progress import StateSync
from node.snapshot.restore import restore
from node.snapshot.serving import snapshot_handlers
from node.snapshot.state_sync import Silent, fetch_newest
from node.storage.chain_store import ChainStore
from node.storage.finality_store import FinalityView
from node.storage.kv import LevelDb
from node.sync.archive import chain_handlers
from node.sync.server import SyncServer
from p2p import SocketNetwork, Target
from p2p.addresses import Address
from state.genesis import Genesis

BAR_JOINED_SECONDS = 15.0
BAR_VERIFY = 2.5
HASHES_PER_ROW = 4
HOST = "127.0.0.1"


def make(chain: Path, genesis: Genesis, folder: Path) -> tuple[SnapshotFolder, float, float]:
    """Make a snapshot without rests; return it, its seconds, and the longest piece in ms."""
    store = LevelDb(chain, create=False)
    slowest = 0.0
    made: list[SnapshotFolder] = []
    begun = last = time.perf_counter()
    for piece in make_snapshot(store, genesis, folder):
        now = time.perf_counter()
        slowest, last = max(slowest, now - last), now
        if piece is not None:
            made.append(piece)
    store.close()
    return made[0], last - begun, slowest * 1e3


def verify(made: SnapshotFolder, genesis: Genesis) -> int:
    """Hold every chunk against its mark; return the number of rows."""
    return sum([len(rows) for rows in made.rows(made.manifest(genesis.hash))])


async def serve(chain: Path, made: Path, genesis: Genesis, peers: int, pipe: Connection) -> None:
    """Serve the snapshot on several sockets until the other side is done."""
    database = LevelDb(chain, create=False)
    store = ChainStore(database, genesis)
    view = FinalityView(database)
    handlers = {**chain_handlers(store), **snapshot_handlers(view, made, genesis.hash)}
    server = SyncServer(handlers, SystemClock().now_ms)
    networks: list[SocketNetwork] = []
    for number in range(1, peers + 1):
        overlay = Overlay()
        sockets = network(number, genesis, overlay)
        overlay.join(Quiet(None), sockets, requests=server)
        await sockets.start()
        networks.append(sockets)
    pipe.send([(sockets.node_id, sockets.port) for sockets in networks])
    await asyncio.to_thread(pipe.recv)
    for sockets in networks:
        await sockets.stop()
    await server.stop()
    store.close()


def serve_in_process(
    chain: Path, made: Path, genesis: Genesis, peers: int, pipe: Connection
) -> None:
    """Serve as a process of its own."""
    uvloop.run(serve(chain, made, genesis, peers, pipe))


async def join(folder: Path, genesis: Genesis, peers: list[tuple[bytes, int]]) -> float:
    """Begin an empty home with the snapshot; return the seconds until its database is open."""
    targets = [Target(node_id, Address(HOST, port)) for node_id, port in peers]
    begun = time.perf_counter()
    sockets = network(99, genesis, Silent(), *targets)
    await sockets.start()
    found = await fetch_newest(
        sockets, genesis, HistorySettings(), folder / "snapshots", SystemClock(), StateSync()
    )
    await sockets.stop()
    assert found is not None, "it is served"
    head = restore(found, folder / "data", genesis)
    store, application = open_chain(folder / "data", genesis)
    assert application.head == head
    seconds = time.perf_counter() - begun
    store.close()
    return seconds


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--blocks", type=int, default=2_001)
    parser.add_argument("--peers", type=int, default=3)
    given = parser.parse_args()
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, given.rows + 1)]
    genesis = genesis_of(keys)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chain, shelf = folder / "chain", folder / "shelf"
        make_chain(chain, genesis, keys[0], [[]] * given.blocks)
        made, made_seconds, slowest_ms = make(chain, genesis, shelf)
        rows = verify(made, genesis)
        restored: list[float] = []
        seconds = interleave(
            {
                "verify": lambda: verify(made, genesis),
                "bare": lambda: _bare.hash_loop(b"tree/node", bytes(64), HASHES_PER_ROW * rows),
            }
        )
        for _ in range(3):
            begun = time.perf_counter()
            restore(made, folder / "data", genesis)
            restored.append(time.perf_counter() - begun)
            shutil.rmtree(folder / "data")
        # a fork would take over LevelDB's idea of a thread that it has not: its close never returns
        processes = multiprocessing.get_context("spawn")
        here, there = processes.Pipe()
        process = processes.Process(
            target=serve_in_process, args=(chain, shelf, genesis, given.peers, there)
        )
        process.start()
        joined = uvloop.run(join(folder / "joined", genesis, here.recv()))
        here.send(None)
        process.join()
        megabytes = made.size_bytes / 2**20
    over_limit = ratio(seconds["verify"], seconds["bare"])
    figures = {
        "rows": rows,
        "height": given.blocks,
        "megabytes": round(megabytes, 2),
        "made_mb_per_second": round(megabytes / made_seconds, 1),
        "made_slowest_piece_ms": round(slowest_ms, 1),
        "verified_mb_per_second": round(megabytes / median(seconds["verify"]), 1),
        "verified_over_hash_limit": over_limit,
        "restored_mb_per_second": round(megabytes / median(restored), 1),
        "restored_rows_per_second": round(rows / median(restored)),
        "joined_peers": given.peers,
        "joined_seconds": round(joined, 2),
        "bars": {"joined_seconds": -BAR_JOINED_SECONDS, "verified_over_hash_limit": -BAR_VERIFY},
    }
    report("snapshot", figures, joined <= BAR_JOINED_SECONDS and over_limit <= BAR_VERIFY)


if __name__ == "__main__":
    main()
