"""A tempter: it shows its block to all but one, and later another to whoever stands where it led.

The one finalizes what others notarized, without a Notarize of its own. Who remembers that is not
tempted; who has restarted and forgot it signs a Notarize beside it (settled points 2 and 3).
"""

from consensus.messages import Message, Propose, Status
from node.sim.byzantine.actor import ROUNDS_MAX, Actor, Behaviour, Round
from node.sim.byzantine.equivocator import make_rival


class Tempter(Behaviour):
    """Leaves one out, and answers whoever stands in a view that it led with a second proposal."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._led: dict[Round, tuple[Propose, int]] = {}
        """Own proposals, each with the endpoint that is left out."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants; an own proposal goes to all but one."""
        if isinstance(message, Propose) and self.actor.is_own(message.vote, message.proposal.epoch):
            at = (message.proposal.epoch, message.proposal.view)
            if at not in self._led:
                self._led[at] = (message, self.actor.chance.choice(self.actor.cohort.honest))
                if len(self._led) > ROUNDS_MAX:
                    del self._led[min(self._led)]
            targets = [each for each in targets if each != self._led[at][1]]
        super().outgoing(targets, message)

    def incoming(self, message: Message) -> None:
        """Tempt the one who was left out, once somebody says to stand in that view."""
        if isinstance(message, Status):
            led = self._led.get((message.epoch, message.view))
            if led is not None:
                first, endpoint = led
                self.actor.send(endpoint, make_rival(self.actor, first))
