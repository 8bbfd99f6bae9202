"""Help for peers, asked for or not: whoever is behind is sent what brings it here.

Each kind of help is limited by itself, and for each peer: what asks is short and what helps may be
long. Messages of other epochs are hints and nothing else (settled point 7).
"""

from consensus.core import Core
from consensus.effects import ServeBlocks, ServeBoundary, ServeJustify
from consensus.inputs import Peer
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyReply,
    JustifyRequest,
    Status,
)
from consensus.regain import claimed
from consensus.timeouts import VIEWS_UNDER_WAY_MAX
from state.codec import encode
from state.finality import Notarization

REPLY_BYTES_MAX = 2**24
"""Blocks are added to a reply until it reaches this size."""

_BOUNDARY, _FINAL, _ENTRY, _STATUS, _ASK = range(5)
"""Kinds of unasked help, each limited by itself."""

Request = CertificateRequest | BlockRequest | JustifyRequest | BoundaryRequest


def is_of_epoch(core: Core, peer: Peer, epoch: int) -> bool:
    """Tell whether this is our epoch; otherwise see to it that one of us catches up (settled 7)."""
    if epoch < core.epoch.number:
        _help_boundary(core, peer, epoch)
    elif epoch > core.epoch.number:
        ask_boundary(core, peer)
    return epoch == core.epoch.number


def compare(core: Core, peer: Peer, status: Status) -> None:
    """Push what a peer that is behind lacks; tell one that is ahead where we are (2.6 d)."""
    epoch = core.epoch
    if not is_of_epoch(core, peer, status.epoch):
        return
    if epoch.validators.index_of(peer) is not None:
        core.catchup.saw(peer, status.view)
        claimed(core, peer, status)
    lag = abs(status.view - epoch.view)
    if (
        lag <= VIEWS_UNDER_WAY_MAX
        and core.now_ms < core.entered_ms + core.settings.timeouts.delta_ms
    ):
        return  # settled 13: views go on, and what this peer lacks is under way to it
    is_behind = (status.final_epoch, status.final_view) < (epoch.number, epoch.final_view)
    if is_behind and epoch.final is not None and core.catchup.may_help(peer, _FINAL, core.now_ms):
        core.send(peer, epoch.final)
    if status.view < epoch.view:
        help_forward(core, peer)
    elif status.view > epoch.view and core.catchup.may_help(peer, _STATUS, core.now_ms):
        core.send(peer, status_of(core))


def status_of(core: Core) -> Status:
    """Return where this node stands."""
    epoch, tip = core.epoch, core.blocks.tip
    return Status(
        epoch.number,
        epoch.view,
        epoch.number,
        epoch.final_view,
        tip.header.height,
        core.blocks.tip_id,
    )


# --- unasked help ---------------------------------------------------------------------------------


def help_forward(core: Core, peer: Peer) -> None:
    """Send the certificate by which this node entered its view."""
    entry = core.epoch.entry
    if entry is not None and core.catchup.may_help(peer, _ENTRY, core.now_ms):
        core.send(peer, entry)


def _help_boundary(core: Core, peer: Peer, epoch: int) -> None:
    """Answer whatever is of an older epoch with the finalization that ended it (settled 7)."""
    if epoch >= core.epoch.number:
        return
    if not core.catchup.may_help(peer, _BOUNDARY, core.now_ms, epoch):
        return
    boundary = core.epoch.boundary.finalization
    if boundary is not None and boundary.subject.epoch == epoch:
        core.send(peer, boundary)
    else:
        core.emit(ServeBoundary(peer, epoch))


def ask_boundary(core: Core, peer: Peer) -> None:
    """Ask a peer that is in a later epoch for the finalization that ends this one."""
    number = core.epoch.number
    if core.catchup.may_help(peer, _ASK, core.now_ms, number):
        core.send(peer, BoundaryRequest(number))


# --- answers --------------------------------------------------------------------------------------


def serve(core: Core, peer: Peer, message: Request) -> None:
    """Answer a request as well as this node can."""
    match message:
        case CertificateRequest():
            _serve_certificate(core, peer, message)
        case BlockRequest():
            _serve_blocks(core, peer, message)
        case JustifyRequest(digest):
            link = core.links.get(digest)
            if link is not None:
                core.send(peer, JustifyReply(link[1]))
            else:
                core.emit(ServeJustify(peer, digest))
        case BoundaryRequest(epoch):
            _help_boundary(core, peer, epoch)


def _serve_certificate(core: Core, peer: Peer, request: CertificateRequest) -> None:
    """Answer with what settles a view best (consensus 2.7)."""
    if not is_of_epoch(core, peer, request.epoch):
        return
    found = core.epoch.certificate_for(request.view)
    if found is not None:
        core.send(peer, found)
        view = core.epoch.views.get(request.view)
        if isinstance(found, Notarization) and view is not None and view.nullification is not None:
            core.send(peer, view.nullification)  # the asker may find the notarized block invalid


def _serve_blocks(core: Core, peer: Peer, request: BlockRequest) -> None:
    """Answer with a block and its ancestors as far as they are above the tip."""
    blocks: list[Block] = []
    size = 0
    at = request.block_id
    while len(blocks) < request.count:
        entry = core.blocks.get(at)
        if entry is None or entry.block is None:
            break
        size += len(entry.block.body) + len(encode(entry.block.justify))
        if blocks and size > REPLY_BYTES_MAX:
            break
        blocks.append(entry.block)
        at = entry.header.parent_id
    if blocks:
        core.send(peer, BlockReply(tuple(blocks)))
    else:
        core.emit(ServeBlocks(peer, request.block_id, request.count))
