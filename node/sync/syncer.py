"""The syncer: drives block sync with peers, threads and time, and the engine out of its way.

While the sync goes on no engine runs, so nothing is voted. Blocks become final here one a turn of
the event loop, while the next ones are fetched and their signatures verified in threads. Then a
fresh engine starts from the tip, by the same path as after a restart.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from consensus.inputs import EpochInfo
from consensus.messages import Status
from node.application import Application
from node.clock import Clock
from node.keeper import Keeper
from node.ledger import Ledger
from node.storage.chain_store import ChainStore
from node.sync.core import BEHIND_HEIGHTS, BlockSync
from node.sync.effects import Accuse, Ask, Begin, Check, Descend, Effect, End, KeepLink, Lack
from node.sync.errors import Unfit
from node.sync.importer import Importer
from node.sync.server import NOT_HERE
from p2p.errors import NotConnected, QueueFull, RequestFailed
from p2p.interface import Network
from p2p.scores import Verdict
from p2p.topics import Topic
from state.codec import encode
from state.errors import InvalidBlock

POLL_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 1.0
RATE_MS: Final = 5_000
"""Blocks a second are counted over so long."""
TOLD_MS: Final = 5_000
"""How often the log tells of progress."""

log = logging.getLogger("sahara.sync")


class Engine(Protocol):
    """Whoever runs consensus, as the syncer sees it."""

    def pause(self) -> None:
        """Stop the engine; it votes no more."""
        ...

    def resume(self) -> None:
        """Start a fresh engine from the tip."""
        ...


class Syncer:
    """Block sync of one node; see node.network.overlay.Hints for where hints come from."""

    def __init__(
        self,
        application: Application,
        store: ChainStore,
        ledger: Ledger,
        keeper: Keeper,
        engine: Engine,
        network: Network,
        clock: Clock,
        *,
        behind_heights: int = BEHIND_HEIGHTS,
    ) -> None:
        self._application = application
        self._store = store
        self._keeper = keeper
        self._engine = engine
        self._network = network
        self._clock = clock
        self._core = BlockSync(
            application.genesis_hash, application.epoch_blocks, application.bodies, behind_heights
        )
        self._importer = Importer(application, store, ledger)
        self._tasks: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._has_turn = False
        self._times: deque[int] = deque()
        """When blocks became final, lately."""
        self._told_ms = 0
        self._info: EpochInfo | None = None
        self.pruned: Callable[[int], None] = lambda height: None
        """Told when nobody has the block of this height any more, as long as that lasts."""
        self.blocks = 0
        """Blocks that were made final here."""

    def start(self) -> None:
        """Look at what peers claim from now on."""
        self._is_running = True
        self._turn()

    def stop(self) -> None:
        """Ask and commit nothing any more."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    @property
    def is_syncing(self) -> bool:
        """Whether blocks come by sync and the engine stands still."""
        return self._core.is_syncing

    @property
    def target_height(self) -> int:
        """The highest height of which a verified finalization is known, the head's at least."""
        return max(self._core.target, self._application.head.header.height)

    @property
    def blocks_per_second(self) -> int:
        """Blocks that the sync has made final a second, lately; 0 while it rests."""
        since_ms = self._clock.now_ms() - RATE_MS
        while self._times and self._times[0] < since_ms:
            self._times.popleft()
        if not self.is_syncing or not self._times:
            return 0
        took_ms = max(1, min(RATE_MS, self._clock.now_ms() - self._times[0]))
        return len(self._times) * 1_000 // took_ms

    # --- see node.network.overlay.Hints -----------------------------------------------------------

    def on_status(self, peer_id: bytes, status: Status) -> None:
        """A peer says where it is."""
        self._core.claimed(peer_id, status.final_epoch, status.final_height)
        self._wake()

    def on_peer_down(self, peer_id: bytes) -> None:
        """A peer is gone."""
        self._core.gone(peer_id)

    # --- turns ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._is_running and not self._has_turn:
            self._has_turn = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Let the core say what to do, commit one block, and come again."""
        self._has_turn = False
        if not self._is_running:
            return
        tip = self._application.tip()
        for effect in self._core.poll(self._clock.now_ms(), tip, self._epoch()):
            self._carry_out(effect)
        block = self._core.ready()
        if block is not None:
            self._importer.take(block)
            self.blocks += 1
            self._times.append(self._clock.now_ms())
            self._core.committed(self._application.tip(), self._epoch())
            self._wake()
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
        wait = POLL_SECONDS if self._core.is_syncing or self._core.is_waiting else IDLE_SECONDS
        self._timer = asyncio.get_running_loop().call_later(wait, self._wake)

    def _epoch(self) -> EpochInfo:
        """Return the epoch of the next block, read anew only when another one has begun."""
        application = self._application
        epoch = application.head.header.height // application.epoch_blocks
        if self._info is None or self._info.epoch != epoch:
            self._info = application.epoch_info()
        return self._info

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Ask():
                self._spawn(asyncio.ensure_future(self._ask(effect)))
            case Check():
                self._check(effect)
            case Accuse(peer, reason):
                log.warning("bad answer", extra={"peer": peer.hex(), "reason": reason})
                self._network.judge(peer, Verdict.INVALID)
            case KeepLink(proposal, justify):
                self._store.finality.keep_link(proposal, justify)
            case Begin(height):
                log.info(
                    "sync begins",
                    extra={"height": self._application.head.header.height, "target": height},
                )
                self._told_ms = self._clock.now_ms()
                self._engine.pause()
            case Descend(epoch, view):
                self._keeper.pass_over(epoch, view)
            case Lack(height):
                self.pruned(height)
            case End():
                head = self._application.head.header
                log.info("sync ends", extra={"height": head.height})
                self._times.clear()
                self._keeper.raise_floor(head.epoch, head.view)
                self._engine.resume()

    def _spawn(self, task: "asyncio.Future[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # a bug ends the node

    async def _ask(self, ask: Ask) -> None:
        """Ask a peer and hand on what it answers."""
        data = encode(ask.request)
        try:
            answer = await self._network.request(ask.peer, Topic.SYNC, data, ask.timeout_ms)
        except (NotConnected, QueueFull, RequestFailed) as error:
            log.debug("no answer", extra={"peer": ask.peer.hex(), "reason": error.sentence})
            refusal = error.refusal if isinstance(error, RequestFailed) else ""
            now_ms = self._clock.now_ms()
            self._core.failed(ask.number, now_ms, is_missing=refusal == NOT_HERE)
        else:
            self._core.answered(ask.number, answer, self._clock.now_ms())
        self._wake()

    def _check(self, check: Check) -> None:
        """Run a check in a thread; what it raises on purpose is what it found."""

        def run() -> object:
            try:
                return check.job()
            except (Unfit, InvalidBlock) as error:
                return error

        def checked(done: "asyncio.Future[object]") -> None:
            if self._is_running and not done.cancelled():
                self._core.checked(check.number, done.result(), self._clock.now_ms())
                self._wake()

        asyncio.get_running_loop().run_in_executor(None, run).add_done_callback(checked)

    def _tell(self) -> None:
        """Tell of progress now and then, also when there is none."""
        now_ms = self._clock.now_ms()
        if not self.is_syncing or now_ms < self._told_ms + TOLD_MS:
            return
        self._told_ms = now_ms
        height = self._application.head.header.height
        if self._core.is_stalled:
            log.warning(
                "sync stalled",
                extra={
                    "height": height,
                    "target": self.target_height,
                    "stage": self._core.stage.name.lower(),
                    "reason": "nobody brings what comes next; see to the peers, or restore a "
                    "snapshot",
                },
            )
            return
        log.info(
            "syncing",
            extra={
                "height": height,
                "target": self.target_height,
                "blocks_per_second": self.blocks_per_second,
                "peers": len(self._core.sources.claimants(height)),
                "stage": self._core.stage.name.lower(),
            },
        )
