"""Block sync, sans-I/O: what to ask whom, what to believe, and which block comes next.

Epoch by epoch (settled 7): first a finalization by the set that this node knows, that of the
epoch's last block or, in the last epoch, the highest that anybody shows; then the headers down to
the tip, each under the hash that its child names; then the blocks upwards, from many peers at
once, each held against its header. What peers claim of their heights decides whom to ask, no more.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

from consensus.inputs import EpochInfo, Tip
from node.bodies import Bodies
from node.errors import ConsensusHalted
from node.sync.checks import (
    ProvenBlock,
    Quorum,
    check_blocks,
    check_bodies,
    check_final,
    check_headers,
    check_link,
    is_again,
)
from node.sync.descent import Descent, contradiction
from node.sync.effects import Accuse, Ask, Begin, Check, Descend, Effect, End, KeepLink
from node.sync.errors import Unfit
from node.sync.messages import (
    BlocksRequest,
    FinalAnswer,
    FinalRequest,
    HeadersRequest,
    LinkRequest,
    SyncRequest,
)
from node.sync.ranges import Range, Ranges
from node.sync.sources import Sources
from state.errors import InvalidBlock
from state.finality import Header, Justify, Proposal, boundary_height
from state.types import Hash

BEHIND_HEIGHTS: Final = 64
"""Whoever is further behind a verified finalization, or by more than an epoch, syncs."""
CLOSE_HEIGHTS: Final = 8
"""What the engine fetches by itself once the sync ends."""
PROBE_MS: Final = 1_000
"""How often claims of being far ahead are looked into."""
ANSWER_MS: Final = 6_000
"""A question that is not answered by then is asked of another peer."""
LATE_MS: Final = 1_500
"""Headers and links that take longer are asked of a second peer."""
FINAL_PEERS_MAX: Final = 4
"""Peers that are asked for their best finalization at the same time."""
SEEK_ROUNDS: Final = 3
"""So often everybody who claims more is asked for a finalization before the sync ends."""
FINAL_WAIT_MS: Final = 1_000
"""After the first finalization, better ones are waited for so long."""
STALLED_MS: Final = 15_000
"""Without progress for so long, everybody is asked anew."""
CHECKED_BYTES_MAX: Final = 2**22
"""Bodies that were checked and wait for their execution; decoded they take ten times as much."""
CHECK_BYTES_MAX: Final = 2**20
CHECK_BLOCKS_MAX: Final = 64
"""Bodies that are checked in one go."""


class Stage(Enum):
    """What is being done."""

    IDLE = "the engine runs"
    FINAL = "a finalization is looked for"
    LINKS = "it is of a boundary that was proposed again: why"
    HEADERS = "headers come down to the tip"
    BLOCKS = "blocks come up from the tip"


@dataclass(slots=True)
class _Asked:
    """A question under way, or its answer while it is checked."""

    stage: int
    """The number of the stage that asked it."""
    peer: bytes
    request: SyncRequest
    at_ms: int
    part: Range | None = None
    size_bytes: int = 0
    """The length of the answer."""


@dataclass(slots=True)
class _Search:
    """A round of asking for finalizations."""

    asked: set[bytes] = field(default_factory=set)
    rounds: int = 1
    best: FinalAnswer | None = None
    since_ms: int = 0


class BlockSync:
    """The state of one node's sync; feed it, then `poll`, then take blocks with `ready`."""

    def __init__(
        self,
        genesis_hash: Hash,
        epoch_blocks: int,
        judge: Bodies,
        behind_heights: int = BEHIND_HEIGHTS,
    ) -> None:
        self._limit = min(behind_heights, epoch_blocks)
        self._genesis_hash = genesis_hash
        self._epoch_blocks = epoch_blocks
        self._judge = judge
        self.sources = Sources()
        self.stage = Stage.IDLE
        self.target = 0
        """The height of the highest verified finalization."""
        self.is_stalled = False
        """Whether nobody has brought anything for too long."""
        self._stages = 0
        self._numbers = 0
        self._asked: dict[int, _Asked] = {}
        self._checking: dict[int, _Asked | None] = {}
        self._out: list[Effect] = []
        self._now_ms = 0
        self._progress_ms = 0
        self._probed: set[bytes] = set()
        self._probe_ms = 0
        self._search = _Search()
        self._descent: Descent | None = None
        self._link: Proposal | None = None
        self._ranges = Ranges(1, ())
        self._ready: deque[ProvenBlock] = deque()
        self._tip: Tip | None = None
        self._info: EpochInfo | None = None

    # --- what happens -----------------------------------------------------------------------------

    def claimed(self, peer: bytes, epoch: int, height: int) -> None:
        """A peer says where it is: a hint, and no more."""
        self.sources.claimed(peer, epoch, height)

    def gone(self, peer: bytes) -> None:
        """A peer is not connected any more; its questions fail by themselves."""
        self.sources.gone(peer)

    def answered(self, number: int, data: bytes, now_ms: int) -> None:
        """A peer has answered: its answer is checked beside the loop."""
        asked = self._asked.pop(number)
        self.sources.answered(asked.peer, len(data), now_ms - asked.at_ms, now_ms)
        job = self._job(asked, data) if asked.stage == self._stages else None
        if job is not None:
            asked.size_bytes = len(data)
            self._checking[number] = asked
            self._out.append(Check(number, job))

    def failed(self, number: int, now_ms: int) -> None:
        """A question was refused, or nobody answered it."""
        asked = self._asked.pop(number)
        self.sources.failed(asked.peer, now_ms)
        if asked.part is not None:
            self._ranges.failed(asked.part, asked.peer)

    def checked(self, number: int, found: object, now_ms: int) -> None:
        """A check has ended, with what it found or the error that it raised."""
        asked = self._checking.pop(number)
        self._now_ms = now_ms
        if isinstance(found, InvalidBlock):
            raise ConsensusHalted(
                f"A final block breaks the rules of this node: {found.sentence} Keep this home as "
                "it is, and compare its version with that of other validators."
            )
        if asked is None:
            assert isinstance(found, tuple), "bodies were checked"
            self._ready.extend(found)
        elif isinstance(found, Unfit):
            self._accuse(asked, found)
        elif self.stage is Stage.IDLE:
            self._probed_final(asked, found)
        elif asked.stage == self._stages:
            self._take(asked, found)

    def committed(self, tip: Tip, info: EpochInfo) -> None:
        """The block that `ready` gave is final here."""
        self._tip, self._info = tip, info
        self._progress()
        descent = self._way
        if not descent.reached(tip):
            return
        if descent.is_done:
            self._search = _Search()
            self._enter(Stage.FINAL)
        else:
            self._enter(Stage.HEADERS)

    def ready(self) -> ProvenBlock | None:
        """Return the next block, its body checked; `committed` must follow before the next call."""
        return self._ready.popleft() if self._ready else None

    def poll(self, now_ms: int, tip: Tip, info: EpochInfo) -> list[Effect]:
        """Let time pass, over the tip as it is now; return what is to be done."""
        self._now_ms, self._tip, self._info = now_ms, tip, info
        match self.stage:
            case Stage.IDLE:
                self._probe()
            case Stage.FINAL:
                self._seek()
            case Stage.LINKS:
                self._ask_link()
            case Stage.HEADERS:
                self._ask_headers()
            case Stage.BLOCKS:
                self._check_bodies()
                self._ask_blocks()
        if self.stage is not Stage.IDLE and now_ms - self._progress_ms >= STALLED_MS:
            self._progress_ms = now_ms
            self.is_stalled = True
            self.sources.wake()
        out, self._out = self._out, []
        return out

    @property
    def is_syncing(self) -> bool:
        """Whether the engine is to stand still."""
        return self.stage is not Stage.IDLE

    @property
    def is_waiting(self) -> bool:
        """Whether questions or checks are under way."""
        return bool(self._asked or self._checking)

    # --- asking and judging -----------------------------------------------------------------------

    def _ask(self, peer: bytes, request: SyncRequest, part: Range | None = None) -> None:
        self._numbers += 1
        self._asked[self._numbers] = _Asked(self._stages, peer, request, self._now_ms, part)
        self.sources.asked(peer)
        self._out.append(Ask(self._numbers, peer, request, ANSWER_MS))

    def _job(self, asked: _Asked, data: bytes) -> Callable[[], object] | None:
        """Return how an answer is to be checked, None when nothing known can check it any more."""
        match asked.request:
            case FinalRequest(epoch):
                if epoch < self._known[1].epoch:
                    return None  # the engine went on meanwhile
                return partial(check_final, data, self._quorum(epoch))
            case HeadersRequest(block_id, count):
                return partial(check_headers, data, block_id, count)
            case BlocksRequest():
                assert asked.part is not None, "blocks are asked for by range"
                ids = self._ranges.ids(asked.part)[: asked.request.count]
                return partial(check_blocks, data, ids, self._quorum(self._known[1].epoch))
            case LinkRequest():
                assert self._link is not None, "links are asked for from one on"
                return partial(check_link, data, self._link)

    def _quorum(self, epoch: int) -> Quorum:
        """Return the set of this epoch, or of the next one, which is fixed as well (settled 8)."""
        info = self._known[1]
        members = info.validators if epoch == info.epoch else info.next_validators
        return Quorum(self._genesis_hash, self._epoch_blocks, epoch, members)

    def _accuse(self, asked: _Asked, error: Unfit) -> None:
        self.sources.lied(asked.peer)
        self._out.append(Accuse(asked.peer, error.sentence))
        if asked.part is not None and asked.stage == self._stages:
            self._ranges.failed(asked.part, asked.peer)

    def _take(self, asked: _Asked, found: object) -> None:
        """Take what was found good, of the present stage."""
        match found:
            case FinalAnswer():
                self.sources.proved(asked.peer, found.header.height)
                self._take_final(found)
            case Justify():
                self._take_link(found)
            case (Header(), *_):
                assert isinstance(found, tuple), "headers"
                self._take_headers(found)
            case _:
                assert asked.part is not None and isinstance(found, tuple), "blocks of a range"
                if self._ranges.take(asked.part, found, asked.size_bytes):
                    self._progress()

    def _enter(self, stage: Stage) -> None:
        """Begin a stage; what was asked in another one comes too late."""
        self.stage = stage
        self._stages += 1
        self._progress()

    def _progress(self) -> None:
        self._progress_ms = self._now_ms
        self.is_stalled = False

    @property
    def _known(self) -> tuple[Tip, EpochInfo]:
        assert self._tip is not None and self._info is not None, "polled before"
        return self._tip, self._info

    @property
    def _way(self) -> Descent:
        assert self._descent is not None, "a finalization was found"
        return self._descent

    @property
    def _height(self) -> int:
        return self._known[0].header.height

    # --- a finalization ---------------------------------------------------------------------------

    def _probe(self) -> None:
        """Look into a claim of being far ahead: only a verified finalization proves it."""
        if self._asked or self._checking or self._now_ms < self._probe_ms:
            return
        above = self._height + self._limit
        peer = self.sources.choose(self._now_ms, above, self._probed)
        if peer is None:
            self._probed.clear()
            return
        self._probed.add(peer)
        self._probe_ms = self._now_ms + PROBE_MS
        epoch = self._known[1].epoch
        claimed = self.sources.claim_of(peer)[0]
        self._ask(peer, FinalRequest(min(max(claimed, epoch), epoch + 1)))

    def _probed_final(self, asked: _Asked, found: object) -> None:
        if not isinstance(found, FinalAnswer):
            return  # what was asked while the sync before went on
        self.target = max(self.target, found.header.height)
        if found.header.height - self._height > self._limit:
            self.sources.proved(asked.peer, found.header.height)
            self._out.append(Begin(found.header.height))
            self._enter(Stage.FINAL)
            self._search = _Search()
        else:
            self.sources.failed(asked.peer, self._now_ms)  # it claimed more than it can show

    def _seek(self) -> None:
        """Ask some peers for a finalization of this epoch, and go for the best one."""
        search = self._search
        waiting = [one for one in self._asked.values() if one.stage == self._stages]
        waiting += [one for one in self._checking.values() if one and one.stage == self._stages]
        best = search.best
        if best is not None:
            is_last = best.header.height == boundary_height(best.header.epoch, self._epoch_blocks)
            if is_last or not waiting or self._now_ms >= search.since_ms + FINAL_WAIT_MS:
                self._go_for(best)
                return
        above = self._height + CLOSE_HEIGHTS
        claimants = self.sources.claimants(above)
        if not waiting and all(peer in search.asked for peer in claimants):
            is_behind = self.target - self._height > self._limit
            if not is_behind and (not claimants or search.rounds == SEEK_ROUNDS):
                self._end()
                return
            search.rounds = min(search.rounds + 1, SEEK_ROUNDS)
            search.asked.clear()
        while best is None and len(waiting) < FINAL_PEERS_MAX:
            peer = self.sources.choose(self._now_ms, above, search.asked)
            if peer is None:
                return
            search.asked.add(peer)
            self._ask(peer, FinalRequest(self._known[1].epoch))
            waiting.append(self._asked[self._numbers])

    def _end(self) -> None:
        """Nobody proves more than the engine finds by itself."""
        self._enter(Stage.IDLE)
        self._probe_ms = self._now_ms + PROBE_MS
        self._out.append(End())

    def _take_final(self, found: FinalAnswer) -> None:
        height = found.header.height
        self.target = max(self.target, height)
        best = self._search.best
        if height <= self._height + CLOSE_HEIGHTS and not self._is_last(height):
            return
        if best is None:
            self._search.since_ms = self._now_ms
        if best is None or height > best.header.height:
            self._search.best = found

    def _is_last(self, height: int) -> bool:
        """Whether this is the end of the epoch that goes on."""
        return height == boundary_height(self._known[1].epoch, self._epoch_blocks) > self._height

    def _go_for(self, final: FinalAnswer) -> None:
        self._descent = Descent(final, self._known[0])
        subject = final.finalization.subject
        if subject.view == final.header.view:
            self._enter(Stage.HEADERS)
        else:
            self._link = subject
            self._enter(Stage.LINKS)

    # --- links and headers ------------------------------------------------------------------------

    def _ask_again(self, request: SyncRequest, height: int) -> None:
        """Ask one peer that has this height, and another one when the first is late."""
        mine = [one for one in self._asked.values() if one.stage == self._stages]
        is_checked = any(one and one.stage == self._stages for one in self._checking.values())
        is_late = len(mine) == 1 and mine[0].at_ms + LATE_MS <= self._now_ms
        if is_checked or (mine and not is_late):
            return
        peer = self.sources.choose(self._now_ms, height - 1, [one.peer for one in mine])
        if peer is not None:
            self._ask(peer, request)

    def _ask_link(self) -> None:
        assert self._link is not None, "there is one to be had"
        height = self._way.final.header.height
        self._ask_again(LinkRequest(self._link.justify_hash), height)

    def _take_link(self, justify: Justify) -> None:
        """Go on from a proposal to the one whose certificate let it be made (settled 4)."""
        proposal, parent = self._link, justify.parent
        assert proposal is not None, "it was asked for"
        if not is_again(proposal, justify) or parent is None:
            raise contradiction("a boundary was proposed again without a certificate")
        self._out.append(KeepLink(proposal, justify))
        if parent.subject.view == self._way.final.header.view:
            self._link = None
            self._enter(Stage.HEADERS)
        else:
            self._link = parent.subject
            self._enter(Stage.LINKS)

    def _ask_headers(self) -> None:
        self._ask_again(*self._way.request())

    def _take_headers(self, headers: Sequence[Header]) -> None:
        descent = self._way
        if descent.take(headers):
            self._ranges = Ranges(descent.first, descent.ids)
            subject = descent.final.finalization.subject
            self._out.append(Descend(subject.epoch, subject.view))
            self._enter(Stage.BLOCKS)
        else:
            self._enter(Stage.HEADERS)

    # --- blocks -----------------------------------------------------------------------------------

    def _ask_blocks(self) -> None:
        while (part := self._ranges.wanted(self._now_ms)) is not None:
            above = part.height + part.count - 1
            peer = self.sources.choose(self._now_ms, above - 1, part.askers)
            if peer is None:
                return
            self._ranges.asked(part, peer, self._now_ms)
            self._ask(peer, BlocksRequest(part.height, part.count), part)

    def _check_bodies(self) -> None:
        """Let the next bodies be checked, while those before them are executed."""
        if None in self._checking.values():
            return
        if sum([one.size_bytes for one in self._ready]) >= CHECKED_BYTES_MAX:
            return
        found = self._ranges.pop(CHECK_BYTES_MAX, CHECK_BLOCKS_MAX)
        if not found:
            return
        last, final = found[-1], self._way.final.finalization
        if last.block_id == final.subject.block_id:
            found[-1] = ProvenBlock(last.block_id, last.block, final)
        self._numbers += 1
        self._checking[self._numbers] = None
        self._out.append(Check(self._numbers, partial(check_bodies, self._judge, found)))
