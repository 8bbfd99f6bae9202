"""Everything that may happen to consensus: one closed union of values, each valid by construction.

`now_ms` are milliseconds of the caller's monotonic clock; consensus has none of its own.
"""

from dataclasses import dataclass

from state.crypto import Tag
from state.finality import Finalization, Header
from state.types import Hash, Signature


@dataclass(frozen=True, slots=True)
class Tip:
    """The last final block, what executing it gave, and why it is final (None at genesis)."""

    header: Header
    block_id: Hash
    state_root: Hash
    outcomes_root: Hash
    changed: bool
    """Whether the block did more than advance the height, so that its root must not wait."""
    finalization: Finalization | None


@dataclass(frozen=True, slots=True)
class Started:
    """The node has replayed its store; no view up to `view_floor` may be voted in again."""

    now_ms: int
    tip: Tip
    view_floor: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time that was asked for has come, or a little later."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class TransactionsPending:
    """The mempool has become non-empty, or empty."""

    now_ms: int
    pending: bool


@dataclass(frozen=True, slots=True)
class PacingChanged:
    """The operator set another pace for blocks."""

    now_ms: int
    pacing: "Pacing"


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """The application has chosen a body; the header must commit to it and to these hashes."""

    time_ms: int
    """Wall-clock time; the header takes it unless its parent's is not below."""
    tx_root: Hash
    validators_hash: Hash
    next_validators_hash: Hash
    params_hash: Hash


@dataclass(frozen=True, slots=True)
class BlockExecuted:
    """The application has executed a block over its parent."""

    block_id: Hash
    state_root: Hash
    outcomes_root: Hash
    changed: bool


@dataclass(frozen=True, slots=True)
class VoteSigned:
    """The signer has signed, and its guard has made that durable."""

    kind: Tag
    block_id: Hash
    signature: Signature


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long blocks wait: while transactions are pending, and while none are."""

    block_interval_ms_min: int
    idle_interval_ms: int

    def __post_init__(self) -> None:
        """Hold the relation that pacing rests on."""
        assert 0 <= self.block_interval_ms_min <= self.idle_interval_ms, "busy is not slower"


Input = (
    Started
    | TimerFired
    | TransactionsPending
    | PacingChanged
    | BlockBuilt
    | BlockExecuted
    | VoteSigned
)
