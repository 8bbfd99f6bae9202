"""Scores and bans: what node says of a peer's messages, remembered and slowly forgotten.

Usefulness and uselessness move a score that halves every ten minutes; the score only decides whose
place another may take. A ban needs proof: a message that the peer's own key made and that no honest
node makes. Who cannot be reached, is slow, or speaks through a bad link is never banned. Whatever
happened, a node keeps its floor of peers: while it lacks them, bans older than a minute are lifted,
the oldest first.
"""

from collections import OrderedDict
from enum import Enum
from typing import Final

from p2p.errors import NetworkError

HALF_LIFE_MS: Final = 600_000
SCORE_MAX: Final = 1_000
BAN_MS: Final = 600_000
"""The first ban; each later one is twice as long."""
BAN_MS_MAX: Final = 24 * 3_600_000
BANS_MAX: Final = 1_024
PEERS_FLOOR: Final = 4
"""With fewer peers than this, and nobody else to dial, bans are lifted."""
BAN_MS_MIN: Final = 60_000
"""No ban is lifted sooner, so that an offender is met once a minute at most."""
OFFENDERS_MAX: Final = 4_096


class Verdict(Enum):
    """What node says of a message; the value is what it adds to the peer's score."""

    USEFUL = 1
    DUPLICATE = 0
    """Right, but known: several peers send the same, and none of them is to blame."""
    USELESS = -2
    """Nothing to do with it: stale, unknown, or not wanted."""
    INVALID = -SCORE_MAX
    """No honest node makes such a message: the peer is banned."""


class Scores:
    """The standing of every peer, by node id; bounded, least recently moved forgotten first."""

    def __init__(self) -> None:
        self._scores: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._bans: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._offences: OrderedDict[bytes, int] = OrderedDict()

    def judge(self, peer_id: bytes, verdict: Verdict, now_ms: int) -> bool:
        """Book a verdict; tell whether the peer is banned for it."""
        score = self.score(peer_id, now_ms) + verdict.value
        self._scores[peer_id] = (max(-SCORE_MAX, min(SCORE_MAX, score)), now_ms)
        self._scores.move_to_end(peer_id)
        if len(self._scores) > OFFENDERS_MAX:
            self._scores.popitem(last=False)
        if verdict is Verdict.INVALID:
            self._ban(peer_id, now_ms)
        return verdict is Verdict.INVALID

    def blame(self, peer_id: bytes, error: NetworkError, now_ms: int) -> bool:
        """Book why a connection ended; tell whether the peer is banned: only for what is proven."""
        if error.is_provable:
            return self.judge(peer_id, Verdict.INVALID, now_ms)
        return False

    def score(self, peer_id: bytes, now_ms: int) -> int:
        """Return the score as it stands now; 0 for strangers."""
        score, since_ms = self._scores.get(peer_id, (0, now_ms))
        halvings = min((now_ms - since_ms) // HALF_LIFE_MS, 32)
        return score >> halvings if score >= 0 else -(-score >> halvings)

    def is_banned(self, peer_id: bytes, now_ms: int) -> bool:
        """Tell whether the peer is banned now."""
        _, until_ms = self._bans.get(peer_id, (0, now_ms + 1))
        if now_ms >= until_ms:
            del self._bans[peer_id]
        return peer_id in self._bans

    def banned(self, now_ms: int) -> list[bytes]:
        """Return who is banned now, the oldest ban first."""
        return [peer_id for peer_id in list(self._bans) if self.is_banned(peer_id, now_ms)]

    def keep_floor(self, peers: int, candidates: int, now_ms: int) -> list[bytes]:
        """Lift bans while peers and candidates together are below the floor; return whose."""
        lacking = PEERS_FLOOR - peers - candidates
        old = [one for one in self.banned(now_ms) if now_ms - self._bans[one][0] >= BAN_MS_MIN]
        lifted = old[: max(0, lacking)]
        for peer_id in lifted:
            del self._bans[peer_id]
        return lifted

    def _ban(self, peer_id: bytes, now_ms: int) -> None:
        offences = self._offences.pop(peer_id, 0)
        self._offences[peer_id] = offences + 1
        if len(self._offences) > OFFENDERS_MAX:
            self._offences.popitem(last=False)
        self._bans.pop(peer_id, None)
        length_ms = min(BAN_MS << min(offences, 16), BAN_MS_MAX)
        self._bans[peer_id] = (now_ms, now_ms + length_ms)
        if len(self._bans) > BANS_MAX:
            self._bans.popitem(last=False)
