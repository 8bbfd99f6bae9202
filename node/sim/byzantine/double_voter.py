"""A double voter: for every proposal it hears of it votes, and for an invented one beside it."""

from consensus.messages import Message
from node.sim.byzantine.actor import Behaviour, own_vote
from state.codec import replace
from state.finality import Notarize, Proposal


class DoubleVoter(Behaviour):
    """Signs two different votes of a kind in one view."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants; with a Notarize goes one for a block that nobody has."""
        super().outgoing(targets, message)
        vote = own_vote(self.actor, message)
        if isinstance(vote, Notarize):
            invented = replace(vote.subject, block_id=self.actor.chance.randbytes(32))
            second = self.actor.notarize(invented)
            at = (invented.epoch, invented.view)
            self.actor.tell_side(at, 1, [second, self.actor.finalize(invented)])

    def conspire(self, proposal: Proposal) -> None:
        """Support every story where it is told."""
        at = (proposal.epoch, proposal.view)
        known = self.actor.cohort.proposals[at]
        if len(known) > 1:
            for side, story in enumerate(known[:2]):
                self.actor.tell_side(at, side, self.actor.support(story))
