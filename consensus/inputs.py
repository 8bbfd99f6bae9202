"""Everything that may happen to consensus: one closed union of values, each valid by construction.

`now_ms` are milliseconds of the caller's monotonic clock; consensus has none of its own. A peer is
named by bytes that say nothing here but who it is: a validator by its public key, any other node by
whatever the caller likes.
"""

from dataclasses import dataclass

from consensus.journal import Record
from consensus.messages import Block, Message
from consensus.timeouts import Pacing
from state.crypto import Tag
from state.finality import Finalization, Header, Nullified, Proposal, SignedVote, ValidatorSet
from state.types import Hash, Signature

Peer = bytes


@dataclass(frozen=True, slots=True)
class Tip:
    """The last final block, what executing it gave, and why it is final (None at genesis).

    After a crash between the commits of several blocks at once it may have no finalization.
    """

    header: Header
    block_id: Hash
    state_root: Hash
    outcomes_root: Hash
    changed: bool
    """Whether the block did more than advance the height, so that its root must not wait."""
    finalization: Finalization | None


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """An epoch whose predecessor's boundary block is final (genesis for epoch 0)."""

    epoch: int
    validators: ValidatorSet
    next_validators: ValidatorSet
    boundary: Tip
    """The block before the epoch's first, by which its leaders are shuffled."""
    previous_validators: ValidatorSet = ()
    """The set that finalized the boundary; none before epoch 0."""


@dataclass(frozen=True, slots=True)
class Started:
    """The node has opened its store, journal and guard, and hands over what they hold.

    `records` is the journal in its order, `blocks` are the stored blocks above the tip, `guarded`
    the votes that the guard remembers. With `lost` set, journal or guard are not those of the last
    run: the node follows until it is safe to vote (consensus settled point 10), at once above
    `vote_after` when an operator gives it.
    """

    now_ms: int
    wall_ms: int
    epoch: EpochInfo
    tip: Tip
    records: tuple[Record, ...] = ()
    blocks: tuple[Block, ...] = ()
    guarded: tuple[SignedVote, ...] = ()
    lost: bool = False
    vote_after: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """Messages have come, each from a peer; the signatures of all are verified at once."""

    now_ms: int
    messages: tuple[tuple[Peer, Message], ...]


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time that was asked for has come, or a little later."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class ClockSet:
    """What the wall clock shows at a monotonic time; needed again only after it was adjusted."""

    now_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class TransactionsPending:
    """The mempool has become non-empty, or empty."""

    now_ms: int
    pending: bool


@dataclass(frozen=True, slots=True)
class PacingChanged:
    """The operator set another pace for blocks."""

    now_ms: int
    pacing: Pacing


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """The application has chosen a body for the view that asked, and what its header commits to.

    `time_ms` is wall-clock time; the header takes it unless its parent's is not below.
    """

    now_ms: int
    view: int
    time_ms: int
    body: bytes
    tx_root: Hash
    evidence_root: Hash
    params_hash: Hash


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """The application cannot build a block for the view that asked."""

    now_ms: int
    view: int


@dataclass(frozen=True, slots=True)
class BlockExecuted:
    """The application has executed a block over its parent, or found it invalid."""

    now_ms: int
    block_id: Hash
    is_valid: bool
    state_root: Hash
    outcomes_root: Hash
    changed: bool


@dataclass(frozen=True, slots=True)
class VoteSigned:
    """The signer has signed, and its guard remembers."""

    now_ms: int
    kind: Tag
    subject: Proposal | Nullified
    signature: Signature


@dataclass(frozen=True, slots=True)
class VoteRefused:
    """The guard refuses: the validator has already voted so that this vote may not be."""

    now_ms: int
    kind: Tag
    subject: Proposal | Nullified


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """The boundary block is committed: the answer to its CommitBlock."""

    now_ms: int
    epoch: EpochInfo


Input = (
    Started
    | Received
    | TimerFired
    | ClockSet
    | TransactionsPending
    | PacingChanged
    | BlockBuilt
    | BuildFailed
    | BlockExecuted
    | VoteSigned
    | VoteRefused
    | EpochBegun
)
