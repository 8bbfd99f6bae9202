"""A certificate hoarder: it keeps certificates and its votes, and lets them out late, to one."""

from consensus.messages import Message
from node.sim.byzantine.actor import Behaviour, own_vote
from state.finality import Finalization, Notarization, Nullification

DELAY_DELTAS_MAX = 10


class Hoarder(Behaviour):
    """Shares certificates late and with one peer at a time."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Keep certificates and most votes back; one peer hears of them after some timeouts."""
        actor = self.actor
        is_certificate = isinstance(message, Notarization | Nullification | Finalization)
        is_kept_vote = own_vote(actor, message) is not None and actor.chance.random() < 0.5
        if not is_certificate and not is_kept_vote:
            super().outgoing(targets, message)
            return
        lucky = actor.chance.choice(targets)
        delay_ms = actor.chance.randint(1, DELAY_DELTAS_MAX) * actor.delta_ms
        actor.later(delay_ms, lambda: actor.send(lucky, message))
