"""Only proof bans, time forgives, and the floor of peers is kept."""

import pytest

from p2p.connection import Silent, Stalled
from p2p.errors import Flood, FrameForged, NetworkError, NotConnected, RequestFailed
from p2p.handshake import HandshakeRefused, WrongPeer
from p2p.scores import (
    BAN_MS,
    BAN_MS_MAX,
    BAN_MS_MIN,
    BANS_MAX,
    HALF_LIFE_MS,
    OFFENDERS_MAX,
    PEERS_FLOOR,
    SCORE_MAX,
    Scores,
    Verdict,
)

PEER = b"P" * 32


def test_verdicts_move_the_score_within_its_bounds() -> None:
    scores = Scores()
    for _ in range(3):
        assert not scores.judge(PEER, Verdict.USEFUL, 0)
    scores.judge(PEER, Verdict.DUPLICATE, 0)
    scores.judge(PEER, Verdict.USELESS, 0)
    assert scores.score(PEER, 0) == 1
    for _ in range(2 * SCORE_MAX):
        scores.judge(PEER, Verdict.USEFUL, 0)
    assert scores.score(PEER, 0) == SCORE_MAX
    assert scores.score(b"Q" * 32, 0) == 0


@pytest.mark.parametrize("verdict", [Verdict.USEFUL, Verdict.USELESS])
def test_scores_halve_in_time(verdict: Verdict) -> None:
    scores = Scores()
    for _ in range(100):
        scores.judge(PEER, verdict, 0)
    start = scores.score(PEER, 0)
    assert scores.score(PEER, HALF_LIFE_MS) == start // 2
    assert scores.score(PEER, 1_000 * HALF_LIFE_MS) == 0


def test_uselessness_never_bans() -> None:
    scores = Scores()
    for _ in range(10_000):
        assert not scores.judge(PEER, Verdict.USELESS, 0)
    assert scores.score(PEER, 0) == -SCORE_MAX and not scores.is_banned(PEER, 0)


@pytest.mark.parametrize(
    "error",
    [Silent, Stalled, FrameForged, HandshakeRefused, WrongPeer, NotConnected, RequestFailed],
)
def test_what_may_be_anybodys_fault_never_bans(error: type[NetworkError]) -> None:
    scores = Scores()
    for _ in range(10_000):
        assert not scores.blame(PEER, error("x"), 0)
    assert not scores.is_banned(PEER, 0) and scores.score(PEER, 0) == 0


def test_proof_bans_for_longer_each_time() -> None:
    scores, now = Scores(), 0
    lengths = []
    for _ in range(12):
        assert scores.blame(PEER, Flood("x"), now)
        start = now
        while scores.is_banned(PEER, now):
            now += BAN_MS // 2
        lengths.append(now - start)
    assert lengths[:3] == [BAN_MS, 2 * BAN_MS, 4 * BAN_MS]
    assert lengths[-1] == BAN_MS_MAX


def test_bans_are_lifted_oldest_first_when_peers_are_lacking() -> None:
    scores = Scores()
    peers = [bytes([at]) * 32 for at in range(6)]
    for peer in peers:
        scores.judge(peer, Verdict.INVALID, 0)
    now = BAN_MS_MIN
    assert scores.keep_floor(0, 0, now - 1) == []
    assert scores.keep_floor(PEERS_FLOOR, 0, now) == []
    assert scores.keep_floor(1, PEERS_FLOOR - 2, now) == peers[:1]
    assert scores.keep_floor(0, 0, now) == peers[1 : 1 + PEERS_FLOOR]
    assert scores.banned(now) == peers[5:]


def test_memory_is_bounded() -> None:
    scores = Scores()
    for at in range(OFFENDERS_MAX + 100):
        scores.judge(at.to_bytes(32, "big"), Verdict.INVALID, 0)
    sizes = (len(scores._scores), len(scores._offences), len(scores._bans))
    assert sizes == (OFFENDERS_MAX, OFFENDERS_MAX, BANS_MAX)
