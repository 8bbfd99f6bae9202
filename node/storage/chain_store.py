"""The node's database: final blocks and the state after the last of them, in one atomic batch.

The stored rows and the stored tree are those of the block *before* the head, because only that
block's root stands in a final header: a proof of it can be made at any time, also right after a
crash. The head's own changes are kept beside them; over the stored rows they are a layer in memory,
and they join those rows in the batch that makes the next block final.

Key prefixes: s state rows, t tree pages, h headers, b bodies, o results, x transactions, m others,
and those of node/storage/finality_store.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from consensus.messages import BODY_BYTES_MAX, Block
from node.errors import NodeError, StorageCorrupt, StorageError
from node.storage.finality_store import FinalityStore, FinalityView, Head
from node.storage.kv import KeyValueStore, Reader, Row
from state.block import Body, Result, bodies, results
from state.codec import Decoder, Struct, encode
from state.errors import NotFound
from state.finality import Finalization, Header, Justify, ValidatorSet
from state.genesis import Genesis
from state.tree import Change, Tree, TreeProof
from state.types import ZERO_HASH, Hash, Height

SCHEMA = 3
"""Raised when what is stored changes its form; another one is refused, not converted."""


class WrongNetwork(NodeError):
    """The home belongs to another network."""

    code: ClassVar[str] = "home.wrong_network"


class FormUnknown(StorageError):
    """The database was written in a form that this version does not read."""

    code: ClassVar[str] = "storage.form_unknown"


class HeaderRow(Struct):
    """A final header, its id, and its certificate unless it became final with a descendant."""

    header: Header
    block_id: Hash
    finalization: Finalization | None


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that is kept of a block that becomes final."""

    head: Head
    justify: Justify | None
    """Why it stands on its parent; None at genesis."""
    body: bytes
    result: Result
    tx_ids: Sequence[Hash]
    changes: Sequence[Change]
    sets: Sequence[tuple[int, ValidatorSet]] = ()
    """Validator sets by epoch, if an epoch begins after the block."""


class Place(Struct):
    """Where a transaction stands."""

    height: Height
    index: Height


class Meta(Struct):
    """What the database is."""

    schema: int
    genesis: Genesis


heads: Decoder[Head] = Decoder(Head)
headers: Decoder[HeaderRow] = Decoder(HeaderRow)
places: Decoder[Place] = Decoder(Place)
_floors: Decoder[int] = Decoder(int)
_metas: Decoder[Meta] = Decoder(Meta)
_changes: Decoder[tuple[Change, ...]] = Decoder(tuple[tuple[bytes, bytes | None], ...])

HEAD = b"mhead"
_META = b"mmeta"
CHANGES = b"mchanges"
FLOOR = b"mfloor"
"""Under this key stands the lowest height whose block is kept whole; without it, the first."""


class StoredRows:
    """The state's rows in a database, as `state.tables.Base` reads them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def get(self, key: bytes) -> bytes | None:
        """Return a state row's bytes before the head."""
        return self._reader.get(b"s" + key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[Row]:
        """Yield state rows before the head for start <= key < stop."""
        for key, value in self._reader.scan(b"s" + start, b"s" + stop):
            yield key[1:], value


def header_row(head: Head) -> Row:
    """Return what is kept of a final header."""
    row = HeaderRow(head.header, head.block_id, head.finalization)
    return b"h" + head.header.height.to_bytes(8, "big"), encode(row)


class ChainView:
    """One moment's view of a database: its head, and the state that the head's header proves."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.finality = FinalityView(reader)
        data = reader.get(HEAD)
        self.head: Head | None = None if data is None else heads.decode(data)

    def rows(self) -> Iterator[Row]:
        """Yield every row of the state before the head, in the order of keys."""
        for key, value in self._reader.scan(b"s", b"t"):
            yield key[1:], value

    def body_data(self, height: int) -> bytes | None:
        """Return a final block's body as bytes, None when it is not kept."""
        return self._reader.get(b"b" + height.to_bytes(8, "big"))


RESULTS_CACHED_MAX = 4
"""Results of so many blocks stay decoded: clients ask for outcomes of the newest ones."""


class ChainStore:
    """Final blocks, state and tree of one network over a key-value store."""

    def __init__(self, store: KeyValueStore, genesis: Genesis) -> None:
        self._store = store
        self._rows = StoredRows(store)
        self.finality = FinalityStore(store)
        self._check_meta(genesis)
        self.head = self._read_head()
        self.changes: Sequence[Change] = self._read_changes()
        self._results: dict[int, Result] = {}
        self.tree = self._open_tree()

    def _check_meta(self, genesis: Genesis) -> None:
        data = self._store.get(_META)
        if data is None:
            self._store.write([(_META, encode(Meta(SCHEMA, genesis)))], [], sync=True)
            return
        meta = _metas.decode(data)
        if meta.schema != SCHEMA:
            raise FormUnknown(
                f"The database has form {meta.schema} and this version reads form {SCHEMA}; start "
                "the version that wrote it, or sync a new home."
            )
        if meta.genesis.hash != genesis.hash:
            raise WrongNetwork(
                f"This home holds the chain {meta.genesis.chain_id} with genesis "
                f"{meta.genesis.hash.hex()[:16]}, not {genesis.chain_id} with "
                f"{genesis.hash.hex()[:16]}; use another home or the genesis that belongs to it."
            )

    def _read_head(self) -> Head | None:
        data = self._store.get(HEAD)
        return None if data is None else heads.decode(data)

    def _read_changes(self) -> Sequence[Change]:
        data = self._store.get(CHANGES)
        return () if data is None else _changes.decode(data, bytes_max=2**30)

    def _open_tree(self) -> Tree:
        """Return the stored tree with the head's own changes as a layer over it."""
        head = self.head
        if head is None:
            return Tree(self._store, ZERO_HASH, ZERO_HASH, prefix=b"t")
        if head.header.height == 0:
            tree = Tree(self._store, ZERO_HASH, ZERO_HASH, prefix=b"t")
        else:
            parent = head.header.parent_id
            tree = Tree(self._store, head.header.state_root, parent, prefix=b"t")
        root = tree.update(tree.version, head.block_id, self.changes)
        if root != head.state_root:
            raise StorageCorrupt(
                "The state tree does not have the root that the head was stored with; restore the "
                "home from a backup or sync it again."
            )
        return tree

    def get(self, key: bytes) -> bytes | None:
        """Return a state row's bytes before the head."""
        return self._rows.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[Row]:
        """Yield state rows before the head for start <= key < stop."""
        return self._rows.scan(start, stop)

    @property
    def floor(self) -> int:
        """The lowest height whose block is kept whole; below it are the boundaries of epochs."""
        data = self._store.get(FLOOR)
        return 1 if data is None else _floors.trusted(data)

    def begin_at(self, height: int) -> None:
        """Note that nothing below this block was ever here."""
        self._store.write([(FLOOR, encode(height))], [], sync=False)

    def commit(self, block: Commit) -> None:
        """Make a block final in one durable batch; the tree must hold the block as a layer."""
        head = block.head
        height = head.header.height.to_bytes(8, "big")
        puts = self.finality.take_rows(head, block.justify)
        deletes: list[bytes] = []
        if block.sets:
            puts += self.finality.epoch_rows(head, block.sets)
        if self.head is not None:
            tree_puts, tree_deletes = self.tree.commit(self.head.block_id)
            puts += tree_puts
            deletes += tree_deletes
        puts += [(b"s" + key, row) for key, row in self.changes if row is not None]
        deletes += [b"s" + key for key, row in self.changes if row is None]
        puts += [
            (b"x" + tx_id, encode(Place(head.header.height, index)))
            for index, tx_id in enumerate(block.tx_ids)
        ]
        puts += [
            header_row(head),
            (b"b" + height, block.body),
            (b"o" + height, encode(block.result)),
            (CHANGES, encode(block.changes)),
            (HEAD, encode(head)),
        ]
        self._store.write(puts, deletes, sync=True)
        self.head = head
        self.changes = block.changes
        self._cache(head.header.height, block.result)

    def prove(self, key: bytes) -> tuple[bytes | None, TreeProof]:
        """Return a row's bytes and proof in the version before the head."""
        return self.get(key), self.tree.prove(self.tree.version, key)

    def header(self, height: int) -> HeaderRow:
        """Return a final header; raises NotFound above the head."""
        row = self.header_kept(height)
        if row is None:
            raise self._missing("header", height)
        return row

    def header_kept(self, height: int) -> HeaderRow | None:
        """Return a final header, None above the head and where it is not kept."""
        data = self._store.get(b"h" + height.to_bytes(8, "big"))
        return None if data is None else headers.trusted(data)

    def _missing(self, what: str, height: int) -> NotFound:
        """Return the error of a part of a block that is asked for and not here."""
        if height < self.floor:
            return NotFound(
                f"The {what} of block {height} was pruned; blocks from {self.floor} on are kept "
                "here. Ask an archive node, one that keeps every block (blocks_kept = 0): give its "
                "RPC address, with --node or to the client."
            )
        if self.head is None or height > self.head.header.height:
            return NotFound(
                f"There is no final block of height {height} here; ask for a lower one."
            )
        return NotFound(
            f"The {what} of block {height} is missing here, though blocks from {self.floor} on "
            "should be kept: ask another node, and restore a backup of this one, or sync it anew."
        )

    def body_data(self, height: int) -> bytes:
        """Return a final block's body as bytes; raises NotFound when it is not kept."""
        data = self._store.get(b"b" + height.to_bytes(8, "big"))
        if data is None:
            raise self._missing("body", height)
        return data

    def body(self, height: int) -> Body:
        """Return a final block's body; raises NotFound when it is not kept."""
        return bodies.trusted(self.body_data(height))

    def blocks_from(
        self, block_id: Hash, count: int, bytes_max: int
    ) -> tuple[tuple[Block, ...], int]:
        """Return a final block and ancestors of its epoch, newest first, and their bytes.

        As many as asked for, and at most `bytes_max`; one block whatever its size. Whoever asks
        goes from epoch to epoch (settled 7) and has no use for an earlier one; genesis is no block.
        """
        found: list[Block] = []
        height = self.finality.height_of(block_id)
        total = 0
        while height and len(found) < count:
            row = self.header_kept(height)  # none below the floor
            if row is None or (found and row.header.epoch != found[0].header.epoch):
                break
            header = row.header
            body = self._store.get(b"b" + height.to_bytes(8, "big"))
            justify, justify_bytes = self.finality.sized_justify(header.justify_hash)
            if body is None or justify is None or len(body) > BODY_BYTES_MAX:
                break
            size = len(body) + justify_bytes
            if found and total + size > bytes_max:
                break
            total += size
            found.append(Block(header, justify, body))
            height -= 1
        return tuple(found), total

    def blocks_upwards(self, height: int, count: int, bytes_max: int) -> tuple[Block, ...]:
        """Return final blocks of one epoch from a height on, as far as all of them is kept.

        At most `bytes_max` in all, one block whatever its size. May be called in a thread.
        """
        found: list[Block] = []
        size = 0
        while height and len(found) < count:
            row = self._store.get(b"h" + height.to_bytes(8, "big"))
            body = self._store.get(b"b" + height.to_bytes(8, "big"))
            header = None if row is None else headers.trusted(row).header
            if header is None or body is None or len(body) > BODY_BYTES_MAX:
                break
            justify, justify_bytes = self.finality.sized_justify(header.justify_hash)
            size += len(body) + justify_bytes
            if justify is None or (found and size > bytes_max):
                break
            if found and header.epoch != found[0].header.epoch:
                break
            found.append(Block(header, justify, body))
            height += 1
        return tuple(found)

    def result(self, height: int) -> Result:
        """Return what a final block's execution gave; raises NotFound when it is not kept."""
        result = self._results.get(height)
        if result is None:
            data = self._store.get(b"o" + height.to_bytes(8, "big"))
            if data is None:
                raise self._missing("result", height)
            result = results.trusted(data)
            self._cache(height, result)
        return result

    def _cache(self, height: int, result: Result) -> None:
        self._results[height] = result
        if len(self._results) > RESULTS_CACHED_MAX:
            del self._results[min(self._results)]

    def place(self, tx_id: Hash) -> Place | None:
        """Return where a transaction stands, or None."""
        data = self._store.get(b"x" + tx_id)
        return None if data is None else places.trusted(data)

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()
