"""Everything that honest validators of a run hold between them: votes, certificates, links, blocks.

It is the material of the checkers, and of whoever has to prove after a fork who caused it. Votes of
strangers count only when their signature is valid; a vote stands in it once, whatever carried it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from node.sim.rotas import Rotas
from node.sim.signatures import Scheme
from state.crypto import Tag
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    justify_hash,
    kind_of,
    vote_digest,
)
from state.types import Hash, Signature

Round = tuple[int, int]
"""Epoch and view."""

Subject = Proposal | Nullified


def round_of(statement: SignedVote) -> Round:
    """The epoch and view that a vote speaks of."""
    return (statement.subject.epoch, statement.subject.view)


def votes_of(certificate: Certificate) -> list[SignedVote]:
    """Take a certificate apart into the votes that it is made of."""
    match certificate:
        case Notarization():
            return [Notarize(certificate.subject, vote) for vote in certificate.votes]
        case Nullification():
            return [Nullify(certificate.subject, vote) for vote in certificate.votes]
        case Finalization():
            return [Finalize(certificate.subject, vote) for vote in certificate.votes]


@dataclass(frozen=True, slots=True)
class Final:
    """A block that an honest validator holds as final."""

    height: int
    block_id: Hash
    endpoint: int


@dataclass
class Chronicle:
    """What was said and held, by round; listeners hear of everything that is new."""

    genesis_hash: Hash
    rotas: Rotas
    scheme: Scheme
    statements: dict[Round, dict[int, list[SignedVote]]] = field(default_factory=dict)
    notarizations: dict[Round, dict[Proposal, Notarization]] = field(default_factory=dict)
    finalizations: dict[Round, dict[Proposal, Finalization]] = field(default_factory=dict)
    nullifications: dict[Round, Nullification] = field(default_factory=dict)
    headers: dict[Hash, Header] = field(default_factory=dict)
    links: dict[Hash, list[tuple[Proposal, Justify]]] = field(default_factory=dict)
    """Proposals of every block with what justifies them, by block id."""
    final: dict[int, dict[Hash, set[int]]] = field(default_factory=dict)
    """Honest validators that hold a block as final, by height and block."""
    _known: dict[Signature, SignedVote] = field(default_factory=dict)

    def add_vote(self, signed: SignedVote) -> bool:
        """Take in a vote; return whether its signature is valid."""
        vote = signed.vote
        if self._known.get(vote.signature) == signed:
            return True
        validator = self.rotas.validator(signed.subject.epoch, vote.validator)
        if validator is None:
            return False
        digest = vote_digest(kind_of(signed), self.genesis_hash, signed.subject)
        claim = (self.scheme.keys[validator], digest, vote.signature)
        if not all(self.scheme.verify_many([claim])):
            return False
        self._known[vote.signature] = signed
        spoken = self.statements.setdefault(round_of(signed), {})
        spoken.setdefault(validator, []).append(signed)
        return True

    def add_certificate(self, certificate: Certificate) -> bool:
        """Take in a certificate and its votes; return whether it is valid."""
        indices = [vote.validator for vote in certificate.votes]
        ascending = all(low < high for low, high in pairwise(indices))
        if not ascending or not indices:
            return False
        valid = [self.add_vote(vote) for vote in votes_of(certificate)]
        epoch = certificate.subject.epoch
        if not all(valid) or not self.rotas.is_quorum(epoch, self.signers(certificate)):
            return False
        at = (certificate.subject.epoch, certificate.subject.view)
        match certificate:
            case Notarization():
                self.notarizations.setdefault(at, {}).setdefault(certificate.subject, certificate)
            case Nullification():
                self.nullifications.setdefault(at, certificate)
            case Finalization():
                self.finalizations.setdefault(at, {}).setdefault(certificate.subject, certificate)
        return True

    def signers(self, certificate: Certificate) -> set[int]:
        """Return the validators whose votes make a certificate."""
        epoch = certificate.subject.epoch
        found = [self.rotas.validator(epoch, vote.validator) for vote in certificate.votes]
        return {each for each in found if each is not None}

    def add_header(self, header: Header) -> None:
        """Take in a header, so that ancestors can be walked."""
        self.headers.setdefault(header.id, header)

    def add_link(self, proposal: Proposal, justify: Justify) -> None:
        """Take in a proposal's justification and the certificates in it."""
        held = self.links.setdefault(proposal.block_id, [])
        if any(known == proposal for known, _ in held):
            return
        if justify_hash(justify) != proposal.justify_hash:
            return
        held.append((proposal, justify))
        if justify.parent is not None:
            self.add_certificate(justify.parent)
        for nullification in justify.nullifications:
            self.add_certificate(nullification)

    def add_final(self, final: Final, validator: int) -> None:
        """An honest validator holds this block as final."""
        holders = self.final.setdefault(final.height, {})
        holders.setdefault(final.block_id, set()).add(validator)

    def forks(self) -> list[int]:
        """The heights at which honest validators hold two blocks as final."""
        return sorted(height for height, blocks in self.final.items() if len(blocks) > 1)

    def supporters(self, kind: Tag, subject: Subject) -> set[int]:
        """Return whose votes of that kind for that subject are held."""
        spoken = self.statements.get((subject.epoch, subject.view), {})
        return {
            validator
            for validator, statements in spoken.items()
            if any(kind_of(one) is kind and one.subject == subject for one in statements)
        }

    def rounds(self) -> Iterator[Round]:
        """Every round in which anybody said anything, in order."""
        return iter(sorted(self.statements))
