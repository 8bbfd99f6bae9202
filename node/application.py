"""The application: builds, executes and commits blocks, between consensus and the state machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consensus.solo_inputs import BlockBuilt, Tip
from node.storage.chain_store import ChainStore, Head
from state import crypto
from state.block import Body, Outcome, Result
from state.codec import encode
from state.context import BlockContext, QueryContext
from state.crypto import Tag
from state.errors import NotFound
from state.execute import (
    BlockInput,
    Executed,
    apply_block,
    apply_genesis,
    apply_transaction,
    query_context,
)
from state.finality import Finalization, Header, Validator, ValidatorSet, set_hash
from state.genesis import Genesis
from state.modules import chain
from state.modules.all import MESSAGES, MODULES
from state.params import Params
from state.registry import Query
from state.tables import Base, State, Table
from state.transaction import Transaction, TransactionDecoder
from state.types import ZERO_ADDRESS, ZERO_HASH, Hash

TABLES: dict[bytes, Table[Any, Any]] = {
    table.prefix: table
    for table in sorted(
        [table for module in MODULES for table in module.tables], key=lambda table: table.prefix
    )
}
"""Every table by the prefix of its keys, in order."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block that was executed and is not yet final."""

    header: Header
    transactions: Sequence[Transaction]
    executed: Executed
    changes: list[tuple[bytes, bytes | None]]
    state_root: Hash
    outcomes_root: Hash

    @property
    def changed(self) -> bool:
        """Whether the block held transactions or made something fall due."""
        return bool(self.transactions) or bool(self.executed.result.events)


def validators_of(genesis: Genesis) -> ValidatorSet:
    """Return the validator set of genesis, ordered by account."""
    members = [Validator(v.public_key, v.account, v.stake) for v in genesis.validators]
    return tuple(sorted(members, key=lambda member: member.account))


def genesis_header(genesis: Genesis) -> Header:
    """Return the header that stands for genesis: height and view 0, before any state."""
    validators = set_hash(validators_of(genesis))
    return Header(
        height=0,
        epoch=0,
        view=0,
        parent_view=0,
        parent_id=ZERO_HASH,
        time_ms=genesis.time_ms,
        proposer=ZERO_ADDRESS,
        tx_root=Body(()).root,
        evidence_root=ZERO_HASH,
        justify_hash=ZERO_HASH,
        state_root=ZERO_HASH,
        outcomes_root=ZERO_HASH,
        validators_hash=validators,
        next_validators_hash=validators,
        params_hash=crypto.hash_bytes(Tag.PARAMS, encode(genesis.params)),
    )


class Application:
    """The chain as consensus sees it: build, execute, commit; and as queries see it: the head."""

    def __init__(
        self,
        store: ChainStore,
        genesis: Genesis,
        *,
        invariants_every_blocks: int,
        timed: Callable[[str], Any],
    ) -> None:
        self.genesis = genesis
        self.genesis_hash = genesis.hash
        self.validators = validators_of(genesis)
        self.decoder = TransactionDecoder(MESSAGES, self.genesis_hash)
        self._store = store
        self._base = Base(store)
        self._invariants_every_blocks = invariants_every_blocks
        self._timed = timed
        self._built: Sequence[Transaction] = ()
        self._candidates: dict[Hash, Candidate] = {}
        self._queries: dict[str, Query] = {
            query.name: query for module in MODULES for query in module.queries
        }
        self._head_state = self._genesis_state() if store.head is None else self._stored_state()
        self.context = self._head_context()

    @property
    def head(self) -> Head:
        """The last final block."""
        head = self._store.head
        assert head is not None, "genesis is committed at start"
        return head

    @property
    def params(self) -> Params:
        """The parameters in force after the head."""
        return self.context.params

    @property
    def state(self) -> State:
        """The state after the head, read only."""
        return self.context.state

    def tip(self) -> Tip:
        """Return the head in the words of consensus."""
        head = self.head
        return Tip(
            head.header,
            head.block_id,
            head.state_root,
            head.outcomes_root,
            head.changed,
            head.finalization,
        )

    def build(self, transactions: Sequence[Transaction], time_ms: int) -> BlockBuilt:
        """Take a body for the next block and return what its header must commit to."""
        self._built = transactions
        validators = set_hash(self.validators)
        return BlockBuilt(
            time_ms=time_ms,
            tx_root=Body(tuple([tx.wire for tx in transactions])).root,
            validators_hash=validators,
            next_validators_hash=validators,
            params_hash=crypto.hash_bytes(Tag.PARAMS, encode(self.params)),
        )

    def execute(
        self, header: Header, block_id: Hash, transactions: Sequence[Transaction] | None = None
    ) -> Candidate:
        """Execute a block over the head: the body that was built, or the one that is given."""
        found = self._built if transactions is None else transactions
        every = header.height % self._invariants_every_blocks == 0
        with self._timed("execute"):
            executed = apply_block(
                self._head_state,
                BlockInput(header.height, header.time_ms, header.proposer, header.parent_id, found),
                self.genesis_hash,
                every_invariant=every,
            )
        with self._timed("tree"):
            changes = executed.state.changes()
            root = self._store.tree.update(self.head.block_id, block_id, changes)
        outcomes_root = executed.result.root
        candidate = Candidate(header, found, executed, changes, root, outcomes_root)
        self._candidates[block_id] = candidate
        return candidate

    def commit(self, header: Header, block_id: Hash, finalization: Finalization) -> Candidate:
        """Make an executed block final: one durable batch, then the caches follow."""
        candidate = self._candidates.pop(block_id)
        assert candidate.header == header, "the block that was executed becomes final"
        head = Head(
            header,
            block_id,
            candidate.state_root,
            candidate.outcomes_root,
            candidate.changed,
            finalization,
        )
        with self._timed("commit"):
            self._store.commit(
                head,
                Body(tuple([tx.wire for tx in candidate.transactions])),
                candidate.executed.result,
                [tx.id for tx in candidate.transactions],
                candidate.changes,
            )
        # The old head's rows have joined the stored ones; the new head is the only layer above.
        self._base.absorb(self._head_state.rows)
        self._head_state = candidate.executed.state
        self._head_state.below = self._base
        self._candidates.clear()
        self.context = self._head_context()
        return candidate

    @property
    def base_fee(self) -> int:
        """Grains per weight unit in the next block."""
        return chain.base_fee(self.state)

    def simulate(self, transaction: Transaction) -> Outcome:
        """Execute a transaction as if it were alone in the next block, and forget it."""
        head = self.head
        ctx = BlockContext(
            State(self._head_state),
            head.header.height + 1,
            head.header.time_ms + 1,
            self.params,
            self.genesis_hash,
            self.validators[0].account,
            head.block_id,
        )
        return apply_transaction(ctx, transaction)

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a module's query after the head; raises NotFound for an unknown name."""
        query = self._queries.get(name)
        if query is None:
            raise NotFound(f"There is no query {name}; rpc.discover lists those there are.")
        return query.function(self.context, **arguments)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every row of the state after the head as bytes, in key order."""
        for table in TABLES.values():
            for key, row in table.scan(self.state):
                yield table.key(key), encode(row)

    def _genesis_state(self) -> State:
        """Make genesis the head of a new store."""
        header = genesis_header(self.genesis)
        block_id = header.id
        state = apply_genesis(self._base, self.genesis)
        changes = state.changes()
        root = self._store.tree.update(self._store.tree.version, block_id, changes)
        result = Result((), ())
        head = Head(header, block_id, root, result.root, True, None)
        self._store.commit(head, Body(()), result, [], changes)
        return state

    def _stored_state(self) -> State:
        """Return the layer of the head, made from what the store keeps of it."""
        state = State(self._base)
        for key, data in self._store.changes:
            state.write(key, None if data is None else TABLES[key[:2]].decode(data))
        return state

    def _head_context(self) -> QueryContext:
        header = self.head.header
        return query_context(self._head_state, header.height, header.time_ms, self.genesis_hash)
