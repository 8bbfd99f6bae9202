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


def round_of(statement: SignedVote | Certificate) -> Round:
    """The epoch and view that a vote or certificate speaks of."""
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
    justifies: dict[Hash, Justify] = field(default_factory=dict)
    """Justifications by their hash, which every proposal names: together they are links."""
    final: dict[int, dict[Hash, set[int]]] = field(default_factory=dict)
    """Final blocks by height, each with the honest validators that hold it so.

    Nobody needs to hold one: a finalization makes its block final, and all ancestors (R7).
    """
    is_forked: bool = False
    _awaited: set[Hash] = field(default_factory=set)
    """Final blocks whose headers nobody has shown yet."""
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
        if isinstance(signed, Finalize):
            self._complete(signed.subject)
        return True

    def _complete(self, proposal: Proposal) -> None:
        """Make the finalization for which a quorum of single votes is held, if there is one."""
        at = (proposal.epoch, proposal.view)
        who = self.supporters(Tag.FINALIZE, proposal)
        held = self.finalizations.get(at, {})
        if proposal in held or not self.rotas.is_quorum(proposal.epoch, who):
            return
        votes = {
            one.vote.validator: one.vote
            for validator in who
            for one in self.statements[at][validator]
            if isinstance(one, Finalize) and one.subject == proposal
        }
        self._finalize(Finalization(proposal, tuple([votes[index] for index in sorted(votes)])))

    def _finalize(self, certificate: Finalization) -> None:
        subject = certificate.subject
        held = self.finalizations.setdefault((subject.epoch, subject.view), {})
        held.setdefault(subject, certificate)
        # Two blocks of one view contradict each other, whether or not their headers are known.
        self.is_forked = self.is_forked or len({one.block_id for one in held}) > 1
        self._imply(subject.block_id)

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
                self._finalize(certificate)
        return True

    def signers(self, certificate: Certificate) -> set[int]:
        """Return the validators whose votes make a certificate."""
        epoch = certificate.subject.epoch
        found = [self.rotas.validator(epoch, vote.validator) for vote in certificate.votes]
        return {each for each in found if each is not None}

    def add_header(self, header: Header) -> None:
        """Take in a header, so that ancestors can be walked."""
        block_id = header.id
        self.headers.setdefault(block_id, header)
        if block_id in self._awaited:
            self._awaited.discard(block_id)
            self._imply(block_id)

    def _imply(self, block_id: Hash) -> None:
        """Mark a finalized block and its ancestors as final, as far as their headers are known."""
        header = self.headers.get(block_id)
        if header is not None:
            self._at_height(header.height, block_id)
        while header is not None and header.height > 1:
            block_id = header.parent_id
            if block_id in self.final.get(header.height - 1, {}):
                return
            self._at_height(header.height - 1, block_id)
            header = self.headers.get(block_id)
        if header is None:
            self._awaited.add(block_id)

    def _at_height(self, height: int, block_id: Hash) -> set[int]:
        """Return who holds a final block, none if it is new."""
        blocks = self.final.setdefault(height, {})
        holders = blocks.setdefault(block_id, set())
        self.is_forked = self.is_forked or len(blocks) > 1
        return holders

    def add_justify(self, digest: Hash, justify: Justify) -> None:
        """Take in a justification under the hash that names it, and the certificates in it."""
        if digest in self.justifies or justify_hash(justify) != digest:
            return
        self.justifies[digest] = justify
        if justify.parent is not None:
            self.add_certificate(justify.parent)
        for nullification in justify.nullifications:
            self.add_certificate(nullification)

    def add_final(self, final: Final, validator: int) -> None:
        """An honest validator holds this block as final."""
        self._at_height(final.height, final.block_id).add(validator)

    def contradictions(self) -> list[int]:
        """The heights at which two blocks are final, whoever holds them so."""
        forked = {height for height, blocks in self.final.items() if len(blocks) > 1}
        for finalized in self.finalizations.values():
            blocks = {proposal.block_id for proposal in finalized}
            if len(blocks) > 1:
                known = [self.headers[each].height for each in blocks if each in self.headers]
                forked.update(known or [0])
        return sorted(forked)

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
