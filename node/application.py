"""The application: builds, executes and commits blocks, between consensus and the state machine.

Blocks that are not final yet are layers over their parents, in state and tree alike. Siblings stand
side by side until one of them becomes final; the others go then, with all that stands on them. What
consensus has given up goes before that, for views may fail for hours.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consensus.inputs import EpochInfo, Tip
from node.bodies import BODIES_KEPT_MAX, Bodies, CheckedBody, VerifiedWires
from node.storage.chain_store import ChainStore, Commit
from node.storage.finality_store import Head
from state.block import Body, Outcome, Result
from state.codec import encode
from state.context import BlockContext, QueryContext
from state.crypto import SignatureClaim
from state.errors import InvalidBlock, NotFound
from state.execute import (
    Executed,
    apply_block,
    apply_genesis,
    apply_transaction,
    block_input,
    check_over_parent,
    params_hash,
    query_context,
)
from state.finality import (
    Evidence,
    Finalization,
    Header,
    Justify,
    Validator,
    ValidatorSet,
    boundary_height,
    set_hash,
)
from state.genesis import Genesis
from state.modules import chain, staking
from state.modules.all import MESSAGES, MODULES
from state.params import Params
from state.registry import Query
from state.tables import Base, State, Table
from state.transaction import Transaction, TransactionDecoder
from state.types import ZERO_ADDRESS, ZERO_HASH, Hash

log = logging.getLogger("sahara.application")

TABLES: dict[bytes, Table[Any, Any]] = {
    table.prefix: table
    for table in sorted(
        [table for module in MODULES for table in module.tables], key=lambda table: table.prefix
    )
}
"""Every table by the prefix of its keys, in order."""

CANDIDATES_KEPT = 32
"""Unfinal blocks up to which nothing is forgotten; above twice what is needed, all else is."""


@dataclass(slots=True)
class Candidate:
    """A block that was executed and is not yet final."""

    header: Header
    block_id: Hash
    justify: Justify
    content: CheckedBody
    executed: Executed
    changes: list[tuple[bytes, bytes | None]]
    state_root: Hash
    outcomes_root: Hash
    is_notarized: bool = False
    """Whether a quorum notarized it: it stays, unless its view is given up (consensus 1)."""

    @property
    def transactions(self) -> Sequence[Transaction]:
        """The block's transactions in their order."""
        return self.content.transactions

    @property
    def changed(self) -> bool:
        """Whether its root must not wait for the next header (settled point 15)."""
        body = self.content.body
        return bool(body.transactions or body.evidence or self.executed.result.events)


@dataclass(frozen=True, slots=True)
class Built:
    """A body for a new block, and what its header must commit to."""

    body: bytes
    tx_root: Hash
    evidence_root: Hash
    params_hash: Hash


class UnknownParent(NotFound):
    """The block's parent is neither final nor executed here, or not any more."""

    code = "block.unknown_parent"


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
        params_hash=params_hash(genesis.params),
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
        known: VerifiedWires | None = None,
        known_claims: Container[SignatureClaim] = (),
    ) -> None:
        self.genesis = genesis
        self.genesis_hash = genesis.hash
        self.epoch_blocks = genesis.params.staking.epoch_blocks
        self.decoder = TransactionDecoder(MESSAGES, self.genesis_hash)
        # static rules are those of genesis: a block may be judged before its parent is known
        known = VerifiedWires({}) if known is None else known
        self.bodies = Bodies(self.decoder, genesis.params.fees, known)
        self._store = store
        self._base = Base(store)
        self.invariants_every_blocks = invariants_every_blocks
        """At multiples of so many heights every invariant is checked, the cheap ones always."""
        self._timed = timed
        self._known_claims = known_claims
        self._candidates: dict[Hash, Candidate] = {}
        self._candidates_max = CANDIDATES_KEPT
        self._verified: OrderedDict[Hash, frozenset[SignatureClaim]] = OrderedDict()
        """Signatures in blocks that were judged and are not executed yet, the newest blocks'."""
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
        return _tip(self.head)

    def epoch_info(self) -> EpochInfo:
        """Return the epoch of the next block, and its validators by the state (settled 8)."""
        epoch = self.head.header.height // self.epoch_blocks
        boundary = self._store.finality.boundary(epoch)
        assert boundary is not None, "the block before an epoch is stored as such"
        previous = () if epoch == 0 else self._members(epoch - 1)
        return EpochInfo(
            epoch, self._members(epoch), self._members(epoch + 1), _tip(boundary), previous
        )

    def _members(self, epoch: int) -> ValidatorSet:
        members = self._store.finality.members(epoch)
        assert members is not None, "sets are stored when their epoch is fixed"
        return members

    # --- blocks ----------------------------------------------------------------------------------

    def state_after(self, block_id: Hash) -> State:
        """Return the state after the head or an unfinal block; raises UnknownParent."""
        if block_id == self.head.block_id:
            return self._head_state
        candidate = self._candidates.get(block_id)
        if candidate is None:
            raise UnknownParent("The parent of the block is not, or no longer, executed here.")
        return candidate.executed.state

    def unfinal_ids(self, block_id: Hash) -> set[Hash]:
        """Return the transactions of a block and its ancestors that are not final yet."""
        found: set[Hash] = set()
        while (candidate := self._candidates.get(block_id)) is not None:
            found.update([transaction.id for transaction in candidate.transactions])
            block_id = candidate.header.parent_id
        return found

    def build(
        self,
        parent_id: Hash,
        transactions: Sequence[Transaction],
        late: Finalization | None = None,
        evidence: tuple[Evidence, ...] = (),
    ) -> Built:
        """Make a body for a block over this parent; raises UnknownParent."""
        params = chain.params_of(self.state_after(parent_id))
        body = Body(tuple([tx.wire for tx in transactions]), late, evidence)
        data, roots = encode(body), (body.root, body.evidence_root)
        self.bodies.keep(roots, CheckedBody(data, body, transactions))
        return Built(data, *roots, params_hash(params))

    def judge_over_parent(self, header: Header, block_id: Hash, body: bytes) -> bool:
        """Tell whether a block may be executed over its parent; raises UnknownParent (R3)."""
        try:
            self._checked(header, block_id, body)
        except InvalidBlock as error:
            log.warning(
                "block invalid", extra={"block_id": block_id.hex(), "reason": error.sentence}
            )
            return False
        return True

    def _checked(
        self, header: Header, block_id: Hash, body: bytes
    ) -> tuple[State, CheckedBody, frozenset[SignatureClaim]]:
        """Return the state after a block's parent, its body, and signatures in it that hold.

        Raises UnknownParent, and InvalidBlock for what only the parent's state shows.
        """
        below = self.state_after(header.parent_id)
        content = self.bodies.checked(header, body)
        known = self._verified.pop(block_id, self._known_claims)
        claims = check_over_parent(below, header, content.body, self.genesis_hash, known)
        self._verified[block_id] = frozenset(claims)
        if len(self._verified) > BODIES_KEPT_MAX:
            self._verified.popitem(last=False)
        return below, content, self._verified[block_id]

    def execute(self, header: Header, block_id: Hash, justify: Justify, body: bytes) -> Candidate:
        """Execute a block over its parent, the same again if it was executed before.

        Raises UnknownParent, and InvalidBlock for what only the parent's state shows.
        """
        known = self._candidates.get(block_id)
        if known is not None:
            return known
        below, content, claims = self._checked(header, block_id, body)
        every = header.height % self.invariants_every_blocks == 0
        with self._timed("execute"):
            executed = apply_block(
                below,
                block_input(header, justify, content.body, content.transactions),
                self.genesis_hash,
                every_invariant=every,
                known=claims,
            )
        with self._timed("tree"):
            changes = executed.state.changes()
            root = self._store.tree.update(header.parent_id, block_id, changes)
        outcomes_root = executed.result.root
        candidate = Candidate(
            header, block_id, justify, content, executed, changes, root, outcomes_root
        )
        self._candidates[block_id] = candidate
        return candidate

    def notarized(self, block_id: Hash) -> None:
        """Note that a quorum notarized a block."""
        candidate = self._candidates.get(block_id)
        if candidate is not None:
            candidate.is_notarized = True

    def commit(
        self, header: Header, block_id: Hash, finalization: Finalization | None
    ) -> Candidate:
        """Make an executed block final: one durable batch, then the caches follow."""
        candidate = self._candidates.pop(block_id)
        assert candidate.header == header, "the block that was executed becomes final"
        assert header.parent_id == self.head.block_id, "blocks become final in order (R7)"
        head = Head(
            header,
            block_id,
            candidate.state_root,
            candidate.outcomes_root,
            candidate.changed,
            finalization,
        )
        executed = candidate.executed
        with self._timed("commit"):
            self._store.commit(
                Commit(
                    head,
                    candidate.justify,
                    candidate.content.data,
                    executed.result,
                    [tx.id for tx in candidate.transactions],
                    candidate.changes,
                    self._sets_after(header, executed.state),
                )
            )
        # The old head's rows have joined the stored ones; the new head is the only layer above.
        self._base.absorb(self._head_state.rows)
        self._head_state = executed.state
        self._head_state.below = self._base
        self._drop_others(block_id)
        self.bodies.forget(candidate.transactions)
        self.context = self._head_context()
        return candidate

    def _sets_after(self, header: Header, state: State) -> list[tuple[int, ValidatorSet]]:
        """Return the sets that the last block of an epoch leaves for the next two (settled 8)."""
        if header.height != boundary_height(header.epoch, self.epoch_blocks):
            return []
        epochs = (header.epoch + 1, header.epoch + 2)
        return [(epoch, staking.members_of(state, epoch)) for epoch in epochs]

    def _drop_others(self, head_id: Hash) -> None:
        """Forget the unfinal blocks that do not stand on the new head."""
        kept: dict[Hash, Candidate] = {}
        for block_id, candidate in self._candidates.items():  # parents come before children
            parent_id = candidate.header.parent_id
            if parent_id == head_id or parent_id in kept:
                kept[block_id] = candidate
            elif parent_id not in self._candidates:
                self._store.tree.discard(block_id)  # with all that stand on it
        self._candidates = kept

    @property
    def unfinal_count(self) -> int:
        """Return how many blocks are executed and not final."""
        return len(self._candidates)

    def forget_all_but(self, is_held: Callable[[Hash], Any]) -> None:
        """Forget unfinal blocks that are not held, and below none that is, once there are many.

        Should one be wanted after all, it is executed again.
        """
        if len(self._candidates) <= self._candidates_max:
            return
        needed: set[Hash] = set()
        for block_id in self._candidates:
            if is_held(block_id):
                while block_id in self._candidates and block_id not in needed:
                    needed.add(block_id)
                    block_id = self._candidates[block_id].header.parent_id
        self._store.tree.discard(*[at for at in self._candidates if at not in needed])
        self._candidates = {at: one for at, one in self._candidates.items() if at in needed}
        self._candidates_max = CANDIDATES_KEPT + 2 * len(needed)

    def unfinal_place(self, tx_id: Hash) -> tuple[Candidate, int] | None:
        """Return the unfinal block that holds a transaction, a notarized one first, or None."""
        found: tuple[Candidate, int] | None = None
        for candidate in self._candidates.values():
            for index, transaction in enumerate(candidate.transactions):
                if transaction.id == tx_id and (found is None or candidate.is_notarized):
                    found = (candidate, index)
        return found

    # --- answers ---------------------------------------------------------------------------------

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
            self._members(head.header.height // self.epoch_blocks)[0].account,
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
        sets = [(epoch, staking.members_of(state, epoch)) for epoch in (0, 1)]
        self._store.commit(Commit(head, None, encode(Body(())), result, (), changes, sets))
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


def _tip(head: Head) -> Tip:
    return Tip(
        head.header,
        head.block_id,
        head.state_root,
        head.outcomes_root,
        head.changed,
        head.finalization,
    )
