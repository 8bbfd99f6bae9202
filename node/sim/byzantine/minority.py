"""A minority: certificates of rightly signed votes that are no quorum, wherever certificates go.

Its cohort signs every kind of them, and honest votes that it has heard stand in them, as many as
leave them just below a quorum. They travel alone, as the finalization of a boundary too, in the
justifications of its proposals, and in replies to whoever asks.
"""

from collections.abc import Iterator
from typing import TypeVar

from consensus.messages import Message, Propose
from node.sim.byzantine.actor import ROUNDS_MAX, Actor, own_vote
from node.sim.byzantine.misleader import Misleader, justified
from state.codec import replace
from state.crypto import Tag
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    Vote,
    kind_of,
)

Said = tuple[Tag, Proposal | Nullified]
Held = TypeVar("Held", Notarization | Finalization, Nullification)


class Minority(Misleader):
    """Claims for itself, and whom it has heard, the power of a quorum."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._heard: dict[Said, dict[int, Vote]] = {}

    def incoming(self, message: Message) -> None:
        """Remember what others voted for."""
        super().incoming(message)
        match message:
            case Notarize() | Nullify() | Finalize():
                self._note((kind_of(message), message.subject), message.vote)
            case Propose():
                self._note((Tag.NOTARIZE, message.proposal), message.vote)

    def _note(self, said: Said, vote: Vote) -> None:
        self._heard.setdefault(said, {})[vote.validator] = vote
        if len(self._heard) > ROUNDS_MAX:
            del self._heard[next(iter(self._heard))]

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send what the engine wants, and with each own vote every certificate of its view."""
        super().outgoing(targets, message)
        vote = own_vote(self.actor, message)
        if vote is not None:
            for certificate in self._certificates(vote.subject):
                for target in targets:
                    self.actor.send(target, certificate)

    def _certificates(self, subject: Proposal | Nullified) -> Iterator[Certificate]:
        nullified = Nullified(subject.epoch, subject.view)
        if votes := self._votes((Tag.NULLIFY, nullified)):
            yield Nullification(nullified, votes)
        if isinstance(subject, Proposal):
            if votes := self._votes((Tag.NOTARIZE, subject)):
                yield Notarization(subject, votes)
            if votes := self._votes((Tag.FINALIZE, subject)):
                yield Finalization(subject, votes)

    def _votes(self, said: Said) -> tuple[Vote, ...]:
        """Return what the cohort signs, and what was heard, below a quorum."""
        signed = [each.sign(*said) for each in self.actor.cohort.actors]
        mine = [vote for vote in signed if vote is not None]
        return below_quorum(self.actor, said[1].epoch, [*mine, *self._heard.get(said, {}).values()])

    def forged(self, message: Propose) -> Propose | None:
        """Take so many votes out of the justification's certificates that no quorum is left."""
        justify = message.justify
        if justify is None:
            return None
        parent = justify.parent and _less(self.actor, justify.parent)
        gap = tuple([_less(self.actor, each) for each in justify.nullifications])
        less = Justify(parent, gap)
        return None if less == justify else justified(self.actor, message, less)


def _less(actor: Actor, certificate: Held) -> Held:
    votes = below_quorum(actor, certificate.subject.epoch, list(certificate.votes))
    return replace(certificate, votes=votes) if votes else certificate


def below_quorum(actor: Actor, epoch: int, votes: list[Vote]) -> tuple[Vote, ...]:
    """Return as many of the votes as leave a certificate below a quorum, in ascending order."""
    kept: dict[int, Vote] = {}
    for vote in votes:
        if not actor.is_quorum(epoch, {*kept, vote.validator}):
            kept.setdefault(vote.validator, vote)
    return tuple([kept[index] for index in sorted(kept)])
