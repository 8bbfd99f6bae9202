"""Block sync, sans-I/O: what to ask whom, what to believe, and which block comes next.

Epoch by epoch (settled 7): first a finalization by the set that this node knows, that of the
epoch's last block or, in the last epoch, the highest that anybody shows; then the headers down to
the tip, each under the hash that its child names; then the blocks upwards, from many peers at
once, each held against its header. What peers claim of their heights decides whom to ask, no more.

The next epoch's set is known an epoch ahead, so once every block of an epoch is asked for, the next
epoch is gone into as well: otherwise short epochs would wait for the peers at each of these steps.
"""

from collections import deque
from collections.abc import Callable
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
)
from node.sync.descent import Place
from node.sync.effects import Accuse, Ask, Begin, Check, Descend, Effect, End, KeepLink, Lack
from node.sync.errors import Unfit
from node.sync.finals import Finals
from node.sync.leg import CLOSE_HEIGHTS, Leg, Search, Stage
from node.sync.messages import (
    BlocksRequest,
    FinalAnswer,
    FinalRequest,
    HeadersRequest,
    LinkRequest,
    SyncRequest,
)
from node.sync.questions import Asked
from node.sync.ranges import Range, Ranges
from node.sync.sources import Sources
from state.errors import InvalidBlock
from state.finality import Header, Justify
from state.types import Hash

BEHIND_HEIGHTS: Final = 64
"""Whoever is further behind a verified finalization, or by more than an epoch, syncs."""
PROBE_MS: Final = 1_000
"""How often claims of being far ahead are looked into."""
PROBE_PEERS_MAX: Final = 8
"""Peers that are asked each time; those who are silent keep no others from it."""
ANSWER_MS: Final = 6_000
"""A question that is not answered by then is asked of another peer."""
LATE_MS: Final = 1_500
"""Headers and links that take longer are asked of another peer as well, each time."""
FINAL_PEERS_MAX: Final = 4
"""Peers that are asked for their best finalization at the same time, but for those who are late."""
SEEK_MS: Final = 250
"""How often so many are asked anew: who leaves at once and comes again gets no more questions."""
STALLED_MS: Final = 15_000
"""Without progress for so long, everybody is asked anew."""
CHECKED_BYTES_MAX: Final = 2**22
"""Bodies that were checked and wait for their execution; decoded they take ten times as much."""
CHECK_BYTES_MAX: Final = 2**20
CHECK_BLOCKS_MAX: Final = 64
"""Bodies that are checked in one go."""
_PROBE: Final = 0
"""The stage of questions that are asked while the engine runs."""


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
        self._finals = Finals(self._limit)
        self._stages = 0
        self._numbers = 0
        self._asked: dict[int, Asked] = {}
        self._checking: dict[int, Asked | None] = {}
        self._out: list[Effect] = []
        self._now_ms = 0
        self._progress_ms = 0
        self._stalls = 0
        """So often nobody has brought anything for too long, since somebody did."""
        self._lacking: set[bytes] = set()
        """Who has said since then that what comes next is not there."""
        self._probe_ms = 0
        self._legs: list[Leg] = []
        """The one that goes on and the one ahead of it; none while the engine runs."""
        self._ready: deque[ProvenBlock] = deque()
        self._tip: Tip | None = None
        self._info: EpochInfo | None = None

    # --- what happens -----------------------------------------------------------------------------

    def claimed(self, peer: bytes, epoch: int, height: int) -> None:
        """A peer says where it is: a hint, and no more."""
        self.sources.claimed(peer, epoch, height, self._now_ms)

    def gone(self, peer: bytes) -> None:
        """A peer is not connected any more; its questions fail by themselves."""
        self.sources.gone(peer)

    def answered(self, number: int, data: bytes, now_ms: int) -> None:
        """A peer has answered: its answer is checked beside the loop."""
        asked = self._asked.pop(number)
        self.sources.answered(asked.peer, len(data), now_ms - asked.at_ms, now_ms)
        job = self._job(asked, data)
        if job is not None:
            asked.size_bytes = len(data)
            self._checking[number] = asked
            self._out.append(Check(number, job))

    def failed(self, number: int, now_ms: int, *, is_missing: bool = False) -> None:
        """A question was refused, or nobody answered it; `is_missing`: the peer has it not."""
        asked = self._asked.pop(number)
        if is_missing and self.stage is not Stage.FINAL and self._leg_of(asked) in self._legs[:1]:
            self._lacking.add(asked.peer)
        self.sources.failed(asked.peer, now_ms)
        if is_missing and asked.above:
            self.sources.fell_short(asked.peer, now_ms)
        if asked.part is not None:
            Ranges.failed(asked.part, asked.peer)

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
        elif isinstance(found, FinalAnswer):
            self._shown(asked, found)
        elif (leg := self._leg_of(asked)) is not None:
            self._take(leg, asked, found)

    def committed(self, tip: Tip, info: EpochInfo) -> None:
        """The block that `ready` gave is final here."""
        self._tip, self._info = tip, info
        self._progress()
        leg = self._legs[0]
        if not leg.descent.reached(Place.of(tip)):
            return
        if not leg.descent.is_done:
            self._enter(leg, Stage.HEADERS)
            return
        del self._legs[0]
        if self._legs:
            self._out += self._legs[0].kept
            if self._legs[0].search.best is None:
                self._legs[0].search = Search()  # others may have come to it meanwhile
        else:
            self._begin_leg()

    def ready(self) -> ProvenBlock | None:
        """Return the next block, its body checked; `committed` must follow before the next call."""
        return self._ready.popleft() if self._ready else None

    def poll(self, now_ms: int, tip: Tip, info: EpochInfo) -> list[Effect]:
        """Let time pass, over the tip as it is now; return what is to be done."""
        self._now_ms, self._tip, self._info = now_ms, tip, info
        if not self._legs:
            self._probe()
        elif self._legs[0].base.height < tip.header.height and self.stage is Stage.FINAL:
            self._legs.clear()  # the engine had something to commit before it stopped
            self._begin_leg()
        for leg in tuple(self._legs):
            self._go_on(leg)
        self._look_ahead()
        self._check_bodies()
        if self._legs and now_ms - self._progress_ms >= STALLED_MS:
            self._stalled()
        out, self._out = self._out, []
        return out

    @property
    def stage(self) -> Stage:
        """What is being done."""
        return self._legs[0].stage if self._legs else Stage.IDLE

    @property
    def is_syncing(self) -> bool:
        """Whether the engine is to stand still."""
        return bool(self._legs)

    @property
    def target(self) -> int:
        """The height of the highest verified finalization."""
        return self._finals.target

    @property
    def is_waiting(self) -> bool:
        """Whether questions or checks are under way."""
        return bool(self._asked or self._checking)

    # --- asking and judging -----------------------------------------------------------------------

    def _ask(
        self,
        peer: bytes,
        request: SyncRequest,
        leg: Leg | None = None,
        part: Range | None = None,
        above: int = 0,
    ) -> None:
        self._numbers += 1
        stage = _PROBE if leg is None else leg.number
        self._asked[self._numbers] = Asked(stage, peer, request, self._now_ms, part, above)
        self.sources.asked(peer)
        self._out.append(Ask(self._numbers, peer, request, ANSWER_MS))

    def _leg_of(self, asked: Asked) -> Leg | None:
        """Return whose question this is, None when it comes too late."""
        return next((leg for leg in self._legs if leg.number == asked.stage), None)

    def _job(self, asked: Asked, data: bytes) -> Callable[[], object] | None:
        """Return how an answer is to be checked, None when nothing known can check it any more."""
        leg = self._leg_of(asked)
        match asked.request:
            case FinalRequest(epoch):  # whenever it comes: what is proven stays so
                if epoch not in self._epochs:
                    return None  # the engine went on meanwhile
                return partial(check_final, data, self._quorum(epoch))
            case HeadersRequest(block_id, count) if leg is not None:
                return partial(check_headers, data, block_id, count)
            case BlocksRequest() if leg is not None:
                assert asked.part is not None, "blocks are asked for by range"
                if asked.part.blocks is not None:
                    return None  # another peer's came first, and may have shortened the range
                return partial(check_blocks, data, leg.ranges.ids(asked.part), leg.quorum)
            case LinkRequest() if leg is not None:
                assert leg.link is not None, "links are asked for from one on"
                return partial(check_link, data, leg.link)
        return None

    @property
    def _epochs(self) -> tuple[int, int]:
        """The epochs whose sets are known: this one and the next (settled 8)."""
        epoch = self._known[1].epoch
        return epoch, epoch + 1

    def _quorum(self, epoch: int) -> Quorum:
        info = self._known[1]
        members = info.validators if epoch == info.epoch else info.next_validators
        return Quorum(self._genesis_hash, self._epoch_blocks, epoch, members)

    def _accuse(self, asked: Asked, error: Unfit) -> None:
        if self.sources.lied(asked.peer, self._now_ms):
            self._out.append(Accuse(asked.peer, error.sentence))
        if asked.part is not None:
            Ranges.failed(asked.part, asked.peer)

    def _take(self, leg: Leg, asked: Asked, found: object) -> None:
        """Take what was found good, of a leg's present stage."""
        match found:
            case Justify():
                self.sources.proved(asked.peer, leg.descent.final.header.height)
                keep, stage = leg.take_link(found)
                self._say(leg, keep)
                self._enter(leg, stage)
            case (Header(), *_):
                assert isinstance(found, tuple), "headers"
                self.sources.proved(asked.peer, found[0].height)
                assert isinstance(asked.request, HeadersRequest), "headers were asked for"
                if len(found) < asked.request.count:
                    leg.brief.add(asked.peer)
                descend = leg.take_headers(found)
                if descend is not None:
                    self._say(leg, descend)
                self._enter(leg, Stage.HEADERS if descend is None else Stage.BLOCKS)
            case _:
                assert asked.part is not None and isinstance(found, tuple), "blocks of a range"
                self.sources.proved(asked.peer, asked.part.height + len(found) - 1)
                if leg.ranges.take(asked.part, found, asked.size_bytes):
                    self._progress()

    def _say(self, leg: Leg, effect: KeepLink | Descend) -> None:
        """Let an effect be carried out before the first block of its leg is."""
        (self._out if leg is self._legs[0] else leg.kept).append(effect)

    # --- legs -------------------------------------------------------------------------------------

    def _begin_leg(self) -> None:
        """Begin what follows on the tip."""
        tip, info = self._known
        self._add_leg(info.epoch, Place.of(tip))
        self._progress()

    def _add_leg(self, epoch: int, base: Place) -> None:
        leg = Leg(self._quorum(epoch), base, self._next_stage())
        self._legs.append(leg)
        final = self._finals.of(epoch)
        if final is not None:
            leg.take_final(final, self._now_ms)
            leg.search.heard_ms = None  # of this search nothing is heard

    def _look_ahead(self) -> None:
        """Begin the next epoch while the blocks of this one come: its set is known."""
        if len(self._legs) != 1 or self._finals.is_due(self._height, self._now_ms):
            return
        if (end := self._legs[0].end) is not None:
            epoch = self._legs[0].epoch + 1
            if epoch in self._epochs and self.sources.claimants(end.height):
                self._add_leg(epoch, end)

    def _go_on(self, leg: Leg) -> None:
        match leg.stage:
            case Stage.FINAL:
                self._seek(leg)
            case Stage.LINKS:
                assert leg.link is not None, "there is one to be had"
                height = leg.descent.final.header.height
                self._ask_again(leg, LinkRequest(leg.link.justify_hash), height)
            case Stage.HEADERS:
                self._ask_again(leg, *leg.descent.request())
            case Stage.BLOCKS:
                self._ask_blocks(leg)

    def _enter(self, leg: Leg, stage: Stage) -> None:
        """Begin a stage; what was asked in another one comes too late."""
        leg.stage = stage
        leg.number = self._next_stage()
        self._progress()

    def _next_stage(self) -> int:
        self._stages += 1
        return self._stages

    def _progress(self) -> None:
        self._progress_ms = self._now_ms
        self._stalls = 0
        self._lacking.clear()

    @property
    def is_stalled(self) -> bool:
        """Whether nobody has brought anything for too long."""
        return self._stalls > 0

    def _stalled(self) -> None:
        """Ask everybody anew; and say so when those who answer have not what comes next."""
        self._progress_ms = self._now_ms
        self._stalls += 1
        self.sources.wake()
        claimants = {*self.sources.claimants(self._height)}
        lacking = self._lacking & claimants
        if lacking and (lacking == claimants or self._stalls > 1):  # some may only be busy at first
            self._out.append(Lack(self._height + 1))

    @property
    def _known(self) -> tuple[Tip, EpochInfo]:
        assert self._tip is not None and self._info is not None, "polled before"
        return self._tip, self._info

    @property
    def _height(self) -> int:
        return self._known[0].header.height

    # --- a finalization ---------------------------------------------------------------------------

    def _probe(self) -> None:
        """Look into claims of being far ahead: only a verified finalization proves one."""
        if self._now_ms < self._probe_ms:
            return
        above = self._height + self._limit
        epoch = self._known[1].epoch
        besides = {one.peer for one in self._asked.values() if one.stage == _PROBE}
        for _ in range(PROBE_PEERS_MAX):
            peer = self.sources.seek(self._now_ms, above, besides)
            if peer is None:
                return
            besides.add(peer)
            self._probe_ms = self._now_ms + PROBE_MS
            claimed = self.sources.claim_of(peer)[0]
            self._ask(peer, FinalRequest(min(max(claimed, epoch), epoch + 1)), above=above)

    def _shown(self, asked: Asked, found: FinalAnswer) -> None:
        """Take a verified finalization, and note whether it is what its peer claimed to have."""
        height = found.header.height
        self._finals.take(found)
        if height > asked.above or height % self._epoch_blocks == 0:
            self.sources.proved(asked.peer, height)
        else:
            self.sources.fell_short(asked.peer, self._now_ms)
        for leg in self._legs:
            if leg.epoch == found.header.epoch and leg.stage is Stage.FINAL:
                leg.take_final(found, self._now_ms)
        if not self._legs and self._finals.is_behind(self._height):
            self._out.append(Begin(self.target))
            self._begin_leg()

    def _seek(self, leg: Leg) -> None:
        """Go for the best finalization of this epoch, ask for more, or end the sync."""
        asked = [one for one in self._asked.values() if one.request == FinalRequest(leg.epoch)]
        checked = [one for one in self._checking.values() if one and one.stage == leg.number]
        is_first = leg is self._legs[0]
        if is_first and self._finals.is_due(self._height, self._now_ms):
            self._end()
            return
        best = leg.choice(self._now_ms, is_waiting=bool(asked or checked))
        if best is not None:
            self._enter(leg, leg.go_for(best))
        elif is_first and self._finals.is_over(
            leg,
            self.sources,
            self._height,
            self._now_ms,
            {one.peer for one in (*asked, *checked)},
        ):
            self._end()
        elif leg.search.best is None and self._now_ms >= leg.search.next_ms:
            self._ask_final(leg, [one for one in asked if one.at_ms + LATE_MS > self._now_ms])

    def _ask_final(self, leg: Leg, prompt: list[Asked]) -> None:
        """Ask for a finalization of a leg's epoch, beside those who may still answer in time."""
        besides = {one.peer for one in prompt}
        above = leg.base.height + CLOSE_HEIGHTS
        for _ in range(FINAL_PEERS_MAX - len(prompt)):
            peer = self.sources.seek(self._now_ms, above, besides)
            if peer is None:
                return
            besides.add(peer)
            leg.search.asked.add(peer)
            leg.search.next_ms = self._now_ms + SEEK_MS
            self._ask(peer, FinalRequest(leg.epoch), leg, above=above)

    def _waiting(self, leg: Leg) -> int:
        """Count the questions of a leg's stage that are under way or whose answers are checked."""
        asked = [one for one in self._asked.values() if one.stage == leg.number]
        checked = [one for one in self._checking.values() if one and one.stage == leg.number]
        return len(asked) + len(checked)

    def _end(self) -> None:
        """Nobody proves more than the engine finds by itself."""
        self._legs.clear()
        self._finals.end()
        self._probe_ms = self._now_ms + PROBE_MS
        self._out.append(End())

    # --- links, headers, blocks -------------------------------------------------------------------

    def _ask_again(self, leg: Leg, request: SyncRequest, height: int) -> None:
        """Ask one peer that has this height, and another one whenever all who were are late."""
        mine = [one for one in self._asked.values() if one.stage == leg.number]
        is_checked = self._waiting(leg) > len(mine)
        if is_checked or any(one.at_ms + LATE_MS > self._now_ms for one in mine):
            return
        besides = {one.peer for one in mine}
        peer = self.sources.choose(self._now_ms, height - 1, besides | leg.brief)
        if peer is None:
            peer = self.sources.choose(self._now_ms, height - 1, besides)
        if peer is not None:
            self._ask(peer, request, leg)

    def _ask_blocks(self, leg: Leg) -> None:
        below = None if leg is self._legs[0] else self._legs[0].ranges
        is_end = below is None and len(self._legs) == 1
        while (part := leg.ranges.wanted(self._now_ms, below, is_end=is_end)) is not None:
            above = part.height + part.count - 1
            is_second = bool(part.askers)
            peer = self.sources.choose(self._now_ms, above - 1, part.askers, is_wary=is_second)
            if peer is None:
                return
            leg.ranges.asked(part, peer, self._now_ms)
            self._ask(peer, BlocksRequest(part.height, part.count), leg, part)

    def _check_bodies(self) -> None:
        """Let the next bodies be checked, while those before them are executed."""
        if None in self._checking.values():
            return
        if sum([one.size_bytes for one in self._ready]) >= CHECKED_BYTES_MAX:
            return
        leg = next((one for one in self._legs if not one.is_handed_on), None)
        if leg is None or leg.stage is not Stage.BLOCKS:
            return
        found = leg.pop(CHECK_BYTES_MAX, CHECK_BLOCKS_MAX)
        if found:
            self._numbers += 1
            self._checking[self._numbers] = None
            self._out.append(Check(self._numbers, partial(check_bodies, self._judge, found)))
