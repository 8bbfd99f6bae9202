"""Pruning: blocks older than a window go, with their outcomes, indexes and justifications.

What proves the chain from genesis on stays for ever: each epoch's boundary with its certificate,
justification and links, and each epoch's set. Work is done in small steps beside the running node;
what a step deletes and the new floor are one batch, so a crash loses nothing and leaves no rest.
"""

from collections.abc import Iterator
from typing import Final

from node.storage.chain_store import FLOOR, HeaderRow, headers, places
from node.storage.kv import KeyValueStore
from state.block import bodies
from state.codec import Decoder, encode
from state.finality import Header, Proposal
from state.genesis import Genesis
from state.params import StakingParams
from state.transaction import wire_id
from state.types import Hash

STEP_BLOCKS: Final = 64
"""Blocks that one step prunes at most."""
STEP_BYTES: Final = 2**21
"""A step ends with the block that passes this."""
COMPACT_BYTES: Final = 2**25
"""So much is pruned between two compactions: each costs a rewrite of what it touches."""
COMPACT_BYTES_MIN: Final = 2**20
"""A small database is compacted after less, but never after less than this."""
COMPACT_SHARE: Final = 4
"""After less it is once what was pruned is so great a share (1/n) of the blocks that are left: then
what is rewritten stays within some times what is given back."""
SLICES: Final = 64
"""Rows under hashes are spread over all their keys; one slice of them is compacted at a time."""
SLICE_BYTES: Final = 2**22
"""Fewer and wider slices where there is less: LevelDB rewrites whole files of 2 MiB anyway."""

_BY_HEIGHT: Final = (b"b", b"o", b"h")
_BY_HASH: Final = (b"x", b"i", b"j")

_floors: Decoder[int] = Decoder(int)
_proposals: Decoder[Proposal] = Decoder(Proposal)


def window_blocks(kept: int, staking: StakingParams) -> int:
    """Return how many blocks stay for a setting: never fewer than evidence may accuse somebody for.

    Evidence against an epoch's set is taken for evidence_blocks after the epoch's last block.
    """
    return max(kept, staking.evidence_blocks + staking.epoch_blocks)


class Pruner:
    """Prunes one database; its calls may run in a thread, one at a time."""

    def __init__(self, store: KeyValueStore, genesis: Genesis) -> None:
        self._store = store
        self._genesis_hash = genesis.hash
        self._epoch_blocks = genesis.params.staking.epoch_blocks
        self._compacted_to = 0  # what was pruned before the last stop may not be compacted yet
        self._pruned_bytes = 0
        self._slice_start = 0
        self.blocks = 0
        """Blocks that were pruned since the start."""
        self.pruned_bytes = 0
        """About their bytes."""

    @property
    def floor(self) -> int:
        """The lowest height whose block is whole."""
        data = self._store.get(FLOOR)
        return 1 if data is None else _floors.trusted(data)

    def step(self, floor_wanted: int) -> bool:
        """Prune some blocks below a height and tell whether there are more."""
        first = self.floor
        deletes: list[bytes] = []
        height, size = first, 0
        while height < min(floor_wanted, first + STEP_BLOCKS) and size < STEP_BYTES:
            size += self._prune(height, deletes)
            height += 1
        if height > first:
            self._store.write([(FLOOR, encode(height))], deletes, sync=False)
            self._pruned_bytes += size
            self.blocks += height - first
            self.pruned_bytes += size
        return height < floor_wanted

    @property
    def compaction_due(self) -> bool:
        """Whether enough was pruned for a compaction to be worth its cost."""
        if self._pruned_bytes < COMPACT_BYTES_MIN:
            return False
        left = sum([self._store.size_of(prefix) for prefix in _BY_HEIGHT + _BY_HASH])
        return self._pruned_bytes >= min(COMPACT_BYTES, left // COMPACT_SHARE)

    def compact(self) -> Iterator[None]:
        """Give back the room of pruned blocks, and that of a slice of what stands under hashes.

        Goes on piece by piece, so that whoever has to stop need not wait for the end.
        """
        start, stop = _number(self._compacted_to), _number(self.floor)
        for prefix in _BY_HEIGHT:
            self._store.compact(prefix + start, prefix + stop)
            yield
        size = sum([self._store.size_of(prefix) for prefix in _BY_HASH])
        slices = min(SLICES, size // SLICE_BYTES + 1)
        first = self._slice_start
        last = min(255, first + 256 // slices - 1)
        for prefix in _BY_HASH:
            self._store.compact(prefix + bytes([first]), prefix + bytes([last]) + b"\xff" * 32)
            yield
        self._slice_start = (last + 1) % 256
        self._compacted_to, self._pruned_bytes = self.floor, 0

    def _prune(self, height: int, deletes: list[bytes]) -> int:
        """Collect the keys of one block that go, and return about how many bytes those are."""
        at = _number(height)
        data = self._store.get(b"h" + at)
        assert data is not None, "blocks from the floor on are whole"
        row: HeaderRow = headers.trusted(data)
        body, outcomes = self._store.get(b"b" + at), self._store.get(b"o" + at)
        assert body is not None and outcomes is not None, "and so are their bodies"
        size = len(data) + len(body) + len(outcomes)
        deletes += [b"b" + at, b"o" + at]
        for wire in bodies.trusted(body).transactions:
            key = b"x" + wire_id(self._genesis_hash, wire)
            place = self._store.get(key)
            if place is not None and places.trusted(place).height == height:
                deletes.append(key)  # what was refused here may stand in a later block
        ends_epoch = height % self._epoch_blocks == 0
        if not ends_epoch:
            deletes += [b"h" + at, b"i" + row.block_id]
        self._prune_links(row.header, row.block_id if ends_epoch else None, deletes)
        return size

    def _prune_links(self, header: Header, boundary_id: Hash | None, deletes: list[bytes]) -> None:
        """Collect the links of views up to a block's, and of an epoch's last ones, that go.

        A justification belongs to one view, so none that goes is that of a block that stays.
        """
        epoch = b"l" + _number(header.epoch)
        if boundary_id is None:
            stop = epoch + _number(header.view + 1)
            gone, kept = {header.justify_hash}, set[Hash]()
        else:
            stop = b"l" + _number(header.epoch + 1)
            gone, kept = set[Hash](), {header.justify_hash}
        for key, data in self._store.scan(epoch, stop):
            proposal = _proposals.trusted(data)
            if proposal.block_id == boundary_id:
                kept.add(proposal.justify_hash)
            else:
                deletes.append(key)
                gone.add(proposal.justify_hash)
        deletes += [b"j" + digest for digest in sorted(gone - kept)]


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")
