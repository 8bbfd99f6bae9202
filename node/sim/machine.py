"""The application of a simulated node: what bodies are, and what executing them gives.

A counter's body is the height with a few bytes of chance, and its state root a hash over all bodies
so far, so two nodes agree on a root exactly when they executed the same blocks. The mempool is
never empty.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from consensus.effects import BuildBlock, CommitBlock, ExecuteBlock
from consensus.settings import Judgement
from state.crypto import Tag, hash_bytes
from state.finality import Evidence, Header, ValidatorSet, evidence_root
from state.types import Address, Hash

PARAMS_HASH = hash_bytes(Tag.PARAMS, b"simulation")
GENESIS_ROOT = hash_bytes(Tag.GENESIS, b"counter")
ROOTS_MAX = 4_096
"""Roots of blocks that never became final are forgotten when there are so many."""


@dataclass(frozen=True, slots=True)
class Built:
    """A body for the next block, and what its header commits to."""

    body: bytes
    tx_root: Hash
    evidence_root: Hash
    params_hash: Hash


@dataclass(frozen=True, slots=True)
class Executed:
    """What executing a block gave; an invalid one gives no roots."""

    is_valid: bool
    state_root: Hash = bytes(32)
    outcomes_root: Hash = bytes(32)
    changed: bool = True


class Machine(Protocol):
    """The state machine of one node, as its replica sees it."""

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validator set of an epoch that is fixed here."""
        ...

    def build(self, wanted: BuildBlock, salt: bytes) -> Built:
        """Choose a body over a block that was executed here; `salt` makes it unlike others."""
        ...

    def rival(self, header: Header, salt: bytes) -> Built:
        """Return another body that would fit the same header; only a Byzantine leader asks."""
        ...

    def judge(self, header: Header, body: bytes) -> Judgement:
        """Tell what a body is to a header, by static rules alone."""
        ...

    def judge_over_parent(self, header: Header, block_id: Hash, body: bytes) -> bool:
        """Tell whether a block may be executed over its parent, which was."""
        ...

    def execute(self, block: ExecuteBlock) -> Executed:
        """Execute a block over its parent."""
        ...

    def found(self, evidence: Evidence) -> None:
        """Keep evidence that consensus found, to put it into a block."""
        ...

    def commit(self, effect: CommitBlock) -> None:
        """Make an executed block final and durable; may raise AssertionError for an invariant."""
        ...

    def punished(self) -> list[Address]:
        """Return the accounts of validators that the application has punished for an offence."""
        ...

    def restart(self) -> None:
        """Forget whatever a crash makes a node forget."""
        ...


class Counter:
    """The application of `--app none`."""

    def __init__(self, genesis_id: Hash, members: Callable[[int], ValidatorSet]) -> None:
        self._final_id = genesis_id
        self._roots: dict[Hash, Hash] = {genesis_id: GENESIS_ROOT}
        self._members = members

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validator set of an epoch: a counter follows the schedule."""
        return self._members(epoch)

    def build(self, wanted: BuildBlock, salt: bytes) -> Built:
        """Choose a body over a block that was executed here."""
        assert wanted.parent_id in self._roots, "a parent is executed before one builds on it"
        return self._built(wanted.height, salt)

    def rival(self, header: Header, salt: bytes) -> Built:
        """Return another body that would fit the same header."""
        return self._built(header.height, salt)

    def _built(self, height: int, salt: bytes) -> Built:
        body = height.to_bytes(8, "big") + salt
        return Built(body, body_root(body), evidence_root(()), PARAMS_HASH)

    def judge(self, header: Header, body: bytes) -> Judgement:
        """A body is the header's own, and begins with its height."""
        if (body_root(body), evidence_root(())) != (header.tx_root, header.evidence_root):
            return Judgement.FOREIGN
        fits = len(body) >= 8 and int.from_bytes(body[:8], "big") == header.height
        return Judgement.VALID if fits else Judgement.INVALID

    def judge_over_parent(self, header: Header, block_id: Hash, body: bytes) -> bool:
        """Parameters never change; a parent is executed before its child."""
        return header.params_hash == PARAMS_HASH and header.state_root == self._roots.get(
            header.parent_id
        )

    def execute(self, block: ExecuteBlock) -> Executed:
        """Hash the body onto the root of its parent."""
        parent = self._roots.get(block.header.parent_id)
        assert parent is not None, "a parent is executed before its child"
        if not self.judge_over_parent(block.header, block.block_id, block.body):
            return Executed(False)
        root = hash_bytes(Tag.HEADER, parent + block.body)
        self._roots[block.block_id] = root
        return Executed(True, root)

    def found(self, evidence: Evidence) -> None:
        """Keep nothing: a counter punishes nobody."""

    def commit(self, effect: CommitBlock) -> None:
        """Make an executed block final; only what is not final can be forgotten."""
        header, block_id = effect.header, effect.block_id
        assert header.parent_id == self._final_id, "blocks become final in order"
        assert block_id in self._roots, "a block is executed before it is final"
        self._final_id = block_id
        self._roots.pop(header.parent_id)
        if len(self._roots) > ROOTS_MAX:
            self.restart()

    def punished(self) -> list[Address]:
        """Nobody is."""
        return []

    def restart(self) -> None:
        """Keep the final root only."""
        self._roots = {self._final_id: self._roots[self._final_id]}


def body_root(body: bytes) -> Hash:
    """Return the root by which a header commits to a body."""
    return hash_bytes(Tag.TX_ROOT, body)
