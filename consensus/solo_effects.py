"""Everything that consensus may ask for: values, carried out in order by whoever drives it."""

from dataclasses import dataclass

from state.crypto import Tag
from state.finality import Finalization, Header, Proposal
from state.types import Hash


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send TimerFired at `at_ms`; a later SetTimer replaces this one."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Choose a body for the next height; answer with BlockBuilt."""

    height: int


@dataclass(frozen=True, slots=True)
class ExecuteBlock:
    """Execute the body that was built under this header; answer with BlockExecuted."""

    header: Header
    block_id: Hash


@dataclass(frozen=True, slots=True)
class SignVote:
    """Let the guarded signer sign a vote of this kind; answer with VoteSigned."""

    kind: Tag
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """Make an executed block final: one durable write, then tell subscribers."""

    header: Header
    block_id: Hash
    finalization: Finalization


Effect = SetTimer | BuildBlock | ExecuteBlock | SignVote | CommitBlock
