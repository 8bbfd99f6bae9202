"""Everything that consensus may ask for: values, carried out in order by whoever drives it.

What an effect makes durable must be durable before any later Send or CommitBlock is carried out,
and before the guard's own record of a later SignVote: so a step journals, signs, syncs each file
once, and only then sends (consensus settled points 1 and 11). Answers may come in the same step or
later; they are inputs like any other.
"""

from dataclasses import dataclass
from typing import Final

from consensus.inputs import Peer
from consensus.journal import Record
from consensus.messages import Block, Message
from state.crypto import Tag
from state.finality import Evidence, Finalization, Header, Justify, Nullified, Proposal
from state.types import Hash

ALL: Final[Peer] = b""
"""Every validator of the epoch but oneself, and whoever else listens."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to one peer, or to ALL."""

    to: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send TimerFired at `at_ms`; a later SetTimer replaces this one."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Choose a body for a block over this parent; answer with BlockBuilt or BuildFailed.

    `late` is the last direct finalization with every Finalize vote that is held by now: whoever
    stands in it took part (consensus settled point 12).
    """

    view: int
    height: int
    parent_id: Hash
    late: Finalization | None


@dataclass(frozen=True, slots=True)
class ExecuteBlock:
    """Execute a block over its parent, which was executed before; answer with BlockExecuted."""

    header: Header
    block_id: Hash
    justify: Justify
    body: bytes


@dataclass(frozen=True, slots=True)
class SignVote:
    """Let the guarded signer sign; answer with VoteSigned or VoteRefused."""

    kind: Tag
    subject: Proposal | Nullified


@dataclass(frozen=True, slots=True)
class Journal:
    """Append records to the journal."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class StoreBlock:
    """Keep a block that is not final yet, whole, so that a crash does not lose it."""

    block_id: Hash
    block: Block


@dataclass(frozen=True, slots=True)
class StoreLink:
    """Keep a certified proposal and its justification for the evidence window (settled point 4)."""

    proposal: Proposal
    justify: Justify


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """Make an executed block final: one durable write, then tell subscribers.

    A block that becomes final with its descendant has no finalization of its own. After an epoch's
    boundary block the answer is EpochBegun.
    """

    header: Header
    block_id: Hash
    finalization: Finalization | None


@dataclass(frozen=True, slots=True)
class RaiseFloor:
    """Nothing of a round up to this one is needed any more from journal, guard or stored blocks."""

    epoch: int
    view: int


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """A validator has broken the rules, and this proves it: put it on the chain."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Blame:
    """A peer has sent what no honest node sends, and nothing more of it need be looked at."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class ServeBlocks:
    """Send final blocks that are asked for: `block_id` and ancestors, at most `count` in all."""

    to: Peer
    block_id: Hash
    count: int


@dataclass(frozen=True, slots=True)
class ServeBoundary:
    """Send the finalization of an epoch's boundary block."""

    to: Peer
    epoch: int


@dataclass(frozen=True, slots=True)
class ServeJustify:
    """Send a justification that was kept with StoreLink, or that of a final block."""

    to: Peer
    justify_hash: Hash


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop and keep everything: going on would contradict what is final."""

    reason: str


Effect = (
    Send
    | SetTimer
    | BuildBlock
    | ExecuteBlock
    | SignVote
    | Journal
    | StoreBlock
    | StoreLink
    | CommitBlock
    | RaiseFloor
    | EvidenceFound
    | Blame
    | ServeBlocks
    | ServeBoundary
    | ServeJustify
    | Halt
)
