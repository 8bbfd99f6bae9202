"""A node as one process: opens the home, starts host and RPC server, and stops them in order.

Whatever breaks in a callback or task reaches one place here, which logs it, keeps what the state
machine said, and ends the process; nothing is retried in a state nobody understands.
"""

import asyncio
import gc
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import uvloop

from consensus.driver import Driver
from consensus.settings import Settings
from consensus.timeouts import DEVNET, MAINNET, Pacing
from node import heap
from node.application import Application
from node.backend import NodeBackend
from node.beginning import begin_with_snapshot, go_on, is_needed, until_genesis
from node.bodies import VerifiedWires
from node.clock import Clock, SystemClock
from node.config import NodeConfig
from node.consensus_metrics import Nowhere, StandingCollector
from node.ending import Ended, Told, end, hearing, until_told
from node.errors import ConsensusHalted
from node.handles import for_clients, raise_limit
from node.home import Home
from node.host import Host
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics, about_process
from node.network.metrics import GossipCollector, NetworkCollector
from node.network.node_network import NodeNetwork
from node.network.overlay import Overlay
from node.network.proposals import Proposals
from node.network.transactions import TransactionGossip
from node.pool_metrics import PoolCollector
from node.rpc.catalogue import method_of
from node.rpc.limits import CONNECTIONS_MAX, RpcLimits
from node.rpc.server import RpcServer
from node.rpc.waiting import WaitingRoom
from node.run_file import write_run_file
from node.signer import Round, Signer
from node.snapshot.folder import SnapshotFolder
from node.snapshot.metrics import StateSyncCollector
from node.snapshot.progress import StateSync
from node.snapshot.serving import snapshot_handlers
from node.standing import Standing, after_sync, follow, take_stock
from node.storage.chain_store import ChainStore
from node.storage.finality_store import FinalityView
from node.storage.kv import LevelDb
from node.sync.archive import chain_handlers
from node.sync.metrics import SyncCollector
from node.sync.server import SyncServer
from node.sync.syncer import Syncer
from node.turning import Turning, finish, take_over
from node.upkeep import MAKE_SNAPSHOT, Upkeep
from node.upkeep_metrics import PruningCollector
from p2p.handshake import NodeKey
from state.errors import InvariantBroken, SaharaError
from state.genesis import Genesis
from state.types import PublicKey

DATABASE_FOLDER = "data"

log = logging.getLogger("sahara.service")


class Service:
    """Everything that runs in a node's process; without a validator's key it only follows."""

    def __init__(
        self,
        config: NodeConfig,
        genesis: Genesis,
        key: Signer | None,
        node_key: NodeKey,
        clock: Clock,
        state_sync: StateSync,
    ) -> None:
        self._config = config
        self._state_sync = state_sync
        self._clock = clock
        self.snapshot: SnapshotFolder | None = None
        """What the node is to go on with once it has stopped."""
        self._metrics = NodeMetrics(clock)
        database = LevelDb(config.home / DATABASE_FOLDER, create=True)
        database.written = self._metrics.written
        self._store = ChainStore(database, genesis)
        self._metrics.watch_storage(
            config.home / DATABASE_FOLDER, database.size_of, database.memory_bytes
        )
        self._metrics.watch_tree(lambda: self._store.tree.cached_bytes)
        mempool = _make_mempool(config)
        known = VerifiedWires(mempool.wires)
        self._application = Application(
            self._store,
            genesis,
            invariants_every_blocks=config.invariants_every_blocks,
            timed=self._metrics.timed,
            known=known,
        )
        self._standing = self._take_stock(key, node_key)
        self._standing.keeper.written = self._metrics.written
        overlay = Overlay()
        public_key = None if key is None else key.public_key
        self._host = Host(
            self._make_driver(public_key, overlay),
            self._application,
            self._store,
            mempool,
            self._standing.keeper,
            clock,
            self._metrics,
            peers=overlay,
            vote_after=self._standing.vote_after,
        )
        self._network = NodeNetwork(
            config,
            node_key,
            self._application,
            overlay,
            clock,
            None if key is None else (key.public_key, key.sign),
        )
        self._backend = NodeBackend(
            self._application,
            self._store,
            mempool,
            self._host,
            known,
            self._network.sockets,
            clock,
        )
        self._host.backend = self._backend
        self._meet(overlay, public_key, genesis, database)
        self._show(mempool)
        self._server = self._make_server()

    def _meet(
        self, overlay: Overlay, public_key: PublicKey | None, genesis: Genesis, database: LevelDb
    ) -> None:
        """Name to the overlay whatever speaks with peers."""
        self._gossip = TransactionGossip(self._backend, self._network.sockets, self._clock.now_ms)
        self._proposals = Proposals(
            self._application.bodies,
            self._backend.pending,
            self._gossip,
            genesis.hash,
            self._clock.now_ms,
        )
        self._backend.admitted = overlay.admitted
        self._sync_server = self._make_sync_server(database, self._clock)
        self._syncer = self._make_syncer(public_key, overlay, self._clock)
        self._backend.syncing = self._syncer
        self.turning = Turning(
            self._config,
            genesis,
            self._application,
            self._standing.keeper,
            self._network.sockets,
            self._clock,
        )
        self._syncer.pruned = self.turning.pruned
        overlay.join(
            self._host,
            self._network.sockets,
            self._gossip,
            self._proposals,
            self._sync_server,
            self._syncer,
        )
        self._upkeep = self._make_upkeep(database)

    def _make_syncer(self, public_key: PublicKey | None, overlay: Overlay, clock: Clock) -> Syncer:
        return Syncer(
            self._application,
            self._store,
            self._host.ledger,
            self._standing.keeper,
            _Engine(self._host, lambda: self._make_driver(public_key, overlay), self._hold_word),
            self._network.sockets,
            clock,
        )

    def _hold_word(self, vote_after: Round) -> Round | None:
        """Judge the operator's word by what a sync has brought, unless a vote went on it."""
        return after_sync(self._standing, self._application, vote_after)

    def _show(self, mempool: Mempool) -> None:
        """Let `/metrics` show every part of the node."""
        registry = self._metrics.registry
        syncer, finality = self._syncer, self._store.finality
        self._metrics.consensus.watch(self._host, lambda: syncer.is_syncing, finality.members)
        registry.register(PoolCollector(mempool, self._backend.counts))
        registry.register(NetworkCollector(self._network.sockets, self._clock.now_ms))
        registry.register(GossipCollector(self._gossip))
        registry.register(SyncCollector(syncer, self._sync_server))
        registry.register(StateSyncCollector(self._state_sync))
        registry.register(PruningCollector(self._upkeep))

    def _make_sync_server(self, database: LevelDb, clock: Clock) -> SyncServer:
        genesis_hash, snapshots = self._application.genesis_hash, Home(self._config.home).snapshots
        handlers = {
            **chain_handlers(self._store),
            **snapshot_handlers(FinalityView(database), snapshots, genesis_hash),
        }
        return SyncServer(handlers, clock.now_ms)

    def _make_upkeep(self, database: LevelDb) -> Upkeep:
        config = self._config
        snapshots = Home(config.home).snapshots
        upkeep = Upkeep(database, self._application, config, snapshots, self._syncer)
        self._host.ledger.committed = upkeep.committed
        return upkeep

    def _make_server(self) -> RpcServer:
        config, metrics = self._config, self._metrics
        return RpcServer(
            self._backend,
            RpcLimits(
                connections_max=for_clients(raise_limit(), CONNECTIONS_MAX),
                requests_per_second=config.rpc_requests_per_second,
                hosts=config.hosts,
                origins=config.origins,
                unsafe_from_anywhere=config.rpc_unsafe,
            ),
            metrics.registry,
            [
                (method_of("node.set_pacing", _set_pacing, unsafe=True), self._host.set_pacing),
                (MAKE_SNAPSHOT, self._upkeep.make_snapshot),
            ],
        )

    def _take_stock(self, key: Signer | None, node_key: NodeKey) -> Standing:
        """Open journal and, of a validator, guard; see what they are worth beside the database."""
        home = Home(self._config.home)
        vote_after = self._config.loss_round
        if key is None:
            return follow(home, node_key.node_id, self._application, vote_after)
        return take_stock(home, key, self._application, vote_after)

    def _make_driver(self, public_key: PublicKey | None, overlay: Overlay) -> Driver:
        config, application = self._config, self._application
        return Driver(
            Settings(
                application.genesis_hash,
                application.epoch_blocks,
                public_key,
                overlay.verify,
                application.bodies.judge,
                application.judge_over_parent,
                DEVNET if config.timeouts == "devnet" else MAINNET,
                Pacing(config.block_interval_ms_min, config.idle_interval_ms),
            )
        )

    async def run(self, ended: Ended) -> int:
        """Run until it is told to end, or something fails; return the exit code."""
        loop = asyncio.get_running_loop()
        self.turning.end = lambda: self._turn(ended)
        loop.set_exception_handler(
            lambda _, context: None if self._server.took(context) else end(ended, context)
        )
        port = await self._server.start(self._config.rpc_host, self._config.rpc_port)
        url = f"http://{self._config.rpc_host}:{port}"
        run_file = write_run_file(self._config.home, url)
        serving = asyncio.create_task(self._server.wait())
        serving.add_done_callback(lambda task: end(ended, {"exception": task.exception()}))
        try:
            if not self._application.head.header.height:
                await until_genesis(self._application.genesis, self._clock, ended)
            if not ended.done():
                await self._begin_work(ended)
                head = self._application.head.header
                log.info("serving", extra={"rpc": url, "height": head.height})
            return self._report(await ended)
        finally:
            self._backend.is_ready = False
            self._host.stop()
            self._syncer.stop()
            self.turning.stop()
            self._gossip.stop()
            self._proposals.stop()
            run_file.unlink(missing_ok=True)
            # Peers and clients have a moment each to hear of it, and it is the same moment.
            outcomes = await asyncio.gather(
                self._network.stop(),
                self._server.stop(),
                self._upkeep.stop(),
                self._sync_server.stop(),
                return_exceptions=True,
            )
            self.close()
            log.info("stopped")
            for error in filter(None, outcomes):
                raise error

    def _turn(self, ended: Ended) -> None:
        """End, and let a snapshot be what the node goes on with, unless it was told to stop."""
        if not ended.done():
            self.snapshot = self.turning.folder
            end(ended, {})

    async def _begin_work(self, ended: Ended) -> None:
        """Start consensus, network and upkeep; a validator alone has made a block after it."""
        self._host.start()
        await self._network.start(lambda error: end(ended, {"exception": error}))
        self._syncer.start()
        if self._host.is_alone:  # its first block is a matter of milliseconds
            first = asyncio.create_task(self._host.has_committed.wait())
            await asyncio.wait((first, ended), return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
        self._upkeep.start(lambda error: end(ended, {"exception": error}))
        self._backend.is_ready = True

    def close(self) -> None:
        """Let go of every file."""
        self._standing.close()
        self._store.close()

    def _report(self, error: BaseException | None) -> int:
        """Log what ended the node and return the exit code."""
        if error is None:
            return 0
        code = error.code if isinstance(error, SaharaError) else "node.bug"
        log.error("halted", extra={"code": code}, exc_info=error)
        if isinstance(error, InvariantBroken | ConsensusHalted):
            self._dump(error)
        return 1

    def _dump(self, error: InvariantBroken | ConsensusHalted) -> None:
        """Keep what is known about a state, or a chain, that contradicts itself."""
        head = self._application.head
        epoch, view = self._host.round
        report = {
            "epoch": epoch,
            "view": view,
            "code": error.code,
            "sentence": error.sentence,
            "height": head.header.height + 1,
            "head": head.block_id.hex(),
            "state_root": head.state_root.hex(),
        }
        path = self._config.home / f"halt-{head.header.height + 1}.json"
        path.write_text(json.dumps(report, indent=2) + "\n")
        log.error("dumped", extra={"path": str(path)})


class _Engine:
    """The host's engine, as the syncer stops it and starts a fresh one."""

    def __init__(
        self,
        host: Host,
        make_driver: Callable[[], Driver],
        hold_word: Callable[[Round], Round | None],
    ) -> None:
        self._host = host
        self._make_driver = make_driver
        self._hold_word = hold_word

    def pause(self) -> None:
        """Stop the engine."""
        self._host.pause()

    def resume(self) -> None:
        """Start a fresh engine from the tip."""
        if self._host.vote_after is not None:
            self._host.vote_after = self._hold_word(self._host.vote_after)
        self._host.resume(self._make_driver())


def _make_mempool(config: NodeConfig) -> Mempool:
    return Mempool(
        MempoolLimits(
            config.mempool_transactions_max,
            config.mempool_bytes_max,
            config.mempool_per_sender_max,
        )
    )


def run(
    config: NodeConfig,
    genesis: Genesis,
    key: Signer | None,
    node_key: NodeKey,
    *,
    stop_with_stdin: bool = False,
) -> int:
    """Run a node in this process until it is told to stop; return the exit code.

    With `stop_with_stdin` the end of standard input, a pipe, tells it, too. Raises SaharaError for
    a home, database or port that cannot serve.
    """
    heap.settle()
    clock = SystemClock()
    state_sync = StateSync()
    told = Told()
    finish(config)
    if is_needed(config, genesis, clock):
        begin = _begin(
            config, genesis, node_key, clock, state_sync, told, stop_with_stdin=stop_with_stdin
        )
        with hearing(told):
            goes_on = uvloop.run(begin)
        if not goes_on or told.is_set():
            return 0
    while True:
        service = Service(config, genesis, key, node_key, clock, state_sync)
        gc.freeze()
        with hearing(told):  # a node that turns is in no loop for a while
            code = uvloop.run(_run(service, told, stop_with_stdin=stop_with_stdin))
            snapshot = service.snapshot
            if snapshot is None or told.is_set():
                return code
            del service  # with all that it holds, before there is another one
            gc.unfreeze()
            gc.collect()
            take_over(config, genesis, snapshot, partial(go_on, told.is_set))
        if told.is_set():
            return code
        config = replace(config, vote_after_loss="")  # it was for that one start


async def _run(service: Service, told: Told, *, stop_with_stdin: bool) -> int:
    with until_told(told, stop_with_stdin=stop_with_stdin) as ended:
        return await service.run(ended)


async def _begin(
    config: NodeConfig,
    genesis: Genesis,
    node_key: NodeKey,
    clock: Clock,
    state_sync: StateSync,
    told: Told,
    *,
    stop_with_stdin: bool,
) -> bool:
    """Begin with a snapshot of the peers; tell whether the node is to go on."""
    with until_told(told, stop_with_stdin=stop_with_stdin) as ended:
        registry = about_process()
        registry.register(StateSyncCollector(state_sync))
        registry.register(StandingCollector(Nowhere(), lambda: state_sync.is_active))
        connections_max = for_clients(raise_limit(), CONNECTIONS_MAX)
        limits = RpcLimits(connections_max=connections_max, hosts=config.hosts)
        room = WaitingRoom(state_sync, registry, limits)
        port = await room.start(config.rpc_host, config.rpc_port)
        run_file = write_run_file(config.home, f"http://{config.rpc_host}:{port}")
        try:
            return await begin_with_snapshot(config, genesis, node_key, clock, ended, state_sync)
        finally:
            run_file.unlink(missing_ok=True)
            await room.stop()


def _set_pacing(node: Host, block_interval_ms_min: int, idle_interval_ms: int) -> bool:
    """Change how long blocks wait, busy and idle, in milliseconds; for devnets."""
    return node.set_pacing(block_interval_ms_min, idle_interval_ms)
