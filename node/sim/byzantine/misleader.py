"""A misleader: what Byzantine leaders share who propose something else than their engine would."""

from consensus.links import normal_proposal
from consensus.messages import Block, BlockReply, JustifyReply, Message, Propose
from node.sim.byzantine.actor import ROUNDS_MAX, Actor, Behaviour, Round
from node.sim.machine import Executed
from state.codec import replace
from state.finality import Header, Justify, Notarize, justify_hash

MISLEADS = 0.7
"""The chance that a view is led so; in the others its engine's proposal stands."""


class Misleader(Behaviour):
    """Proposes what `forged` makes: to some at once, to the others only when they ask for it."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._led: dict[Round, Propose] = {}

    def forged(self, message: Propose) -> Propose | None:
        """Return what to propose in place of the engine's own proposal; here that itself."""
        return message

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants, and in place of a proposal what was made of it, once."""
        actor = self.actor
        if not isinstance(message, Propose) or not actor.is_own(
            message.vote, message.proposal.epoch
        ):
            super().outgoing(targets, message)
            return
        at = (message.proposal.epoch, message.proposal.view)
        if at not in self._led:
            is_misled = actor.chance.random() < MISLEADS
            self._led[at] = (self.forged(message) if is_misled else None) or message
            if len(self._led) > ROUNDS_MAX:
                del self._led[min(self._led)]
        self._show(targets, self._led[at])

    def _show(self, targets: list[int], message: Propose) -> None:
        """Show a proposal to some, and to the rest its Notarize; what these ask for comes later."""
        actor, justify = self.actor, message.justify
        some = targets
        if actor.chance.random() < 0.5:
            some = actor.chance.sample(targets, actor.chance.randint(0, len(targets)))
        super().outgoing(some, message)
        rest = [target for target in targets if target not in some]
        super().outgoing(rest, Notarize(message.proposal, message.vote))
        if justify is None:
            return
        answers: list[Message] = [JustifyReply(justify)]
        if message.header.view == message.proposal.view:
            block = Block(message.header, justify, message.body)
            answers.append(BlockReply((block,)))
        else:
            super().outgoing(rest, replace(message, justify=None))

        def answer() -> None:
            for reply in answers:
                Behaviour.outgoing(self, rest, reply)

        actor.later(actor.delta_ms, answer)


def above(actor: Actor, own: Header, parent: Header, done: Executed) -> tuple[Header, bytes]:
    """Return header and body of a block over any parent that was executed, as if it might be so."""
    height = parent.height + 1
    built = actor.rival(replace(own, height=height), actor.chance.randbytes(8))
    header = replace(
        own,
        height=height,
        parent_id=parent.id,
        time_ms=max(own.time_ms, parent.time_ms + 1),
        tx_root=built.tx_root,
        evidence_root=built.evidence_root,
        state_root=done.state_root,
        outcomes_root=done.outcomes_root,
    )
    return header, built.body


def proposed(actor: Actor, header: Header, body: bytes, justify: Justify) -> Propose:
    """Sign a proposal of a header as it stands, whatever it says."""
    first = normal_proposal(header, header.id)
    return Propose(first, actor.notarize(first).vote, header, justify, body)


def justified(actor: Actor, message: Propose, justify: Justify) -> Propose:
    """Sign a proposal again, block or boundary block, under another justification."""
    digest, header = justify_hash(justify), message.header
    if header.view == message.proposal.view:
        return proposed(actor, replace(header, justify_hash=digest), message.body, justify)
    proposal = replace(message.proposal, justify_hash=digest)
    return Propose(proposal, actor.notarize(proposal).vote, header, justify, message.body)
