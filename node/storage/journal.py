"""The journal: what consensus must not forget of the rounds that are not final yet.

It holds the node's own votes and proposals, every certificate that it saw, blocks that are not
final yet, and the justifications of certified proposals (consensus 2.5, settled points 1 and 4).
One record of the file is what one step of the engine brought, so that a step is there whole or not
at all. What lies at or below the floor is dropped when the file is written anew.

JournalError                   NodeError (node/errors.py)
├── JournalMissing             journal.missing
├── JournalCorrupt             journal.corrupt
├── JournalOfAnother           journal.other_key      of another key or network
├── JournalExists              journal.exists
└── JournalFailed              journal.failed         the disk refuses: the node must stop
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from consensus.journal import Record
from consensus.messages import Block, Propose
from node.errors import NodeError
from node.storage.record_file import Form, RecordFile, disk_errors, write_records
from state.codec import Decoder, Struct, encode
from state.errors import Malformed
from state.finality import Epoch, Justify, Proposal, View
from state.types import Hash, PublicKey

JOURNAL_VERSION: Final = 1
PAYLOAD_BYTES_MAX: Final = 2**30
"""One step brings no more: a few blocks, and certificates in their hundreds."""
COMPACT_BYTES = 2**23
"""A file larger than this is written anew when its floor rises."""

Round = tuple[int, int]


class JournalError(NodeError):
    """The journal cannot serve."""

    code: ClassVar[str] = "journal.error"


class JournalMissing(JournalError):
    """There is no journal where one was expected."""

    code: ClassVar[str] = "journal.missing"


class JournalCorrupt(JournalError):
    """The journal does not hold what was written to it."""

    code: ClassVar[str] = "journal.corrupt"


class JournalOfAnother(JournalError):
    """The journal belongs to another key or network."""

    code: ClassVar[str] = "journal.other_key"


class JournalExists(JournalError):
    """There is a journal where a new one was to be made."""

    code: ClassVar[str] = "journal.exists"


class JournalFailed(JournalError):
    """The disk refuses to make the journal durable."""

    code: ClassVar[str] = "journal.failed"


class _Head(Struct, tag=0):
    """The first entry: whose doing is told, and on which network."""

    version: Literal[1]
    public_key: PublicKey
    genesis_hash: Hash


class _Floor(Struct, tag=1):
    """Nothing of a round up to this one is needed any more."""

    epoch: Epoch
    view: View


class _Told(Struct, tag=2):
    """A record of consensus."""

    record: Record


class _Stored(Struct, tag=3):
    """A block that is not final yet."""

    block: Block


class Link(Struct, tag=4):
    """A certified proposal and why it may stand where it stands (settled point 4)."""

    proposal: Proposal
    justify: Justify


class _Lost(Struct, tag=5):
    """Whether votes of this key may be unknown, so that it casts none (settled point 10)."""

    is_lost: bool


_Entry = _Head | _Floor | _Told | _Stored | Link | _Lost
_steps: Decoder[tuple[_Entry, ...]] = Decoder(tuple[_Entry, ...])


@dataclass(slots=True)
class _Live:
    """An entry above the floor."""

    at: Round
    entry: _Told | _Stored | Link


def _missing(path: Path) -> JournalMissing:
    return JournalMissing(
        f"There is no journal {path}, so it is unknown which blocks this node was about to make "
        "final. Restore it, or start once with --vote-after-loss EPOCH:VIEW, above every vote that "
        "this key can have sent."
    )


def _failed(path: Path, reason: str) -> JournalFailed:
    return JournalFailed(
        f"The journal {path} cannot be read or written ({reason}); free space or mend the disk or "
        "its permissions, then restart."
    )


def _corrupt(path: Path, offset: int) -> JournalCorrupt:
    return JournalCorrupt(
        f"The journal {path} is damaged at byte {offset}. Restore an exact copy of its newest "
        "state; or move it away and start once with --vote-after-loss EPOCH:VIEW, above every "
        "vote that this key can have sent."
    )


JOURNAL_FORM = Form(b"journal", PAYLOAD_BYTES_MAX, True, _missing, _failed, _corrupt)


class Journal:
    """The journal of one key on one network; raises JournalError."""

    def __init__(self, path: Path, public_key: PublicKey, genesis_hash: Hash) -> None:
        self._head = _Head(JOURNAL_VERSION, public_key, genesis_hash)
        self._file = RecordFile(path, JOURNAL_FORM)
        self._live: list[_Live] = []
        self._step: list[_Entry] = []
        self._floor: Round = (0, 0)
        self._floor_told: Round = (0, 0)
        self._blocks: dict[Hash, Round] = {}
        self._links: dict[Hash, Round] = {}
        self.is_lost = False
        """Whether a journal before this one was lost and the node has not regained its vote."""
        try:
            self._load(path)
        except JournalError:
            self._file.close()
            raise

    def _load(self, path: Path) -> None:
        if not self._file.payloads:
            raise _corrupt(path, 0)
        try:
            steps = [
                _steps.decode(data, bytes_max=PAYLOAD_BYTES_MAX) for data in self._file.payloads
            ]
        except Malformed as error:
            raise JournalCorrupt(
                f"The journal {path} is not of version {JOURNAL_VERSION}: {error.sentence}"
            ) from error
        self._file.payloads.clear()
        head = steps[0][0]
        if not isinstance(head, _Head):
            raise _corrupt(path, 0)
        ours = self._head
        if (head.public_key, head.genesis_hash) != (ours.public_key, ours.genesis_hash):
            raise JournalOfAnother(
                f"The journal {path} is that of the key {head.public_key.hex()} on the network "
                f"{head.genesis_hash.hex()[:16]}; each key needs a home of its own."
            )
        for step in steps:
            for entry in step:
                self._take_in(entry)

    def _take_in(self, entry: _Entry) -> None:
        match entry:
            case _Head():
                assert entry == self._head, "one head, and it was checked"
            case _Lost(is_lost):
                self.is_lost = is_lost
            case _Floor(epoch, view):
                self._floor = self._floor_told = max(self._floor, (epoch, view))
                self._forget()
            case _Told() | _Stored() | Link():
                self._keep(entry)

    def _keep(self, entry: _Told | _Stored | Link) -> None:
        at = _round_of(entry)
        self._live.append(_Live(at, entry))
        match entry:
            case _Told(record) if isinstance(record, Propose) and record.justify is not None:
                self._links[record.proposal.justify_hash] = at
                if record.header.view == record.proposal.view:
                    self._blocks[record.proposal.block_id] = at
            case _Stored(block):
                self._blocks[block.header.id] = at
                self._links[block.header.justify_hash] = at
            case Link(proposal, _):
                self._links[proposal.justify_hash] = at

    def _forget(self) -> None:
        floor = self._floor
        self._live = [one for one in self._live if one.at > floor]
        self._blocks = {key: at for key, at in self._blocks.items() if at > floor}
        self._links = {key: at for key, at in self._links.items() if at > floor}

    # --- what it holds ---------------------------------------------------------------------------

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of consensus above the floor, in the order in which they came."""
        return tuple([one.entry.record for one in self._live if isinstance(one.entry, _Told)])

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The stored blocks above the floor."""
        return tuple([one.entry.block for one in self._live if isinstance(one.entry, _Stored)])

    @property
    def links(self) -> tuple[Link, ...]:
        """The links above the floor that were stored by themselves."""
        return tuple([one.entry for one in self._live if isinstance(one.entry, Link)])

    @property
    def round_highest(self) -> Round:
        """The highest round of which anything was written, or the floor when that is higher."""
        return max((one.at for one in self._live), default=self._floor)

    @property
    def is_synced(self) -> bool:
        """Whether everything is durable."""
        return not self._step and self._file.is_synced

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self._file.size_bytes

    # --- what is added ---------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> None:
        """Add records; they are durable after the next `sync`."""
        for record in records:
            self._add(_Told(record))

    def store_block(self, block_id: Hash, block: Block) -> None:
        """Add a block that is not final yet, unless an own proposal here holds it."""
        if block_id not in self._blocks:
            self._add(_Stored(block))

    def store_link(self, proposal: Proposal, justify: Justify) -> None:
        """Add a certified proposal's justification, unless a block or proposal here holds it."""
        if proposal.justify_hash not in self._links:
            self._add(Link(proposal, justify))

    def mark(self, *, lost: bool) -> None:
        """Note durably that votes may be lost, or that the node votes again (settled point 10)."""
        self.is_lost = lost
        self._step.append(_Lost(lost))
        self.sync()

    def _add(self, entry: _Told | _Stored | Link) -> None:
        self._step.append(entry)
        self._keep(entry)

    def sync(self) -> None:
        """Make everything durable, all of a step as one record."""
        if self._step:
            if self._floor != self._floor_told:
                self._step.append(_Floor(*self._floor))
                self._floor_told = self._floor
            self._file.append(encode(tuple(self._step)))
            self._step.clear()
        self._file.sync()

    def raise_floor(self, epoch: int, view: int) -> None:
        """Forget what is of a round up to this one; never goes back.

        The file shrinks once that is worth the writing; until then it tells so with a later step.
        """
        if (epoch, view) <= self._floor:
            return
        self._floor = (epoch, view)
        self._forget()
        if self._file.size_bytes > COMPACT_BYTES and self.is_synced:
            kept = [encode((one.entry,)) for one in self._live]
            first = (self._head, _Lost(self.is_lost), _Floor(epoch, view))
            self._file.rewrite([encode(first), *kept])
            self._floor_told = self._floor

    def tell_floor(self) -> None:
        """Make the floor durable now."""
        if self._floor != self._floor_told:
            self._step.append(_Floor(*self._floor))
            self._floor_told = self._floor
        self.sync()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _round_of(entry: _Told | _Stored | Link) -> Round:
    match entry:
        case _Stored(block):
            return block.header.epoch, block.header.view
        case Link(proposal, _):
            return proposal.epoch, proposal.view
        case _Told(record):
            subject = record.proposal if isinstance(record, Propose) else record.subject
            return subject.epoch, subject.view


def create_journal(path: Path, public_key: PublicKey, genesis_hash: Hash) -> None:
    """Make the journal of a key that has done nothing; raises JournalExists."""
    if path.exists():
        raise JournalExists(f"There is a journal {path} already; it is never overwritten.")
    head = _Head(JOURNAL_VERSION, public_key, genesis_hash)
    with disk_errors(path, JOURNAL_FORM):
        write_records(path, [encode((head,))], JOURNAL_FORM)
