"""A splitter: two blocks of one view, both notarized by it wherever they are heard of, none final.

Its leader shows each block to a part of the honest validators and to some of them neither; whoever
splits votes for both, before all. With a third or more of the stake both have a notarization, and
then only R3 and R6 keep an honest validator from standing by two (consensus settled point 3).
"""

from consensus.messages import Message, Propose
from node.sim.byzantine.actor import own_vote
from node.sim.byzantine.equivocator import Equivocator
from state.finality import Finalization, Finalize, Notarize, Proposal

SHOWN = 0.6
"""Each honest validator is shown a story with this chance."""


class Splitter(Equivocator):
    """Proposes twice, notarizes both, and finalizes none."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Show either block to some; keep back what would make one of them final."""
        actor = self.actor
        if isinstance(message, Propose) and actor.is_own(message.vote, message.proposal.epoch):
            rest = [each for each in targets if actor.chance.random() < SHOWN]
            super().outgoing(rest, message)
        elif isinstance(message, Finalization):
            return  # its own Finalize stands in it
        elif not isinstance(own_vote(actor, message), Notarize | Finalize):
            super().outgoing(targets, message)

    def conspire(self, proposal: Proposal) -> None:
        """Notarize whatever is proposed, before everybody."""
        for endpoint in self.actor.others:
            self.actor.send(endpoint, self.actor.notarize(proposal))
