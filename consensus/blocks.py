"""The blocks above the last final one: which are held, whether they are valid, what they gave.

A block is judged once its parent was executed: then the roots in its header can be compared with
what execution gave (consensus 2.9), and the application can say what the state shows of it (R3).
Its justification's signatures were verified before it came.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum

from consensus.inputs import Tip
from consensus.links import justifies, normal_proposal
from consensus.messages import Block
from consensus.settings import Judgement
from consensus.validators import Validators
from state.finality import Header, Proposal, boundary_height, fits, justify_hash
from state.types import Hash


class Standing(Enum):
    """How far a block has come."""

    WAITING = "its parent is missing or not executed"
    SOUND = "it may stand on its parent; execution was asked for"
    VALID = "it was executed"
    INVALID = "it or an ancestor breaks a rule"


@dataclass(slots=True)
class Entry:
    """A block and how far it has come; the tip's entry holds no block."""

    header: Header
    block: Block | None
    standing: Standing
    state_root: Hash = b""
    outcomes_root: Hash = b""
    changed: bool = False
    is_stored: bool = False
    children: list[Hash] = field(default_factory=list)


class Blocks:
    """A tree of blocks that grows from the tip of one epoch's chain."""

    def __init__(
        self,
        tip: Tip,
        epoch_blocks: int,
        judge_over_parent: Callable[[Header, Hash, bytes], bool],
    ) -> None:
        self._epoch_blocks = epoch_blocks
        self._judge_over_parent = judge_over_parent
        self._entries: dict[Hash, Entry] = {}
        self._orphans: dict[Hash, list[Hash]] = {}
        self.tip_id = tip.block_id
        self._entries[tip.block_id] = Entry(
            tip.header,
            None,
            Standing.VALID,
            tip.state_root,
            tip.outcomes_root,
            tip.changed,
            is_stored=True,
        )

    def get(self, block_id: Hash) -> Entry | None:
        """Return a block above the tip, or the tip, or None."""
        return self._entries.get(block_id)

    @property
    def tip(self) -> Entry:
        """The last final block."""
        return self._entries[self.tip_id]

    def missing_max(self, proposal: Proposal) -> int:
        """Return how many blocks may be missing, from one that is not held down: one at least.

        Under a block that is held, as many as there are heights down to the tip. Otherwise, and
        blocks are no more than views, as there are views since the highest block that is held.
        """
        children = self._orphans.get(proposal.block_id)
        if children:
            height = self._entries[children[0]].header.height
            return max(1, height - 1 - self.tip.header.height)
        headers = [entry.header for entry in self._entries.values()]
        views = [one.view for one in headers if one.epoch == proposal.epoch]
        return proposal.view - max([one for one in views if one < proposal.view], default=0)

    def __len__(self) -> int:
        """Return how many blocks are held above the tip."""
        return len(self._entries) - 1

    def add(self, block_id: Hash, block: Block, judgement: Judgement) -> bool:
        """Take in a block under its id; tell whether it is new and above the tip."""
        header = block.header
        if block_id in self._entries or header.height <= self.tip.header.height:
            return False
        standing = Standing.WAITING if judgement is Judgement.VALID else Standing.INVALID
        self._entries[block_id] = Entry(header, block, standing)
        self._entries[block_id].children = self._orphans.pop(block_id, [])
        parent = self._entries.get(header.parent_id)
        siblings = (
            parent.children
            if parent is not None
            else self._orphans.setdefault(header.parent_id, [])
        )
        siblings.append(block_id)
        return True

    def advance(self, block_id: Hash, validators: Validators, next_hash: Hash) -> list[Hash]:
        """Judge a block, and what stands on it, as far as its parent allows; return what to run."""
        runnable: list[Hash] = []
        waiting = [block_id]
        while waiting:
            at = waiting.pop()
            entry = self._entries[at]
            parent = self._entries.get(entry.header.parent_id)
            if parent is None or entry.block is None:
                continue
            if parent.standing is Standing.INVALID:
                entry.standing = Standing.INVALID
            elif entry.standing is Standing.WAITING and parent.standing is Standing.VALID:
                sound = self._is_sound(at, entry.block, parent, validators, next_hash)
                entry.standing = Standing.SOUND if sound else Standing.INVALID
                if sound:
                    runnable.append(at)
            if entry.standing in (Standing.INVALID, Standing.VALID):
                waiting.extend(entry.children)
        return runnable

    def _is_sound(
        self,
        block_id: Hash,
        block: Block,
        parent: Entry,
        validators: Validators,
        next_hash: Hash,
    ) -> bool:
        """Tell whether a block may stand on its parent (R2, R3, settled 9): nothing subjective.

        What is cheap comes first: the application is asked only for what nothing else refuses.
        """
        header = block.header
        proposal = normal_proposal(header, block_id)
        return (
            fits(proposal, header, self._epoch_blocks)
            and header.height == parent.header.height + 1
            and (header.parent_view == 0) == (parent.header.height == self._height_before(header))
            and header.time_ms > parent.header.time_ms
            and header.state_root == parent.state_root
            and header.outcomes_root == parent.outcomes_root
            and header.proposer == validators.leader_of(header.view).account
            and header.validators_hash == validators.hash
            and header.next_validators_hash == next_hash  # settled 8
            and header.justify_hash == justify_hash(block.justify)
            and justifies(block.justify, proposal, header.parent_id, header.epoch)
            and self._judge_over_parent(header, block_id, block.body)  # R3
        )

    def _height_before(self, header: Header) -> int:
        """Return the height of the block over which the header's epoch begins, which is view 0.

        Over genesis no certificate names the parent, so its height must (settled 5 and 9): else a
        leader could stand on a block that nobody has certified.
        """
        return boundary_height(header.epoch, self._epoch_blocks) - self._epoch_blocks

    def executed(
        self, block_id: Hash, *, is_valid: bool, roots: tuple[Hash, Hash], changed: bool
    ) -> None:
        """Note what executing a block gave."""
        entry = self._entries.get(block_id)
        if entry is None or entry.standing is not Standing.SOUND:
            return
        entry.standing = Standing.VALID if is_valid else Standing.INVALID
        entry.state_root, entry.outcomes_root = roots
        entry.changed = changed

    def path(self, block_id: Hash) -> tuple[list[Hash], Hash | None]:
        """Return the ids from above the tip up to a block, and the first id that is missing.

        Where the path passes the tip by, the missing id is the tip's own: a contradiction.
        """
        found: list[Hash] = []
        at = block_id
        while at != self.tip_id:
            entry = self._entries.get(at)
            if entry is None:
                return [], at
            found.append(at)
            if entry.header.height <= self.tip.header.height + 1:
                if entry.header.parent_id != self.tip_id:
                    return [], self.tip_id
                break
            at = entry.header.parent_id
        found.reverse()
        return found, None

    def finalize(self, block_id: Hash) -> None:
        """Make a block the tip and forget whatever cannot stand on it any more."""
        tip = self._entries[block_id]
        alive = self._below(block_id)
        dead = self._below(self.tip_id) - alive
        tip.block = None
        self.tip_id = block_id
        # What has not found its parent may still turn out to stand on the tip, if it is above it:
        # heights and views both grow along a chain, and heights by no more than views.
        for at, entry in self._entries.items():
            up = entry.header.height - tip.header.height
            if at not in alive and not 0 < up <= entry.header.view - tip.header.view:
                dead.add(at)
        self._drop(dead)

    def forget(self, certified: Collection[Hash], window: range) -> None:
        """Forget blocks of views outside `window` that nothing certified is or stands on.

        Every elected leader may send blocks that never become anything; should one be certified
        after all, it is asked for again (consensus 2.7: every buffer is bounded).
        """
        needed = {self.tip_id}
        for at in certified:
            while at not in needed and (entry := self._entries.get(at)) is not None:
                needed.add(at)
                at = entry.header.parent_id
        views = {at: entry.header.view for at, entry in self._entries.items()}
        self._drop({at for at, view in views.items() if at not in needed and view not in window})

    def _below(self, block_id: Hash) -> set[Hash]:
        """Return a block and everything that stands on it."""
        found: set[Hash] = set()
        waiting = [block_id]
        while waiting:
            at = waiting.pop()
            found.add(at)
            waiting.extend(self._entries[at].children)
        return found

    def _drop(self, dead: set[Hash]) -> None:
        """Forget blocks; children that stay wait for their parent as if it had never come."""
        if not dead:
            return
        for at in [one for one in self._entries if one in dead]:
            entry = self._entries.pop(at)
            if left := [one for one in entry.children if one not in dead]:
                self._orphans[at] = left
            parent = self._entries.get(entry.header.parent_id)
            if parent is not None:
                parent.children.remove(at)
        self._orphans = {
            parent: left
            for parent, ids in self._orphans.items()
            if (left := [one for one in ids if one in self._entries])
        }
