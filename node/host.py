"""The host: inputs to consensus, effects out to application, disk, peers and timer.

One step is an input and everything that follows from it at once. What a step makes durable is
synced before anything it sends leaves and before any of its blocks becomes final (settled point
11); execution waits until what was to be sent has left, so that others vote meanwhile.
"""

import asyncio
import logging
from collections import deque
from typing import Protocol, assert_never

from consensus.core import Core
from consensus.driver import Driver
from consensus.effects import (
    ALL,
    Blame,
    BuildBlock,
    CommitBlock,
    Effect,
    EvidenceFound,
    ExecuteBlock,
    Halt,
    Journal,
    RaiseFloor,
    Send,
    ServeBlocks,
    ServeBoundary,
    ServeJustify,
    SetTimer,
    SignVote,
    StoreBlock,
    StoreLink,
)
from consensus.helping import status_of
from consensus.inputs import (
    BlockBuilt,
    BlockExecuted,
    BuildFailed,
    ClockSet,
    EpochBegun,
    Input,
    PacingChanged,
    Peer,
    Received,
    Started,
    TimerFired,
    TransactionsPending,
)
from consensus.messages import Message
from consensus.timeouts import Pacing
from consensus.validators import Validators
from node.application import Application, UnknownParent
from node.backend import NodeBackend
from node.clock import Clock
from node.errors import ConsensusHalted
from node.evidence_pool import EvidencePool
from node.keeper import Keeper
from node.ledger import Ledger
from node.mempool import Mempool
from node.metrics import NodeMetrics
from node.serving import Serving
from node.storage.chain_store import ChainStore
from state.crypto import SignatureClaim
from state.errors import InvalidBlock, Malformed
from state.finality import (
    Certificate,
    Finalization,
    Notarization,
    Nullification,
    SignedVote,
    boundary_height,
)
from state.modules import chain
from state.types import ZERO_HASH, PublicKey

INBOX_MAX = 4_096
"""Messages that wait for the next step; whoever sends more is not heard."""
CLOCK_SECONDS = 1.0
"""How often the engine is told what the wall clock shows, should somebody have set it."""

log = logging.getLogger("sahara.host")

Held = Send | CommitBlock | RaiseFloor | ServeBlocks | ServeBoundary | ServeJustify


class Peers(Protocol):
    """The other nodes, as the host sees them; incoming messages go to `Host.receive`."""

    def send(self, to: Peer, message: Message) -> None:
        """Send a message to one validator, or to whoever has this name; it may be lost."""
        ...

    def broadcast(self, message: Message) -> None:
        """Send a message to every validator and to whoever else listens."""
        ...

    def blame(self, peer: Peer) -> None:
        """A peer has sent what no honest node sends."""
        ...


class Host:
    """Drives one engine from callbacks of the event loop, whose exception handler ends the node.

    Without `peers` nobody listens, and nothing is sent.
    """

    def __init__(
        self,
        driver: Driver,
        application: Application,
        store: ChainStore,
        mempool: Mempool,
        keeper: Keeper,
        clock: Clock,
        metrics: NodeMetrics,
        *,
        peers: Peers | None = None,
        vote_after: tuple[int, int] | None = None,
    ) -> None:
        self._driver = driver
        self._application = application
        self._store = store
        self._mempool = mempool
        self._keeper = keeper
        self._clock = clock
        self._peers = peers
        self.vote_after = vote_after
        self._evidence = EvidencePool(store.finality, application.genesis_hash)
        self.ledger = Ledger(application, mempool, self._evidence, metrics)
        self._inputs: deque[Input] = deque()
        self._work: deque[BuildBlock | ExecuteBlock] = deque()
        self._held: list[Held] = []
        self._inbox: list[tuple[Peer, Message]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._clock_timer: asyncio.TimerHandle | None = None
        self._was_pending = False
        self._notified = False
        self._is_running = False
        self._in_step = False
        self._now_ms = 0
        self._pacing: Pacing | None = None
        """Another pace than that of the settings, for the engines to come."""

    # --- from outside ----------------------------------------------------------------------------

    @property
    def backend(self) -> NodeBackend | None:
        """Who tells clients of final blocks."""
        return self.ledger.backend

    @backend.setter
    def backend(self, backend: NodeBackend) -> None:
        """Let this one tell them."""
        self.ledger.backend = backend

    @property
    def has_committed(self) -> asyncio.Event:
        """Set once a block has become final since the start."""
        return self.ledger.has_committed

    def pause(self) -> None:
        """Let go of the engine between two steps, as a crash would: all it needs is durable."""
        assert not self._in_step, "a step is not left half done"
        self.stop()
        for waiting in (self._inputs, self._work, self._held, self._inbox):
            waiting.clear()

    def resume(self, driver: Driver) -> None:
        """Go on with a fresh engine from the tip, as after a restart."""
        assert not self._is_running, "paused before"
        self._driver = driver
        self._was_pending = self._notified = False
        self.start()
        if self._pacing is not None:
            self.feed(PacingChanged(self._clock.now_ms(), self._pacing))

    def start(self) -> None:
        """Hand the engine what store, journal and guard hold; it goes on from there."""
        self._is_running = True
        journal = self._keeper.journal
        for link in journal.links:
            self._store.finality.keep_link(link.proposal, link.justify)
        now_ms = self._clock.now_ms()
        self.feed(
            Started(
                now_ms,
                self._clock.wall_ms(),
                self._application.epoch_info(),
                self._application.tip(),
                journal.records,
                journal.blocks,
                self._keeper.guarded(),
                lost=journal.is_lost,
                vote_after=self.vote_after,
            )
        )
        self._tell_clock()
        self._tell_pending()

    def receive(self, peer: Peer, message: Message) -> None:
        """Take in a message from a peer, with all others of this turn of the loop at once."""
        if not self._is_running:
            return
        if len(self._inbox) >= INBOX_MAX:
            return
        self._inbox.append((peer, message))
        if len(self._inbox) == 1:
            asyncio.get_running_loop().call_soon(self._take_inbox)

    def hello(self) -> Message | None:
        """Return where this node stands, to tell a new peer; None while it does not run."""
        return status_of(self._driver.core) if self._is_running else None

    def claims_of(self, signed: SignedVote | Certificate) -> list[SignatureClaim]:
        """Return what is still to be verified of a vote or certificate, nothing of useless ones."""
        epoch = self._driver.core.epoch
        if isinstance(signed, Notarization | Nullification | Finalization):
            return epoch.claims_of(signed) or []
        claim = epoch.claim_of(signed)
        return [] if claim is None else [claim]

    def pending_changed(self) -> None:
        """Tell the engine, once a turn of the loop, that the mempool is not empty any more."""
        if self._is_running and not self._was_pending and not self._notified:
            self._notified = True
            asyncio.get_running_loop().call_soon(self._tell_pending)

    def set_pacing(self, block_interval_ms_min: int, idle_interval_ms: int) -> bool:
        """Change how long blocks wait, from now on, and return True; raises Malformed."""
        if not 1 <= block_interval_ms_min <= idle_interval_ms:
            raise Malformed(
                f"Intervals of {block_interval_ms_min} and {idle_interval_ms} ms are no pace; give "
                "at least 1 ms, and an idle interval that is not shorter than the busy one."
            )
        self._pacing = Pacing(block_interval_ms_min, idle_interval_ms)
        event = PacingChanged(self._clock.now_ms(), self._pacing)
        asyncio.get_running_loop().call_soon(self.feed, event)
        return True

    def stop(self) -> None:
        """Do nothing any more."""
        self._is_running = False
        for timer in (self._timer, self._clock_timer):
            if timer is not None:
                timer.cancel()

    @property
    def is_alone(self) -> bool:
        """Whether this node is the only validator of the epoch."""
        epoch = self._driver.core.epoch
        return epoch.me is not None and len(epoch.validators) == 1

    @property
    def is_running(self) -> bool:
        """Whether the engine runs, and is of the epoch that this host says it is in."""
        return self._is_running

    @property
    def engine(self) -> Core | None:
        """What the engine knows, to be looked at; None while it does not run."""
        return self._driver.core if self._is_running else None

    @property
    def round(self) -> tuple[int, int]:
        """The epoch and the view that the node is in; before the start, those of the head."""
        if not self._is_running:
            header = self._application.head.header
            return header.epoch, header.view
        epoch = self._driver.core.epoch
        return epoch.number, epoch.view

    @property
    def validators(self) -> Validators:
        """The validators of the epoch that the engine is in, once it was started."""
        return self._driver.core.epoch.validators

    def next_key(self, validator: int) -> PublicKey | None:
        """Return the key of a validator of the next epoch."""
        members = self._application.epoch_info().next_validators
        return members[validator].public_key if validator < len(members) else None

    def feed(self, event: Input) -> None:
        """Let the engine handle an input and everything that follows from it at once."""
        if self._is_running:
            self._inputs.append(event)
            self._step()

    # --- steps -----------------------------------------------------------------------------------

    def _step(self) -> None:
        """Go on until nothing is left to do, or until what was sent should leave first."""
        if self._in_step or not self._is_running:
            return
        self._in_step = True  # and stays so if anything is raised: the node does not try again
        # time stands still in a step: else what follows would fall due in it, and it never end
        self._now_ms = self._clock.now_ms()
        while self._inputs or self._held or self._work:
            if self._inputs:
                for effect in self._driver.handle(self._inputs.popleft()):
                    self._carry_out(effect)
            elif self._held:
                if self._release() and self._work and not self._inputs:
                    asyncio.get_running_loop().call_soon(self._step)
                    break
            else:
                self._do(self._work.popleft())
        self._keeper.sync()
        self._note_regained()
        if not self._work:
            self._application.forget_all_but(self._driver.core.blocks.get)
        self._in_step = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send() | ServeBlocks() | ServeBoundary() | ServeJustify():
                if self._peers is not None:
                    self._held.append(effect)
            case CommitBlock() | RaiseFloor():
                self._held.append(effect)
            case BuildBlock() | ExecuteBlock():
                self._work.append(effect)
            case SetTimer(at_ms):
                self._set_timer(at_ms)
            case SignVote(kind, subject):
                self._inputs.append(self._keeper.sign(self._now_ms, kind, subject))
            case Journal() | StoreBlock() | StoreLink():
                self._keep(effect)
            case EvidenceFound(evidence):
                self._evidence.add(evidence)
            case Blame(peer):
                if self._peers is not None:
                    self._peers.blame(peer)
            case Halt(reason):
                self._keeper.sync()
                raise ConsensusHalted(
                    f"Consensus cannot go on: {reason}. Keep this home as it is, and compare it "
                    "with those of other validators."
                )
            case _:
                assert_never(effect)

    def _keep(self, effect: Journal | StoreBlock | StoreLink) -> None:
        match effect:
            case Journal(records):
                self._keeper.keep(records)
                for record in records:
                    if isinstance(record, Notarization):
                        self._application.notarized(record.subject.block_id)
            case StoreBlock(block_id, block):
                self._keeper.keep_block(block_id, block)
            case StoreLink(proposal, justify):
                self._keeper.keep_link(proposal, justify)
                self._store.finality.keep_link(proposal, justify)

    def _release(self) -> bool:
        """Sync what the step brought, then do what rests on it; tell whether anything was sent."""
        held, self._held = self._held, []
        self._keeper.sync()
        has_sent = False
        serving = Serving(self._store, self._send)
        for effect in held:
            match effect:
                case Send(to, message):
                    self._send(to, message)
                    has_sent = True
                case CommitBlock():
                    self._commit(effect)
                case RaiseFloor(epoch, view):
                    self._keeper.raise_floor(epoch, view)
                case ServeBlocks() | ServeBoundary() | ServeJustify():
                    serving.answer(effect)
        return has_sent

    def _send(self, to: Peer, message: Message) -> None:
        assert self._peers is not None, "nothing is held for nobody"
        if to == ALL:
            self._peers.broadcast(message)
        else:
            self._peers.send(to, message)

    def _do(self, effect: BuildBlock | ExecuteBlock) -> None:
        """Build or execute a block, and answer; what lost its parent meanwhile needs no answer."""
        match effect:
            case BuildBlock():
                self._inputs.append(self._build(effect))
            case ExecuteBlock():
                answer = self._execute(effect)
                if answer is not None:
                    self._inputs.append(answer)

    def _build(self, wanted: BuildBlock) -> BlockBuilt | BuildFailed:
        application, parent_id = self._application, wanted.parent_id
        try:
            state = application.state_after(parent_id)
        except UnknownParent:
            return BuildFailed(self._now_ms, wanted.view)
        taken = self._mempool.take(
            state, wanted.height, chain.params_of(state), application.unfinal_ids(parent_id)
        )
        evidence = self._evidence.choose(state, wanted.height)
        built = application.build(parent_id, taken, wanted.late, evidence)
        return BlockBuilt(
            self._now_ms,
            wanted.view,
            self._clock.wall_ms(),
            built.body,
            built.tx_root,
            built.evidence_root,
            built.params_hash,
        )

    def _execute(self, wanted: ExecuteBlock) -> BlockExecuted | None:
        try:
            done = self._application.execute(
                wanted.header, wanted.block_id, wanted.justify, wanted.body
            )
        except UnknownParent:
            return None
        except InvalidBlock as error:
            log.warning(
                "block invalid",
                extra={"block_id": wanted.block_id.hex(), "reason": error.sentence},
            )
            return BlockExecuted(self._now_ms, wanted.block_id, False, ZERO_HASH, ZERO_HASH, False)
        notarization = self._driver.core.epoch.notarized.get(wanted.header.view)
        if notarization is not None and notarization.subject.block_id == wanted.block_id:
            done.is_notarized = True
        return BlockExecuted(
            self._now_ms,
            wanted.block_id,
            True,
            done.state_root,
            done.outcomes_root,
            done.changed,
        )

    def _commit(self, effect: CommitBlock) -> None:
        application = self._application
        header = effect.header
        is_behind = self._driver.core.is_behind
        self.ledger.commit(header, effect.block_id, effect.finalization, is_behind=is_behind)
        if self._was_pending != bool(len(self._mempool)) and not self._notified:
            self._notified = True
            asyncio.get_running_loop().call_soon(self._tell_pending)
        if header.height == boundary_height(header.epoch, application.epoch_blocks):
            self._inputs.append(EpochBegun(self._now_ms, application.epoch_info()))

    def _note_regained(self) -> None:
        """Remember that a vote that was lost is regained (settled point 10)."""
        core = self._driver.core
        if self._keeper.journal.is_lost and not core.is_lost:
            epoch, view = core.votes_above
            self._keeper.regain(epoch, view)
            log.info("votes again", extra={"above": f"{epoch}:{view}"})

    # --- time ------------------------------------------------------------------------------------

    def _set_timer(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_ms = max(0, at_ms - self._clock.now_ms())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_ms / 1_000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.feed(TimerFired(self._clock.now_ms()))

    def _tell_clock(self) -> None:
        """Tell the engine what the wall clock shows, now and later."""
        loop = asyncio.get_running_loop()
        self._clock_timer = loop.call_later(CLOCK_SECONDS, self._tell_clock)
        self.feed(ClockSet(self._clock.now_ms(), self._clock.wall_ms()))

    def _tell_pending(self) -> None:
        self._notified = False
        pending = bool(len(self._mempool))
        if pending != self._was_pending:
            self._was_pending = pending
            self.feed(TransactionsPending(self._clock.now_ms(), pending))

    def _take_inbox(self) -> None:
        messages, self._inbox = tuple(self._inbox), []
        self.feed(Received(self._clock.now_ms(), messages))
