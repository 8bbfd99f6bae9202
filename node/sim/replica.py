"""A simulated node: the engine that real nodes run, over a disk that forgets.

It carries out effects in order, and syncs what is pending before anything that rests on it: before
the guard's record of a vote, before a send, before a commit (consensus settled points 1 and 11).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, assert_never

from consensus.core import Core
from consensus.effects import (
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
from consensus.inputs import (
    BlockBuilt,
    BlockExecuted,
    EpochBegun,
    EpochInfo,
    Input,
    Received,
    Started,
    TimerFired,
    TransactionsPending,
    VoteRefused,
    VoteSigned,
)
from consensus.messages import BlockReply, JustifyReply, Message
from node.signer import GuardedSigner, GuardRefused
from node.sim.disk import DiskFaults, PowerFailed
from node.sim.ledger import Ledger
from node.sim.machine import Machine
from node.sim.storage import Storage
from node.sim.world import US_PER_MS, World
from state.crypto import Tag
from state.errors import SaharaError
from state.finality import Nullified, Proposal, SignedVote, boundary_height
from state.types import Hash, PublicKey, Signature

WALL_MS = 1_700_000_000_000
"""What wall clocks show when a simulation begins."""

HALTED = "halted: "
"""So begins the reason of a replica whose engine asked it to stop."""

ENGINE_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    SaharaError,
)
"""What must never come out of the engine, whatever goes in."""


class Engine(Protocol):
    """The consensus engine."""

    @property
    def core(self) -> Core:
        """What it knows; to be looked at, never written."""
        ...

    def handle(self, event: Input) -> list[Effect]:
        """Return what is to be done because of `event`, in order."""
        ...


class VoteSigner(Protocol):
    """Signs votes; the guard of an honest node refuses what contradicts an earlier one."""

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified) -> Signature:
        """Return the signature, or raise GuardRefused."""
        ...


class Watcher(Protocol):
    """Hears what a replica does; whoever checks or measures is told here."""

    def effect(self, replica: "Replica", effect: Effect) -> None:
        """The replica is about to carry this out."""
        ...

    def sends(self, replica: "Replica", to: bytes, message: Message) -> None:
        """The replica lets go of a message; everything it rests on has been synced."""
        ...

    def begins(self, replica: "Replica", epoch: EpochInfo) -> None:
        """The replica begins an epoch, with the sets that its own application gives."""
        ...

    def executed(self, replica: "Replica", block_id: Hash, *, is_valid: bool) -> None:
        """The replica has executed a block, or found it invalid."""
        ...

    def failed(self, replica: "Replica", reason: str) -> None:
        """The engine raised, or halted; the replica is down for good."""
        ...


@dataclass(frozen=True)
class Costs:
    """Virtual time that work takes, in microseconds; nothing unless it is charged."""

    message_us: int = 0
    signature_us: int = 0


@dataclass
class Meter:
    """Counts what the engine works on in the present step."""

    messages: int = 0
    signatures: int = 0


@dataclass
class Disk:
    """Everything that a node keeps: the application's state, final blocks, and the rest."""

    machine: Machine
    ledger: Ledger
    storage: Storage


@dataclass
class Parts:
    """Everything a replica is made of."""

    world: World
    endpoint: int
    validator: int
    public_key: PublicKey
    index: Callable[[int], int | None]
    """Its index in the set of an epoch, None where it is no member."""
    make_engine: Callable[[Meter, Machine], Engine]
    open_signer: Callable[[Storage], GuardedSigner]
    make_disk: Callable[[], "Disk"]
    make_storage: Callable[[], Storage]
    faults: DiskFaults
    watcher: Watcher
    transmit: Callable[[int, bytes, Message], None]
    """Called with endpoint, peer and message."""
    on_power_failure: Callable[["Replica"], None]
    on_step: Callable[["Replica"], None]
    epoch_blocks: int
    costs: Costs = field(default_factory=Costs)


class Replica:
    """One node of a simulation; it is up or down, and survives its crashes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.endpoint = parts.endpoint
        self.validator = parts.validator
        self.public_key = parts.public_key
        self.index = parts.index
        self.faults = parts.faults
        self._disk = parts.make_disk()
        self._chance: Random = parts.world.chance(f"replica {parts.endpoint}")
        self._engine: Engine | None = None
        self._signer: GuardedSigner | None = None
        self._life = 0
        self._timer = 0
        self._waiting: deque[tuple[bytes, Message]] = deque()
        self._busy_until_us = 0
        self._meter = Meter()
        self.crashes = 0
        self.is_broken = False
        """Whether it halted or failed, and will not come back."""
        self.is_lost = False
        """Whether journal and guard were lost, and it does not vote yet (settled 10)."""

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine of a replica that is up."""
        assert self._engine is not None, "only who is up has an engine"
        return self._engine

    @property
    def signer(self) -> GuardedSigner:
        """The signer of a replica that is up."""
        assert self._signer is not None, "only who is up has a signer"
        return self._signer

    @property
    def machine(self) -> Machine:
        """Its application."""
        return self._disk.machine

    @property
    def ledger(self) -> Ledger:
        """Its final blocks."""
        return self._disk.ledger

    @property
    def storage(self) -> Storage:
        """Its journal, unfinal blocks and guard."""
        return self._disk.storage

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, or start again with what the disk still holds."""
        assert self._engine is None, "it starts when it is down"
        if self.is_broken:
            return
        parts = self._parts
        self._life += 1
        self._signer = parts.open_signer(self.storage)
        self._engine = parts.make_engine(self._meter, self.machine)
        ledger = self.ledger
        epoch = ledger.epoch_info()
        parts.watcher.begins(self, epoch)
        records, blocks = self.storage.recover(ledger.height)
        now_ms = parts.world.now_ms
        started = Started(
            now_ms=now_ms,
            wall_ms=WALL_MS + now_ms,
            epoch=epoch,
            tip=ledger.tip,
            records=records,
            blocks=blocks,
            guarded=self._guarded(epoch.epoch),
            lost=self.is_lost,
        )
        self.feed(started)
        if self.is_up:
            self.feed(TransactionsPending(now_ms, True))

    def _guarded(self, epoch: int) -> tuple[SignedVote, ...]:
        assert self._signer is not None, "who starts has a signer"
        votes = self._signer.votes(self.index(epoch) or 0)
        self.storage.durable.update([signed.vote.signature for signed in votes])
        return votes

    def crash(self) -> None:
        """Lose power now."""
        if not self.is_up:
            return
        self._engine = None
        if self._signer is not None:
            self._signer.close()
        self._waiting.clear()
        self.crashes += 1
        self.storage.crash(self.faults.strikes())
        self.machine.restart()
        self.ledger.restart()

    def lose_disk(self, everything: bool) -> None:
        """Lose journal, unfinal blocks and guard of a node that is down, or all that it had."""
        assert not self.is_up, "a disk is replaced while the node is down"
        self.is_lost = True
        if everything:
            self._disk = self._parts.make_disk()
        else:
            self._disk.storage = self._parts.make_storage()

    def _break(self, reason: str) -> None:
        self._engine = None
        self.is_broken = True
        self._parts.watcher.failed(self, reason)

    # --- what happens to it ---------------------------------------------------------------------

    def deliver(self, sender: bytes, message: Message) -> None:
        """A message has come in; it waits while the processor is busy."""
        world = self._parts.world
        if self._parts.costs.message_us == 0 or (
            not self._waiting and self._busy_until_us <= world.now_us
        ):
            self._charged(Received(world.now_ms, ((sender, message),)), 1)
            return
        self._waiting.append((sender, message))
        if len(self._waiting) == 1:
            world.at(max(world.now_us, self._busy_until_us), self._in_this_life(self._take_all))

    def _take_all(self) -> None:
        """Handle everything that came while the processor was busy, at once."""
        messages = tuple(self._waiting)
        self._waiting.clear()
        if messages:
            self._charged(Received(self._parts.world.now_ms, messages), len(messages))

    def _charged(self, event: Received, messages: int) -> None:
        self._meter.signatures, self._meter.messages = 0, messages
        self.feed(event)
        self._busy_until_us = self.ready_us
        self._meter.signatures = self._meter.messages = 0

    @property
    def ready_us(self) -> int:
        """When what is done now is done: the processor has first to do what this rests on."""
        costs, meter = self._parts.costs, self._meter
        spent_us = meter.messages * costs.message_us + meter.signatures * costs.signature_us
        return max(self._parts.world.now_us, self._busy_until_us) + spent_us

    def feed(self, event: Input) -> None:
        """Let the engine handle an input, and carry out everything that follows from it."""
        waiting = deque([event])
        try:
            while waiting and self.is_up:
                engine = self.engine
                for effect in engine.handle(waiting.popleft()):
                    answer = self._carry_out(effect)
                    if answer is not None:
                        waiting.append(answer)
                    if self._engine is not engine:
                        return
            self.storage.sync()
            if self.is_up:
                self.is_lost = self.is_lost and self.engine.core.is_lost
        except PowerFailed:
            self.crash()
            self._parts.on_power_failure(self)
        except ENGINE_FAILURES as error:
            self._break(f"{type(error).__name__}: {error}")
        self._parts.on_step(self)

    # --- what it does ---------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> Input | None:
        parts = self._parts
        parts.watcher.effect(self, effect)
        match effect:
            case Send():
                self.storage.sync()
                parts.watcher.sends(self, effect.to, effect.message)
                parts.transmit(self.endpoint, effect.to, effect.message)
            case SetTimer():
                self._set_timer(effect.at_ms)
            case BuildBlock() | ExecuteBlock() | SignVote():
                return self._answer(effect)
            case Journal() | StoreBlock() | StoreLink():
                self._keep(effect)
            case CommitBlock():
                return self._commit(effect)
            case RaiseFloor():
                self._raise_floor(effect.epoch, effect.view)
            case EvidenceFound():
                self.machine.found(effect.evidence)
            case ServeBlocks() | ServeBoundary() | ServeJustify():
                self._serve(effect)
            case Blame():
                pass  # nobody is banned here: whoever watches compares it with who is honest
            case Halt():
                self._break(HALTED + effect.reason)
            case _:
                assert_never(effect)
        return None

    def _keep(self, effect: Journal | StoreBlock | StoreLink) -> None:
        match effect:
            case Journal():
                self.storage.journal(effect.records)
            case StoreBlock():
                self.storage.store_block(effect.block)
            case StoreLink():
                self.ledger.justifies[effect.proposal.justify_hash] = effect.justify

    def _answer(self, effect: BuildBlock | ExecuteBlock | SignVote) -> Input:
        parts = self._parts
        now_ms = parts.world.now_ms
        match effect:
            case BuildBlock():
                built = self.machine.build(effect, self._chance.randbytes(8))
                return BlockBuilt(
                    now_ms,
                    effect.view,
                    WALL_MS + now_ms,
                    built.body,
                    built.tx_root,
                    built.evidence_root,
                    built.params_hash,
                )
            case ExecuteBlock():
                done = self.machine.execute(effect)
                self.ledger.executed(effect, done)
                parts.watcher.executed(self, effect.block_id, is_valid=done.is_valid)
                return BlockExecuted(
                    now_ms,
                    effect.block_id,
                    done.is_valid,
                    done.state_root,
                    done.outcomes_root,
                    done.changed,
                )
            case SignVote():
                return self._sign(effect)
            case _:
                assert_never(effect)

    def _sign(self, effect: SignVote) -> VoteSigned | VoteRefused:
        parts = self._parts
        assert self._signer is not None, "who runs has a signer"
        self.storage.sync()
        try:
            signature = self._signer.sign_vote(effect.kind, effect.subject)
        except GuardRefused:
            return VoteRefused(parts.world.now_ms, effect.kind, effect.subject)
        return VoteSigned(parts.world.now_ms, effect.kind, effect.subject, signature)

    def _set_timer(self, at_ms: int) -> None:
        self._timer += 1
        number, life, world = self._timer, self._life, self._parts.world

        def fire() -> None:
            if self.is_up and (number, life) == (self._timer, self._life):
                world.record("timer", self.endpoint, -1, b"", at_ms)
                self.feed(TimerFired(world.now_ms))

        world.at(max(world.now_us, at_ms * US_PER_MS), fire)

    def _in_this_life(self, action: Callable[[], None]) -> Callable[[], None]:
        life = self._life

        def act() -> None:
            if self.is_up and life == self._life:
                action()

        return act

    def _commit(self, effect: CommitBlock) -> Input | None:
        parts = self._parts
        self.storage.sync()
        self.machine.commit(effect)
        self.ledger.commit(effect)
        header = effect.header
        if header.height == boundary_height(header.epoch, parts.epoch_blocks):
            epoch = self.ledger.epoch_info()
            parts.watcher.begins(self, epoch)
            return EpochBegun(parts.world.now_ms, epoch)
        return None

    def _raise_floor(self, epoch: int, view: int) -> None:
        """Forget what nobody needs any more, in the journal, among the blocks, and in the guard."""
        storage = self.storage
        assert self._signer is not None, "who runs has a signer"
        storage.sync()
        storage.raise_floor(epoch, view)
        storage.forget_blocks(self.ledger.height)
        self._signer.raise_floor(epoch, view + 1)

    def _serve(self, effect: ServeBlocks | ServeBoundary | ServeJustify) -> None:
        parts = self._parts
        if isinstance(effect, ServeBlocks):
            blocks = self.ledger.blocks_from(effect.block_id, effect.count)
            if blocks:
                parts.transmit(self.endpoint, effect.to, BlockReply(blocks))
            return
        if isinstance(effect, ServeJustify):
            justify = self.ledger.justifies.get(effect.justify_hash)
            if justify is not None:
                parts.transmit(self.endpoint, effect.to, JustifyReply(justify))
            return
        finalization = self.ledger.boundaries.get(effect.epoch)
        if finalization is not None:
            parts.transmit(self.endpoint, effect.to, finalization)
