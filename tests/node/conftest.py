"""Chains of one validator for tests: one in memory behind the Backend, one over any store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import pytest

import cython_ext
from consensus.solo import Solo
from consensus.solo_inputs import Pacing
from node.application import Application, Candidate
from node.backend import NodeBackend
from node.client import Account
from node.clock import SystemClock
from node.host import Host
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.rpc.backend import (
    BlockRecord,
    NodeStatus,
    OutcomeProof,
    Stage,
    StateProof,
    TxStatus,
)
from node.rpc.server import RpcServer
from node.storage.chain_store import ChainStore
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
    Nullified,
    Proposal,
    Validator,
    Vote,
    set_hash,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import chain
from state.modules.all import MESSAGES, MODULES
from state.modules.bank import Transfer
from state.params import Params
from state.registry import Message
from state.tables import Base, State
from state.transaction import Body as TransactionBody
from state.transaction import Transaction, TransactionDecoder
from state.tree import EMPTY_ROOT, Tree
from state.types import ZERO_ADDRESS, ZERO_HASH, Hash

QUERIES = {query.name: query.function for module in MODULES for query in module.queries}
FUNDS = 10**15
STAKE = 10**12
INTERVAL_MS = 1_000


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
        )

    def header(self, height: int) -> tuple[Header, Finalization]:
        record = self.block(height)
        return record.header, record.finalization

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
        table = next(
            table for module in MODULES for table in module.tables if table.prefix == key[:2]
        )
        row = table.get(self.states[height], table.shape.unpack(key[2:]))
        proof = self._tree.prove(str(height).encode(), key)
        header, finalization = self.header(height + 1)
        value = None if row is None else encode(row)
        return StateProof(height, key, value, encode(proof), header, finalization)

    def prove_outcome(self, height: int, index: int) -> OutcomeProof:
        if height >= self.height:
            raise NotFound("The next header does not exist yet; wait for one more block.")
        leaves = self._results[height].leaves()
        path = tuple(cython_ext.merkle_path(Tag.OUTCOME_ROOT.value, leaves, index))
        header, finalization = self.header(height + 1)
        return OutcomeProof(height, leaves[index], index, len(leaves), path, header, finalization)

    async def blocks(self) -> AsyncIterator[BlockRecord]:
        queue: asyncio.Queue[BlockRecord] = asyncio.Queue(10_000)
        self._queues.append(queue)
        while True:
            yield await queue.get()

    def ready(self) -> bool:
        return self.is_ready


class LocalChain:
    """One validator's network: `open` gives its application over a store, `step` makes a block.

    Whatever is not signed by accounts is signed by nobody: votes are not checked here.
    """

    def __init__(self, accounts: int = 4, funds: int = FUNDS, params: Params | None = None) -> None:
        self.accounts = [
            Account.from_seed(number.to_bytes(32, "big")) for number in range(1, 1 + accounts)
        ]
        first = self.accounts[0]
        self.genesis = Genesis(
            "local",
            0,
            params or Params(),
            tuple(Allocation(account.address, funds) for account in self.accounts),
            (GenesisValidator(first.public_key, first.address, 10**9),),
        )
        self.decoder = TransactionDecoder(MESSAGES, self.genesis.hash)

    def open(self, store: KeyValueStore, **options: Any) -> Application:
        return Application(
            ChainStore(store, self.genesis),
            self.genesis,
            **{"invariants_every_blocks": 1, "timed": lambda _: nullcontext(), **options},
        )

    def wire(
        self,
        by: int,
        nonce: int,
        *messages: Message,
        fee_max: int = 10**6,
        until: int = 100,
    ) -> bytes:
        account = self.accounts[by]
        found = messages or (Transfer(self.accounts[1 - by % 2].address, 1),)
        body = TransactionBody(account.address, nonce, until, fee_max, tuple(found))
        return account.sign_body(body, self.genesis.hash)[0]

    def transaction(
        self, by: int, nonce: int, *messages: Message, fee_max: int = 10**6, until: int = 100
    ) -> Transaction:
        wire = self.wire(by, nonce, *messages, fee_max=fee_max, until=until)
        return self.decoder.decode(wire, bytes_max=2**20)

    def execute(
        self, application: Application, *transactions: Transaction
    ) -> tuple[Header, Hash, Finalization]:
        tip = application.tip()
        height = tip.header.height + 1
        built = application.build(transactions, height * INTERVAL_MS)
        header = Header(
            height,
            0,
            height,
            height - 1,
            tip.block_id,
            built.time_ms,
            self.accounts[0].address,
            built.tx_root,
            ZERO_HASH,
            ZERO_HASH,
            tip.state_root,
            tip.outcomes_root,
            built.validators_hash,
            built.next_validators_hash,
            built.params_hash,
        )
        application.execute(header, header.id)
        subject = Proposal(0, height, height - 1, header.id, ZERO_HASH)
        digest = vote_digest(Tag.FINALIZE, self.genesis.hash, subject)
        return header, header.id, Finalization(subject, (Vote(0, self.accounts[0].sign(digest)),))

    def step(self, application: Application, *transactions: Transaction) -> Candidate:
        return application.commit(*self.execute(application, *transactions))


class LocalNode:
    """Host and backend of a LocalChain over a store; `steps` names what was done, in order."""

    def __init__(self, chain: LocalChain, store: KeyValueStore, pacing: Pacing) -> None:
        self.chain = chain
        self.steps: list[str] = []
        clock = SystemClock()
        self.metrics = NodeMetrics(clock)
        self.mempool = Mempool(MempoolLimits(1_000, 2**24, 256))
        self.chain_store = ChainStore(store, chain.genesis)
        self.application = Application(
            self.chain_store, chain.genesis, invariants_every_blocks=1, timed=self._timed
        )
        first = chain.accounts[0]
        engine = Solo(first.address, pacing)
        self.host = Host(engine, self.application, self.mempool, self, clock, self.metrics)
        self.backend = NodeBackend(
            self.application, self.chain_store, self.mempool, self.host.pending_changed
        )
        self.host.backend = self.backend

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        yield
        self.steps.append(stage)

    @property
    def view_floor(self) -> int:
        return self.application.head.header.view

    def raise_floor(self, epoch: int, view: int) -> None:
        self.steps.append(f"floor {epoch}:{view}")

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified) -> bytes:
        self.steps.append(kind.name.lower())
        digest = vote_digest(kind, self.chain.genesis.hash, subject)
        return self.chain.accounts[0].sign(digest)

    @property
    def height(self) -> int:
        return self.application.head.header.height

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Let the loop turn until the condition holds."""
        async with asyncio.timeout(seconds):
            feed = self.backend.blocks()
            while not condition():
                await anext(feed)


@pytest.fixture
def local_node(local_chain: LocalChain) -> Iterator[Callable[..., LocalNode]]:
    """Make nodes whose timers end with the test."""
    made: list[LocalNode] = []

    def make(busy_ms: int = 1, idle_ms: int = 5, store: KeyValueStore | None = None) -> LocalNode:
        node = LocalNode(local_chain, store or MemoryStore(), Pacing(busy_ms, idle_ms))
        made.append(node)
        return node

    yield make
    for node in made:
        node.host.stop()


@pytest.fixture
def local_chain() -> LocalChain:
    return LocalChain()


@pytest.fixture(scope="session")
def make_local_chain() -> type[LocalChain]:
    return LocalChain


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
