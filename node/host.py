"""The host: inputs to consensus, effects out to application, signer and timer, and nothing else.

Every effect that changes something durable is carried out before the next one is looked at, so a
vote is on disk before a block is final, and a block is on disk before anybody hears of it.
"""

import asyncio
from collections import deque
from typing import Protocol, assert_never

from consensus.solo import Solo
from consensus.solo_effects import (
    BuildBlock,
    CommitBlock,
    Effect,
    ExecuteBlock,
    SetTimer,
    SignVote,
)
from consensus.solo_inputs import (
    BlockBuilt,
    BlockExecuted,
    Input,
    Pacing,
    PacingChanged,
    Started,
    TimerFired,
    TransactionsPending,
    VoteSigned,
)
from node.application import Application
from node.backend import NodeBackend
from node.clock import Clock
from node.mempool import Mempool
from node.metrics import NodeMetrics
from state.crypto import Tag
from state.errors import Malformed
from state.finality import Nullified, Proposal
from state.types import Signature


class VoteSigner(Protocol):
    """The guarded signer, as the host sees it."""

    @property
    def view_floor(self) -> int:
        """The highest view that may not be voted in again."""
        ...

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified) -> Signature:
        """Return a signature that the guard has made durable, or raise GuardRefused."""
        ...

    def raise_floor(self, epoch: int, view: int) -> None:
        """Sign nothing below this round any more, so that the guard stays small."""
        ...


FLOOR_BLOCKS = 1_000
"""Every so many blocks the guard forgets the votes below the last final one."""


class Host:
    """Drives one engine from callbacks of the event loop, whose exception handler ends the node."""

    def __init__(
        self,
        engine: Solo,
        application: Application,
        mempool: Mempool,
        signer: VoteSigner,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._engine = engine
        self._application = application
        self._mempool = mempool
        self._signer = signer
        self._clock = clock
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._was_pending = False
        self._notified = False
        self.backend: NodeBackend | None = None

    def start(self) -> None:
        """Hand the replayed tip to the engine; blocks follow."""
        tip = self._application.tip()
        self.feed(Started(self._clock.now_ms(), tip, self._signer.view_floor))

    def pending_changed(self) -> None:
        """Tell the engine, once a turn of the loop, that the mempool is not empty any more."""
        if not self._was_pending and not self._notified:
            self._notified = True
            asyncio.get_running_loop().call_soon(self._tell_pending)

    def set_pacing(self, block_interval_ms_min: int, idle_interval_ms: int) -> bool:
        """Change how long blocks wait, from now on, and return True; raises Malformed."""
        if not 1 <= block_interval_ms_min <= idle_interval_ms:
            raise Malformed(
                f"Intervals of {block_interval_ms_min} and {idle_interval_ms} ms are no pace; give "
                "at least 1 ms, and an idle interval that is not shorter than the busy one."
            )
        event = PacingChanged(self._clock.now_ms(), Pacing(block_interval_ms_min, idle_interval_ms))
        asyncio.get_running_loop().call_soon(self.feed, event)
        return True

    def stop(self) -> None:
        """Ask for no more timers."""
        if self._timer is not None:
            self._timer.cancel()

    def feed(self, event: Input) -> None:
        """Let the engine handle an input and everything that follows from it at once."""
        waiting = deque([event])
        while waiting:
            for effect in self._engine.handle(waiting.popleft()):
                answer = self._carry_out(effect)
                if answer is not None:
                    waiting.append(answer)

    def _carry_out(self, effect: Effect) -> Input | None:
        match effect:
            case SetTimer():
                self._set_timer(effect.at_ms)
                return None
            case BuildBlock():
                return self._build(effect.height)
            case ExecuteBlock():
                candidate = self._application.execute(effect.header, effect.block_id)
                return BlockExecuted(
                    effect.block_id,
                    candidate.state_root,
                    candidate.outcomes_root,
                    candidate.changed,
                )
            case SignVote():
                signature = self._signer.sign_vote(effect.kind, effect.proposal)
                return VoteSigned(effect.kind, effect.proposal.block_id, signature)
            case CommitBlock():
                self._commit(effect)
                return None
            case _:
                assert_never(effect)

    def _build(self, height: int) -> BlockBuilt:
        application = self._application
        found = self._mempool.take(application.state, height, application.params)
        return application.build(found, self._clock.wall_ms())

    def _set_timer(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_ms = max(0, at_ms - self._clock.now_ms())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_ms / 1_000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.feed(TimerFired(self._clock.now_ms()))

    def _commit(self, effect: CommitBlock) -> None:
        application = self._application
        candidate = application.commit(effect.header, effect.block_id, effect.finalization)
        dropped = self._mempool.recheck(
            candidate.transactions,
            application.state,
            effect.header.height + 1,
            application.params,
        )
        outcomes = candidate.executed.result.outcomes
        self._metrics.block_final(effect.header.height, [outcome.status for outcome in outcomes])
        self._metrics.mempool(len(self._mempool), self._mempool.bytes_held)
        if effect.header.height % FLOOR_BLOCKS == 0:
            self._signer.raise_floor(effect.header.epoch, effect.header.view)
        if self.backend is not None:
            self.backend.committed(candidate, effect.finalization, dropped)
        if self._was_pending != bool(len(self._mempool)) and not self._notified:
            self._notified = True
            asyncio.get_running_loop().call_soon(self._tell_pending)

    def _tell_pending(self) -> None:
        self._notified = False
        pending = bool(len(self._mempool))
        if pending != self._was_pending:
            self._was_pending = pending
            self.feed(TransactionsPending(self._clock.now_ms(), pending))
