"""Whom to ask: what each peer claims to have, how it has answered, and when it is asked again.

What a peer claims only decides whether it is worth a question. Whoever is silent, slow or refuses
rests, longer each time it happens again; whoever gave what no honest peer gives is not asked for as
long as a first ban lasts, also where it may stay connected. Time is passed in.
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
LIE_MS: Final = BAN_MS
"""So long a liar is not heard. Not for ever, for it may be the only one that has what is missing,
once its disk or version is repaired; and another lie costs one answer in so long."""


@dataclass(slots=True)
class _Source:
    """One peer."""

    epoch: int = 0
    height: int = 0
    asks: int = 0
    strikes: int = 0
    rests_until_ms: int = 0
    answer_ms: int = 0
    """How long answers take, lately."""


class Sources:
    """Every peer that has claimed something; bounded, and forgotten when it leaves."""

    def __init__(self) -> None:
        self._sources: dict[bytes, _Source] = {}
        self._liars: dict[bytes, int] = {}
        """Until when each is not heard, the first to be forgotten first."""

    def claimed(self, peer: bytes, epoch: int, height: int, now_ms: int) -> None:
        """Note what a peer claims to have; the last word counts."""
        if self._is_liar(peer, now_ms):
            return
        source = self._sources.get(peer)
        if source is None:
            if len(self._sources) >= PEERS_MAX:
                return
            source = self._sources[peer] = _Source()
        source.epoch, source.height = epoch, height

    def proved(self, peer: bytes, height: int) -> None:
        """Note that a peer has shown a finalization of this height."""
        source = self._sources.get(peer)
        if source is not None:
            source.height = max(source.height, height)

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
        return [peer for peer, one in self._sources.items() if one.height > above]

    def claim_of(self, peer: bytes) -> tuple[int, int]:
        """Return the epoch and height that a peer claims; nothing for a stranger."""
        source = self._sources.get(peer)
        return (0, 0) if source is None else (source.epoch, source.height)

    def choose(self, now_ms: int, above: int, besides: Container[bytes] = ()) -> bytes | None:
        """Return the best peer to ask now among those who claim to be above a height."""
        able = [
            (one.asks, one.strikes, one.answer_ms, peer)
            for peer, one in self._sources.items()
            if one.height > above
            and one.asks < ASKS_PER_PEER_MAX
            and one.rests_until_ms <= now_ms
            and peer not in besides
        ]
        return min(able)[3] if able else None

    # --- what became of questions -----------------------------------------------------------------

    def asked(self, peer: bytes) -> None:
        """Note a question that is under way."""
        source = self._sources.get(peer)
        if source is not None:
            source.asks += 1

    def answered(self, peer: bytes, size: int, took_ms: int, now_ms: int) -> None:
        """Note an answer; one that came too slowly counts as a failure."""
        if took_ms > SLOW_MS and size * 1_000 < SLOW_BYTES_S * took_ms:
            self.failed(peer, now_ms)
            return
        source = self._sources.get(peer)
        if source is not None:
            source.asks = max(0, source.asks - 1)
            source.strikes = max(0, source.strikes - 1)
            source.answer_ms = (3 * source.answer_ms + took_ms) // 4

    def failed(self, peer: bytes, now_ms: int) -> None:
        """Note that a question got no answer, or a useless one: the peer rests."""
        source = self._sources.get(peer)
        if source is not None:
            source.asks = max(0, source.asks - 1)
            rest_ms = min(REST_MS << min(source.strikes, 16), REST_MS_MAX)
            source.strikes += 1
            source.rests_until_ms = now_ms + rest_ms

    def wake(self) -> None:
        """Let everybody be asked again: nobody has brought anything for too long."""
        for source in self._sources.values():
            source.rests_until_ms = source.strikes = 0
