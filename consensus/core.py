"""The state that the rules work on, and the few things that can be done to it.

Votes are counted, certificates learned and blocks added here, whoever brought them; what follows
from that is decided in rules.py once everything has been taken in.
"""

from collections.abc import Sequence

from consensus.blocks import Blocks, Standing
from consensus.catchup import Catchup
from consensus.effects import (
    ALL,
    Blame,
    Effect,
    EvidenceFound,
    ExecuteBlock,
    Halt,
    Journal,
    Send,
    SignVote,
)
from consensus.epoch import VIEWS_AHEAD_MAX, VIEWS_BEHIND_MAX, Epoch
from consensus.evidence import between, misfits, votes_in
from consensus.inputs import EpochInfo, Peer, Tip
from consensus.journal import Record
from consensus.links import certificates_in, justifies
from consensus.messages import (
    BLOCKS_SENT_MAX,
    Block,
    BlockRequest,
    CertificateRequest,
    JustifyRequest,
    Message,
)
from consensus.settings import Judgement, Settings
from consensus.timeouts import NEVER, VIEWS_UNDER_WAY_MAX
from consensus.view import Occurrence, View
from state.crypto import Tag
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    Vote,
    fits,
    justify_hash,
    kind_of,
)
from state.types import Hash

BEHIND_VIEWS_MAX = 64
"""A node whose last committed block is further behind finality does not vote (consensus 2.7)."""


class Core:
    """Everything that a node knows about the current epoch, and the effects of the current step."""

    def __init__(self, settings: Settings, info: EpochInfo, tip: Tip) -> None:
        self.settings = settings
        self.pacing = settings.pacing
        self.out: list[Effect] = []
        self.now_ms = 0
        self.wall_offset_ms = 0
        self.has_transactions = False
        self.is_halted = False
        self.is_replaying = False
        """While the journal is replayed nothing is journalled or sent."""
        self.awaits_epoch = False
        """The boundary block is final here and the next epoch is not yet known."""
        self.catchup = Catchup(settings.timeouts.delta_ms, settings.timeouts.retry_ms)
        self.is_lost = False
        self.votes_above: tuple[int, int] = (0, -1)
        """No vote is cast up to this round (settled 10)."""
        self.claimed: dict[Peer, int] = {}
        self.proved: dict[Peer, tuple[int, int]] = {}
        """While votes may be lost: views that validators claim, rounds that they proved."""
        self.hints: dict[Peer, Message] = {}
        """One message of the next epoch per validator (settled 7)."""
        self.liars: set[Peer] = set()
        """Who was blamed in this batch of messages: what is costly is not looked at again."""
        self.begin(info, tip)

    def begin(self, info: EpochInfo, tip: Tip) -> None:
        """Enter an epoch: nothing of the one before is carried over but its boundary block."""
        settings = self.settings
        self.epoch = Epoch(info, settings.public_key, settings.genesis_hash, settings.epoch_blocks)
        self.blocks = Blocks(tip, settings.epoch_blocks, settings.judge_over_parent)
        self.links: dict[Hash, tuple[int, Justify]] = {}
        """Justifications by their hash, each with the view that brought it (settled 4)."""
        self.catchup.begin()
        self.claimed = {}
        self.proved = {key: at for key, at in self.proved.items() if key in self.others()}
        self.awaits_epoch = False
        self.asked_view = 0
        """The highest view for which a block was asked to be built, or re-proposed."""
        self.build: tuple[int, Justify, int, Hash] | None = None
        """What is being built: view, justification, parent view and parent id."""
        self.entered_ms = self.due_ms = self.now_ms
        """When the current view was entered, and when its block is due."""
        self.retry_ms = NEVER
        self.late_ms = self.leave_ms = self.propose_ms = self.judge_ms = NEVER
        self.nullify_ms = 0
        """No Nullify in the current view before this."""
        self.is_dirty = True

    @property
    def is_behind(self) -> bool:
        """Whether so much is final that was not committed here that voting must wait (2.7)."""
        final = self.epoch.final
        if final is None or final.subject.block_id == self.blocks.tip_id:
            return False
        tip = self.blocks.tip.header
        reached = tip.view if tip.epoch == self.epoch.number else 0
        return self.epoch.final_view - reached > BEHIND_VIEWS_MAX

    # --- effects ----------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Ask for something."""
        self.out.append(effect)

    def send(self, to: Peer, message: Message) -> None:
        """Send a message, unless the journal is only being replayed."""
        if not self.is_replaying:
            self.out.append(Send(to, message))

    def journal(self, record: Record) -> None:
        """Make a record durable before whatever is sent after it."""
        if not self.is_replaying:
            self.out.append(Journal((record,)))

    def blame(self, peer: Peer) -> None:
        """A peer has sent what no honest node sends."""
        if peer not in self.liars:
            self.liars.add(peer)
            self.emit(Blame(peer))

    def halt(self, reason: str) -> None:
        """Stop for good: what is final contradicts itself, or this node's own execution."""
        self.is_halted = True
        self.out.append(Halt(reason))

    def key_of(self, index: int) -> Peer:
        """Return the name of a validator of this epoch."""
        return self.epoch.validators.members[index].public_key

    def others(self) -> list[Peer]:
        """Return every other validator, in the order of the set."""
        me = self.epoch.me
        members = self.epoch.validators.members
        return [member.public_key for at, member in enumerate(members) if at != me]

    # --- own votes --------------------------------------------------------------------------------

    def occur(self, view: View, occurrence: Occurrence) -> None:
        """Ask the signer for the vote that the rules want now, if any."""
        kind = view.wanted(occurrence, is_current=view.number == self.epoch.view)
        if kind is None or self.epoch.me is None or self.is_replaying:
            return
        if self.is_lost or (self.epoch.number, view.number) <= self.votes_above:
            return  # settled 10
        if self.is_behind or (kind is Tag.NULLIFY and self.now_ms < self.nullify_ms):
            return  # asked for again when the clocks are started anew, or at t_a
        proposal = view.proposal
        if kind is Tag.FINALIZE and view.notarization is not None:
            proposal = view.notarization.subject
        view.cast(kind, proposal)
        if kind is Tag.NULLIFY:
            self.emit(SignVote(kind, Nullified(self.epoch.number, view.number)))
        else:
            assert proposal is not None, "there is something to vote for"
            self.emit(SignVote(kind, proposal))

    # --- votes and certificates -------------------------------------------------------------------

    def count(self, vote: SignedVote) -> None:
        """Count a verified vote of this epoch, and learn the certificate that it completes."""
        subject, kind = vote.subject, kind_of(vote)
        view = self.epoch.at(subject.view)
        for conflict in view.tally.add(vote):
            self.emit(EvidenceFound(conflict))
        self.epoch.activity.heard(vote.vote.validator)
        if vote.vote.validator != self.epoch.me:
            self.catchup.saw(self.key_of(vote.vote.validator), subject.view)
        entry = self.blocks.get(subject.block_id) if isinstance(subject, Proposal) else None
        if entry is not None:
            self.accuse([vote], entry.header)
        if vote.vote.validator == view.leader and view.tally.knows(vote):
            self._follow_leader(view, vote)
        if view.tally.has_quorum(kind, subject) and not view.is_certified(kind, subject):
            self.learn(view.tally.certificate(kind, subject))

    def _follow_leader(self, view: View, vote: SignedVote) -> None:
        """The leader's Notarize is its proposal, its Nullify ends the view (settled 14, R4)."""
        if isinstance(vote, Notarize):
            view.propose(vote.subject)
            self.is_dirty = True
            if view.number > self.epoch.final_view:
                self.want_block(vote.subject, (view.leader,), certified=False)
        elif isinstance(vote, Nullify) and vote.vote.validator != self.epoch.me:
            self.occur(view, Occurrence.LEADER_GAVE_UP)

    def accuse(self, votes: Sequence[SignedVote], header: Header) -> None:
        """Report those votes that the header of the block they name contradicts (E5)."""
        for misfit in misfits(votes, header, header.id, self.settings.epoch_blocks):
            tally = self.epoch.at(misfit.vote.subject.view).tally
            if tally.accuse(misfit.vote.vote.validator, "E5"):
                self.emit(EvidenceFound(misfit))

    def take_in(self, certificate: Certificate) -> None:
        """Count each vote of a verified certificate, then learn it: both may name offenders."""
        subject = certificate.subject
        if subject.epoch != self.epoch.number:
            self._compare_boundary(certificate)
            return  # settled 7
        if subject.view >= self.epoch.floor:
            tally = self.epoch.at(subject.view).tally
            for vote in votes_in(certificate):
                if not tally.knows(vote):
                    self.count(vote)
            self.learn(certificate)

    def _compare_boundary(self, certificate: Certificate) -> None:
        """A justification may show that the epoch before ended in two ways: then all is over.

        Below the view of the boundary block anything final is its ancestor, for all that can be
        known here, and whoever shows it has only made a link that does not hold. From that view on
        only the boundary block itself can be final, or quorums have contradicted each other.
        """
        boundary = self.epoch.boundary
        subject = certificate.subject
        if not isinstance(certificate, Finalization) or subject.epoch != self.epoch.number - 1:
            return
        if subject.view < boundary.header.view:
            return
        if certificate.subject.block_id != boundary.block_id:
            if boundary.finalization is not None:
                for conflict in between(boundary.finalization, certificate):  # E2
                    self.emit(EvidenceFound(conflict))
            self.halt("two blocks at the end of one epoch are final")

    def learn(self, certificate: Certificate) -> None:
        """Take in a certificate that holds: persist it, pass it on, and let it move us (R5)."""
        if self.epoch.holds(certificate):
            return
        view = self.epoch.at(certificate.subject.view)
        match certificate:
            case Notarization():
                self._learn_notarization(view, certificate)
                if not self.epoch.holds(certificate):
                    return  # a third one of a view shows nothing new
            case Nullification():
                view.nullification = certificate
                self.epoch.nullified_highest = max(self.epoch.nullified_highest, view.number)
            case Finalization():
                if view.finalization is not None:
                    self.halt("two blocks of one view are final")
                    return
                view.finalization = certificate
                self._learn_finalization(view, certificate)
        self.catchup.forget(view.number)
        self.journal(certificate)  # R5: persist at once
        self._pass_on(certificate)
        self.is_dirty = True

    def _learn_notarization(self, view: View, certificate: Notarization) -> None:
        is_first = view.notarization is None
        view.certify(certificate)
        if is_first and view.number > self.epoch.final_view:
            self.epoch.undecided.append(view.number)
            if view.number >= self.epoch.view:
                self.epoch.notarized[view.number] = certificate
        if view.number > self.epoch.final_view:
            self._want_certified(certificate)

    def _learn_finalization(self, view: View, certificate: Finalization) -> None:
        final_view = self.epoch.final_view
        # the certificate of a tip that was recovered without one is still of use: it is a parent's
        if view.number < final_view or (view.number == final_view and self.epoch.final):
            return
        self.epoch.final_view = view.number
        self.epoch.final = certificate
        self.catchup.forget_views(view.number)
        self.catchup.forget_relays(view.number)
        self._want_certified(certificate)

    def _want_certified(self, certificate: Notarization | Finalization) -> None:
        holders = [vote.validator for vote in certificate.votes]
        self.want_block(certificate.subject, holders, certified=True)

    def _pass_on(self, certificate: Certificate) -> None:
        """Give a new certificate to the next leader now, to laggards later (R5, settled 13)."""
        if self.is_replaying or self.epoch.me is None:
            return
        number = certificate.subject.view
        leader = self.epoch.validators.leader(number + 1)
        key = self.key_of(leader)
        is_behind = self.catchup.seen.get(key, 0) <= number
        if leader != self.epoch.me and is_behind and not isinstance(certificate, Finalization):
            self.send(key, certificate)
        self.catchup.relay(certificate, self.now_ms + self.settings.timeouts.relay_ms)

    # --- blocks and links -------------------------------------------------------------------------

    def want_block(self, proposal: Proposal, holders: Sequence[int], *, certified: bool) -> None:
        """Ask for a block that is not held: the leader first, then those who voted for it.

        `certified` says that it is, or stands under, what a quorum has voted for. Then everybody
        is asked in the end: the voters may be silent, or have lost in a crash what they voted for,
        while others have it from them (consensus 2.7). Its ancestors are asked for as well, as many
        as may be missing; and at once, if those are more than can be under way.
        """
        if self.blocks.get(proposal.block_id) is not None or self.is_replaying:
            return
        likely = [self.key_of(self.epoch.validators.leader(proposal.view))]
        likely += [self.key_of(at) for at in holders]
        order = dict.fromkeys([*likely, *(self.others() if certified else ())])
        sources = tuple([one for one in order if one != self.settings.public_key])
        count = self.blocks.missing_max(proposal) if certified else 1
        is_far = count > VIEWS_UNDER_WAY_MAX
        due_ms = self.now_ms + (0 if is_far else self.settings.timeouts.relay_ms)
        request = BlockRequest(proposal.block_id, min(count, BLOCKS_SENT_MAX))
        self.catchup.want(
            proposal.block_id,
            request,
            sources,
            view=proposal.view,
            is_certified=certified,
            due_ms=due_ms,
        )

    def want_view(self, number: int) -> None:
        """Ask what settles a view without which this node cannot propose (R1)."""
        request = CertificateRequest(self.epoch.number, number)
        self.catchup.want(
            number,
            request,
            tuple(self.others()),
            view=number,
            is_certified=True,
            due_ms=self.now_ms,
        )

    def add_block(self, block_id: Hash, block: Block) -> bool:
        """Add a block that was asked for or proposed, its justification's signatures verified.

        Tell whether its body may be the header's: whoever sent another one has changed it.
        """
        if justify_hash(block.justify) != block.header.justify_hash:
            return True  # what a header does not commit to says nothing about its block
        judgement = self.settings.judge_body(block.header, block.body)
        if judgement is Judgement.FOREIGN:
            return False
        if not self.blocks.add(block_id, block, judgement):
            return True
        self.catchup.forget(block_id)
        self.links.setdefault(block.header.justify_hash, (block.header.view, block.justify))
        for number in sorted(self.epoch.views):
            about = self.epoch.views[number].tally.about(block_id)
            if about:
                self.accuse(about, block.header)
        self.advance(block_id)
        self.is_dirty = True
        return True

    def add_link(self, justify: Justify, view: int) -> None:
        """Keep a verified justification and take in its certificates."""
        digest = justify_hash(justify)
        self.links.setdefault(digest, (view, justify))
        self.catchup.forget(digest)
        for certificate in certificates_in(justify):
            self.take_in(certificate)
        self.is_dirty = True

    def advance(self, block_id: Hash) -> None:
        """Ask for the execution of whatever can be executed now."""
        epoch = self.epoch
        for runnable in self.blocks.advance(block_id, epoch.validators, epoch.next_hash):
            entry = self.blocks.get(runnable)
            assert entry is not None, "a block that can be executed is held"
            assert entry.block is not None, "the tip was executed before"
            block = entry.block
            self.emit(ExecuteBlock(block.header, runnable, block.justify, block.body))

    def standing(self, proposal: Proposal) -> Standing:
        """Return how far a proposal has come: its block, and the link under which it stands."""
        entry = self.blocks.get(proposal.block_id)
        if entry is None:
            return Standing.WAITING
        if not fits(proposal, entry.header, self.settings.epoch_blocks):
            return Standing.INVALID  # settled 6: honest nodes never sign these
        if proposal.view != entry.header.view:
            link = self.links.get(proposal.justify_hash)
            if link is None:
                self._want_link(proposal)
                return Standing.WAITING
            if not justifies(link[1], proposal, proposal.block_id, self.epoch.number):
                return Standing.INVALID
        return entry.standing

    def _want_link(self, proposal: Proposal) -> None:
        sources = (self.key_of(self.epoch.validators.leader(proposal.view)), *self.others())
        me = self.settings.public_key
        self.catchup.want(
            proposal.justify_hash,
            JustifyRequest(proposal.justify_hash),
            tuple([one for one in sources if one != me]),
            view=proposal.view,
            is_certified=False,
            due_ms=self.now_ms + self.settings.timeouts.relay_ms,
        )

    def forget_uncertified(self) -> None:
        """Drop what leaders of views long past, or far ahead, have named and no quorum has."""
        epoch = self.epoch
        known: list[Notarization | Finalization | None] = [epoch.final]
        for view in epoch.views.values():
            known += (view.notarization, view.other_notarization, view.finalization)
        certified = {one.subject.block_id for one in known if one is not None}
        lowest = epoch.view - VIEWS_BEHIND_MAX
        self.blocks.forget(certified, range(lowest, epoch.view + VIEWS_AHEAD_MAX + 1))
        self.catchup.forget_uncertified(lowest)

    def forget_links(self) -> None:
        """Drop what only views below the floor needed; what is certified was stored."""
        floor = self.epoch.floor
        self.links = {key: one for key, one in self.links.items() if one[0] >= floor}

    def own_vote(self, kind: Tag, subject: Proposal | Nullified, signature: bytes) -> SignedVote:
        """Return this node's vote with its index in the epoch's set."""
        assert self.epoch.me is not None, "only validators vote"
        vote = Vote(self.epoch.me, signature)
        return make_vote(kind, subject, vote)

    def broadcast(self, message: Message) -> None:
        """Send a message to every validator."""
        self.send(ALL, message)


def make_vote(kind: Tag, subject: Proposal | Nullified, vote: Vote) -> SignedVote:
    """Return the vote of a kind for a subject."""
    match subject:
        case Nullified():
            return Nullify(subject, vote)
        case Proposal() if kind is Tag.NOTARIZE:
            return Notarize(subject, vote)
        case Proposal():
            return Finalize(subject, vote)
