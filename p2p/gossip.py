"""Gossip: tell ids, pull each thing once, forget in time; sans-I/O, time and chance passed in.

Whoever has something new tells its id; whoever lacks it asks one of those who told, and another one
when no answer comes. So a thing crosses each link at most once, and an id that nobody can deliver
costs a bounded number of questions. What an id means is the caller's business.
"""

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

PULL_TIMEOUT_MS: Final = 1_000
ATTEMPTS_MAX: Final = 3
"""Questions about one thing that stay without an answer: a teller may be slow, and the only one."""
PULL_BATCH_MAX: Final = 256
"""Ids in one question."""
TELLERS_MAX: Final = 8
"""Peers that are remembered as having one thing."""
WANTED_MAX: Final = 131_072
"""Things that may be wanted at once."""
WANTED_PER_PEER_MAX: Final = 65_536
"""Ids of one peer that may be waiting; what it tells beyond them is not heard."""
ASKED_PER_PEER_MAX: Final = 1_024
"""Things that one peer is asked for at once: as much as it can send before it seems silent."""
ASKED_OF_SILENT_MAX: Final = 256
"""The same for one that let the last question pass, until it brings something: a crowd that tells
what nobody has would be asked for thirty thousand things a second."""
FORGOTTEN_AT_ONCE_MAX: Final = 1_024
"""Ids of a peer that is gone that are forgotten in one go: it may have told many."""
UNKEPT_PER_VERDICT: Final = 256
"""A peer that was asked for so many things, and brought none of them, is named once."""
SEEN_SLOTS: Final = 262_144


class Seen:
    """Remembers ids, each until another one needs its slot.

    A table of the first 8 bytes of ids, which are hashes: 2 MiB from the start, however many ids
    come. An id is forgotten with a chance of one in `slots` for every id that comes after it; that
    one be taken for another takes 2**64 tries.
    """

    __slots__ = ("_mask", "_table")

    def __init__(self, slots: int = SEEN_SLOTS) -> None:
        assert slots > 0 and slots & (slots - 1) == 0, "a power of two"
        self._mask = slots - 1
        self._table = array("Q", bytes(8 * slots))
        self._table[0] = 1  # what belongs into slot 1: an id of zeros is not remembered unseen

    def add(self, thing: bytes) -> None:
        """Remember an id."""
        start = int.from_bytes(thing[:8], "big")
        self._table[start & self._mask] = start

    def __contains__(self, thing: bytes) -> bool:
        """Whether an id is remembered."""
        start = int.from_bytes(thing[:8], "big")
        return self._table[start & self._mask] == start


@dataclass(slots=True)
class _Want:
    """A thing that is wanted: who told of it and was not asked yet, and who was asked last.

    While nobody is asked, it waits in the queue of one of its tellers.
    """

    tellers: list[bytes] = field(default_factory=list)
    queued: bytes | None = None
    asked: bytes | None = None
    asked_ms: int = 0
    attempts: int = 0
    """Questions that stayed without an answer."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Ask this peer for these things."""

    peer: bytes
    things: tuple[bytes, ...]


class Puller:
    """Decides whom to ask for what: one question an id at a time, the next teller after a timeout.

    A peer is asked for so much at once that it can answer in time, and what it told beyond waits
    for that peer alone: a burst is pulled as fast as it comes, and ids that nobody has hold up
    nothing else. `poll` returns the questions that are due; `failed` counts ids that no teller
    delivered.
    """

    def __init__(self) -> None:
        self._wanted: dict[bytes, _Want] = {}
        # by teller, in the order they came; an ordered dict, since they leave in front
        self._ready: dict[bytes, OrderedDict[bytes, None]] = {}
        self._due: dict[bytes, None] = {}  # whose queue may have become longer, or their room
        self._asked: OrderedDict[bytes, None] = OrderedDict()  # the longest without answer first
        self._asking: Counter[bytes] = Counter()  # how many things each peer is asked for
        self._by_peer: dict[bytes, set[bytes]] = {}
        self._leaving: dict[bytes, set[bytes]] = {}  # what is still to be forgotten of who is gone
        self._silent: set[bytes] = set()  # who did not answer in time, and brought nothing since
        self._unkept: Counter[bytes] = Counter()  # what each peer told and did not bring
        self._unreliable: list[bytes] = []
        self.failed = 0

    def __len__(self) -> int:
        """How many things are wanted."""
        return len(self._wanted)

    def on_told(self, peer: bytes, things: Iterable[bytes]) -> None:
        """A peer told that it has these things, and the caller lacks them.

        Who comes back is not heard until what it told before is forgotten.
        """
        if peer in self._leaving:
            return
        most: set[bytes] | None = None
        for thing in things:
            want = self._wanted.get(thing)
            told = self._by_peer.get(peer, set())
            if len(told) >= WANTED_PER_PEER_MAX:
                return
            if want is None:
                if len(self._wanted) >= WANTED_MAX:
                    if most is None:  # all peers are looked at, so once a message
                        most = max(self._by_peer.values(), key=len, default=set())
                    if len(most) <= len(told) + 1:
                        return
                    self._forget(most.pop())  # of the most talkative peer
                    self.failed += 1
                want = self._wanted[thing] = _Want()
            if thing not in told and len(want.tellers) < TELLERS_MAX:
                want.tellers.append(peer)
                self._by_peer.setdefault(peer, set()).add(thing)
                if want.asked is None:
                    self._queue(thing, want)

    def is_asked(self, thing: bytes) -> bool:
        """Tell whether somebody was asked for a thing and may still answer."""
        return thing in self._asked

    def on_received(self, things: Iterable[bytes]) -> None:
        """These things are here, whoever brought them."""
        for thing in things:
            want = self._wanted.get(thing)
            if want is not None:
                if want.asked is not None:
                    self._silent.discard(want.asked)
                self._forget(thing)

    def on_refused(self, peer: bytes, things: Iterable[bytes]) -> None:
        """The peer that was asked does not have these things after all."""
        for thing in things:
            want = self._wanted.get(thing)
            if want is not None and want.asked == peer:
                self._give_up(thing, want)

    @property
    def is_forgetting(self) -> bool:
        """Whether `poll` has still to forget something of peers that are gone."""
        return bool(self._leaving)

    def forget(self, peer: bytes) -> None:
        """A peer is gone: what it was asked for is asked of others, what it told is forgotten."""
        self._unkept.pop(peer, None)
        self._silent.discard(peer)
        if peer in self._by_peer:
            self._leaving[peer] = self._by_peer.pop(peer)
            self._forget_some(peer)

    def _forget_some(self, peer: bytes) -> None:
        things = self._leaving[peer]
        for thing in [*islice(things, FORGOTTEN_AT_ONCE_MAX)]:
            want = self._wanted[thing]
            things.discard(thing)
            if want.asked == peer:
                self._give_up(thing, want)
            else:
                want.tellers.remove(peer)
                if want.queued == peer:
                    self._queue(thing, want)
        if not things:
            self._leaving.pop(peer, None)
        self._due.pop(peer, None)

    def take_unreliable(self) -> list[bytes]:
        """Return peers once for each UNKEPT_PER_VERDICT things that they told and did not bring."""
        found, self._unreliable = self._unreliable, []
        return found

    def poll(self, now_ms: int) -> list[Pull]:
        """Return whom to ask for what now, and move on from those who did not answer.

        Looks at nobody of whom nothing changed, so it costs as much as what came since the last.
        """
        if self._leaving:
            self._forget_some(next(iter(self._leaving)))
        while self._asked:
            thing = next(iter(self._asked))
            want = self._wanted[thing]
            if now_ms - want.asked_ms < PULL_TIMEOUT_MS:
                break
            want.attempts += 1
            if want.asked is not None and want.asked in self._by_peer:
                self._silent.add(want.asked)
            self._give_up(thing, want, may_be_slow=want.attempts < ATTEMPTS_MAX)
        pulls: list[Pull] = []
        for peer in self._due:
            most = ASKED_OF_SILENT_MAX if peer in self._silent else ASKED_PER_PEER_MAX
            due = tuple(islice(self._ready.get(peer, ()), max(0, most - self._asking[peer])))
            for thing in due:
                self._unqueue(peer, thing)
                want = self._wanted[thing]
                want.tellers.remove(peer)
                want.queued, want.asked, want.asked_ms = None, peer, now_ms
                self._asked[thing] = None
            if due:
                self._asking[peer] += len(due)
            pulls += [
                Pull(peer, due[at : at + PULL_BATCH_MAX])
                for at in range(0, len(due), PULL_BATCH_MAX)
            ]
        self._due.clear()
        return pulls

    def _queue(self, thing: bytes, want: _Want) -> None:
        """Let a thing wait for the teller who has the least to be asked for; or for nobody."""
        if want.queued is not None:
            self._unqueue(want.queued, thing)
            want.queued = None
        if not want.tellers:
            self._forget(thing)
            self.failed += 1
            return
        want.queued = min(want.tellers, key=self._load)
        self._ready.setdefault(want.queued, OrderedDict())[thing] = None
        if want.queued not in self._leaving:
            self._due[want.queued] = None

    def _unqueue(self, peer: bytes, thing: bytes) -> None:
        """Take a thing out of a peer's queue; nothing is kept of an empty one."""
        queue = self._ready[peer]
        del queue[thing]
        if not queue:
            del self._ready[peer]

    def _free(self, peer: bytes) -> None:
        """A peer is asked for one thing less, so it may be asked for another."""
        self._asking[peer] -= 1
        if not self._asking[peer]:
            del self._asking[peer]
        if peer in self._ready and peer not in self._leaving:
            self._due[peer] = None

    def _untell(self, peer: bytes, thing: bytes) -> None:
        """A thing is not wanted of a peer any more; nothing is kept of who told nothing else."""
        for table in (self._by_peer, self._leaving):
            told = table.get(peer)
            if told is not None:
                told.discard(thing)
                if not told:
                    del table[peer]

    def _load(self, peer: bytes) -> tuple[bool, bool, int]:
        """Return what makes a teller the better one to wait for the less it is."""
        is_silent = peer in self._silent
        return peer in self._leaving, is_silent, len(self._ready.get(peer, ())) + self._asking[peer]

    def _give_up(self, thing: bytes, want: _Want, *, may_be_slow: bool = False) -> None:
        """Whoever was asked does not deliver: another may, or the thing is wanted no more."""
        peer = want.asked
        assert peer is not None, "nobody was asked"
        self._free(peer)
        want.asked = None
        del self._asked[thing]
        if may_be_slow and not want.tellers and peer in self._by_peer:
            want.tellers.append(peer)
        else:
            if peer in self._by_peer:
                self._unkept[peer] += 1
                if self._unkept[peer] == UNKEPT_PER_VERDICT:
                    del self._unkept[peer]
                    self._unreliable.append(peer)
            self._untell(peer, thing)
        self._queue(thing, want)

    def _forget(self, thing: bytes) -> None:
        want = self._wanted.pop(thing)
        self._asked.pop(thing, None)
        if want.queued is not None:
            self._unqueue(want.queued, thing)
        if want.asked is not None:
            self._free(want.asked)
        for peer in [*want.tellers, *([] if want.asked is None else [want.asked])]:
            self._untell(peer, thing)
