"""What follows from what is known: rules R0 to R3, R6 and R7, until nothing more follows."""

from consensus.blocks import Entry, Standing
from consensus.core import Core
from consensus.effects import BuildBlock, CommitBlock, RaiseFloor, StoreBlock, StoreLink
from consensus.messages import Propose
from consensus.timeouts import NEVER
from consensus.view import Occurrence, View
from state.codec import replace
from state.crypto import Tag
from state.finality import (
    Certificate,
    Finalization,
    Header,
    Justify,
    Notarization,
    Nullification,
    Proposal,
    Vote,
    justify_hash,
)
from state.types import Hash

PENDING_WAIT_MS = 1_000
"""A transaction may wait so long before replicas expect a block for it (consensus 2.4)."""


def settle(core: Core) -> None:
    """Apply the rules until none of them applies any more."""
    while core.is_dirty and not core.is_halted and not core.awaits_epoch:
        core.is_dirty = False
        if not commit(core):
            return
        vote_final(core)
        enter(core)
        vote_notarize(core)
        lead(core)


# --- R7: finality ---------------------------------------------------------------------------------


def commit(core: Core) -> bool:
    """Make final, in order, what the best finalization stands on (R7).

    Returns whether the epoch goes on: not after its boundary block, and not after a halt.
    """
    final = core.epoch.final
    if final is None or final.subject.block_id == core.blocks.tip_id:
        return True
    target = final.subject
    path, missing = core.blocks.path(target.block_id)
    if missing == core.blocks.tip_id:
        core.halt("a finalization contradicts a block that is final here")
        return False
    if missing is not None:
        _want_path(core, target, final)
        return True
    standing = core.standing(target)
    if standing is Standing.INVALID:
        core.halt("a final block is invalid by this node's own execution")
        return False
    link_is_held = standing is Standing.VALID
    was_behind = core.is_behind
    for block_id in path:
        entry = _held(core, block_id)
        is_target = block_id == target.block_id
        if entry.standing is not Standing.VALID or (is_target and not link_is_held):
            core.advance(block_id)
            return True
        if is_target:
            _store_link(core, target)
        _commit_one(core, block_id, entry, final if is_target else None)
    core.epoch.prune()
    core.forget_links()
    if was_behind:
        start_clocks(core)  # what was due in this view while it did not vote is due again
    if core.blocks.tip.header.height == core.epoch.boundary_height:
        core.awaits_epoch = True  # R7 and settled 7: only its own finalization ends an epoch
        return False
    core.emit(RaiseFloor(target.epoch, target.view))
    core.is_dirty = True
    return True


def _want_path(core: Core, target: Proposal, certificate: Notarization | Finalization) -> None:
    """Ask for what is missing between the tip and a certified block, from those who voted for it.

    Also for what was asked for before a restart: journals hold certificates, not questions.
    """
    _, missing = core.blocks.path(target.block_id)
    if missing is not None and missing != core.blocks.tip_id:
        wanted = replace(target, block_id=missing)
        holders = [vote.validator for vote in certificate.votes]
        core.want_block(wanted, holders, certified=True)


def _commit_one(core: Core, block_id: Hash, entry: Entry, final: Finalization | None) -> None:
    """Emit one commit; a block that was finalized on the way has a finalization of its own."""
    if final is None:
        view = core.epoch.views.get(entry.header.view)
        own = None if view is None else view.finalization
        if own is not None and own.subject.block_id == block_id:
            final = own
    core.emit(CommitBlock(entry.header, block_id, final))
    core.blocks.finalize(block_id)


def _held(core: Core, block_id: Hash) -> Entry:
    entry = core.blocks.get(block_id)
    assert entry is not None, "a block on a complete path is held"
    return entry


# --- R6: Finalize ---------------------------------------------------------------------------------


def vote_final(core: Core) -> None:
    """Vote to finalize what is notarized and was executed with all its ancestors (R6, R8).

    A nullification of the view, or having left it, does not end the wait for execution (R8).
    """
    if core.is_replaying:
        return
    waiting: list[int] = []
    for number in core.epoch.undecided:
        if number <= core.epoch.final_view:
            continue
        view = core.epoch.at(number)
        assert view.notarization is not None, "undecided views are notarized"
        subject = view.notarization.subject
        standing = core.standing(subject)
        if standing is Standing.VALID:
            _store_link(core, subject)
            is_due = view.wanted(Occurrence.CERTIFIED_VALID, is_current=False) is Tag.FINALIZE
            # settled 1: durable before the vote is signed
            if is_due and _store_path(core, subject.block_id):
                core.occur(view, Occurrence.CERTIFIED_VALID)
        elif standing is Standing.INVALID:
            core.occur(view, Occurrence.CERTIFIED_INVALID)
        else:
            waiting.append(number)
            _want_path(core, subject, view.notarization)
    core.epoch.undecided = waiting


def _store_path(core: Core, block_id: Hash) -> bool:
    """Make a block and its unfinalized ancestors durable (settled 1).

    Returns False for a block that does not stand on what is final: no vote is due for it.
    """
    path, missing = core.blocks.path(block_id)
    if missing is not None:
        return False
    for one in path:
        entry = _held(core, one)
        if not entry.is_stored and entry.block is not None:
            core.emit(StoreBlock(one, entry.block))
            entry.is_stored = True
    return True


def _store_link(core: Core, proposal: Proposal) -> None:
    """Keep the justification of a certified proposal (settled 4)."""
    link = core.links.get(proposal.justify_hash)
    view = core.epoch.at(proposal.view)
    if link is not None and not view.link_is_stored:
        view.link_is_stored = True
        core.emit(StoreLink(proposal, link[1]))


# --- R0: entering a view --------------------------------------------------------------------------


def enter(core: Core) -> None:
    """Go up to the highest view that a certificate unlocks; never down (R0)."""
    epoch = core.epoch
    target, entry = epoch.view, epoch.entry
    for number in sorted(epoch.notarized, reverse=True):
        if number < target:
            break
        # R0: a notarization unlocks the next view once its block was executed (settled 15)
        if core.standing(epoch.notarized[number].subject) is Standing.VALID:
            target, entry = number + 1, epoch.notarized[number]
            break
    if epoch.nullified_highest >= max(target - 1, epoch.view):
        target = epoch.nullified_highest + 1
        entry = epoch.at(epoch.nullified_highest).nullification
    if epoch.final_view >= max(target - 1, epoch.view):
        target, entry = epoch.final_view + 1, epoch.final
    if target > epoch.view:
        _enter(core, target, entry)


def _enter(core: Core, target: int, entry: Certificate | None) -> None:
    epoch = core.epoch
    epoch.view = target
    epoch.entry = entry
    epoch.notarized = {at: one for at, one in epoch.notarized.items() if at >= target}
    core.forget_uncertified()
    core.build = None
    core.is_dirty = True
    start_clocks(core)
    if core.is_replaying:
        return
    leader, activity = epoch.current.leader, epoch.activity
    activity.entered(core.now_ms)
    if leader != epoch.me and activity.is_silent(
        leader, core.now_ms, core.settings.timeouts.skip_ms
    ):
        core.occur(epoch.current, Occurrence.LEADER_SILENT)  # R4


def start_clocks(core: Core) -> None:
    """Arm t_l and t_a for the current view, from when its block is due (R0, consensus 2.4)."""
    failed = max(0, core.epoch.view - core.epoch.final_view - 2)
    timeouts = core.settings.timeouts
    core.entered_ms = core.now_ms
    core.due_ms = core.now_ms + pace_ms(core)
    core.nullify_ms = core.now_ms + timeouts.nullify_wait_ms(_skipped(core))
    core.late_ms = max(core.nullify_ms, core.due_ms + timeouts.proposal_ms(failed))
    core.leave_ms = max(core.nullify_ms, core.due_ms + timeouts.advance_ms(failed))
    core.retry_ms = min(core.retry_ms, core.now_ms + timeouts.delta_ms)
    core.propose_ms = core.judge_ms = NEVER


def hurry(core: Core) -> None:
    """A transaction has come while the view idled: expect a block for it soon (consensus 2.4)."""
    failed = max(0, core.epoch.view - core.epoch.final_view - 2)
    timeouts = core.settings.timeouts
    core.due_ms = min(core.due_ms, max(core.now_ms, core.entered_ms + pace_ms(core)))
    soon_ms = core.due_ms + PENDING_WAIT_MS
    late_ms = max(core.nullify_ms, soon_ms + timeouts.proposal_ms(failed))
    leave_ms = max(core.nullify_ms, soon_ms + timeouts.advance_ms(failed))
    core.late_ms = min(core.late_ms, late_ms)
    core.leave_ms = min(core.leave_ms, leave_ms)


def _skipped(core: Core) -> int:
    """Return how many views failed in a row before the current one: what R1 must justify."""
    epoch = core.epoch
    at = epoch.view - 1
    while at > epoch.final_view:
        view = epoch.views.get(at)
        certificate = None if view is None else view.notarization
        if certificate is not None and core.standing(certificate.subject) is Standing.VALID:
            break
        at -= 1
    return epoch.view - 1 - at


def pace_ms(core: Core) -> int:
    """Return how long after its start a view's block is due."""
    parent = find_parent(core, core.epoch.view)
    entry = core.blocks.tip if parent is None else parent[1]
    # settled 15: what a block changed is proven only by the next header, which must not wait
    owed = core.has_transactions or entry.changed
    return core.pacing.block_interval_ms_min if owed else core.pacing.idle_interval_ms


# --- R2 and R3: Notarize --------------------------------------------------------------------------


def vote_notarize(core: Core) -> None:
    """Judge the proposal of the current view once all that it needs is here (R2, R3)."""
    view = core.epoch.current
    proposal = view.proposal
    core.judge_ms = NEVER
    if view.leader != core.epoch.me and view.tally.votes_of(view.leader, Tag.NULLIFY):
        core.occur(view, Occurrence.LEADER_GAVE_UP)  # R4: also if it came before we did
    if proposal is None:
        return
    standing = core.standing(proposal)
    if proposal in view.refused or standing is Standing.INVALID:
        core.occur(view, Occurrence.PROPOSAL_INVALID)
        return
    if standing is Standing.WAITING:
        return  # R2: what is missing is not invalid; it is asked for until t_a
    if proposal.parent_view < core.epoch.final_view:  # R2, settled 9: rounds in order
        core.occur(view, Occurrence.PROPOSAL_INVALID)
        return
    header = _held(core, proposal.block_id).header
    is_again = proposal.view != header.view
    # settled 16: too early is pending; the time of a re-proposal was judged before (settled 9)
    early_ms = header.time_ms - core.settings.timeouts.future_ms_max - core.wall_offset_ms
    if not is_again and early_ms > core.now_ms and not _is_least(core, header):
        core.judge_ms = early_ms
        return
    core.occur(view, Occurrence.PROPOSAL_VALID)


def _is_least(core: Core, header: Header) -> bool:
    """Tell whether a header has the least time that its parent allows.

    Nobody can put the chain further ahead with it, so it is never too early: else clocks that were
    set back would stop the chain until they have caught up with it.
    """
    return header.time_ms == _held(core, header.parent_id).header.time_ms + 1


# --- R1: leading ----------------------------------------------------------------------------------

Parent = tuple[int, Entry, Hash, Notarization | Finalization | None]
"""View, block, block id and certificate of what a proposal may stand on."""


def find_parent(core: Core, number: int) -> Parent | None:
    """Return the highest parent below view `number` with the gap above it nullified, or None."""
    epoch = core.epoch
    at = number - 1
    while at > epoch.final_view:
        view = epoch.views.get(at)
        if view is not None and view.notarization is not None:
            subject = view.notarization.subject
            if core.standing(subject) is Standing.VALID:
                return at, _held(core, subject.block_id), subject.block_id, _full(view)
        if view is None or view.nullification is None:
            if not core.is_replaying and epoch.validators.leader(number) == epoch.me:
                core.want_view(at)  # R1: one is missing: request it and stay silent
            return None
        at -= 1
    tip_id = core.blocks.tip_id
    if epoch.final is not None and epoch.final.subject.block_id != tip_id:
        return None  # the last final block is not committed here yet
    if at == 0:  # settled 5
        return at, core.blocks.tip, tip_id, epoch.boundary.finalization
    view = epoch.views.get(at)
    final = epoch.final if view is None or view.notarization is None else _full(view)
    if final is None:  # the tip was recovered without a certificate
        core.want_view(at)
        return None
    return at, core.blocks.tip, tip_id, final


def _full(view: View) -> Notarization | Finalization:
    """Return the notarization of a parent with every vote that is held (settled 12)."""
    assert view.notarization is not None, "a parent is certified"
    subject = view.notarization.subject
    if view.finalization is not None and view.finalization.subject != subject:
        return view.finalization
    if not view.tally.has_quorum(Tag.NOTARIZE, subject):
        return view.notarization
    full = view.tally.certificate(Tag.NOTARIZE, subject)
    return full if isinstance(full, Notarization) else view.notarization


def lead(core: Core) -> None:
    """Propose in the current view if this node leads it and has not voted in it (R1)."""
    epoch = core.epoch
    view = epoch.current
    core.propose_ms = NEVER
    if view.leader != epoch.me or core.asked_view >= view.number or core.is_replaying:
        return
    voted = view.my_nullify or view.my_notarize is not None or view.my_finalize is not None
    if voted or view.proposal is not None or core.is_lost:
        return
    if (epoch.number, view.number) <= core.votes_above:
        return
    parent = find_parent(core, view.number)
    if parent is None:
        return
    parent_view, entry, parent_id, certificate = parent
    again = entry.header.height == epoch.boundary_height
    due_ms = core.entered_ms + core.settings.timeouts.delta_ms if again else _due_ms(core, entry)
    if core.now_ms < due_ms:  # settled 9: before D is proposed again, Δ for its finalization
        core.propose_ms = due_ms
        return
    core.asked_view = view.number
    justify = Justify(certificate, _gap(core, parent_view, view.number))
    if again:
        _propose_again(core, view, parent_view, parent_id, justify)
    else:
        core.build = (view.number, justify, parent_view, parent_id)
        late = epoch.final
        core.emit(BuildBlock(view.number, entry.header.height + 1, parent_id, _late(core, late)))


def _late(core: Core, final: Finalization | None) -> Finalization | None:
    """Return the last direct finalization with every Finalize vote that is held (settled 12)."""
    if final is None:
        return core.epoch.boundary.finalization
    tally = core.epoch.at(final.subject.view).tally
    if not tally.has_quorum(Tag.FINALIZE, final.subject):
        return final
    full = tally.certificate(Tag.FINALIZE, final.subject)
    return full if isinstance(full, Finalization) else final


def _gap(core: Core, parent_view: int, number: int) -> tuple[Nullification, ...]:
    found = [core.epoch.at(at).nullification for at in range(parent_view + 1, number)]
    return tuple([one for one in found if one is not None])


def _due_ms(core: Core, parent: Entry) -> int:
    """Return when the next block is due: soon after its parent if anything is owed."""
    if not (core.has_transactions or parent.changed):
        return core.entered_ms + core.pacing.idle_interval_ms
    # times grow by a millisecond at least: a validator alone is held back by nothing else
    least_ms = max(1, core.pacing.block_interval_ms_min)
    wait_ms = parent.header.time_ms + least_ms - core.wall_offset_ms - core.entered_ms
    return core.entered_ms + min(max(0, wait_ms), least_ms)


def _propose_again(
    core: Core, view: View, parent_view: int, block_id: Hash, justify: Justify
) -> None:
    """Propose the boundary block itself once more: no other child of it is valid (settled 9)."""
    digest = justify_hash(justify)
    core.links[digest] = (view.number, justify)
    view.propose(Proposal(core.epoch.number, view.number, parent_view, block_id, digest))
    core.is_dirty = True


def own_propose(core: Core, view: View, vote: Vote) -> Propose | None:
    """Return the Propose of a view that this node leads, under its signed vote, or None (R1)."""
    proposal = view.proposal
    if view.leader != core.epoch.me or proposal is None or view.my_notarize != proposal:
        return None
    entry = core.blocks.get(proposal.block_id)
    link = core.links.get(proposal.justify_hash)
    if entry is None or link is None:
        return None
    body = b"" if entry.block is None or proposal.view != entry.header.view else entry.block.body
    return Propose(proposal, vote, entry.header, link[1], body)
