"""A stale validator: half of what it should say it says much later, and old messages again."""

from collections import deque

from consensus.messages import Message
from node.sim.byzantine.actor import Actor, Behaviour

REMEMBERED_MAX = 256
DELAY_DELTAS_MAX = 12


class Stale(Behaviour):
    """Delays its messages, and repeats those of long ago, its own and others'."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._old: deque[Message] = deque(maxlen=REMEMBERED_MAX)

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send now or up to twelve timeouts later, with something old beside it."""
        actor = self.actor
        self._old.append(message)
        if actor.chance.random() < 0.5:
            delay_ms = actor.chance.randint(1, DELAY_DELTAS_MAX) * actor.delta_ms
            actor.later(delay_ms, lambda: Behaviour.outgoing(self, targets, message))
        else:
            super().outgoing(targets, message)
        old = actor.chance.choice(self._old)
        actor.send(actor.chance.choice(targets), old)

    def incoming(self, message: Message) -> None:
        """Remember what others say, to repeat it."""
        super().incoming(message)
        self._old.append(message)
