"""A tempter: to whoever is behind it shows another block for a view that it led, again and again.

Who remembers what he signed is not tempted; who has restarted and forgot it signs twice (R3,
consensus settled points 2 and 3).
"""

from consensus.messages import Message, Propose, Status
from node.sim.byzantine.actor import Actor, Behaviour
from node.sim.byzantine.equivocator import make_rival

VIEWS_MAX = 64


class Tempter(Behaviour):
    """Answers the status of whoever stands in a view that it led with a second proposal."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._led: dict[tuple[int, int], Propose] = {}

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Remember own proposals."""
        if isinstance(message, Propose) and self.actor.is_own(message.vote, message.proposal.epoch):
            self._led[message.proposal.epoch, message.proposal.view] = message
            if len(self._led) > VIEWS_MAX:
                del self._led[min(self._led)]
        super().outgoing(targets, message)

    def incoming(self, message: Message) -> None:
        """Tempt everybody with the view that somebody says to be in."""
        if isinstance(message, Status):
            first = self._led.get((message.epoch, message.view))
            if first is not None:
                rival = make_rival(self.actor, first)
                for endpoint in self.actor.cohort.honest:
                    self.actor.send(endpoint, rival)
