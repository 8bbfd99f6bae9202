"""A garbage sender: noise, broken encodings, worthless signatures, and a flood of its own words.

The flood is signed as it should be and fits no chain: votes for views to come, two of each kind,
proposals that stand on nothing, questions for what nobody has. It is to fill whatever is not
bounded.
"""

from consensus.messages import BlockRequest, JustifyRequest, Message, Propose, encode
from node.sim.byzantine.actor import Behaviour, own_vote
from state.codec import replace
from state.finality import Finalization, Finalize, Notarization, Notarize, Nullification, Nullify

NOISE_BYTES_MAX = 2_000
VIEWS_AHEAD = 16
ORPHANS = 4


class Garbage(Behaviour):
    """Sends something worthless beside, and half of the time instead of, each message."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send garbage, and now and then the message."""
        chance = self.actor.chance
        flood = self._flood(message)
        for target in targets:
            for wave in flood:
                self.actor.send(target, wave)
            self.actor.send_bytes(target, self._noise(message))
            if chance.random() < 0.5:
                self.actor.send(target, message)

    def _flood(self, message: Message) -> list[Message]:
        """Follow an own vote with votes and questions, and an own proposal with orphans."""
        actor, chance = self.actor, self.actor.chance
        vote = own_vote(actor, message)
        if isinstance(vote, Notarize):
            ahead = vote.subject.view + chance.randint(1, VIEWS_AHEAD)
            invented = replace(vote.subject, view=ahead, block_id=chance.randbytes(32))
            return [
                *actor.support(invented),
                actor.nullify(invented.epoch, ahead),
                BlockRequest(invented.block_id, 1),
                JustifyRequest(chance.randbytes(32)),
            ]
        if isinstance(message, Propose) and actor.is_own(message.vote, message.proposal.epoch):
            waves = chance.sample(range(1, VIEWS_AHEAD), ORPHANS)
            return [self._orphan(message, ahead) for ahead in waves]
        return []

    def _orphan(self, message: Propose, ahead: int) -> Propose:
        """Propose a block for a later view, far above whatever is known; most lead elsewhere."""
        header = replace(
            message.header,
            view=message.proposal.view + ahead,
            height=message.header.height + ahead,
            parent_id=self.actor.chance.randbytes(32),
        )
        proposal = replace(message.proposal, view=header.view, block_id=header.id)
        vote = self.actor.notarize(proposal).vote
        return Propose(proposal, vote, header, message.justify, message.body)

    def _noise(self, message: Message) -> bytes:
        chance = self.actor.chance
        shape = chance.randrange(4)
        if shape == 0:
            return chance.randbytes(chance.randint(0, NOISE_BYTES_MAX))
        if shape == 1:
            return encode(self._forged(message))
        data = bytearray(encode(message))
        if shape == 2:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(data)
        return bytes(data[: chance.randrange(len(data))])

    def _forged(self, message: Message) -> Message:
        """Sign with noise, in the name of whoever comes to mind."""
        chance = self.actor.chance
        match message:
            case Notarize() | Nullify() | Finalize():
                name = chance.randrange(self.actor.cohort.endpoints)
                vote = replace(message.vote, validator=name, signature=chance.randbytes(64))
                return replace(message, vote=vote)
            case Notarization() | Nullification() | Finalization():
                votes = tuple([replace(v, signature=chance.randbytes(64)) for v in message.votes])
                return replace(message, votes=votes)
        return message
