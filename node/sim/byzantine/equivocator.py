"""An equivocating leader: two blocks in one view, each shown to one half of the honest validators.

It votes for either story where that story is told, and so do its like in views that another leads.
"""

from consensus.messages import Message, Propose
from node.sim.byzantine.actor import ROUNDS_MAX, Actor, Behaviour, Round, own_vote
from state.codec import replace
from state.finality import Finalize, Notarize, Proposal


class Equivocator(Behaviour):
    """Proposes twice, and supports both."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._rivals: dict[Round, Propose] = {}

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Show one half the engine's proposal, and the other a second one."""
        actor = self.actor
        cohort = actor.cohort
        if not isinstance(message, Propose):
            self._outgoing_vote(targets, message)
            return
        at = (message.proposal.epoch, message.proposal.view)
        if not actor.is_own(message.vote, at[0]):
            super().outgoing(targets, message)
            return
        if at not in self._rivals:
            self._rivals[at] = make_rival(actor, message)
            if len(self._rivals) > ROUNDS_MAX:
                del self._rivals[min(self._rivals)]
        rival = self._rivals[at]
        stories = (message, rival)
        for target in targets:
            actor.send(target, stories[cohort.side(at, target)])
        for story in stories:
            if cohort.heard(story.proposal):
                for each in cohort.actors:
                    each.behaviour.conspire(story.proposal)

    def _outgoing_vote(self, targets: list[int], message: Message) -> None:
        vote = own_vote(self.actor, message)
        if isinstance(vote, Notarize | Finalize):
            return  # told where its story is told, by conspire
        super().outgoing(targets, message)

    def conspire(self, proposal: Proposal) -> None:
        """Vote for the proposal as if it were the only one, where it is told."""
        actor = self.actor
        at = (proposal.epoch, proposal.view)
        side = actor.cohort.proposals[at].index(proposal) % 2
        alone = len(actor.cohort.proposals[at]) == 1
        actor.tell_side(at, side, actor.support(proposal))
        if alone:
            actor.later(actor.delta_ms, lambda: self._tell_rest(proposal))

    def _tell_rest(self, proposal: Proposal) -> None:
        """No second story came up: stay with the others, or the view fails by itself."""
        at = (proposal.epoch, proposal.view)
        if len(self.actor.cohort.proposals.get(at, [])) == 1:
            self.actor.tell_side(at, 1, self.actor.support(proposal))


def make_rival(actor: Actor, message: Propose) -> Propose:
    """Return a second block for the view, over the same parent and as valid as the first."""
    first = message.header
    if first.view != message.proposal.view:
        return message  # a boundary block is proposed again as it is
    built = actor.rival(first, actor.chance.randbytes(8))
    header = replace(first, tx_root=built.tx_root)
    proposal = replace(message.proposal, block_id=header.id)
    vote = actor.notarize(proposal).vote
    return Propose(proposal, vote, header, message.justify, built.body)
