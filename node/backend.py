"""The node behind its RPC server: admission, status, queries, proofs, and the feed of blocks."""

import asyncio
import resource
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cython_ext
from node.application import Application, Candidate
from node.mempool import Mempool
from node.rpc.backend import (
    BlockRecord,
    FeedBroken,
    NodeStatus,
    OutcomeProof,
    Stage,
    StateProof,
    TxStatus,
)
from node.storage.chain_store import ChainStore
from node.verifier import Verifier
from node.version import VERSION
from state import crypto
from state.block import Outcome
from state.codec import encode
from state.errors import NotFound, Rejected
from state.execute import check_static, verify_signatures
from state.finality import Finalization, Header
from state.modules.chain import NonceUsed
from state.transaction import Transaction
from state.types import Hash

DROPPED_KEPT_MAX = 10_000
FEED_BLOCKS_MAX = 256
"""Blocks that wait for a subscriber of the feed before it is cut off."""


STATM = Path("/proc/self/statm")
"""Linux: the sizes of this process in pages, the second of them what is resident."""


class AlreadyFinal(Rejected):
    """The transaction stands in a final block."""

    code: ClassVar[str] = "tx.already_final"


class NodeBackend:
    """Implements node.rpc.backend.Backend over one application, store and mempool."""

    def __init__(
        self,
        application: Application,
        store: ChainStore,
        mempool: Mempool,
        on_pending: Callable[[], None],
    ) -> None:
        self.genesis = application.genesis
        self._application = application
        self._store = store
        self._mempool = mempool
        self._on_pending = on_pending
        self._verifier = Verifier()
        self._dropped: OrderedDict[Hash, str] = OrderedDict()
        self._feeds: list[asyncio.Queue[BlockRecord]] = []
        self.is_ready = False

    async def submit(self, wire: bytes) -> Hash:
        """Admit a transaction to the mempool and return its id; raises Rejected."""
        transaction = self._decode(wire)
        self._check(transaction)
        await self._verifier.verify(transaction)
        self._check(transaction)
        self._remember(self._mempool.add(transaction))
        self._dropped.pop(transaction.id, None)
        self._on_pending()
        return transaction.id

    def simulate(self, wire: bytes) -> Outcome:
        """Execute a transaction over the head and forget it; signatures count."""
        transaction = self._decode(wire)
        (error,) = verify_signatures([transaction])
        if error is not None:
            raise error
        return self._application.simulate(transaction)

    def transaction_status(self, tx_id: Hash) -> TxStatus:
        """Return where a transaction is; raises NotFound when it was never seen."""
        place = self._store.place(tx_id)
        if place is not None:
            outcome = self._store.result(place.height).outcomes[place.index]
            return TxStatus(tx_id, Stage.FINAL, place.height, place.index, outcome)
        if tx_id in self._mempool:
            return TxStatus(tx_id, Stage.PENDING)
        reason = self._dropped.get(tx_id)
        if reason is None:
            raise NotFound("No transaction of this id was seen here; check the id, or send it.")
        return TxStatus(tx_id, Stage.DROPPED, reason=reason)

    def status(self) -> NodeStatus:
        """Return the node at a glance."""
        head = self._application.head
        return NodeStatus(
            chain_id=self.genesis.chain_id,
            genesis_hash=self._application.genesis_hash,
            version=VERSION,
            height=head.header.height,
            finalized_height=head.header.height,
            epoch=head.header.epoch,
            view=head.header.view,
            block_id=head.block_id,
            time_ms=head.header.time_ms,
            state_root=head.state_root,
            peers=0,
            mempool_transactions=len(self._mempool),
            mempool_bytes=self._mempool.bytes_held,
            base_fee=self._application.base_fee,
            memory_bytes=resident_bytes(),
            implementation=cython_ext.IMPLEMENTATION,
        )

    def header(self, height: int) -> tuple[Header, Finalization]:
        """Return a final header and its certificate; raises NotFound for genesis, too."""
        row = self._store.header(height)
        if row.finalization is None:
            raise NotFound("Genesis has no certificate; chain.genesis returns its document.")
        return row.header, row.finalization

    def block(self, height: int) -> BlockRecord:
        """Return a final block; raises NotFound above the head or below what is kept."""
        header, finalization = self.header(height)
        result = self._store.result(height)
        return BlockRecord(
            header,
            finalization,
            self._store.body(height).transactions,
            result.outcomes,
            result.events,
        )

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a module's query after the head."""
        return self._application.query(name, arguments)

    def prove_state(self, key: bytes) -> StateProof:
        """Prove a row, or its absence, in the version before the head."""
        head = self._application.head
        if head.finalization is None:
            raise NotFound("No block stands over genesis yet; ask again after the first one.")
        value, proof = self._store.prove(key)
        return StateProof(
            head.header.height - 1, key, value, encode(proof), head.header, head.finalization
        )

    def prove_outcome(self, height: int, index: int) -> OutcomeProof:
        """Prove leaf `index` of what block `height` returned, under header(height + 1)."""
        header, finalization = self.header(height + 1)
        leaves = self._store.result(height).leaves()
        if not 0 <= index < len(leaves):
            raise NotFound(f"Block {height} has {len(leaves)} outcomes and events; ask for those.")
        path = crypto.merkle_path(crypto.Tag.OUTCOME_ROOT, leaves, index)
        return OutcomeProof(
            height, leaves[index], index, len(leaves), tuple(path), header, finalization
        )

    async def blocks(self) -> AsyncIterator[BlockRecord]:
        """Yield every block that becomes final from now on; raises FeedBroken when too slow."""
        feed: asyncio.Queue[BlockRecord] = asyncio.Queue(FEED_BLOCKS_MAX)
        self._feeds.append(feed)
        try:
            while True:
                record = await feed.get()
                yield record
                if feed not in self._feeds:
                    raise FeedBroken("The feed of blocks overflowed; subscribe again.")
        finally:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def ready(self) -> bool:
        """Tell whether the node has replayed its store and makes blocks."""
        return self.is_ready

    def committed(
        self,
        candidate: Candidate,
        finalization: Finalization,
        dropped: Sequence[tuple[Transaction, Rejected]],
    ) -> None:
        """Tell subscribers of a final block, and remember why transactions were dropped."""
        self._remember(dropped)
        if not self._feeds:
            return
        result = candidate.executed.result
        record = BlockRecord(
            candidate.header,
            finalization,
            tuple([tx.wire for tx in candidate.transactions]),
            result.outcomes,
            result.events,
        )
        for feed in list(self._feeds):
            if feed.full():
                self._feeds.remove(feed)
            else:
                feed.put_nowait(record)

    def _remember(self, dropped: Sequence[tuple[Transaction, Rejected]]) -> None:
        for transaction, error in dropped:
            self._dropped[transaction.id] = f"{error.code}: {error.sentence}"
            if len(self._dropped) > DROPPED_KEPT_MAX:
                self._dropped.popitem(last=False)

    def _decode(self, wire: bytes) -> Transaction:
        fees = self._application.params.fees
        transaction = self._application.decoder.decode(wire, bytes_max=fees.transaction_bytes_max)
        check_static(transaction, fees)
        return transaction

    def _check(self, transaction: Transaction) -> None:
        application = self._application
        height = application.head.header.height + 1
        try:
            self._mempool.check(transaction, application.state, height, application.params)
        except NonceUsed as error:
            if self._store.place(transaction.id) is None:
                raise
            raise AlreadyFinal("This transaction is final already; see tx.status.") from error


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()
