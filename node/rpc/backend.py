"""What the RPC server asks of the node behind it: a handful of calls, and the values they return.

The server knows HTTP, WebSocket and JSON; the node knows blocks and state. This file is all that
they share, so that either can be tested without the other.
"""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, ClassVar, Protocol

import msgspec

from state.block import Outcome
from state.codec import Struct
from state.errors import SaharaError
from state.finality import Epoch, Finalization, Header, Justify, Proposal, ValidatorSet, View
from state.genesis import Genesis
from state.types import Amount, Count, Hash, Height, PublicKey, TimestampMs


class FeedBroken(SaharaError):
    """Whoever follows the feed of blocks fell too far behind and has missed some."""

    code: ClassVar[str] = "node.feed_broken"


class Stage(Enum):
    """How far a transaction has come."""

    PENDING = "pending"
    INCLUDED = "included"
    NOTARIZED = "notarized"
    FINAL = "final"
    DROPPED = "dropped"


class TxStatus(Struct):
    """Where a transaction is; the outcome stands once it was executed in a final block."""

    tx_id: Hash
    stage: Stage
    height: Height | None = None
    index: int | None = None
    outcome: Outcome | None = None
    reason: str | None = None


class OutcomeProof(Struct):
    """That an outcome, or a block's event, is a leaf under the outcomes root of header h+1.

    `finalization` is that of the header, or of the last of its `descendants`.
    """

    height: Height
    leaf: bytes
    index: int
    count: int
    path: tuple[Hash, ...]
    header: Header
    finalization: Finalization
    descendants: tuple[Header, ...] = ()


class StateProof(Struct):
    """A row, or its absence, after `height`, under the state root of header(height + 1).

    `proof` is the canonical encoding of a state.tree.TreeProof; `finalization` is that of the
    header, or of the last of its `descendants`.
    """

    height: Height
    key: bytes
    value: bytes | None
    proof: bytes
    header: Header
    finalization: Finalization
    descendants: tuple[Header, ...] = ()


class BlockRecord(Struct):
    """A finalized block: header, certificate, transactions, outcomes, and end-of-block events.

    A block that became final with its descendant need not have a certificate of its own.
    """

    header: Header
    finalization: Finalization | None
    transactions: tuple[bytes, ...]
    outcomes: tuple[Outcome, ...]
    events: tuple[msgspec.Raw, ...]


class Finality(Struct):
    """Why a block is final: its own certificate, or that of the last of its descendants here.

    Each descendant's parent is the header before it (consensus settled point 19).
    """

    finalization: Finalization
    descendants: tuple[Header, ...]


class Link(Struct):
    """A certified proposal, and the certificates that let it stand where it stands."""

    proposal: Proposal
    justify: Justify


class NodeStatus(Struct):
    """The node at a glance; `state_root` is the root after `height`, not the one in its header.

    `epoch` and `view` are those that the node is in, the round of the block it waits for;
    `memory_bytes` is what the node's process holds resident. While `is_syncing`, the node is far
    behind, fetches final blocks up to `sync_target_height`, and does not vote. Blocks are kept from
    `lowest_height` on: above 1, those below were pruned, or the node began with a snapshot. `mode`
    is how it takes part: it `votes`, `follows` without a vote (also when its validator is in jail),
    is `behind`, has `lost` what it voted, or `syncs`; empty while it starts.
    """

    chain_id: str
    genesis_hash: Hash
    version: str
    height: Height
    finalized_height: Height
    epoch: Epoch
    view: View
    block_id: Hash
    time_ms: TimestampMs
    state_root: Hash
    peers: Count
    mempool_transactions: int
    mempool_bytes: int
    base_fee: Amount
    memory_bytes: Count
    implementation: str
    node_id: PublicKey
    is_syncing: bool = False
    sync_target_height: Height = 0
    sync_blocks_per_second: Count = 0
    lowest_height: Height = 1
    mode: str = ""


class PeerView(Struct):
    """A connected node: its id, the validator it runs if it has announced one, and where it is.

    `round_trip_ms` is the last one measured, `connected_ms` how long the connection has lasted, and
    `score` what its messages were worth (p2p/scores.py).
    """

    node_id: PublicKey
    validator_key: PublicKey | None
    host: str
    is_outbound: bool
    score: int
    round_trip_ms: Count | None
    connected_ms: Count


class Backend(Protocol):
    """The node, as its RPC server sees it. Refusals are raised as SaharaError subclasses."""

    genesis: Genesis

    async def submit(self, wire: bytes) -> Hash:
        """Admit a transaction to the mempool and return its id."""
        ...

    def simulate(self, wire: bytes) -> Outcome:
        """Execute a transaction over the finalized head and forget it; signatures count."""
        ...

    def transaction_status(self, tx_id: Hash) -> TxStatus:
        """Return where a transaction is; raises NotFound when it was never seen."""
        ...

    def dropped(self, tx_id: Hash) -> TxStatus | None:
        """Return why a transaction had to go, None if it has not; costs next to nothing."""
        ...

    def status(self) -> NodeStatus:
        """Return the node at a glance."""
        ...

    def peers(self) -> tuple[PeerView, ...]:
        """Return the nodes that are connected now."""
        ...

    def header(self, height: int) -> Header:
        """Return a finalized header; raises NotFound above the head."""
        ...

    def finality(self, height: int) -> Finality:
        """Return why a block is final; raises NotFound above the head, and for genesis."""
        ...

    def justify(self, height: int) -> Justify:
        """Return why a block may stand on its parent; raises NotFound above the head."""
        ...

    def links(self, epoch: int, view: int) -> tuple[Link, ...]:
        """Return certified proposals of an epoch from a view on, with their justifications."""
        ...

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validators of an epoch; raises NotFound while they are not fixed."""
        ...

    def block(self, height: int) -> BlockRecord:
        """Return a finalized block; raises NotFound above the head or below what is kept."""
        ...

    def query(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a module's query at the finalized head; arguments are typed values already."""
        ...

    def prove_state(self, key: bytes) -> StateProof:
        """Prove a row of the newest height whose root stands in a finalized header."""
        ...

    def prove_outcome(self, height: int, index: int) -> OutcomeProof:
        """Prove leaf `index` of the outcomes root after `height`; header(height+1) must exist."""
        ...

    def blocks(self) -> AsyncIterator[BlockRecord]:
        """Yield every block finalized from now on; raises FeedBroken when blocks were missed."""
        ...

    def ready(self) -> bool:
        """Tell whether the node has replayed its store and makes or follows blocks."""
        ...
