"""Starting again: what journal, store and guard hold becomes what the node knows (settled 2).

The order is that of settled point 2: flags and certificates, own votes into own tallies, the
certificates that they complete, the current view. Sending again is the driver's first act.
"""

from consensus.core import Core
from consensus.inputs import Started
from consensus.journal import replay
from consensus.messages import Block
from consensus.rules import settle, start_clocks
from state.finality import Notarize, kind_of


def recover(core: Core, event: Started) -> None:
    """Fill a new core from what survived."""
    core.is_replaying = True
    _take_tip(core, event)
    found = replay(event.records, event.guarded, core.epoch.number)
    for block in event.blocks:
        if block.header.epoch == core.epoch.number:
            core.add_block(block.header.id, block)
            _mark_stored(core, block.header.id)
    for propose in found.proposals:
        view = core.epoch.at(propose.proposal.view)
        vote = Notarize(propose.proposal, propose.vote)
        view.recall(vote)
        core.count(vote)
        if propose.justify is not None:
            core.add_link(propose.justify, propose.proposal.view)
            if propose.header.view == propose.proposal.view:
                block = Block(propose.header, propose.justify, propose.body)
                core.add_block(propose.proposal.block_id, block)
    me = core.epoch.me
    for signed in found.votes:
        if me is None:
            break
        # the guard knows what was signed, not under which index of the set
        own = core.own_vote(kind_of(signed), signed.subject, signed.vote.signature)
        view = core.epoch.at(signed.subject.view)
        view.recall(own)
        core.count(own)
    for certificate in found.certificates:
        core.take_in(certificate)
    core.epoch.prune()  # a journal reaches further back than what is still looked at
    core.is_lost = event.lost and event.vote_after is None
    if event.vote_after is not None:
        core.votes_above = event.vote_after
    settle(core)
    start_clocks(core)
    core.is_replaying = False
    core.is_dirty = True


def _take_tip(core: Core, event: Started) -> None:
    """Begin above the last final block of the epoch, if there is one."""
    tip = event.tip
    if tip.header.height == event.epoch.boundary.header.height:
        return
    assert tip.header.epoch == core.epoch.number, "the tip belongs to the epoch"
    if tip.finalization is not None:
        core.learn(tip.finalization)
        core.epoch.entry = tip.finalization
    else:
        core.epoch.final_view = tip.header.view
    core.epoch.view = core.epoch.final_view + 1


def _mark_stored(core: Core, block_id: bytes) -> None:
    entry = core.blocks.get(block_id)
    if entry is not None:
        entry.is_stored = True
