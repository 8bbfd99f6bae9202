"""The engine of a network with one validator: it builds, votes and finalizes alone.

Behind the same inputs and effects as any engine, and with the same proposals, votes and
certificates, so that headers, proofs and light clients are already those of the full protocol.
Pacing follows consensus 2.4; after a block that changed something the next one is due at once even
if it is empty, because only its header carries the root (consensus settled point 15).
"""

from enum import Enum
from typing import assert_never

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
    Tip,
    TransactionsPending,
    VoteSigned,
)
from state.codec import encode
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Proposal,
    Vote,
    evidence_root,
    justify_hash,
)
from state.types import Address, Signature


class Stage(Enum):
    """Where the engine is within a height."""

    STOPPED = "stopped"
    WAITING = "waiting"
    BUILDING = "building"
    EXECUTING = "executing"
    NOTARIZING = "notarizing"
    FINALIZING = "finalizing"


class Solo:
    """One validator's engine: `handle` turns an input into effects, and nothing else happens."""

    def __init__(self, proposer: Address, pacing: Pacing) -> None:
        self._proposer = proposer
        self._pacing = pacing
        self._stage = Stage.STOPPED
        self._pending = False
        self._begun_ms = 0
        self._view = 0
        self._tip: Tip | None = None
        self._header: Header | None = None
        self._proposal: Proposal | None = None
        self._executed: BlockExecuted | None = None

    def handle(self, event: Input) -> list[Effect]:
        """Return what is to be done because of `event`, in order."""
        match event:
            case Started():
                assert self._stage is Stage.STOPPED, "an engine starts once"
                self._tip = event.tip
                self._view = max(event.view_floor, event.tip.header.view)
                self._stage = Stage.WAITING
                self._begun_ms = event.now_ms - self._pacing.idle_interval_ms
                return self._act(event.now_ms)
            case TransactionsPending():
                self._pending = event.pending
                return self._act(event.now_ms)
            case PacingChanged():
                self._pacing = event.pacing
                return self._act(event.now_ms)
            case TimerFired():
                return self._act(event.now_ms)
            case BlockBuilt():
                return self._propose(event)
            case BlockExecuted():
                return self._vote(event)
            case VoteSigned():
                return self._advance(event)
            case _:
                assert_never(event)

    def _due_ms(self) -> int:
        """Return when the next block is due: intervals run from the start of the last one."""
        assert self._tip is not None, "a started engine has a tip"
        owed = self._pending or self._tip.changed
        pacing = self._pacing
        wait = pacing.block_interval_ms_min if owed else pacing.idle_interval_ms
        return self._begun_ms + wait

    def _act(self, now_ms: int) -> list[Effect]:
        """Build if the next block is due, else ask to be woken when it is."""
        if self._stage is not Stage.WAITING:
            return []
        if now_ms < self._due_ms():
            return [SetTimer(self._due_ms())]
        assert self._tip is not None, "a started engine has a tip"
        self._stage = Stage.BUILDING
        self._begun_ms = now_ms
        self._view += 1
        return [BuildBlock(self._tip.header.height + 1)]

    def _propose(self, built: BlockBuilt) -> list[Effect]:
        """Make header and proposal over the tip (R1) and have the block executed."""
        assert self._stage is Stage.BUILDING, "a body is built when it is asked for"
        tip = self._tip
        assert tip is not None, "a started engine has a tip"
        justification = justify_hash(Justify(tip.finalization, ()))
        header = Header(
            height=tip.header.height + 1,
            epoch=tip.header.epoch,
            view=self._view,
            parent_view=tip.header.view,
            parent_id=tip.block_id,
            time_ms=max(built.time_ms, tip.header.time_ms + 1),
            proposer=self._proposer,
            tx_root=built.tx_root,
            evidence_root=evidence_root((encode(None),)),
            justify_hash=justification,
            state_root=tip.state_root,
            outcomes_root=tip.outcomes_root,
            validators_hash=built.validators_hash,
            next_validators_hash=built.next_validators_hash,
            params_hash=built.params_hash,
        )
        block_id = header.id
        self._header = header
        self._proposal = Proposal(
            header.epoch, header.view, header.parent_view, block_id, justification
        )
        self._stage = Stage.EXECUTING
        return [ExecuteBlock(header, block_id)]

    def _vote(self, executed: BlockExecuted) -> list[Effect]:
        """Notarize the executed block (R3)."""
        proposal = self._proposal
        assert self._stage is Stage.EXECUTING, "a block is executed when it is asked for"
        assert proposal is not None, "an executed block was proposed"
        assert proposal.block_id == executed.block_id, "the block that was proposed is executed"
        self._executed = executed
        self._stage = Stage.NOTARIZING
        return [SignVote(Tag.NOTARIZE, proposal)]

    def _advance(self, signed: VoteSigned) -> list[Effect]:
        """After the Notarize sign the Finalize (R6); after that the block is final (R7)."""
        proposal, header, executed = self._proposal, self._header, self._executed
        assert proposal is not None, "votes are signed for a proposal"
        assert header is not None, "a proposal has a header"
        assert executed is not None, "votes follow execution"
        assert signed.block_id == proposal.block_id, "the vote is for the proposal"
        if self._stage is Stage.NOTARIZING:
            assert signed.kind is Tag.NOTARIZE, "the first vote notarizes"
            self._stage = Stage.FINALIZING
            return [SignVote(Tag.FINALIZE, proposal)]
        assert self._stage is Stage.FINALIZING, "a vote is signed when it is asked for"
        assert signed.kind is Tag.FINALIZE, "the second vote finalizes"
        return self._finalize(header, proposal, executed, signed.signature)

    def _finalize(
        self, header: Header, proposal: Proposal, executed: BlockExecuted, signature: Signature
    ) -> list[Effect]:
        certificate = Finalization(proposal, (Vote(0, signature),))
        self._tip = Tip(
            header,
            proposal.block_id,
            executed.state_root,
            executed.outcomes_root,
            executed.changed,
            certificate,
        )
        self._stage = Stage.WAITING
        commit = CommitBlock(header, proposal.block_id, certificate)
        return [commit, SetTimer(self._due_ms())]
