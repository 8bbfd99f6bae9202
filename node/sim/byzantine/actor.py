"""What a Byzantine validator can do: sign whatever it likes, send to whom it likes, and collude.

Each runs the honest engine, so that it is in step with the others; its behaviour stands between
that engine and the network. All Byzantine validators of a run share one cohort: what one hears the
others know at once, and they agree on how to split the honest ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from consensus.messages import Message, Propose
from node.sim.machine import Built, Executed
from state.crypto import Tag
from state.finality import (
    Finalize,
    Header,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    Vote,
)
from state.types import Address, Hash, Signature

Round = tuple[int, int]

ROUNDS_MAX = 256
"""A cohort remembers proposals of so many rounds."""
STORIES_MAX = 4
"""More proposals of one view are left alone: two are a fork, and a third helps nobody."""


@dataclass
class Cohort:
    """What the Byzantine validators of a run know together."""

    chance: Random
    endpoints: int
    honest: tuple[int, ...]
    """Endpoints of honest validators."""
    actors: list["Actor"] = field(default_factory=list)
    proposals: dict[Round, list[Proposal]] = field(default_factory=dict)
    _sides: dict[Round, tuple[int, ...]] = field(default_factory=dict)

    def side(self, at: Round, endpoint: int) -> int:
        """Return 0 or 1: which of two stories that endpoint is told in that round."""
        if at not in self._sides:
            order = list(range(self.endpoints))
            self.chance.shuffle(order)
            sides = [0] * self.endpoints
            for place, each in enumerate(sorted(self.honest, key=order.index)):
                sides[each] = place % 2
            self._sides[at] = tuple(sides)
            if len(self._sides) > ROUNDS_MAX:
                del self._sides[min(self._sides)]
        return self._sides[at][endpoint]

    def heard(self, proposal: Proposal) -> bool:
        """Remember a proposal; return whether it is news."""
        at = (proposal.epoch, proposal.view)
        known = self.proposals.setdefault(at, [])
        if proposal in known or len(known) >= STORIES_MAX:
            return False
        known.append(proposal)
        if len(self.proposals) > ROUNDS_MAX:
            del self.proposals[min(self.proposals)]
        return True


@dataclass
class Actor:
    """One Byzantine endpoint: its key without a guard, and the network."""

    endpoint: int
    index: Callable[[int], int | None]
    """Its index in the set of an epoch, None where it is no member."""
    account: Address
    chance: Random
    cohort: Cohort
    raw_sign: Callable[[Tag, Proposal | Nullified], Signature]
    rival: Callable[[Header, bytes], Built]
    """Makes another body for a header, from a salt."""
    executed: Callable[[Hash], tuple[Header, Executed] | None]
    """A block that is not final and was executed here, with what that gave."""
    is_quorum: Callable[[int, set[int]], bool]
    """Tells of an epoch whether the validators of these indices are a quorum."""
    send: Callable[[int, Message], None]
    """Send a message to an endpoint."""
    send_bytes: Callable[[int, bytes], None]
    later: Callable[[int, Callable[[], None]], None]
    """Do something after so many milliseconds."""
    delta_ms: int
    behaviour: "Behaviour" = field(init=False)

    @property
    def others(self) -> list[int]:
        """Every endpoint but its own."""
        return [each for each in range(self.cohort.endpoints) if each != self.endpoint]

    def notarize(self, proposal: Proposal) -> Notarize:
        """Sign a Notarize, whatever was signed before."""
        return Notarize(proposal, self._vote(Tag.NOTARIZE, proposal))

    def finalize(self, proposal: Proposal) -> Finalize:
        """Sign a Finalize, whatever was signed before."""
        return Finalize(proposal, self._vote(Tag.FINALIZE, proposal))

    def nullify(self, epoch: int, view: int) -> Nullify:
        """Sign a Nullify, whatever was signed before."""
        subject = Nullified(epoch, view)
        return Nullify(subject, self._vote(Tag.NULLIFY, subject))

    def _vote(self, kind: Tag, subject: Proposal | Nullified) -> Vote:
        """Sign; outside its epochs its vote is one of index 0, and worthless."""
        return Vote(self.index(subject.epoch) or 0, self.raw_sign(kind, subject))

    def sign(self, kind: Tag, subject: Proposal | Nullified) -> Vote | None:
        """Sign a vote of any kind, None where this validator is no member."""
        return None if self.index(subject.epoch) is None else self._vote(kind, subject)

    def is_own(self, vote: Vote, epoch: int) -> bool:
        """Tell whether a vote names this validator."""
        return vote.validator == self.index(epoch)

    def support(self, proposal: Proposal) -> list[SignedVote]:
        """Sign Notarize and Finalize for a proposal, whatever was signed before."""
        return [self.notarize(proposal), self.finalize(proposal)]

    def tell_side(self, at: Round, side: int, votes: list[SignedVote]) -> None:
        """Send votes to those honest endpoints that are told this story, and to the cohort."""
        for endpoint in self.others:
            mine = endpoint not in self.cohort.honest or self.cohort.side(at, endpoint) == side
            if mine:
                for vote in votes:
                    self.send(endpoint, vote)


class Behaviour:
    """How a Byzantine endpoint departs from its honest engine; this one does not."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Send, or not, what the honest engine wants sent."""
        for target in targets:
            self.actor.send(target, message)

    def incoming(self, message: Message) -> None:
        """Hear a message before the honest engine does."""
        if isinstance(message, Propose) and self.actor.cohort.heard(message.proposal):
            for actor in self.actor.cohort.actors:
                actor.behaviour.conspire(message.proposal)

    def conspire(self, proposal: Proposal) -> None:
        """The cohort has heard of a proposal, this endpoint perhaps before it came here."""


def own_vote(actor: Actor, message: Any) -> SignedVote | None:
    """Return the message if it is a vote of the actor itself."""
    if isinstance(message, Notarize | Nullify | Finalize):
        return message if actor.is_own(message.vote, message.subject.epoch) else None
    return None
