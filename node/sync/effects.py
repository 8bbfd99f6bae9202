"""What block sync asks of whoever drives it: values, carried out in order."""

from collections.abc import Callable
from dataclasses import dataclass

from node.sync.messages import SyncRequest
from state.finality import Justify, Proposal


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a peer; hand the answer to `answered` under this number, or call `failed`."""

    number: int
    peer: bytes
    request: SyncRequest
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Check:
    """Run a pure function beside the event loop; hand what it returned or raised to `checked`.

    It raises Unfit for what no honest peer gives, InvalidBlock for what a quorum made final against
    the rules.
    """

    number: int
    job: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Accuse:
    """A peer gave what no honest peer gives: it is proven, and it is not asked for long."""

    peer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class KeepLink:
    """Keep why a boundary was proposed again, with the next block (settled point 4)."""

    proposal: Proposal
    justify: Justify


@dataclass(frozen=True, slots=True)
class Begin:
    """This node is far behind a verified finalization: stop the engine, the blocks come now."""

    height: int


@dataclass(frozen=True, slots=True)
class Descend:
    """Everything up to this round is proven final, and stands on the tip; its blocks follow."""

    epoch: int
    view: int


@dataclass(frozen=True, slots=True)
class End:
    """What is missing now is little: start an engine from the tip."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Nobody brings the block of this height: those who were asked have pruned it."""

    height: int


Effect = Ask | Check | Accuse | KeepLink | Begin | Descend | End | Lack
