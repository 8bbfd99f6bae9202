"""A simulated node's final blocks: what its database holds, and what it can serve to others.

A commit is one atomic batch, so nothing of it is ever half there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.effects import CommitBlock, ExecuteBlock
from consensus.inputs import EpochInfo, Tip
from consensus.messages import Block
from node.sim.machine import Executed
from node.sim.rotas import Rotas
from state.finality import (
    Finalization,
    Header,
    Justify,
    ValidatorSet,
    boundary_height,
)
from state.types import Hash

CANDIDATES_MAX = 1_024


@dataclass
class Ledger:
    """Final blocks of one node, newest last, and the executed blocks that may become final."""

    rotas: Rotas
    members: Callable[[int], ValidatorSet]
    """The set of an epoch, as the node's application says."""
    epoch_blocks: int
    genesis: Tip
    tip: Tip = field(init=False)
    boundary: Tip = field(init=False)
    """The block before the present epoch's first."""
    boundaries: dict[int, Finalization] = field(default_factory=dict)
    justifies: dict[Hash, Justify] = field(default_factory=dict)
    _final: dict[Hash, Block] = field(default_factory=dict)
    _candidates: dict[Hash, tuple[Block, Executed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin at genesis."""
        self.tip = self.boundary = self.genesis

    @property
    def height(self) -> int:
        """The height of the last final block."""
        return self.tip.header.height

    def epoch_info(self) -> EpochInfo:
        """Return the epoch after the last final boundary, with its set and the one after it."""
        boundary = self.boundary
        epoch = 0 if boundary is self.genesis else boundary.header.epoch + 1
        self.rotas.begun(epoch)
        members = self.members
        previous = members(epoch - 1) if epoch else ()
        return EpochInfo(epoch, members(epoch), members(epoch + 1), boundary, previous)

    def executed(self, block: ExecuteBlock, done: Executed) -> None:
        """Remember a block that was executed here."""
        if len(self._candidates) >= CANDIDATES_MAX:
            low = self.height
            self._candidates = {
                key: kept for key, kept in self._candidates.items() if kept[0].header.height > low
            }
        whole = Block(block.header, block.justify, block.body)
        self._candidates[block.block_id] = (whole, done)

    def candidate(self, block_id: Hash) -> tuple[Header, Executed] | None:
        """Return a block that was executed and is not final, with what that gave, or None."""
        known = self._candidates.get(block_id)
        return None if known is None else (known[0].header, known[1])

    def commit(self, effect: CommitBlock) -> None:
        """Make an executed block final."""
        header: Header = effect.header
        assert header.parent_id == self.tip.block_id, "blocks become final in order"
        block, done = self._candidates.pop(effect.block_id)
        self._final[effect.block_id] = block
        self.justifies[header.justify_hash] = block.justify
        self.tip = Tip(
            header,
            effect.block_id,
            done.state_root,
            done.outcomes_root,
            done.changed,
            effect.finalization,
        )
        if header.height == boundary_height(header.epoch, self.epoch_blocks):
            assert effect.finalization is not None, "a boundary is final by itself (settled 7)"
            self.boundary = self.tip
            self.boundaries[header.epoch] = effect.finalization

    def restart(self) -> None:
        """Forget what a crash makes a node forget: the blocks that were executed and not final."""
        self._candidates.clear()

    def holds(self, block_id: Hash) -> bool:
        """Tell whether a block is final here, or genesis."""
        return block_id in self._final or block_id == self.genesis.block_id

    def blocks_from(self, block_id: Hash, count: int) -> tuple[Block, ...]:
        """Return a final block and ancestors of its epoch, newest first, as far as asked for.

        Whoever asks goes from epoch to epoch (settled 7), and has no use for an earlier one.
        """
        found: list[Block] = []
        while len(found) < count and (block := self._final.get(block_id)) is not None:
            if found and block.header.epoch != found[0].header.epoch:
                break
            found.append(block)
            block_id = block.header.parent_id
        return tuple(found)
