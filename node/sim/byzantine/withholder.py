"""A withholder: proposals and votes reach few, and what is asked of it is never answered."""

from consensus.messages import BlockReply, JustifyReply, Message, Propose
from node.sim.byzantine.actor import Behaviour, own_vote


class Withholder(Behaviour):
    """Sends what is its own to a random few, and no replies."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send to a random part of the targets, perhaps to nobody."""
        if isinstance(message, BlockReply | JustifyReply):
            return
        if isinstance(message, Propose) or own_vote(self.actor, message) is not None:
            few = self.actor.chance.randint(0, len(targets))
            targets = self.actor.chance.sample(targets, few)
        super().outgoing(targets, message)
