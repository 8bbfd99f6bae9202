"""Block sync from genesis over loopback: full blocks of transfers from several peers at once.

Run as `python -m bench.sync [--block N] [--blocks N] [--accounts N] [--peers N] [--epoch N]
[--round-trip-ms N]`. A chain, its blocks full of signed transfers between random accounts, is made
once. Another process serves it on several addresses of loopback. Then this process takes it over
into an empty database: everything counts, from the first question to the last synced commit. The
limit is what no node avoids that believes nobody: in the same run the same blocks are executed and
committed with their bodies checked beforehand (`bare`), and `over_bare` says how much longer the
sync takes. Where processors are shared, seconds of processors say more: `cpu_over_both` compares
those of the sync with those of the bare execution and of the checks of bodies, signatures most of
all, which a validator does, too. `slowest_turn_ms` is how long the event loop of the serving
process stood still at most. `--epoch` is how many heights an epoch has, and `--round-trip-ms` how
long each question is held back besides, as if peers were far away.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from nacl.signing import SigningKey

from bench.execute import genesis_of, transfers
from bench.measure import report
from consensus.links import normal_proposal
from consensus.messages import Message, Status
from node.application import Application
from node.clock import SystemClock
from node.evidence_pool import EvidencePool
from node.keeper import Keeper
from node.ledger import Ledger
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.network.overlay import Overlay
from node.storage.chain_store import ChainStore
from node.storage.journal import Journal, create_journal
from node.storage.kv import LevelDb
from node.sync.archive import chain_handlers
from node.sync.leg import CLOSE_HEIGHTS
from node.sync.server import SyncServer
from node.sync.syncer import Syncer
from p2p import NetworkSettings, NodeKey, PeerBook, SocketNetwork, Target
from p2p.addresses import Address
from p2p.interface import Request
from state.codec import replace
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Nullified,
    Proposal,
    SignedVote,
    Vote,
    justify_hash,
    set_hash,
    vote_digest,
)
from state.genesis import Genesis
from state.params import StakingParams

Seconds = tuple[float, float]
"""Of the clock, and of all threads of this process."""

BAR = 4_000
HOST = "127.0.0.1"
TICK_S = 0.002
BEHIND = 1
"""Whoever is further behind syncs here, so that a short chain will do."""


def with_epochs(genesis: Genesis, epoch_blocks: int) -> Genesis:
    """Return a network whose epochs have so many heights."""
    staking = replace(genesis.params.staking, epoch_blocks=epoch_blocks)
    return replace(genesis, params=replace(genesis.params, staking=staking))


def open_chain(folder: Path, genesis: Genesis) -> tuple[ChainStore, Application]:
    """Open a database, and the application over it."""
    store = ChainStore(LevelDb(folder, create=True), genesis)
    application = Application(
        store, genesis, invariants_every_blocks=10**9, timed=lambda _: nullcontext()
    )
    return store, application


def make_chain(folder: Path, genesis: Genesis, key: SigningKey, batches: list[list[bytes]]) -> None:
    """Make a block of each batch, proposed and finalized by the only validator."""
    store, application = open_chain(folder, genesis)
    for wires in batches:
        head, info = application.head, application.epoch_info()
        is_first = head.header.height % application.epoch_blocks == 0
        parent_view = 0 if is_first else head.header.view
        found = [application.decoder.decode(wire, bytes_max=2**17) for wire in wires]
        built = application.build(head.block_id, found)
        view = parent_view + 1
        justify = Justify(head.finalization, ())
        header = Header(
            height=head.header.height + 1,
            epoch=info.epoch,
            view=view,
            parent_view=parent_view,
            parent_id=head.block_id,
            time_ms=(head.header.height + 1) * 1_000,
            proposer=info.validators[0].account,
            tx_root=built.tx_root,
            evidence_root=built.evidence_root,
            justify_hash=justify_hash(justify),
            state_root=head.state_root,
            outcomes_root=head.outcomes_root,
            validators_hash=set_hash(info.validators),
            next_validators_hash=set_hash(info.next_validators),
            params_hash=built.params_hash,
        )
        block_id = header.id
        candidate = application.execute(header, block_id, justify, built.body)
        assert not any(outcome.status for outcome in candidate.executed.result.outcomes)
        subject = normal_proposal(header, block_id)
        digest = vote_digest(Tag.FINALIZE, genesis.hash, subject)
        vote = Vote(0, key.sign(digest).signature)
        application.commit(header, block_id, Finalization(subject, (vote,)))
    store.close()


def run_bare(source: Path, folder: Path, genesis: Genesis) -> tuple[Seconds, float]:
    """Execute and commit every block; return the seconds that took, and those of the checks."""
    chain, _ = open_chain(source, genesis)
    store, application = open_chain(folder, genesis)
    assert chain.head is not None, "made before"
    seconds = busy = checking = 0.0
    for height in range(1, chain.head.header.height + 1):
        (block,) = chain.blocks_upwards(height, 1, 1)
        header, block_id = block.header, block.header.id
        start_busy = time.process_time()
        checked = application.bodies.examine(header, block.body)
        checking += time.process_time() - start_busy
        application.bodies.keep((header.tx_root, header.evidence_root), checked)
        start, start_busy = time.perf_counter(), time.process_time()
        application.execute(header, block_id, block.justify, checked.data)
        application.commit(header, block_id, chain.header(height).finalization)
        seconds += time.perf_counter() - start
        busy += time.process_time() - start_busy
    store.close()
    chain.close()
    return (seconds, busy), checking


def network(number: int, genesis: Genesis, overlay: Overlay, *peers: Target) -> SocketNetwork:
    """A node's network with a key made from its number."""
    return SocketNetwork(
        NetworkSettings(HOST, persistent=peers, per_address_max=64),
        NodeKey(bytes([number]) * 32),
        genesis.hash,
        overlay,
        PeerBook(bytes(32)),
        clock=SystemClock().now_ms,
        chance=random.Random(number),
        randomness=os.urandom,
        is_validator=lambda _: False,
    )


class Quiet:
    """A host that only tells where it is."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def receive(self, peer: bytes, message: Message) -> None:
        """Hear nothing."""

    def hello(self) -> Message | None:
        """Tell a new peer where this node is."""
        return self._status


class FarServer(SyncServer):
    """Hears every question late, as if it were far away."""

    late_ms = 0

    def on_request(self, request: Request) -> None:
        """Take the question once it would have come and its answer gone."""
        asyncio.get_running_loop().call_later(self.late_ms / 1e3, super().on_request, request)


async def serve(folder: Path, genesis: Genesis, peers: int, late_ms: int, pipe: Connection) -> None:
    """Serve a chain on several sockets until the other side is done; tell the slowest turn."""
    store, _ = open_chain(folder, genesis)
    head = store.head
    assert head is not None, "made before"
    header = head.header
    status = Status(*(header.epoch, header.view) * 2, header.height, head.block_id)
    server = FarServer(chain_handlers(store), SystemClock().now_ms)
    server.late_ms = late_ms
    networks = []
    for number in range(1, peers + 1):
        overlay = Overlay()
        sockets = network(number, genesis, overlay)
        overlay.join(Quiet(status), sockets, requests=server)
        await sockets.start()
        networks.append(sockets)
    pipe.send([(sockets.node_id, sockets.port) for sockets in networks])
    slowest = 0.0
    last = time.perf_counter()
    while not pipe.poll():
        await asyncio.sleep(TICK_S)
        now = time.perf_counter()
        slowest, last = max(slowest, now - last - TICK_S), now
    pipe.send((round(slowest * 1e3, 1), server.served_bytes))
    for sockets in networks:
        await sockets.stop()
    await server.stop()
    store.close()


def serve_in_process(
    folder: Path, genesis: Genesis, peers: int, late_ms: int, pipe: Connection
) -> None:
    """Serve as a process of its own."""
    uvloop.run(serve(folder, genesis, peers, late_ms, pipe))


class NoVotes:
    """A signer that is asked for nothing."""

    def votes(self, validator: int) -> tuple[SignedVote, ...]:
        """Nothing was voted."""
        return ()

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified, *, sync: bool) -> bytes:
        """No engine runs here."""
        raise AssertionError("no engine runs here")

    def sync(self) -> None:
        """Nothing waits to be durable."""

    def raise_floor(self, epoch: int, view: int) -> None:
        """Nothing is below any floor."""


class NoEngine:
    """What the syncer stops and starts; the start says that all is done."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.done = asyncio.Event()

    def pause(self) -> None:
        """The sync begins."""
        self.begun = time.perf_counter()

    def resume(self) -> None:
        """The sync ends."""
        self.done.set()


@contextmanager
def journal_of(folder: Path, genesis: Genesis) -> Iterator[Keeper]:
    """A keeper over a new journal."""
    path = folder / "journal"
    create_journal(path, bytes(32), genesis.hash)
    keeper = Keeper(Journal(path, bytes(32), genesis.hash), NoVotes())
    yield keeper
    keeper.close()


async def sync(
    folder: Path, genesis: Genesis, peers: list[tuple[bytes, int]]
) -> tuple[Seconds, int]:
    """Take the chain over; return the seconds it took, and the height it came to."""
    store, application = open_chain(folder / "synced", genesis)
    clock = SystemClock()
    overlay = Overlay()
    targets = [Target(node_id, Address(HOST, port)) for node_id, port in peers]
    sockets = network(99, genesis, overlay, *targets)
    ledger = Ledger(
        application,
        Mempool(MempoolLimits(1, 2**20, 1)),
        EvidencePool(store.finality, genesis.hash),
        NodeMetrics(clock),
    )
    engine = NoEngine()
    with journal_of(folder, genesis) as keeper:
        syncer = Syncer(
            *(application, store, ledger, keeper, engine, sockets, clock), behind_heights=BEHIND
        )
        overlay.join(Quiet(None), sockets, hints=syncer)
        await sockets.start()
        syncer.start()
        begun, busy = time.perf_counter(), time.process_time()
        await engine.done.wait()
        seconds = (time.perf_counter() - begun, time.process_time() - busy)
        syncer.stop()
        await sockets.stop()
    height = application.head.header.height
    store.close()
    return seconds, height


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=2_000)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--peers", type=int, default=3)
    parser.add_argument("--epoch", type=int, default=StakingParams().epoch_blocks)
    parser.add_argument("--round-trip-ms", type=int, default=0)
    given = parser.parse_args()
    if given.blocks <= CLOSE_HEIGHTS:
        parser.error(f"--blocks is {given.blocks}; a sync needs more than {CLOSE_HEIGHTS}")
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, given.accounts + 1)]
    genesis = with_epochs(genesis_of(keys), given.epoch)
    batches = transfers(genesis, keys, given.block, given.blocks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_chain(folder / "chain", genesis, keys[0], batches)
        bare, checking = run_bare(folder / "chain", folder / "bare", genesis)
        # a fork would take over LevelDB's idea of a thread that it has not: its close never returns
        processes = multiprocessing.get_context("spawn")
        here, there = processes.Pipe()
        process = processes.Process(
            target=serve_in_process,
            args=(folder / "chain", genesis, given.peers, given.round_trip_ms, there),
        )
        process.start()
        seconds, height = uvloop.run(sync(folder, genesis, here.recv()))
        here.send(None)
        slowest_turn_ms, served_bytes = here.recv()
        process.join()
    synced, executed = height * given.block, given.blocks * given.block
    per_second, bare_per_second = round(synced / seconds[0]), round(executed / bare[0])
    figures = {
        "peers": given.peers,
        "transactions_per_block": given.block,
        "blocks_synced": height,
        "epoch_blocks": given.epoch,
        "round_trip_ms": given.round_trip_ms,
        "transactions_per_second": per_second,
        "transactions_per_cpu_second": round(synced / seconds[1]),
        "bare_per_second": bare_per_second,
        "bare_per_cpu_second": round(executed / bare[1]),
        "checked_per_cpu_second": round(executed / checking),
        "cpu_over_both": round(seconds[1] / synced * executed / (bare[1] + checking), 3),
        "over_bare": round(bare_per_second / per_second, 3),
        "served_bytes_per_transaction": round(served_bytes / synced),
        "slowest_turn_ms": slowest_turn_ms,
        "memory_mb_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "bar": BAR,
    }
    report("sync", figures, per_second >= BAR)


if __name__ == "__main__":
    main()
