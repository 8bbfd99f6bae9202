"""Voting again after journal or guard were lost: only where no lost vote can lie (settled 10).

Whoever was in a view had its entry certificate, so at most one step ahead of a quorum. Each other
validator tells its view in a session that was opened after the start, and the certificate that let
it enter proves it; the highest of these, V*, is therefore at least the view before that of any vote
that was lost. A finalization above V* is above them all; votes begin above that finalization.
"""

from consensus.core import Core
from consensus.inputs import Peer
from consensus.messages import CertificateRequest, Status
from consensus.rules import settle, start_clocks


def claimed(core: Core, peer: Peer, status: Status) -> None:
    """Note the view that a validator of this epoch says it is in; it counts once it is proved."""
    if core.is_lost and peer not in core.proved and peer in core.others():
        core.claimed[peer] = status.view


def ask(core: Core) -> None:
    """Ask those who claim a view for the certificate by which they entered it."""
    if core.is_lost:
        for peer, view in core.claimed.items():
            if view > 1:
                core.send(peer, CertificateRequest(core.epoch.number, view - 1))


def regain(core: Core) -> None:
    """Vote again if finality has passed every view in which a lost vote can lie.

    The first view that a validator proves is kept: later ones would run ahead of finality for
    ever. What it proved in the epoch before still holds for it. The finalization that ends an epoch
    does not count, for a lost vote may lie in the first view of the next; nor does any before its
    block is committed here, for it may be such a one.
    """
    if not core.is_lost or core.awaits_epoch or core.is_halted:
        return
    number, final, final_view = core.epoch.number, core.epoch.final, core.epoch.final_view
    is_committed = final is not None and final.subject.block_id == core.blocks.tip_id
    for peer, view in list(core.claimed.items()):
        if _is_proved(core, view):
            core.proved[peer] = (number, view)
            del core.claimed[peer]
    others = core.others()
    if not others or any(peer not in core.proved for peer in others):
        return  # alone, or not answered by all: only the operator knows (vote_after)
    if is_committed and (number, final_view) > max([core.proved[peer] for peer in others]):
        core.is_lost = False
        core.votes_above = (number, final_view)
        start_clocks(core)  # what was due in this view while it could not vote is due again
        core.is_dirty = True
        settle(core)


def _is_proved(core: Core, view: int) -> bool:
    """Tell whether a certificate is held by which a validator may have entered this view."""
    if view == 1 or core.epoch.final_view >= view - 1:
        return True  # settled 7: what let it enter view 1 is what let us enter the epoch
    before = core.epoch.views.get(view - 1)
    return before is not None and (before.notarization or before.nullification) is not None
