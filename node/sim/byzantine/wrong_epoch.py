"""Votes in the wrong epoch: for blocks of this epoch as if they were of another."""

from consensus.messages import Message, Propose, Status
from node.sim.byzantine.actor import Behaviour, own_vote
from state.codec import replace
from state.finality import Notarize, Nullify


class WrongEpoch(Behaviour):
    """Signs votes whose epoch contradicts the header, and claims to be far ahead (E5)."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants, and the same for an epoch that it does not belong to."""
        super().outgoing(targets, message)
        actor = self.actor
        vote = own_vote(actor, message)
        wrong: Message | None = None
        if isinstance(vote, Notarize):
            shift = -1 if vote.subject.epoch and actor.chance.random() < 0.5 else 1
            epoch = vote.subject.epoch + shift
            wrong = actor.notarize(replace(vote.subject, epoch=epoch))
        elif isinstance(vote, Nullify):
            wrong = actor.nullify(vote.subject.epoch + 1, vote.subject.view)
        elif isinstance(message, Status):
            wrong = replace(message, epoch=message.epoch + 1, view=message.view + 1_000_000)
        elif isinstance(message, Propose) and actor.is_own(message.vote, message.proposal.epoch):
            proposal = replace(message.proposal, epoch=message.proposal.epoch + 1)
            wrong = replace(message, proposal=proposal, vote=actor.notarize(proposal).vote)
        if wrong is not None:
            for target in targets:
                actor.send(target, wrong)
