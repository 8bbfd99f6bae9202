"""What a simulated node keeps on its disk besides final blocks: journal, unfinal blocks, guard."""

from collections.abc import Sequence
from pathlib import Path

from consensus.journal import Record, decode_record, encode_record
from consensus.messages import Block, Propose
from node.sim.disk import DiskFaults, SimulatedFile
from state.codec import Decoder, encode
from state.finality import Finalization, Finalize, Notarization, Notarize, Nullification, Nullify
from state.types import Hash, Signature

COMPACT_RECORDS = 512
"""A file with so many records is written anew when the floor rises."""

_blocks: Decoder[Block] = Decoder(Block)


class GuardRecords:
    """The guard's records on a simulated disk, synced when the signer says so."""

    def __init__(self, file: SimulatedFile) -> None:
        self._file = file
        self.payloads = file.read()

    @property
    def size_bytes(self) -> int:
        """How large it has become."""
        return self._file.size_bytes

    def append(self, payload: bytes) -> None:
        """Add a record, durable after the next `sync`."""
        self._file.append(payload)

    def sync(self) -> None:
        """Make every record durable."""
        self._file.sync()

    def rewrite(self, payloads: list[bytes]) -> None:
        """Replace all records by these, atomically."""
        self._file.rewrite(payloads)

    def close(self) -> None:
        """Let go of it; nothing is locked here."""


class Storage:
    """Journal, unfinal blocks and guard of one node; each loses what was not synced at a crash."""

    def __init__(self, faults: DiskFaults, guard_head: bytes) -> None:
        self._journal = SimulatedFile(faults, "journal")
        self._blocks = SimulatedFile(faults, "blocks")
        self._guard = SimulatedFile(faults, "guard")
        self._guard.append(guard_head)
        self._guard.rewrite([guard_head])
        self._rounds: list[tuple[int, int]] = []
        self._heights: list[int] = []
        self._pending: list[Signature] = []
        self._pending_blocks: list[Hash] = []
        self.durable: set[Signature] = set()
        """Signatures of own votes that the journal is certain to hold, or the guard at a start."""
        self.durable_blocks: set[Hash] = set()

    @property
    def files(self) -> tuple[SimulatedFile, ...]:
        """All its files."""
        return (self._journal, self._blocks, self._guard)

    def open_guard(self, _: Path) -> GuardRecords:
        """Open the guard's records."""
        return GuardRecords(self._guard)

    def journal(self, records: Sequence[Record]) -> None:
        """Append records to the journal."""
        for record in records:
            self._journal.append(encode_record(record))
            self._rounds.append(round_of_record(record))
        self._pending.extend(own_signatures(records))

    def store_block(self, block: Block) -> None:
        """Keep an unfinal block."""
        self._blocks.append(encode(block))
        self._heights.append(block.header.height)
        self._pending_blocks.append(block.header.id)

    def sync(self) -> None:
        """Make everything durable; raises PowerFailed when a fault strikes."""
        if not self._blocks.is_synced:
            self._blocks.sync()
            self.durable_blocks.update(self._pending_blocks)
            self._pending_blocks.clear()
        if not self._journal.is_synced:
            self._journal.sync()
            self.durable.update(self._pending)
            self._pending.clear()

    def crash(self, corrupt: bool) -> None:
        """Lose power: what was pending may be lost, or garbage."""
        self._pending.clear()
        self._pending_blocks.clear()
        for file in self.files:
            file.crash(corrupt)

    def recover(self, height: int) -> tuple[tuple[Record, ...], tuple[Block, ...]]:
        """Return the journal's records and the stored blocks above `height`."""
        records = tuple([decode_record(data) for data in self._journal.read()])
        blocks = [_blocks.trusted(data) for data in self._blocks.read()]
        self._rounds = [round_of_record(record) for record in records]
        self._heights = [block.header.height for block in blocks]
        self.durable.update(own_signatures(records))
        self.durable_blocks.update([block.header.id for block in blocks])
        unfinal = {block.header.id: block for block in blocks if block.header.height > height}
        return records, tuple(unfinal.values())

    def raise_floor(self, epoch: int, view: int) -> None:
        """Forget records of rounds up to this one, once that is worth the writing."""
        if len(self._journal) < COMPACT_RECORDS or not self._journal.is_synced:
            return
        kept = [at > (epoch, view) for at in self._rounds]
        payloads = self._journal.read()
        self._journal.rewrite([data for data, keep in zip(payloads, kept, strict=True) if keep])
        self._rounds = [at for at, keep in zip(self._rounds, kept, strict=True) if keep]

    def forget_blocks(self, height: int) -> None:
        """Forget stored blocks up to a final height, once that is worth the writing."""
        if len(self._blocks) < COMPACT_RECORDS or not self._blocks.is_synced:
            return
        payloads = self._blocks.read()
        pairs = list(zip(payloads, self._heights, strict=True))
        self._blocks.rewrite([data for data, at in pairs if at > height])
        self._heights = [at for _, at in pairs if at > height]


def own_signatures(records: Sequence[Record]) -> list[Signature]:
    """Return the signatures of the node's own votes among records."""
    kinds = Propose | Notarize | Nullify | Finalize
    return [record.vote.signature for record in records if isinstance(record, kinds)]


def round_of_record(record: Record) -> tuple[int, int]:
    """Return the epoch and view of a record."""
    if isinstance(record, Propose):
        return (record.proposal.epoch, record.proposal.view)
    assert isinstance(
        record, Notarization | Nullification | Finalization | Notarize | Nullify | Finalize
    ), "every record has a round"
    return (record.subject.epoch, record.subject.view)
