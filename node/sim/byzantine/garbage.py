"""A garbage sender: noise, broken encodings, and well-formed messages with worthless signatures."""

from consensus.messages import Message, encode
from node.sim.byzantine.actor import Behaviour
from state.codec import replace
from state.finality import Finalization, Finalize, Notarization, Notarize, Nullification, Nullify

NOISE_BYTES_MAX = 2_000


class Garbage(Behaviour):
    """Sends something worthless beside, and half of the time instead of, each message."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send garbage, and now and then the message."""
        chance = self.actor.chance
        for target in targets:
            self.actor.send_bytes(target, self._noise(message))
            if chance.random() < 0.5:
                self.actor.send(target, message)

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
