"""Chains of one validator for tests: one in memory behind the Backend, one over any store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import cython_ext
from consensus.timeouts import Pacing
from node.client import Account
from node.rpc.backend import (
    BlockRecord,
    Finality,
    Link,
    NodeStatus,
    OutcomeProof,
    PeerView,
    Stage,
    StateProof,
    TxStatus,
)
from node.rpc.server import RpcServer
from node.storage.kv import KeyValueStore, MemoryStore
from state import crypto, execute
from state.block import Body, Outcome, Result
from state.codec import encode
from state.context import BlockContext
from state.crypto import Tag
from state.errors import NotFound
from state.finality import (
    Finalization,
    Header,
    Justify,
    Proposal,
    Validator,
    ValidatorSet,
    Vote,
    set_hash,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import chain
from state.modules.all import MESSAGES, MODULES
from state.params import Params
from state.tables import Base, State
from state.transaction import Transaction, TransactionDecoder
from state.tree import EMPTY_ROOT, Tree
from state.types import ZERO_ADDRESS, ZERO_HASH, Hash
from tests.node.local import FUNDS, INTERVAL_MS, LocalChain, LocalNode

QUERIES = {query.name: query.function for module in MODULES for query in module.queries}
STAKE = 10**12


class Nothing:
    """A database that holds nothing: every row of the chain lies in layers above it."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class MemoryNode:
    """Every height's state stays as a layer, so that any of them can be asked and proven."""

    def __init__(self, accounts: int = 3) -> None:
        self.accounts = [
            Account.from_seed(bytes([number]) * 32) for number in range(1, 1 + accounts)
        ]
        self.validator = Account.from_seed(bytes([99]) * 32)
        allocations = [Allocation(account.address, FUNDS) for account in self.accounts]
        self.genesis = Genesis(
            "memory",
            0,
            Params(),
            (*allocations, Allocation(self.validator.address, FUNDS)),
            (GenesisValidator(self.validator.public_key, self.validator.address, STAKE),),
        )
        self.genesis.check()
        self._hash = self.genesis.hash
        self.validators = (Validator(self.validator.public_key, self.validator.address, STAKE),)
        self._decoder = TransactionDecoder(MESSAGES, self._hash)
        self._tree = Tree(Nothing(), EMPTY_ROOT, b"empty")
        self.states: list[State] = []
        self._results: list[Result] = []
        self.records: list[BlockRecord] = []
        self._pending: dict[Hash, Transaction] = {}
        self._final: dict[Hash, tuple[int, int]] = {}
        self.drops: dict[Hash, str] = {}
        self._queues: list[asyncio.Queue[BlockRecord]] = []
        self.is_ready = True
        self.automatic = True
        self._keep(execute.apply_genesis(Base(Nothing()), self.genesis), Result((), ()))
        self.step()

    def _keep(self, state: State, result: Result) -> None:
        parent = b"empty" if not self.states else str(len(self.states) - 1).encode()
        self._tree.update(parent, str(len(self.states)).encode(), state.changes())
        self.states.append(state)
        self._results.append(result)

    def _root(self, height: int) -> Hash:
        return self._tree.root_of(str(height).encode())

    @property
    def height(self) -> int:
        return len(self.states) - 1

    def step(self) -> BlockRecord:
        """Make, execute and finalize the next block from everything pending."""
        height = self.height + 1
        wires = tuple(transaction.wire for transaction in self._pending.values())
        transactions = execute.check_block(wires, self._decoder, self.genesis.params.fees, {})
        parent = self.records[-1].header.id if self.records else self._hash
        header = self._header(height, parent, Body(wires).root)
        block = execute.BlockInput(
            height, header.time_ms, header.proposer, header.parent_id, transactions
        )
        done = execute.apply_block(self.states[-1], block, self._hash, every_invariant=True)
        record = BlockRecord(
            header, self._finalize(header), wires, done.result.outcomes, done.result.events
        )
        self._keep(done.state, done.result)
        self.records.append(record)
        for index, outcome in enumerate(done.result.outcomes):
            self._final[outcome.tx_id] = (height, index)
        self._pending.clear()
        for queue in self._queues:
            queue.put_nowait(record)
        return record

    def _header(self, height: int, parent: Hash, tx_root: Hash) -> Header:
        members = set_hash(self.validators)
        return Header(
            height,
            0,
            height,
            height - 1,
            parent,
            height * INTERVAL_MS,
            self.validator.address,
            tx_root,
            ZERO_HASH,
            ZERO_HASH,
            self._root(height - 1),
            self._results[height - 1].root,
            members,
            members,
            crypto.hash_bytes(Tag.PARAMS, encode(self.genesis.params)),
        )

    def _finalize(self, header: Header) -> Finalization:
        subject = Proposal(0, header.view, header.parent_view, header.id, ZERO_HASH)
        digest = vote_digest(Tag.FINALIZE, self._hash, subject)
        return Finalization(subject, (Vote(0, self.validator.sign(digest)),))

    # --- what the server asks --------------------------------------------------------------------

    async def submit(self, wire: bytes) -> Hash:
        fees = self.genesis.params.fees
        transaction = self._decoder.decode(wire, bytes_max=fees.transaction_bytes_max)
        execute.check_static(transaction, fees)
        for error in execute.verify_signatures([transaction]):
            if error is not None:
                raise error
        execute.check_inclusion(self.states[-1], transaction, self.height + 1, self.genesis.params)
        self._pending[transaction.id] = transaction
        if self.automatic:
            asyncio.get_running_loop().call_later(0.002, self._step_if_pending)
        return transaction.id

    def _step_if_pending(self) -> None:
        if self._pending:
            self.step()

    def simulate(self, wire: bytes) -> Outcome:
        transaction = self._decoder.decode(wire, bytes_max=2**20)
        context = BlockContext(
            State(self.states[-1]),
            self.height + 1,
            0,
            chain.params_of(self.states[-1]),
            self._hash,
            ZERO_ADDRESS,
            ZERO_HASH,
        )
        return execute.apply_transaction(context, transaction)

    def dropped(self, tx_id: Hash) -> TxStatus | None:
        reason = self.drops.get(tx_id)
        return None if reason is None else TxStatus(tx_id, Stage.DROPPED, reason=reason)

    def transaction_status(self, tx_id: Hash) -> TxStatus:
        if tx_id in self._pending:
            return TxStatus(tx_id, Stage.PENDING)
        if tx_id not in self._final:
            raise NotFound("This transaction was never seen; submit it.")
        height, index = self._final[tx_id]
        return TxStatus(tx_id, Stage.FINAL, height, index, self._results[height].outcomes[index])

    def status(self) -> NodeStatus:
        header = self.records[-1].header
        return NodeStatus(
            self.genesis.chain_id,
            self._hash,
            "0.0.0",
            self.height,
            self.height,
            header.epoch,
            header.view,
            header.id,
            header.time_ms,
            self._root(self.height),
            0,
            len(self._pending),
            0,
            chain.base_fee(self.states[-1]),
            0,
            cython_ext.IMPLEMENTATION,
            bytes(32),
        )

    def peers(self) -> tuple[PeerView, ...]:
        return (PeerView(b"p" * 32, None, "203.0.113.7", True, 5, 12, 3_000),)

    def header(self, height: int) -> Header:
        return self.block(height).header

    def finality(self, height: int) -> Finality:
        finalization = self.block(height).finalization
        assert finalization is not None
        return Finality(finalization, ())

    def justify(self, height: int) -> Justify:
        return Justify(None if height == 1 else self.finality(height - 1).finalization, ())

    def links(self, epoch: int, view: int) -> tuple[Link, ...]:
        views = range(view, self.height + 1) if epoch == 0 else ()
        return tuple(Link(self.finality(at).finalization.subject, self.justify(at)) for at in views)

    def members(self, epoch: int) -> ValidatorSet:
        return self.validators

    def block(self, height: int) -> BlockRecord:
        if not 1 <= height <= self.height:
            raise NotFound(f"There is no block {height}; the head is {self.height}.")
        return self.records[height - 1]

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        context = execute.query_context(
            self.states[-1], self.height, self.height * INTERVAL_MS, self._hash
        )
        return QUERIES[name](context, **arguments)

    def prove_state(self, key: bytes) -> StateProof:
        height = self.height - 1
        tables = [table for module in MODULES for table in module.tables]
        found = [table for table in tables if table.prefix == key[:2]]
        row = found[0].get(self.states[height], found[0].shape.unpack(key[2:])) if found else None
        proof = self._tree.prove(str(height).encode(), key)
        header, finalization = self.header(height + 1), self.finality(height + 1).finalization
        value = None if row is None else encode(row)
        return StateProof(height, key, value, encode(proof), header, finalization)

    def prove_outcome(self, height: int, index: int) -> OutcomeProof:
        if height >= self.height:
            raise NotFound("The next header does not exist yet; wait for one more block.")
        leaves = self._results[height].leaves()
        path = tuple(cython_ext.merkle_path(Tag.OUTCOME_ROOT.value, leaves, index))
        header, finalization = self.header(height + 1), self.finality(height + 1).finalization
        return OutcomeProof(height, leaves[index], index, len(leaves), path, header, finalization)

    async def blocks(self) -> AsyncIterator[BlockRecord]:
        queue: asyncio.Queue[BlockRecord] = asyncio.Queue(10_000)
        self._queues.append(queue)
        while True:
            yield await queue.get()

    def ready(self) -> bool:
        return self.is_ready


@pytest.fixture
def local_node(local_chain: LocalChain, tmp_path: Path) -> Iterator[Callable[..., LocalNode]]:
    """Make nodes whose timers end with the test."""
    made: list[LocalNode] = []

    def make(busy_ms: int = 1, idle_ms: int = 5, store: KeyValueStore | None = None) -> LocalNode:
        node = LocalNode(local_chain, store or MemoryStore(), Pacing(busy_ms, idle_ms), tmp_path)
        made.append(node)
        return node

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def local_chain() -> LocalChain:
    return LocalChain()


@pytest.fixture(scope="session")
def make_local_chain() -> type[LocalChain]:
    return LocalChain


@pytest.fixture(scope="session")
def make_local_node() -> type[LocalNode]:
    return LocalNode


@pytest.fixture
def memory_node() -> MemoryNode:
    return MemoryNode()


@pytest.fixture(scope="session")
def make_node() -> Any:
    """The class itself, for tests that make a node of their own."""
    return MemoryNode


@pytest.fixture
def serve() -> Any:
    """`async with serve(node, limits) as url` runs an RPC server over it."""

    @asynccontextmanager
    async def run(node: MemoryNode, *arguments: Any, **options: Any) -> AsyncIterator[str]:
        server = RpcServer(node, *arguments, **options)
        port = await server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await server.stop()

    return run
