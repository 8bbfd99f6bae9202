"""The only hand that signs votes, and the guard that it keeps on disk.

Whatever would be slashable is refused, and every vote is durable before its signature leaves this
file, so that no crash and no restart makes the node contradict itself (consensus 2.5, settled
points 3 and 11). The guard's file and its errors are those of node/guard_file.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

from msgspec import Meta

from node.guard_file import (
    GuardCorrupt,
    GuardError,
    GuardExists,
    GuardFailed,
    GuardFile,
    GuardLocked,
    GuardMissing,
    GuardOfAnother,
    GuardRefused,
    GuardStore,
    guard_errors,
    lock_guard,
    write_guard,
)
from state.codec import Decoder, Struct, encode
from state.crypto import Tag
from state.errors import Malformed
from state.finality import (
    Epoch,
    Finalize,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    View,
    Vote,
    vote_digest,
)
from state.types import Hash, PublicKey, Signature

GUARD_VERSION: Final = 1
COMPACT_BYTES = 2**22
"""A guard file larger than this is written anew when its floor rises."""

Round = tuple[int, int]
"""Epoch and view; rounds are ordered epoch first (consensus settled point 9)."""

Subject = Proposal | Nullified

_KINDS = (Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE)


class Signer(Protocol):
    """A key that signs digests."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies its signatures."""
        ...

    def sign(self, digest: Hash) -> Signature:
        """Return the signature of a 32-byte digest."""
        ...


class _Head(Struct):
    """The first record: whose votes the file guards, on which network."""

    version: Literal[1]
    public_key: PublicKey
    genesis_hash: Hash


class _Floor(Struct, tag=0):
    """Nothing below this round is signed any more."""

    epoch: Epoch
    view: View


class _Vote(Struct, tag=1):
    """A vote that was signed; `kind` is its place in _KINDS, `subject` its canonical bytes."""

    kind: Annotated[int, Meta(ge=0, le=2)]
    epoch: Epoch
    view: View
    subject: Annotated[bytes, Meta(max_length=512)]
    signature: Signature


_heads: Decoder[_Head] = Decoder(_Head)
_entries: Decoder[_Floor | _Vote] = Decoder(_Floor | _Vote)
_proposals: Decoder[Proposal] = Decoder(Proposal)


class GuardedSigner:
    """Signs votes with one key on one network, none that contradicts another.

    Raises GuardMissing, GuardLocked, GuardCorrupt or GuardOfAnother.
    """

    def __init__(
        self,
        key: Signer,
        path: Path,
        genesis_hash: Hash,
        open_store: Callable[[Path], GuardStore] = GuardFile,
    ) -> None:
        self._key = key
        self._genesis_hash = genesis_hash
        self._file = open_store(path)
        self._votes: dict[Round, dict[Tag, _Vote]] = {}
        self._compact_bytes = COMPACT_BYTES
        self._floor: Round = (0, 0)
        self._highest: Round = (0, 0)
        try:
            self._head = self._load(path)
        except GuardError:
            self._file.close()
            raise

    def _load(self, path: Path) -> _Head:
        first, *rest = self._file.payloads or [b""]
        try:
            head = _heads.decode(first)
            entries = [_entries.decode(payload) for payload in rest]
        except Malformed as error:
            raise GuardCorrupt(
                f"The guard file {path} is not of version {GUARD_VERSION}: {error.sentence}"
            ) from error
        if head.public_key != self._key.public_key:
            raise GuardOfAnother(
                f"The guard file {path} guards the key {head.public_key.hex()}, not "
                f"{self._key.public_key.hex()}; each key needs the guard that was made for it."
            )
        if head.genesis_hash != self._genesis_hash:
            raise GuardOfAnother(
                f"The guard file {path} is for the network {head.genesis_hash.hex()}, not "
                f"{self._genesis_hash.hex()}; each network needs a home of its own."
            )
        for entry in entries:
            self._take_in(entry)
        self._file.payloads.clear()
        return head

    def _take_in(self, entry: _Floor | _Vote) -> None:
        at = (entry.epoch, entry.view)
        self._highest = max(self._highest, at)
        if isinstance(entry, _Floor):
            self._floor = max(self._floor, at)
            self._votes = {round_: v for round_, v in self._votes.items() if round_ >= self._floor}
        else:
            self._votes.setdefault(at, {})[_KINDS[entry.kind]] = entry

    @property
    def public_key(self) -> PublicKey:
        """The key whose votes are guarded."""
        return self._key.public_key

    @property
    def genesis_hash(self) -> Hash:
        """The network on which votes are signed."""
        return self._genesis_hash

    @property
    def floor(self) -> Round:
        """The lowest round in which anything may still be signed."""
        return self._floor

    @property
    def round_highest(self) -> Round:
        """The highest round in which anything was signed, or the floor when that is higher."""
        return self._highest

    @property
    def round_passed(self) -> Round:
        """The highest round in which something was signed, or right below the floor if none is."""
        below = (self._floor[0], max(self._floor[1] - 1, 0))
        return max(self._votes, default=below)

    def votes(self, validator: int) -> tuple[SignedVote, ...]:
        """Return the remembered votes, as those of the validator with this index."""
        return tuple(
            [
                _signed(vote, validator)
                for at in sorted(self._votes)
                for vote in self._votes[at].values()
            ]
        )

    @property
    def parent_highest(self) -> Round:
        """The highest parent among the proposals that were finalized here and are remembered."""
        proposals = [
            _proposals.trusted(votes[Tag.FINALIZE].subject)
            for votes in self._votes.values()
            if Tag.FINALIZE in votes
        ]
        return max(((each.epoch, each.parent_view) for each in proposals), default=(0, 0))

    def sign_vote(self, kind: Tag, subject: Subject, *, sync: bool = True) -> Signature:
        """Return a signature that is guarded on disk by now; the same vote gets the same one.

        Without `sync` it is guarded only after `sync()`, and may not leave the node before, so
        that the votes of one step share one wait for the disk (settled 11). `subject` is a
        Nullified for NULLIFY, else a Proposal. Raises GuardRefused or GuardFailed.
        """
        assert kind in _KINDS, "only votes are guarded here"
        assert isinstance(subject, Nullified) == (kind is Tag.NULLIFY), "the subject fits the kind"
        at = (subject.epoch, subject.view)
        body = encode(subject)
        signed = self._votes.get(at, {})
        if kind in signed and signed[kind].subject == body:
            return signed[kind].signature
        self._refuse_contradiction(kind, at, body, signed)
        signature = self._key.sign(vote_digest(kind, self._genesis_hash, subject))
        vote = _Vote(_KINDS.index(kind), subject.epoch, subject.view, body, signature)
        self._file.append(encode(vote))
        if sync:
            self._file.sync()
        self._take_in(vote)
        return signature

    def sync(self) -> None:
        """Make every vote that was signed durable; raises GuardFailed."""
        self._file.sync()

    def _refuse_contradiction(
        self, kind: Tag, at: Round, body: bytes, signed: dict[Tag, _Vote]
    ) -> None:
        """Raise GuardRefused for what consensus 2.10 slashes and what R3 and R6 forbid."""
        where = f"{kind.name} in epoch {at[0]}, view {at[1]}"
        if at < self._floor:
            raise GuardRefused(
                f"{where} lies below the floor {self._floor[0]}:{self._floor[1]}; vote later."
            )
        if kind in signed:
            raise GuardRefused(f"{where} was signed for something else; stay with that vote.")
        forbidden = {
            Tag.NOTARIZE: (Tag.NULLIFY, Tag.FINALIZE),
            Tag.NULLIFY: (Tag.FINALIZE,),
            Tag.FINALIZE: (Tag.NULLIFY,),
        }[kind]
        for earlier in forbidden:
            if earlier in signed:
                raise GuardRefused(f"{where} may not follow {earlier.name}; stay with that vote.")
        if kind is Tag.FINALIZE and Tag.NOTARIZE in signed and signed[Tag.NOTARIZE].subject != body:
            raise GuardRefused(f"{where} is not what was notarized there; stay with that vote.")

    def raise_floor(self, epoch: int, view: int) -> None:
        """Refuse from now on whatever lies below this round, and forget it; never goes back.

        May not pass what a replay of the journal still needs (consensus 2.5). It is durable with
        the next vote: a floor that a crash takes back refuses less, and every vote is still known.
        """
        if (epoch, view) <= self._floor:
            return
        floor = _Floor(epoch, view)
        self._file.append(encode(floor))
        self._take_in(floor)
        if self._file.size_bytes > self._compact_bytes:
            votes = [encode(v) for at in sorted(self._votes) for v in self._votes[at].values()]
            self._file.rewrite([encode(self._head), encode(floor), *votes])
            self._compact_bytes = max(COMPACT_BYTES, 2 * self._file.size_bytes)

    def close(self) -> None:
        """Let go of the guard; another process may take it."""
        self._file.close()


def _signed(vote: _Vote, validator: int) -> SignedVote:
    by = Vote(validator, vote.signature)
    match _KINDS[vote.kind]:
        case Tag.NOTARIZE:
            return Notarize(_proposals.trusted(vote.subject), by)
        case Tag.FINALIZE:
            return Finalize(_proposals.trusted(vote.subject), by)
        case _:
            return Nullify(Nullified(vote.epoch, vote.view), by)


def guard_head(public_key: PublicKey, genesis_hash: Hash) -> bytes:
    """Return the first record of a new guard."""
    return encode(_Head(GUARD_VERSION, public_key, genesis_hash))


def create_guard(
    path: Path, public_key: PublicKey, genesis_hash: Hash, floor: Round = (0, 0)
) -> None:
    """Make the guard of a key that has signed nothing at or above `floor`; raises GuardExists."""
    lock = lock_guard(path)
    try:
        if path.exists():
            raise GuardExists(f"There is a guard file {path} already; it is never overwritten.")
        head = _Head(GUARD_VERSION, public_key, genesis_hash)
        with guard_errors(path):
            write_guard(path, [encode(head), encode(_Floor(*floor))])
    finally:
        lock.close()


__all__ = [
    "GuardCorrupt",
    "GuardError",
    "GuardExists",
    "GuardFailed",
    "GuardLocked",
    "GuardMissing",
    "GuardOfAnother",
    "GuardRefused",
    "GuardedSigner",
    "Round",
    "Signer",
    "create_guard",
    "guard_head",
]
