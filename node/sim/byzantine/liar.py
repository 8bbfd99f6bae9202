"""A liar: its blocks are as they should be but for one thing, which is false.

It lies about one field of the header, or sends another body. The proposal goes along with the lie
where it can, so that nothing but the rule for that field can refuse it. Or it proposes again what
is no boundary block, and in place of one a block above it (settled points 6 and 9).
"""

from collections.abc import Callable

from consensus.messages import Propose
from node.sim.byzantine.actor import Actor
from node.sim.byzantine.misleader import Misleader, above, proposed
from state.codec import replace
from state.finality import Header, Justify

BODY = "body"
AGAIN = "again"
Lie = Callable[[Header, Actor], object]


def _hash(_: Header, actor: Actor) -> bytes:
    return actor.chance.randbytes(32)


LIES: dict[str, Lie] = {
    "height": lambda header, actor: max(1, header.height + actor.chance.choice([-1, 1, 1_000])),
    "epoch": lambda header, _: header.epoch + 1,
    "view": lambda header, actor: header.view + actor.chance.choice([1, 1_000]),
    "parent_view": lambda header, _: header.parent_view - 1 if header.parent_view else 1,
    "parent_id": _hash,
    "time_ms": lambda header, actor: actor.chance.choice([0, header.time_ms + 10**9]),
    "proposer": lambda _, actor: actor.chance.randbytes(20),
    "tx_root": _hash,
    "evidence_root": _hash,
    "justify_hash": _hash,
    "state_root": _hash,
    "outcomes_root": _hash,
    "validators_hash": _hash,
    "next_validators_hash": _hash,
    "params_hash": _hash,
}
"""Of every field of a header something that it may not be."""


class Liar(Misleader):
    """Proposes blocks with one thing in them that is false."""

    about: tuple[str, ...] = (*LIES, BODY, AGAIN)

    def forged(self, message: Propose) -> Propose | None:
        """Make one thing false."""
        actor, header, justify = self.actor, message.header, message.justify
        if justify is None:
            return None
        name = actor.chance.choice(self.about)
        if header.view != message.proposal.view:
            return self._beyond(message, justify) if name == AGAIN else None
        if name == AGAIN:
            return self._again(message)
        if name == BODY:
            return replace(message, body=message.body + b"\0")
        false = replace(header, **{name: LIES[name](header, actor)})
        if actor.chance.random() < 0.5 or name in ("epoch", "view"):
            # as if the proposal said what the engine's says: then the header contradicts it (E5)
            proposal = replace(message.proposal, block_id=false.id)
            vote = actor.notarize(proposal).vote
            return Propose(proposal, vote, false, justify, message.body)
        return proposed(actor, false, message.body, justify)

    def _again(self, message: Propose) -> Propose | None:
        """Propose the parent again, as only a boundary block may be."""
        below = self.actor.executed(message.header.parent_id)
        if below is None:
            return None
        proposal = replace(message.proposal, block_id=below[0].id)
        vote = self.actor.notarize(proposal).vote
        return Propose(proposal, vote, below[0], message.justify, b"")

    def _beyond(self, message: Propose, justify: Justify) -> Propose | None:
        """Propose a child of the boundary block, as no epoch has."""
        below, proposal = self.actor.executed(message.header.id), message.proposal
        if below is None:
            return None
        own = replace(
            message.header,
            view=proposal.view,
            parent_view=proposal.parent_view,
            justify_hash=proposal.justify_hash,
            proposer=self.actor.account,
        )
        return proposed(self.actor, *above(self.actor, own, *below), justify)
