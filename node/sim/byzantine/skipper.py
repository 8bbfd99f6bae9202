"""A skipper: it passes views by without the proof that they were given up.

It proposes over an old parent beside a block that others have built there. The nullifications
between are missing, those of other views or of another epoch, one of them many times, or signed by
its cohort alone. In the first epoch it also stands on a block that nobody has certified, as if that
were genesis.
"""

from collections import deque

from consensus.messages import Message, Propose
from node.sim.byzantine.actor import Actor, Behaviour, own_vote
from node.sim.byzantine.minority import below_quorum
from node.sim.byzantine.misleader import Misleader, above, proposed
from state.codec import replace
from state.crypto import Tag
from state.finality import Header, Justify, Notarize, Nullification, Nullified, justify_hash

SEEN_MAX = 32
GAP_MAX = 8
LATE_DELTAS = 3


class Skipper(Misleader):
    """Builds past views that were not nullified."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._seen: deque[Propose] = deque(maxlen=SEEN_MAX)
        self._proofs: deque[Nullification] = deque(maxlen=SEEN_MAX)
        """Nullifications that hold, of whatever view."""

    def incoming(self, message: Message) -> None:
        """Remember blocks to stand beside, and proofs to misuse."""
        super().incoming(message)
        if isinstance(message, Nullification):
            self._proofs.append(message)
        if isinstance(message, Propose) and message.justify is not None:
            self._proofs.extend(message.justify.nullifications)
            self._seen.append(message)

    def forged(self, message: Propose) -> Propose | None:
        """Stand beside a block that was seen of late, or on one that nobody certified."""
        header = message.header
        if header.view != message.proposal.view:
            return None
        known = [
            one
            for one in self._seen
            if one.header.epoch == header.epoch
            and one.header.view == one.proposal.view < header.view
            and header.view - one.header.parent_view <= GAP_MAX
        ]
        if not known:
            return None
        as_root = self._as_root(message, known)
        return as_root or self._beside(header, known[-1])

    def _beside(self, own: Header, other: Propose) -> Propose:
        """Propose another block over the parent of one that was seen."""
        assert other.justify is not None, "only whole proposals are remembered"
        gap = [Nullified(own.epoch, view) for view in range(other.header.parent_view + 1, own.view)]
        justify = Justify(other.justify.parent, self._proof(gap))
        built = self.actor.rival(other.header, self.actor.chance.randbytes(8))
        header = replace(
            other.header,
            view=own.view,
            proposer=own.proposer,
            tx_root=built.tx_root,
            evidence_root=built.evidence_root,
            justify_hash=justify_hash(justify),
        )
        return proposed(self.actor, header, built.body, justify)

    def _proof(self, gap: list[Nullified]) -> tuple[Nullification, ...]:
        """Return what is to pass for nullifications of these views."""
        chance = self.actor.chance
        some = [each for each in self._proofs if each.subject in gap][: len(gap) - 1]
        wrong = [each for each in self._proofs if each.subject not in gap]
        foreign = [each for each in wrong if each.subject.epoch != gap[0].epoch]
        choices = [each for each in (some, wrong, wrong[:1], foreign, self._own(gap)) if each]
        found = chance.choice([[], *choices])
        if not found:
            return ()
        return tuple([found[min(place, len(found) - 1)] for place in range(len(gap))])

    def _own(self, gap: list[Nullified]) -> list[Nullification]:
        """Return nullifications by the cohort alone."""
        actor = self.actor
        made = []
        for subject in gap:
            signed = [each.sign(Tag.NULLIFY, subject) for each in actor.cohort.actors]
            votes = [vote for vote in signed if vote is not None]
            if kept := below_quorum(actor, subject.epoch, votes):
                made.append(Nullification(subject, kept))
        return made

    def _as_root(self, message: Propose, known: list[Propose]) -> Propose | None:
        """Where nothing is certified yet in the first epoch, stand on a block that was seen."""
        header, justify = message.header, message.justify
        if header.epoch or header.parent_view or justify is None:
            return None
        for one in reversed(known):
            below = self.actor.executed(one.header.id)
            if below is not None:
                return proposed(self.actor, *above(self.actor, header, *below), justify)
        return None

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants, and of the first block of all not even a vote."""
        vote = own_vote(self.actor, message)
        if isinstance(vote, Notarize) and vote.subject.epoch == vote.subject.parent_view == 0:
            targets = [target for target in targets if target not in self.actor.cohort.honest]
        super().outgoing(targets, message)

    def _show(self, targets: list[int], message: Propose) -> None:
        """Show the first block of all late, when its view was given up: then it is no genesis."""
        actor, header = self.actor, message.header
        cohort = [target for target in targets if target not in actor.cohort.honest]
        if header.height > 1 or len(actor.cohort.actors) == 1:
            super()._show(targets, message)
            return
        honest = [target for target in targets if target in actor.cohort.honest]
        Behaviour.outgoing(self, cohort, message)
        actor.later(LATE_DELTAS * actor.delta_ms, lambda: Behaviour.outgoing(self, honest, message))
