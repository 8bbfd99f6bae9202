"""What comes from peers: which of it is looked at, what must be verified, and what it then does.

Whatever is cheap to refuse is refused before its signatures are looked at; whatever has signatures
is taken in only after all of them were verified, those of a whole batch at once. Messages of other
epochs are hints and nothing else (settled point 7).
"""

from consensus.blocks import Standing
from consensus.core import Core
from consensus.helping import ask_boundary, compare, help_forward, is_of_epoch, serve
from consensus.inputs import Peer
from consensus.links import certificates_in, justifies, normal_proposal
from consensus.messages import (
    NULLIFICATIONS_SENT_MAX,
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyReply,
    JustifyRequest,
    Message,
    Propose,
    Status,
)
from consensus.verdicts import Waiting, verdicts_on
from state.crypto import SignatureClaim, Tag
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    Proposal,
    SignedVote,
    fits,
    justify_hash,
    kind_of,
)
from state.types import Hash

MESSAGES_MAX = 4_096
"""Messages of one batch; a caller that hands over more has forgotten to bound its queue."""
HINTS_MAX = 8
"""Proposals of the next epoch that are kept until it begins; their leaders send them again."""


def receive(core: Core, messages: tuple[tuple[Peer, Message], ...]) -> None:
    """Verify a batch of messages at once, and take in those that hold, in their order."""
    assert len(messages) <= MESSAGES_MAX, "batches are bounded by whoever makes them"
    waiting: list[Waiting] = []
    core.liars.clear()
    for peer, message in messages:
        sender = core.epoch.validators.index_of(peer)
        if sender is not None:
            core.epoch.activity.heard(sender)
        taken = _of_use(core, message) if isinstance(message, BlockReply) else message
        found = None if taken is None else _claims(core, peer, taken)
        if taken is not None and found is not None:
            waiting.append((peer, taken, found))
    judged = verdicts_on(waiting, core.settings.verify)
    for (peer, message, found), verdicts in zip(waiting, judged, strict=True):
        if all(verdicts) and len(verdicts) == len(found):
            _take_in(core, peer, message)
        elif isinstance(message, Propose) and verdicts[0]:
            is_false = not all(verdicts)  # otherwise it is one too many, and was not looked at
            if _counts(core, message) and is_false:
                _note_invalid(core, message)
        elif isinstance(message, BlockReply):
            _note_false(core, message.blocks[0].header)


# --- before verification --------------------------------------------------------------------------


def _claims(core: Core, peer: Peer, message: Message) -> list[SignatureClaim] | None:
    """Return the signatures to verify, or None if the message is of no use."""
    match message:
        case Notarize() | Nullify() | Finalize():
            return _vote_claims(core, peer, message)
        case Notarization() | Nullification() | Finalization():
            return _certificate_claims(core, peer, message)
        case Propose():
            return _propose_claims(core, peer, message)
        case BlockReply():
            return _block_claims(core, message)
        case JustifyReply(justify):
            if not core.catchup.wants(justify_hash(justify)):
                return None
            return _justify_claims(core, justify)
        case Status() | CertificateRequest() | BlockRequest() | JustifyRequest():
            return []
        case BoundaryRequest():
            return []


def _vote_claims(core: Core, peer: Peer, vote: SignedVote) -> list[SignatureClaim] | None:
    epoch = core.epoch
    subject = vote.subject
    if not is_of_epoch(core, peer, subject.epoch):
        return None
    if isinstance(vote, Nullify) and subject.view < epoch.view:
        help_forward(core, peer)  # consensus 2.6 f: what let us leave frees whoever is stuck
    if not epoch.counts(subject.view) or vote.vote.validator >= len(epoch.validators):
        return None
    view = epoch.views.get(subject.view)
    if view is not None:
        tally = view.tally
        if tally.knows(vote) or tally.is_full(vote.vote.validator, kind_of(vote)):
            return None
    claim = epoch.claim_of(vote)
    return None if claim is None else [claim]


def _certificate_claims(
    core: Core, peer: Peer, certificate: Certificate
) -> list[SignatureClaim] | None:
    subject = certificate.subject
    if isinstance(certificate, Finalization) and subject.epoch < core.epoch.number:
        return None  # most likely an answer that came late: no reason to answer it
    if not is_of_epoch(core, peer, subject.epoch) or subject.view < core.epoch.floor:
        return None
    claims = core.epoch.claims_of(certificate)
    if claims == [] and core.epoch.holds(certificate):
        _saw(core, peer, certificate)
        return None
    return claims


def _saw(core: Core, peer: Peer, certificate: Certificate) -> None:
    """Note where a validator is by the certificate it sends; others are not remembered."""
    view = certificate.subject.view
    if core.epoch.validators.index_of(peer) is not None:
        core.catchup.saw(peer, view)


def _propose_claims(core: Core, peer: Peer, message: Propose) -> list[SignatureClaim] | None:
    epoch, proposal = core.epoch, message.proposal
    if proposal.epoch == epoch.number + 1 and message.justify is not None:
        _follow_boundary(core, peer, message, message.justify)
        return None
    if not is_of_epoch(core, peer, proposal.epoch):
        return None
    if proposal.view <= epoch.final_view or not epoch.counts(proposal.view):
        return None
    # R3: only the elected leader's; only what hangs together by its hashes
    if message.vote.validator != epoch.validators.leader(proposal.view):
        return None
    if not _hangs_together(message):
        return None
    justify = message.justify
    vote = Notarize(proposal, message.vote)
    view = epoch.at(proposal.view)
    is_known = view.tally.knows(vote)
    if proposal in view.refused:
        return None  # whoever repeats it, its signatures are not verified again
    if is_known and core.standing(proposal) is not Standing.WAITING:
        return None
    if not is_known and view.tally.is_full(message.vote.validator, Tag.NOTARIZE):
        return None
    claim = epoch.claim_of(vote)
    if claim is None:
        return None
    links: list[SignatureClaim] | None = []
    if justify is not None:
        links = _link_claims(core, message.header, proposal, justify)
    # a justification that cannot hold is the leader's fault: its claim must come out false
    return [claim, *(links if links is not None else [_false(core)])]


def _false(core: Core) -> SignatureClaim:
    """Return what nobody can have signed: what is sent with it cannot hold."""
    return core.key_of(0), bytes(32), bytes(64)


def _hangs_together(message: Propose) -> bool:
    """Tell whether a proposal names what comes with it, and nothing that has to be asked for."""
    proposal, justify = message.proposal, message.justify
    if message.header.id != proposal.block_id:
        return False
    if justify is None:
        return True
    if len(justify.nullifications) > NULLIFICATIONS_SENT_MAX:
        return False  # settled 17
    return justify_hash(justify) == proposal.justify_hash


def _link_claims(
    core: Core, header: Header, proposal: Proposal, justify: Justify
) -> list[SignatureClaim] | None:
    """Return what is to be verified of a link, None if it cannot hold whoever signed (R2).

    What is final was not skipped: so nothing is verified of views below it, and of no other views
    than those between a proposal and its parent.
    """
    is_first = header.view == proposal.view
    parent_id = header.parent_id if is_first else proposal.block_id
    if not justifies(justify, proposal, parent_id, core.epoch.number):
        return None
    if proposal.parent_view < core.epoch.final_view < proposal.view:
        return None
    return _justify_claims(core, justify)


def _justify_claims(core: Core, justify: Justify) -> list[SignatureClaim] | None:
    """Return what is to be verified of a justification, None if some certificate cannot hold."""
    claims: list[SignatureClaim] = []
    for certificate in certificates_in(justify):
        found = core.epoch.claims_of(certificate)
        if found is None:
            return None
        claims += found
    return claims


def _block_claims(core: Core, message: BlockReply) -> list[SignatureClaim] | None:
    """Return what is to be verified of blocks that were asked for; each must follow its child."""
    claims: list[SignatureClaim] = []
    expected: Hash | None = None
    for block in message.blocks:
        block_id = block.header.id
        if expected is not None and block_id != expected:
            return None
        expected = block.header.parent_id
        if justify_hash(block.justify) != block.header.justify_hash:
            return None
        proposal = normal_proposal(block.header, block_id)
        found = _link_claims(core, block.header, proposal, block.justify)
        claims += [_false(core)] if found is None else found
    return claims


def _contradicts(core: Core, header: Header) -> bool:
    """Tell whether this is the final block, and yet stands no higher than another final one."""
    final, blocks = core.epoch.final, core.blocks
    is_final = final is not None and header.id == final.subject.block_id != blocks.tip_id
    return is_final and header.height <= blocks.tip.header.height


def _of_use(core: Core, message: BlockReply) -> BlockReply | None:
    """Return the blocks of a reply that were asked for and lie above the tip, None if none does.

    A peer cannot know where our tip is; what it sends beyond the count that was asked for is spam.
    This is asked once, before anything is verified: earlier messages of the batch may make more
    blocks wanted, and what is taken in must be what was verified and nothing else.
    """
    if _contradicts(core, message.blocks[0].header):
        core.halt("a finalization contradicts a block that is final here")
        return None
    height = core.blocks.tip.header.height
    number = core.epoch.number
    found = [
        one for one in message.blocks if one.header.height > height and one.header.epoch == number
    ]
    wanted = core.catchup.blocks_wanted(found[0].header.id) if found else 0
    return BlockReply(tuple(found[:wanted])) if wanted else None


def _follow_boundary(core: Core, peer: Peer, message: Propose, justify: Justify) -> None:
    """Settled 5: a proposal of the next epoch may bring the finalization that ends ours.

    Nobody proposes over an end that it has not verified: whoever brings a false one is blamed.
    """
    if peer in core.liars or not _hangs_together(message):
        return
    boundary = justify.parent
    if isinstance(boundary, Finalization) and boundary.subject.epoch == core.epoch.number:
        claims = core.epoch.claims_of(boundary)
        if claims is None or not _all_hold(core, peer, boundary, claims):
            core.blame(peer)
            return
        _take_in(core, peer, boundary)
    else:
        ask_boundary(core, peer)
    if core.epoch.validators.index_of(peer) is not None:
        core.hints[peer] = message  # judged after the switch; one for each validator
        if len(core.hints) > HINTS_MAX:
            del core.hints[next(iter(core.hints))]


def _all_hold(core: Core, peer: Peer, message: Message, claims: list[SignatureClaim]) -> bool:
    """Tell whether everything holds that a message claims by itself."""
    (verdicts,) = verdicts_on([(peer, message, claims)], core.settings.verify)
    return all(verdicts)


def _counts(core: Core, message: Propose) -> bool:
    """Count the vote of a proposal, and tell whether it is one of those that its leader may make.

    Asked when it takes effect, for the messages before it in a batch have counted meanwhile. Every
    vote is reported that its own header contradicts (E5).
    """
    vote = Notarize(message.proposal, message.vote)
    core.accuse((vote,), message.header)
    core.count(vote)
    return core.epoch.at(message.proposal.view).tally.knows(vote)


def _note_invalid(core: Core, message: Propose) -> None:
    """The leader signed a proposal that can never hold: give the view up (R4)."""
    core.epoch.at(message.proposal.view).refused.add(message.proposal)
    core.is_dirty = True


def _note_false(core: Core, header: Header) -> None:
    """A block that only its leader stands for has a justification that does not hold (R4)."""
    view = core.epoch.views.get(header.view)
    if view is None or view.notarization is not None or view.finalization is not None:
        return  # what a quorum has verified is asked for until it comes
    block_id = header.id
    for vote in view.tally.votes_of(view.leader, Tag.NOTARIZE):
        if isinstance(vote, Notarize) and vote.subject.block_id == block_id:
            view.refused.add(vote.subject)
            core.catchup.forget(block_id)
            core.is_dirty = True


# --- after verification ---------------------------------------------------------------------------


def _take_in(core: Core, peer: Peer, message: Message) -> None:
    """Let a message that holds take effect."""
    match message:
        case Notarize() | Nullify() | Finalize():
            core.count(message)
        case Notarization() | Nullification() | Finalization():
            _saw(core, peer, message)
            core.take_in(message)
        case Propose():
            _take_proposal(core, message)
        case BlockReply():
            _take_blocks(core, peer, message)
        case JustifyReply(justify):
            core.add_link(justify, core.epoch.view)
        case Status():
            compare(core, peer, message)
        case CertificateRequest() | BlockRequest() | JustifyRequest() | BoundaryRequest():
            if core.catchup.may_serve(peer, core.now_ms):
                serve(core, peer, message)


def _take_proposal(core: Core, message: Propose) -> None:
    proposal, justify = message.proposal, message.justify
    is_fit = fits(proposal, message.header, core.settings.epoch_blocks)
    if is_fit and justify is not None and _has_room(core, message):
        core.add_link(justify, proposal.view)
    if not _counts(core, message):
        return
    if not is_fit:
        _note_invalid(core, message)  # R2
        return
    link = core.links.get(proposal.justify_hash)
    if link is not None and message.header.view == proposal.view:
        core.add_block(proposal.block_id, Block(message.header, link[1], message.body))


def _has_room(core: Core, message: Propose) -> bool:
    """Tell whether the vote of a proposal is counted, or would be."""
    vote = Notarize(message.proposal, message.vote)
    tally = core.epoch.at(message.proposal.view).tally
    return tally.knows(vote) or not tally.is_full(message.vote.validator, Tag.NOTARIZE)


def _take_blocks(core: Core, peer: Peer, message: BlockReply) -> None:
    for block in message.blocks:
        core.add_link(block.justify, block.header.view)
        if peer in core.liars:
            return
        if not core.add_block(block.header.id, block):
            core.blame(peer)


def shortened(message: Propose) -> Propose:
    """Leave a justification out that is too long to travel with its proposal (settled 17)."""
    justify = message.justify
    if justify is None or len(justify.nullifications) <= NULLIFICATIONS_SENT_MAX:
        return message
    return Propose(message.proposal, message.vote, message.header, None, message.body)
