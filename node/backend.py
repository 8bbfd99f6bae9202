"""The node behind its RPC server: admission, status, queries, proofs, and the feed of blocks."""

import asyncio
import resource
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cython_ext
from consensus.core import Core
from node.application import Application, Candidate
from node.bodies import VerifiedWires
from node.clock import Clock
from node.consensus_metrics import mode_now
from node.mempool import Mempool
from node.pool_metrics import PoolCounts
from node.rpc.backend import (
    BlockRecord,
    FeedBroken,
    Finality,
    Link,
    NodeStatus,
    OutcomeProof,
    PeerView,
    Stage,
    StateProof,
    TxStatus,
)
from node.storage.chain_store import ChainStore
from node.verifier import Verifier
from node.version import VERSION
from p2p.interface import PeerInfo
from state import crypto
from state.block import Outcome
from state.codec import encode
from state.errors import NotFound, Rejected
from state.execute import check_static, verify_signatures
from state.finality import Finalization, Header, Justify, ValidatorSet
from state.modules.chain import NonceUsed
from state.transaction import BadSignature, Transaction
from state.types import Hash

DROPPED_KEPT_MAX = 50_000
DESCENDANTS_MAX = 1_000
"""Blocks without a certificate of their own between one and the next that has one, in an answer."""
LINKS_MAX = 32
FEED_BLOCKS_MAX = 256
"""Blocks that wait for a subscriber of the feed before it is cut off."""


STATM = Path("/proc/self/statm")
"""Linux: the sizes of this process in pages, the second of them what is resident."""


class AlreadyFinal(Rejected):
    """The transaction stands in a final block."""

    code: ClassVar[str] = "tx.already_final"


class Consensus(Protocol):
    """What the backend asks of whoever drives consensus."""

    @property
    def engine(self) -> Core | None:
        """What the engine knows; None while it does not run."""
        ...

    @property
    def round(self) -> tuple[int, int]:
        """The epoch and the view that the node is in."""
        ...

    def pending_changed(self) -> None:
        """Note that the mempool is not empty any more."""
        ...


class Connected(Protocol):
    """What the backend asks of the network."""

    @property
    def node_id(self) -> bytes:
        """This node's own name."""
        ...

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now."""
        ...


class Syncing(Protocol):
    """What the backend asks of whoever brings blocks by sync."""

    @property
    def is_syncing(self) -> bool:
        """Whether blocks come by sync."""
        ...

    @property
    def target_height(self) -> int:
        """The highest height proven."""
        ...

    @property
    def blocks_per_second(self) -> int:
        """How fast they come."""
        ...


class NodeBackend:
    """Implements node.rpc.backend.Backend over one application, store and mempool."""

    def __init__(
        self,
        application: Application,
        store: ChainStore,
        mempool: Mempool,
        consensus: Consensus,
        known: VerifiedWires,
        network: Connected,
        clock: Clock,
    ) -> None:
        self.genesis = application.genesis
        self._application = application
        self._store = store
        self._mempool = mempool
        self._consensus = consensus
        self._known = known
        self._network = network
        self._clock = clock
        self._verifier = Verifier()
        self._dropped: OrderedDict[Hash, str] = OrderedDict()
        self.counts = PoolCounts()
        self.admitted: Callable[[Hash], None] = lambda _: None
        """Told of every transaction that is admitted, so that others hear of it."""
        self._feeds: list[asyncio.Queue[BlockRecord]] = []
        self.is_ready = False
        self.syncing: Syncing | None = None
        """Who brings blocks by sync, where there are peers."""

    async def submit(self, wire: bytes) -> Hash:
        """Admit a transaction to the mempool and return its id; raises Rejected."""
        try:
            transaction = self._decode(wire)
        except Rejected as refused:
            self.counts.refused[refused.code] += 1
            raise
        (error,) = await self.admit([transaction])
        if error is not None:
            raise error
        return transaction.id

    async def admit(self, transactions: Sequence[Transaction]) -> list[Rejected | None]:
        """Admit what was read, verified together; return, for each, why it is refused, or None."""
        refused = [self._refusal(transaction) for transaction in transactions]
        unknown = [
            transaction
            for transaction, error in zip(transactions, refused, strict=True)
            if error is None and transaction.wire not in self._known
        ]
        head_id = self._application.head.block_id
        forged: dict[bytes, BadSignature] = {}
        if unknown:
            verdicts = await self._verifier.verify_all(unknown)
            for transaction, verdict in zip(unknown, verdicts, strict=True):
                if verdict is not None:
                    forged[transaction.wire] = verdict
        is_stale = self._application.head.block_id != head_id
        for at, transaction in enumerate(transactions):
            error = refused[at] or forged.get(transaction.wire)
            if error is None:
                # others may have taken its place meanwhile, some of these among them
                error = self._refusal(transaction, is_includable=not is_stale)
            if error is None:
                self._add(transaction)
            else:
                self.counts.refused[error.code] += 1
            refused[at] = error
        return refused

    def _add(self, transaction: Transaction) -> None:
        self._remember(self._mempool.add(transaction))
        self.counts.admitted += 1
        self._dropped.pop(transaction.id, None)
        self._consensus.pending_changed()
        self.admitted(transaction.id)

    def read(self, wire: bytes) -> Transaction:
        """Return a transaction decoded; raises Rejected for what no state could make right."""
        found = self._mempool.wires.get(wire)
        return self._decode(wire) if found is None else found

    def pending(self, tx_id: Hash) -> bytes | None:
        """Return the wire bytes of a pending transaction."""
        transaction = self._mempool.get(tx_id)
        return None if transaction is None else transaction.wire

    def pending_ids(self) -> Iterable[Hash]:
        """Return the ids of everything pending, in the order of arrival."""
        return self._mempool.ids()

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
        unfinal = self._application.unfinal_place(tx_id)
        if unfinal is not None:
            candidate, index = unfinal
            stage = Stage.NOTARIZED if candidate.is_notarized else Stage.INCLUDED
            return TxStatus(tx_id, stage, candidate.header.height, index)
        if tx_id in self._mempool:
            return TxStatus(tx_id, Stage.PENDING)
        dropped = self.dropped(tx_id)
        if dropped is None:
            raise NotFound(_never_seen(self._store.floor))
        return dropped

    def dropped(self, tx_id: Hash) -> TxStatus | None:
        """Return why a transaction had to go, None if it has not."""
        reason = self._dropped.get(tx_id)
        return None if reason is None else TxStatus(tx_id, Stage.DROPPED, reason=reason)

    def status(self) -> NodeStatus:
        """Return the node at a glance."""
        head = self._application.head
        epoch, view = self._consensus.round
        syncing = self.syncing
        return NodeStatus(
            chain_id=self.genesis.chain_id,
            genesis_hash=self._application.genesis_hash,
            version=VERSION,
            height=head.header.height,
            finalized_height=head.header.height,
            block_id=head.block_id,
            time_ms=head.header.time_ms,
            state_root=head.state_root,
            peers=len(self._network.peers()),
            mempool_transactions=len(self._mempool),
            mempool_bytes=self._mempool.bytes_held,
            base_fee=self._application.base_fee,
            memory_bytes=resident_bytes(),
            implementation=cython_ext.IMPLEMENTATION,
            epoch=epoch,
            view=view,
            node_id=self._network.node_id,
            is_syncing=syncing is not None and syncing.is_syncing,
            sync_target_height=0 if syncing is None else syncing.target_height,
            sync_blocks_per_second=0 if syncing is None else syncing.blocks_per_second,
            lowest_height=self._store.floor,
            mode=mode_now(self._consensus.engine, is_syncing=bool(syncing and syncing.is_syncing)),
        )

    def peers(self) -> tuple[PeerView, ...]:
        """Return the nodes that are connected now."""
        now_ms = self._clock.now_ms()
        found = [
            PeerView(
                one.peer_id,
                one.validator_key,
                one.host,
                one.is_outbound,
                one.score,
                one.round_trip_ms,
                max(0, now_ms - one.since_ms),
            )
            for one in self._network.peers()
        ]
        return tuple(sorted(found, key=lambda one: one.node_id))

    def header(self, height: int) -> Header:
        """Return a final header; raises NotFound for genesis, too."""
        if height == 0:
            raise NotFound("Genesis has no certificate; chain.genesis returns its document.")
        return self._store.header(height).header

    def finality(self, height: int) -> Finality:
        """Return a block's certificate, or the path to a descendant that has one (settled 19)."""
        self.header(height)
        descendants: list[Header] = []
        row = self._store.header(height)
        while row.finalization is None:
            if len(descendants) == DESCENDANTS_MAX:
                raise NotFound("No certificate follows within reach; ask for a higher block.")
            row = self._store.header(row.header.height + 1)
            descendants.append(row.header)
        return Finality(row.finalization, tuple(descendants))

    def justify(self, height: int) -> Justify:
        """Return why a block may stand on its parent."""
        found = self._store.finality.justify(self.header(height).justify_hash)
        if found is None:
            raise NotFound(f"The justification of block {height} is not kept here.")
        return found

    def links(self, epoch: int, view: int) -> tuple[Link, ...]:
        """Return certified proposals of an epoch from a view on, with their justifications."""
        found = self._store.finality.links(epoch, view, LINKS_MAX)
        return tuple([Link(proposal, justify) for proposal, justify in found])

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validators of an epoch; raises NotFound while they are not fixed."""
        found = self._store.finality.members(epoch)
        if found is None:
            raise NotFound(f"The validators of epoch {epoch} are not fixed yet; ask for less.")
        return found

    def block(self, height: int) -> BlockRecord:
        """Return a final block; raises NotFound above the head or below what is kept."""
        header = self.header(height)
        result = self._store.result(height)
        return BlockRecord(
            header,
            self._store.header(height).finalization,
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
        if head.header.height == 0:
            raise NotFound("No block stands over genesis yet; ask again after the first one.")
        final = self.finality(head.header.height)
        value, proof = self._store.prove(key)
        return StateProof(
            head.header.height - 1, key, value, encode(proof), head.header, final.finalization
        )

    def prove_outcome(self, height: int, index: int) -> OutcomeProof:
        """Prove leaf `index` of what block `height` returned, under header(height + 1)."""
        header, final = self.header(height + 1), self.finality(height + 1)
        leaves = self._store.result(height).leaves()
        if not 0 <= index < len(leaves):
            raise NotFound(f"Block {height} has {len(leaves)} outcomes and events; ask for those.")
        path = crypto.merkle_path(crypto.Tag.OUTCOME_ROOT, leaves, index)
        return OutcomeProof(
            height,
            leaves[index],
            index,
            len(leaves),
            tuple(path),
            header,
            final.finalization,
            final.descendants,
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
        """Tell whether the node has replayed its store, and is not far behind the others."""
        return self.is_ready and (self.syncing is None or not self.syncing.is_syncing)

    def committed(
        self,
        candidate: Candidate,
        finalization: Finalization | None,
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
            self.counts.dropped[error.code] += 1
            self._dropped[transaction.id] = f"{error.code}: {error.sentence}"
            if len(self._dropped) > DROPPED_KEPT_MAX:
                self._dropped.popitem(last=False)

    def _decode(self, wire: bytes) -> Transaction:
        fees = self._application.params.fees
        transaction = self._application.decoder.decode(wire, bytes_max=fees.transaction_bytes_max)
        check_static(transaction, fees)
        return transaction

    def _refusal(self, transaction: Transaction, *, is_includable: bool = False) -> Rejected | None:
        """Return why a transaction may not wait for the next block, None if it may."""
        application = self._application
        height = application.head.header.height + 1
        try:
            self._mempool.check(
                transaction,
                application.state,
                height,
                application.params,
                is_includable=is_includable,
            )
        except NonceUsed as error:
            if self._store.place(transaction.id) is None:
                return error
            return AlreadyFinal("This transaction is final already; see tx.status.")
        except Rejected as error:
            return error
        return None


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def _never_seen(lowest: int) -> str:
    """Say that a transaction is not known here, and whether it may be final all the same."""
    if lowest == 1:
        return "No transaction of this id was seen here; check the id, or send it."
    return (
        f"No transaction of this id is in the blocks from {lowest} on, and those below are not "
        "kept here: it may have been final before. Ask an archive node, one that keeps every "
        "block (blocks_kept = 0), before it is sent again."
    )
