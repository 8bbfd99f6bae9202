"""What a driver is given once: who it is, on which network, and the pure functions it judges by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from consensus.timeouts import Pacing, Timeouts
from state.crypto import SignatureClaim
from state.finality import Header
from state.types import Hash, PublicKey


class Judgement(Enum):
    """What a body is to a header, by static rules alone."""

    FOREIGN = "foreign"
    """Not the body that the header commits to: whoever sent it is to blame."""
    INVALID = "invalid"
    """The body that the header commits to, and it breaks a rule: the leader is to blame."""
    VALID = "valid"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a node that does not change while it runs.

    `public_key` is None for a node that only follows. `verify` answers one verdict per claim.
    `judge_over_parent` tells of a header, its id and its body, whatever the state after the parent
    shows: it is asked once the parent was executed here, before a vote and before execution (R3),
    and rests on nothing else, so that it says the same at any time and on any node.
    """

    genesis_hash: Hash
    epoch_blocks: int
    public_key: PublicKey | None
    verify: Callable[[Sequence[SignatureClaim]], list[bool]]
    judge_body: Callable[[Header, bytes], Judgement]
    judge_over_parent: Callable[[Header, Hash, bytes], bool]
    timeouts: Timeouts
    pacing: Pacing
