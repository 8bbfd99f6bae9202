"""The driver: inputs in, effects out, and in between the rules of Simplex; nothing else happens.

It has no clock, no chance and no I/O, so the same inputs give the same effects in any process. What
it needs of time comes with its inputs; one timer is asked for at a time.
"""

from typing import assert_never

from consensus.blocks import Standing
from consensus.core import Core
from consensus.effects import Effect, SetTimer
from consensus.helping import status_of
from consensus.inputs import (
    BlockBuilt,
    BlockExecuted,
    BuildFailed,
    ClockSet,
    EpochBegun,
    Input,
    PacingChanged,
    Received,
    Started,
    TimerFired,
    TransactionsPending,
    VoteRefused,
    VoteSigned,
)
from consensus.intake import receive, shortened
from consensus.messages import Block
from consensus.recovery import recover
from consensus.regain import ask, regain
from consensus.rules import hurry, own_propose, settle, start_clocks
from consensus.settings import Settings
from consensus.timeouts import NEVER
from consensus.view import Occurrence
from state.crypto import Tag
from state.finality import Header, Notarize, Proposal, justify_hash

RESENT_VIEWS_MAX = 16
"""Own votes of so many views are sent again at each retry; after a start, of all (settled 2)."""


class Driver:
    """One node's consensus; `Started` comes first, and once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._core: Core | None = None
        self._timer_ms = NEVER
        self._retried_view = NEVER
        """The view at the last retry: what was voted up to it has waited for one."""
        self._told_view = 0
        self._status_ms = NEVER

    @property
    def core(self) -> Core:
        """What the node knows; to be looked at, never written."""
        assert self._core is not None, "a driver is started before anything else"
        return self._core

    def handle(self, event: Input) -> list[Effect]:
        """Return what is to be done because of `event`, in order."""
        if isinstance(event, Started):
            assert self._core is None, "a driver starts once"
            self._start(event)
        core = self.core
        if core.is_halted:
            return []
        core.now_ms = max(core.now_ms, event.now_ms)
        self._dispatch(core, event)
        settle(core)
        regain(core)
        self._tell(core)
        self._ask(core)
        self._arm(core)
        out, core.out = core.out, []
        return out

    def _start(self, event: Started) -> None:
        self._core = core = Core(self._settings, event.epoch, event.tip)
        core.now_ms = event.now_ms
        core.wall_offset_ms = event.wall_ms - event.now_ms
        recover(core, event)
        core.retry_ms = event.now_ms  # settled 2: own votes and the entry certificate go out again
        self._status_ms = event.now_ms

    def _dispatch(self, core: Core, event: Input) -> None:
        match event:
            case Started():
                self._on_timer(core)
            case Received(_, messages):
                if not core.awaits_epoch:
                    receive(core, messages)
            case TimerFired():
                self._timer_ms = NEVER
                self._on_timer(core)
            case ClockSet(now_ms, wall_ms):
                core.wall_offset_ms = wall_ms - now_ms
                core.is_dirty = True
            case TransactionsPending(_, pending):
                core.has_transactions = pending
                if pending:
                    hurry(core)
                core.is_dirty = True
            case PacingChanged(_, pacing):
                core.pacing = pacing
                hurry(core)
                core.is_dirty = True
            case EpochBegun():
                self._begin_epoch(core, event)
            case BlockBuilt() | BuildFailed() | BlockExecuted() | VoteSigned() | VoteRefused():
                _answered(core, event)
            case _:
                assert_never(event)

    def _begin_epoch(self, core: Core, event: EpochBegun) -> None:
        assert core.awaits_epoch, "an epoch begins when the boundary block was committed"
        assert event.epoch.epoch == core.epoch.number + 1, "epochs come in order (settled 7)"
        core.begin(event.epoch, event.epoch.boundary)
        start_clocks(core)
        self._retried_view = self._told_view = 0
        hints, core.hints = tuple(core.hints.items()), {}
        receive(core, hints)

    # --- time -------------------------------------------------------------------------------------

    def _on_timer(self, core: Core) -> None:
        """Do what is due now (R4, consensus 2.6)."""
        now_ms, epoch, timeouts = core.now_ms, core.epoch, core.settings.timeouts
        core.is_dirty = True
        if core.awaits_epoch:
            return
        if core.late_ms <= now_ms:
            core.late_ms = NEVER
            core.occur(epoch.current, Occurrence.PROPOSAL_LATE)  # R4: t_l
        if core.leave_ms <= now_ms:
            core.leave_ms = NEVER
            core.occur(epoch.current, Occurrence.VIEW_LATE)  # R4: t_a
        if core.retry_ms <= now_ms:
            self._retry(core)
        if self._status_ms <= now_ms:
            self._status_ms = now_ms + timeouts.status_ms
            core.broadcast(status_of(core))
        for peer, message in core.catchup.relaying(now_ms, core.others()):
            core.send(peer, message)

    def _retry(self, core: Core) -> None:
        """Send again what is overdue: nothing is as long as views and finality go on (2.6)."""
        epoch, now_ms, timeouts = core.epoch, core.now_ms, core.settings.timeouts
        is_first = self._retried_view == NEVER  # settled 2: after a start at once, and everything
        if is_first or now_ms >= core.due_ms + timeouts.delta_ms:
            _resend(core)
        if is_first:
            _resend_votes(core, NEVER, len(epoch.views))
            core.retry_ms = now_ms + timeouts.delta_ms
        elif now_ms >= core.entered_ms + timeouts.delta_ms:
            _resend_votes(core, NEVER, RESENT_VIEWS_MAX)
            core.retry_ms = now_ms + timeouts.retry_ms
        else:
            _resend_votes(core, self._retried_view, RESENT_VIEWS_MAX)
            core.retry_ms = core.entered_ms + timeouts.delta_ms
        self._retried_view = epoch.view
        ask(core)

    def _tell(self, core: Core) -> None:
        """Say where this node is when nothing else will for a while: a block is not due yet.

        Else all would relay to all the certificates that everybody has (settled 13).
        """
        epoch = core.epoch
        is_idle = core.due_ms > core.now_ms + core.settings.timeouts.relay_ms
        if is_idle and epoch.final_view + 1 == epoch.view > max(self._told_view, 1):
            self._told_view = epoch.view
            core.broadcast(status_of(core))

    def _ask(self, core: Core) -> None:
        for peer, request in core.catchup.asking(core.now_ms):
            core.send(peer, request)

    def _arm(self, core: Core) -> None:
        """Ask for the timer if it must fire earlier than it would."""
        if core.is_halted:
            return
        times = [core.late_ms, core.leave_ms, core.propose_ms, core.judge_ms, core.retry_ms]
        next_ms = core.catchup.next_ms()
        if next_ms is not None:
            times.append(next_ms)
        due_ms = max(min(*times, self._status_ms), core.now_ms + 1)
        if due_ms < self._timer_ms:
            self._timer_ms = due_ms
            core.emit(SetTimer(due_ms))


def _resend(core: Core) -> None:
    """Send again what may hold up a view whose block is overdue by Δ (2.6 a, settled 14)."""
    epoch, view, seen = core.epoch, core.epoch.current, core.catchup.seen
    mine = [] if epoch.me is None else view.tally.votes_of(epoch.me, Tag.NOTARIZE)
    propose = own_propose(core, view, mine[0].vote) if mine else None
    entry = epoch.entry
    for index, member in enumerate(epoch.validators.members):
        peer = member.public_key
        if index == epoch.me or seen.get(peer, 0) > view.number:
            continue
        # settled 14: a status tells where a peer is, only a vote that it has the proposal
        if propose is not None and not view.tally.has_voted(index):
            core.send(peer, shortened(propose))
        is_here = seen.get(peer, 0) == view.number  # settled 13: then the entry is of no use
        if entry is not None and entry.subject.epoch == epoch.number and not is_here:
            core.send(peer, entry)


def _resend_votes(core: Core, highest: int, views_max: int) -> None:
    """Send own votes of the views up to `highest` again until they are certified (2.6 a and b)."""
    epoch = core.epoch
    if epoch.me is None:
        return
    mine = [
        number
        for number, view in sorted(epoch.views.items())
        # others may vote in views to come: those must not crowd out where this node stands
        if epoch.final_view < number <= highest and view.tally.has_voted(epoch.me)
    ]
    for number in mine[-views_max:]:
        view = epoch.views[number]
        votes_of = view.tally.votes_of
        found = list(votes_of(epoch.me, Tag.FINALIZE))
        if view.notarization is None:
            found += votes_of(epoch.me, Tag.NOTARIZE)
        if view.nullification is None and number >= epoch.view:
            found += votes_of(epoch.me, Tag.NULLIFY)
        for vote in found:
            core.broadcast(vote)


# --- answers --------------------------------------------------------------------------------------

Answer = BlockBuilt | BuildFailed | BlockExecuted | VoteSigned | VoteRefused


def _answered(core: Core, event: Answer) -> None:
    """Go on with what was waited for."""
    core.is_dirty = True
    match event:
        case BlockBuilt():
            _built(core, event)
        case BuildFailed(_, number):
            if core.build is not None and core.build[0] == number:
                core.build = None
                core.occur(core.epoch.at(number), Occurrence.BUILD_FAILED)
        case BlockExecuted():
            _executed(core, event)
        case VoteSigned():
            _signed(core, event)
        case VoteRefused():
            return  # settled 11: it means "already voted so": never retried, never fatal
        case _:
            assert_never(event)


def _built(core: Core, event: BlockBuilt) -> None:
    """Make header and proposal of the block that was built; its vote follows as any other (R1)."""
    build = core.build
    if build is None or build[0] != event.view or event.view != core.epoch.view:
        return
    core.build = None
    number, justify, parent_view, parent_id = build
    parent = core.blocks.get(parent_id)
    view = core.epoch.current
    if parent is None or parent.standing is not Standing.VALID or view.my_nullify:
        return
    validators = core.epoch.validators
    digest = justify_hash(justify)
    header = Header(
        height=parent.header.height + 1,
        epoch=core.epoch.number,
        view=number,
        parent_view=parent_view,
        parent_id=parent_id,
        time_ms=max(event.time_ms, parent.header.time_ms + 1),
        proposer=validators.leader_of(number).account,
        tx_root=event.tx_root,
        evidence_root=event.evidence_root,
        justify_hash=digest,
        state_root=parent.state_root,
        outcomes_root=parent.outcomes_root,
        validators_hash=validators.hash,
        next_validators_hash=core.epoch.next_hash,
        params_hash=event.params_hash,
    )
    block_id = header.id
    core.add_block(block_id, Block(header, justify, event.body))
    if core.blocks.get(block_id) is None:  # R4: the leader judges its own block like any other
        core.occur(view, Occurrence.BUILD_FAILED)
        return
    view.propose(Proposal(core.epoch.number, number, parent_view, block_id, digest))
    core.is_dirty = True


def _executed(core: Core, event: BlockExecuted) -> None:
    roots = (event.state_root, event.outcomes_root)
    core.blocks.executed(
        event.block_id, is_valid=event.is_valid, roots=roots, changed=event.changed
    )
    if core.blocks.get(event.block_id) is not None:
        core.advance(event.block_id)


def _signed(core: Core, event: VoteSigned) -> None:
    """Journal the vote, count it, send it; a leader's Notarize goes out as its Propose (2.5)."""
    if event.subject.epoch != core.epoch.number:
        return
    vote = core.own_vote(event.kind, event.subject, event.signature)
    view = core.epoch.at(event.subject.view)
    propose = own_propose(core, view, vote.vote) if isinstance(vote, Notarize) else None
    if propose is not None:
        core.journal(propose)
        core.broadcast(shortened(propose))
    else:
        core.journal(vote)
        core.broadcast(vote)
    core.count(vote)
