"""The only hand that signs votes, and the guard that it keeps on disk.

Whatever would be slashable is refused, and every vote is durable before its signature leaves this
file, so that no crash and no restart makes the node contradict itself (consensus 2.5, settled
points 3 and 11). The guard file is append-only. Each record is

    length (4 bytes) || checksum of the length (4) || payload || checksum (16)

where the checksum covers the payload and the checksum before it: a record that is changed, missing
or out of place breaks the chain. What a crash leaves half-written at the end was never signed for
anyone, and is dropped; damage anywhere else is an error.

GuardError                     NodeError (node/errors.py)
├── GuardRefused               guard.refused     already voted otherwise: never retried, never fatal
├── GuardMissing               guard.missing
├── GuardExists                guard.exists
├── GuardLocked                guard.locked
├── GuardCorrupt               guard.corrupt
├── GuardOfAnother             guard.other_key
└── GuardFailed                guard.failed      the disk refuses: the node must stop
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Final, Literal, Protocol

from msgspec import Meta

from node.errors import NodeError
from node.keystore import sync_folder
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
PAYLOAD_BYTES_MAX = 1_024
LENGTH_BYTES = 4
CHECKSUM_BYTES = 16
COMPACT_BYTES = 2**22
"""A guard file larger than this is written anew when its floor rises."""

Round = tuple[int, int]
"""Epoch and view; rounds are ordered epoch first (consensus settled point 9)."""

Subject = Proposal | Nullified

_KINDS = (Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE)


class GuardError(NodeError):
    """The guard does not let the node sign."""

    code: ClassVar[str] = "guard.error"


class GuardRefused(GuardError):
    """The vote would contradict one that was signed before."""

    code: ClassVar[str] = "guard.refused"


class GuardMissing(GuardError):
    """There is no guard file where one was expected."""

    code: ClassVar[str] = "guard.missing"


class GuardExists(GuardError):
    """There is a guard file where a new one was to be made."""

    code: ClassVar[str] = "guard.exists"


class GuardLocked(GuardError):
    """Another process signs with this guard."""

    code: ClassVar[str] = "guard.locked"


class GuardCorrupt(GuardError):
    """The guard file does not hold what was written to it."""

    code: ClassVar[str] = "guard.corrupt"


class GuardOfAnother(GuardError):
    """The guard file belongs to another key or network."""

    code: ClassVar[str] = "guard.other_key"


class GuardFailed(GuardError):
    """The disk refuses to make a vote durable."""

    code: ClassVar[str] = "guard.failed"


class Signer(Protocol):
    """A key that signs digests."""

    public_key: PublicKey

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


class GuardStore(Protocol):
    """Where a guard keeps its records: a file, or what stands for one in a simulation."""

    payloads: list[bytes]
    """What was there when it was opened."""

    @property
    def size_bytes(self) -> int:
        """How large it has become."""
        ...

    def append(self, payload: bytes) -> None:
        """Make a record durable."""
        ...

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class _GuardFile:
    """Records on disk, under an exclusive lock, synced one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = _lock(path)
        self._chain = b""
        self._broken = False
        with ExitStack() as on_error:
            on_error.callback(self._lock.close)
            with _disk_errors(path):
                self._file = on_error.enter_context(_open(path))
                self.payloads = self._read()
            on_error.pop_all()

    def _read(self) -> list[bytes]:
        """Return the payloads, and cut off what a crash left half-written at the end."""
        data = self._path.read_bytes()
        payloads: list[bytes] = []
        offset = 0
        while offset < len(data):
            payload = self._next(data, offset)
            if payload is None:
                self._file.truncate(offset)
                os.fsync(self._file.fileno())
                break
            self._chain = _chained(self._chain, payload)
            payloads.append(payload)
            offset += _size(payload)
        self._file.seek(0, os.SEEK_END)
        return payloads

    def _next(self, data: bytes, offset: int) -> bytes | None:
        """Return the record at `offset`, None when it is torn; raises GuardCorrupt."""
        rest = memoryview(data)[offset:]
        if not any(rest):
            return None  # the file grew before its bytes reached the disk
        start = 2 * LENGTH_BYTES
        if len(rest) < start:
            return None
        length = int.from_bytes(rest[:LENGTH_BYTES], "big")
        if rest[LENGTH_BYTES:start] != _length_check(length):
            raise self._corrupt(offset)
        end = start + length + CHECKSUM_BYTES
        if len(rest) < end:
            return None
        payload = bytes(rest[start : start + length])
        if rest[start + length : end] != _chained(self._chain, payload):
            raise self._corrupt(offset)
        return payload

    def _corrupt(self, offset: int) -> GuardCorrupt:
        return GuardCorrupt(
            f"The guard file {self._path} is damaged at byte {offset}; restore an exact copy of "
            "its newest state. Never sign with an older one."
        )

    def append(self, payload: bytes) -> None:
        """Make a record durable; after a failure nothing more can be appended."""
        if self._broken:
            raise GuardFailed(f"The guard file {self._path} could not be written; restart.")
        self._broken = True
        chain = _chained(self._chain, payload)
        with _disk_errors(self._path):
            _write_all(self._file, _framed(payload, chain))
            os.fdatasync(self._file.fileno())
        self._chain = chain
        self._broken = False

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self._file.tell()

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        self._broken = True
        with _disk_errors(self._path):
            self._chain = _write_new(self._path, payloads)
            self._file.close()
            self._file = _open(self._path)
            self._file.seek(0, os.SEEK_END)
        self._broken = False

    def close(self) -> None:
        """Let go of the file and of its lock."""
        self._file.close()
        self._lock.close()


class GuardedSigner:
    """Signs votes with one key on one network, none that contradicts another.

    Raises GuardMissing, GuardLocked, GuardCorrupt or GuardOfAnother.
    """

    def __init__(
        self,
        key: Signer,
        path: Path,
        genesis_hash: Hash,
        open_store: Callable[[Path], GuardStore] = _GuardFile,
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
    def floor(self) -> Round:
        """The lowest round in which anything may still be signed."""
        return self._floor

    @property
    def round_highest(self) -> Round:
        """The highest round in which anything was signed, or the floor when that is higher."""
        return self._highest

    @property
    def view_floor(self) -> int:
        """The view of the highest round: whoever starts anew begins above it."""
        return self._highest[1]

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

    def sign_vote(self, kind: Tag, subject: Subject) -> Signature:
        """Return a signature that is guarded on disk by now; the same vote gets the same one.

        `subject` is a Nullified for NULLIFY, else a Proposal. Raises GuardRefused or GuardFailed.
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
        self._take_in(vote)
        return signature

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

        May not pass what a replay of the journal still needs (consensus 2.5).
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
    lock = _lock(path)
    try:
        if path.exists():
            raise GuardExists(f"There is a guard file {path} already; it is never overwritten.")
        head = _Head(GUARD_VERSION, public_key, genesis_hash)
        with _disk_errors(path):
            _write_new(path, [encode(head), encode(_Floor(*floor))])
    finally:
        lock.close()


def _lock(path: Path) -> BinaryIO:
    """Return the open lock file; the lock ends with it, also when the process is killed."""
    with _disk_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise GuardLocked(
            f"Another process signs with {path}; two that vote with one key contradict each "
            "other. Stop the other one first."
        ) from error
    return lock


def _length_check(length: int) -> bytes:
    return blake2b(length.to_bytes(LENGTH_BYTES, "big"), digest_size=LENGTH_BYTES).digest()


def _chained(previous: bytes, payload: bytes) -> bytes:
    return blake2b(previous + payload, digest_size=CHECKSUM_BYTES, person=b"guard").digest()


def _framed(payload: bytes, checksum: bytes) -> bytes:
    length = len(payload)
    assert length <= PAYLOAD_BYTES_MAX, "a record is small"
    return length.to_bytes(LENGTH_BYTES, "big") + _length_check(length) + payload + checksum


def _size(payload: bytes) -> int:
    return 2 * LENGTH_BYTES + len(payload) + CHECKSUM_BYTES


def _open(path: Path) -> FileIO:
    return path.open("r+b", buffering=0)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of it; an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _write_new(path: Path, payloads: list[bytes]) -> bytes:
    """Put a durable file of these records at `path` at once and return its last checksum."""
    chain = b""
    draft = path.with_name(path.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for payload in payloads:
            chain = _chained(chain, payload)
            file.write(_framed(payload, chain))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
    return chain


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says into errors with the path and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise GuardMissing(
            f"There is no guard file {path}, so nobody knows what this key has signed. Restore "
            "it, or start once with --vote-after-loss EPOCH:VIEW, above every vote it can have "
            "sent."
        ) from error
    except OSError as error:
        raise GuardFailed(
            f"The guard file {path} cannot be read or written ({error.strerror}); free space or "
            "mend the disk or its permissions, then start again."
        ) from error
