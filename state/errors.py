"""Errors that the state machine expects, in two families, each with a stable code and a sentence.

SaharaError                   whatever this project raises on purpose
├── Rejected                  a transaction or query asks for what the rules refuse; nothing changes
│   ├── Malformed             bytes or fields that no state could make right
│   └── (one leaf a reason, beside the module that raises it)
└── InvalidBlock              a peer's block breaks a static rule; the block is refused whole

Broken invariants are neither: they are our own bugs, and stop the chain (InvariantBroken).
"""

from typing import ClassVar


class SaharaError(Exception):
    """Whatever this project raises on purpose, with a stable machine code and a sentence."""

    code: ClassVar[str] = "sahara.error"

    @property
    def sentence(self) -> str:
        """What happened, what was expected, and what to do."""
        return " ".join(str(part) for part in self.args)


class Rejected(SaharaError):
    """A request that the rules refuse: it changes nothing, and its code says why."""

    code: ClassVar[str] = "rejected"


class Malformed(Rejected):
    """Bytes or fields that no state of the chain could make right."""

    code: ClassVar[str] = "codec.malformed"


class BoundExceeded(Rejected):
    """A row would leave the range that integers at rest are held to (markets 0a.16)."""

    code: ClassVar[str] = "state.bound_exceeded"


class NotFound(Rejected):
    """A query or transaction names something that the state does not hold."""

    code: ClassVar[str] = "state.not_found"


class InvalidBlock(SaharaError):
    """A block breaks a rule that depends on nothing but the block and its parent."""

    code: ClassVar[str] = "block.invalid"


class InvariantBroken(SaharaError):
    """The state contradicts itself: a bug of ours; the node halts and keeps what it has."""

    code: ClassVar[str] = "state.invariant_broken"
