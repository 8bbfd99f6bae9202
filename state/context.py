"""What code in a module is handed: the state, the block it runs in, and where events go."""

from collections.abc import Sequence

from state.codec import Struct
from state.finality import Certificate, Evidence
from state.params import Params
from state.tables import State
from state.types import Address, Hash


class Event(Struct):
    """Something that happened, for subscribers and proofs; subclasses carry `tag="module.noun"`."""


class QueryContext:
    """A read-only view of one height."""

    __slots__ = ("genesis_hash", "height", "params", "state", "time_ms")

    def __init__(
        self, state: State, height: int, time_ms: int, params: Params, genesis_hash: Hash
    ) -> None:
        self.state = state
        self.height = height
        self.time_ms = time_ms
        self.params = params
        self.genesis_hash = genesis_hash


class BlockContext(QueryContext):
    """The block under execution; `randomness` is the id of the previous block (markets 0a.10).

    `certificates` show who took part, and `evidence` who broke the protocol; both are verified.
    """

    __slots__ = ("certificates", "deferred", "events", "evidence", "proposer", "randomness")

    def __init__(
        self,
        state: State,
        height: int,
        time_ms: int,
        params: Params,
        genesis_hash: Hash,
        proposer: Address,
        randomness: Hash,
        certificates: Sequence[Certificate] = (),
        evidence: Sequence[Evidence] = (),
    ) -> None:
        super().__init__(state, height, time_ms, params, genesis_hash)
        self.certificates = certificates
        self.evidence = evidence
        self.proposer = proposer
        self.randomness = randomness
        self.events: list[Event] = []
        self.deferred: list[Struct] = []

    def emit(self, event: Event) -> None:
        """Record an event; those of a failed transaction are dropped."""
        self.events.append(event)

    def defer(self, work: Struct) -> None:
        """Leave work for a module's hook at the end of this block; a failed transaction's goes."""
        self.deferred.append(work)


class TxContext(BlockContext):
    """The transaction under execution, and which of its messages."""

    __slots__ = ("account", "message_index", "nonce", "tx_id")

    def __init__(self, block: BlockContext, account: Address, nonce: int, tx_id: Hash) -> None:
        super().__init__(
            block.state,
            block.height,
            block.time_ms,
            block.params,
            block.genesis_hash,
            block.proposer,
            block.randomness,
        )
        self.account = account
        self.nonce = nonce
        self.tx_id = tx_id
        self.message_index = 0
