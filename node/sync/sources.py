"""Whom to ask: what each peer claims to have, how it has answered, and when it is asked again.

What a peer claims only decides whether it is worth a question. Whoever has given something that was
verified comes before everybody who has not, however many those are and whatever they are called;
but of finalizations every second question goes to who was not asked for longest, so that nobody who
leaves and comes back under another name keeps others from their turn. Whoever is silent, slow or
refuses rests, longer each time it happens again; whoever gave what no honest peer gives is not
asked for as long as a first ban lasts, also where it may stay connected. Time is passed in.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from p2p.scores import BAN_MS

PEERS_MAX: Final = 1_024
ASKS_PER_PEER_MAX: Final = 3
"""Questions that one peer may be asked at the same time."""
REST_MS: Final = 500
"""The first rest; each further one is twice as long."""
REST_MS_MAX: Final = 8_000
"""No rest is longer: the only honest peer may have had a bad moment."""
SLOW_MS: Final = 2_000
"""An answer that takes longer must have come at SLOW_BYTES_S at least."""
SLOW_BYTES_S: Final = 2**17
CREDIT_MAX: Final = 3
"""So many failures undo whatever was proven: who once gave much may fall silent for good."""
STALE_HEIGHTS: Final = 64
"""A claim may be so far below what its peer has by now: it is as old as its last word."""
LIE_MS: Final = BAN_MS
"""So long a liar is not heard. Not for ever, for it may be the only one that has what is missing,
once its disk or version is repaired; and another lie costs one answer in so long."""


@dataclass(slots=True)
class _Source:
    """One peer."""

    turn: int
    """When it came, or was asked last, counted in such events."""
    epoch: int = 0
    height: int = 0
    shown_height: int = 0
    """The highest of which it gave something that was verified."""
    credit: int = 0
    """What it gave that was verified, less its failures since."""
    asks: int = 0
    strikes: int = 0
    rests_until_ms: int = 0
    seeks_from_ms: int = 0
    """It is asked for no finalization before."""
    answer_ms: int = 0
    """How long answers take, lately; 0 while there is none."""

    @property
    def top(self) -> int:
        """The height up to which it is worth a question."""
        return max(self.height, self.shown_height)

    @property
    def rank(self) -> tuple[bool, int, bool, int, int]:
        """The lowest is asked first; a strike weighs as much as a question under way."""
        load = self.asks + self.strikes
        return not self.credit, load, not self.answer_ms, self.answer_ms, self.turn

    @property
    def seek_rank(self) -> tuple[bool, int, int]:
        """Who has proven most comes first, and of others who was not asked for longest."""
        return not self.credit, -self.shown_height if self.credit else 0, self.turn


class Sources:
    """Every peer that has claimed something; bounded, and forgotten when it leaves."""

    def __init__(self) -> None:
        self._sources: dict[bytes, _Source] = {}
        self._liars: dict[bytes, int] = {}
        """Until when each is not heard, the first to be forgotten first."""
        self._turns = 0
        self._seeks = 0

    def claimed(self, peer: bytes, epoch: int, height: int, now_ms: int) -> None:
        """Note what a peer claims to have; the last word counts."""
        if self._is_liar(peer, now_ms):
            return
        source = self._sources.get(peer)
        if source is None:
            if len(self._sources) >= PEERS_MAX:
                return
            source = self._sources[peer] = _Source(self._next_turn())
        source.epoch, source.height = epoch, height

    def _next_turn(self) -> int:
        self._turns += 1
        return self._turns

    def proved(self, peer: bytes, height: int) -> None:
        """Note that a peer has given something that was verified, up to this height."""
        source = self._sources.get(peer)
        if source is not None:
            source.shown_height = max(source.shown_height, height)
            source.credit = min(source.credit + 1, CREDIT_MAX)

    def fell_short(self, peer: bytes, now_ms: int) -> None:
        """Note that a peer has shown a finalization far below its claim: it is asked seldom."""
        source = self._sources.get(peer)
        if source is not None:
            source.seeks_from_ms = now_ms + REST_MS_MAX

    def gone(self, peer: bytes) -> None:
        """Forget a peer that is not connected any more."""
        self._sources.pop(peer, None)

    def lied(self, peer: bytes, now_ms: int) -> bool:
        """Ask this peer nothing for LIE_MS; tell whether it was not known for a liar."""
        self.gone(peer)
        if self._is_liar(peer, now_ms):
            return False  # questions to it were under way when it was found out
        self._liars[peer] = now_ms + LIE_MS
        if len(self._liars) > PEERS_MAX:
            del self._liars[next(iter(self._liars))]
        return True

    def _is_liar(self, peer: bytes, now_ms: int) -> bool:
        """Tell whether a peer is held for a liar now."""
        until_ms = self._liars.get(peer)
        if until_ms is not None and until_ms <= now_ms:
            del self._liars[peer]
        return peer in self._liars

    def claimants(self, above: int) -> list[bytes]:
        """Return who claims to be above a height."""
        return [peer for peer, one in self._sources.items() if one.top > above]

    def proven(self, above: int, now_ms: int) -> list[bytes]:
        """Return those of the claimants who have proven something, and whose word is not empty."""
        return [
            peer
            for peer, one in self._sources.items()
            if one.credit and one.top > above and one.seeks_from_ms <= now_ms
        ]

    def claim_of(self, peer: bytes) -> tuple[int, int]:
        """Return the epoch and height that a peer claims; nothing for a stranger."""
        source = self._sources.get(peer)
        return (0, 0) if source is None else (source.epoch, source.height)

    def choose(
        self, now_ms: int, above: int, besides: Container[bytes] = (), *, is_wary: bool = False
    ) -> bytes | None:
        """Return the best peer to ask now among those who claim to be above a height.

        With `is_wary` nobody, where the best one has only too many questions already.
        """
        awake = self._awake(now_ms, above, besides)
        if not any(one.credit for _, one in awake):  # what is asked for is proven to be somewhere
            older = self._awake(now_ms, above - STALE_HEIGHTS, besides)
            awake += [(peer, one) for peer, one in older if one.credit]
        able = [(one.rank, peer) for peer, one in awake if one.asks < ASKS_PER_PEER_MAX]
        if not able:
            return None
        rank, peer = min(able)
        has_no_credit = rank[0]
        if is_wary and has_no_credit and any(one.credit for _, one in awake):
            return None
        return peer

    def seek(self, now_ms: int, above: int, besides: Container[bytes] = ()) -> bytes | None:
        """Return whom to ask for a finalization now.

        Every second time it is the one that was not asked for longest, whatever others have shown.
        """
        able = [
            (peer, one)
            for peer, one in self._awake(now_ms, above, besides)
            if one.asks < ASKS_PER_PEER_MAX and one.seeks_from_ms <= now_ms
        ]
        if not able:
            return None
        self._seeks += 1
        if self._seeks % 2:
            peer, _ = min(able, key=lambda each: each[1].seek_rank)
        else:
            peer, _ = min(able, key=lambda each: each[1].turn)
        return peer

    def _awake(
        self, now_ms: int, above: int, besides: Container[bytes]
    ) -> list[tuple[bytes, _Source]]:
        return [
            (peer, one)
            for peer, one in self._sources.items()
            if one.top > above and one.rests_until_ms <= now_ms and peer not in besides
        ]

    # --- what became of questions -----------------------------------------------------------------

    def asked(self, peer: bytes) -> None:
        """Note a question that is under way."""
        source = self._sources.get(peer)
        if source is not None:
            source.asks += 1
            source.turn = self._next_turn()

    def answered(self, peer: bytes, size: int, took_ms: int, now_ms: int) -> None:
        """Note an answer; one that came too slowly counts as a failure."""
        source = self._sources.get(peer)
        if source is None:
            return
        source.asks = max(0, source.asks - 1)
        source.answer_ms = max(1, (3 * source.answer_ms + took_ms) // 4)
        if took_ms > SLOW_MS and size * 1_000 < SLOW_BYTES_S * took_ms:
            _rest(source, now_ms)
        else:
            source.strikes = max(0, source.strikes - 1)

    def failed(self, peer: bytes, now_ms: int) -> None:
        """Note that a question got no answer, or a useless one: the peer rests."""
        source = self._sources.get(peer)
        if source is not None:
            source.asks = max(0, source.asks - 1)
            source.credit = max(0, source.credit - 1)
            _rest(source, now_ms)

    def wake(self) -> None:
        """Let everybody be asked again: nobody has brought anything for too long."""
        for source in self._sources.values():
            source.rests_until_ms = source.strikes = 0


def _rest(source: _Source, now_ms: int) -> None:
    """Let a peer rest, twice as long as the last time."""
    rest_ms = min(REST_MS << min(source.strikes, 16), REST_MS_MAX)
    source.strikes += 1
    source.rests_until_ms = now_ms + rest_ms
