"""Strangers: ids cost tokens by their number, and who says little waits for nobody."""

import pytest

from node.network.strangers import (
    MESSAGE_TOKENS,
    TOKENS_BURST,
    TOKENS_BURST_OF_ALL,
    TOKENS_PER_S,
    TOKENS_PER_S_OF_ALL,
    UNKNOWN_TOKENS,
    Strangers,
)
from node.network.transactions import TOLD_AT_ONCE_MAX
from p2p.interface import Delivery
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

LOUD = [bytes([at]) * 32 for at in range(38)]
QUIET = b"q" * 32
IDS = 1_024
QUIET_IDS = 100


def add(strangers: Strangers, peer_id: bytes, given: list[Verdict] | None = None) -> bool:
    verdicts = [] if given is None else given
    told = bytes(32 * (QUIET_IDS if peer_id == QUIET else IDS))
    return strangers.add(Delivery(peer_id, Topic.TRANSACTIONS, told, verdicts.append))


def hear(strangers: Strangers, unknown: int, now_ms: int) -> list[bytes]:
    """Take and charge for whatever may be heard now."""
    heard: list[bytes] = []
    while (delivery := strangers.pop(now_ms)) is not None:
        ids = len(delivery.data) // 32
        strangers.charge(delivery.peer_id, ids, min(ids, unknown), now_ms)
        heard.append(delivery.peer_id)
    return heard


@pytest.mark.parametrize("count", [1, 4, 38])
def test_unknown_ids_are_bounded_of_one_and_of_all(count: int) -> None:
    strangers, heard = Strangers(), 0
    for now_ms in range(0, 10_000, 20):
        for peer_id in LOUD[:count]:
            add(strangers, peer_id)
        heard += len(hear(strangers, IDS, now_ms))
    of_one = count * (TOKENS_BURST + 10 * TOKENS_PER_S)
    of_all = TOKENS_BURST_OF_ALL + 10 * TOKENS_PER_S_OF_ALL
    assert heard * IDS * UNKNOWN_TOKENS <= min(of_one, of_all) + count * IDS * 3
    assert heard * IDS * UNKNOWN_TOKENS >= min(of_one, of_all) * 3 // 4, "they are heard, too"


def test_known_ids_cost_little() -> None:
    strangers, heard = Strangers(), 0
    for now_ms in range(0, 10_000, 20):
        for peer_id in LOUD:
            add(strangers, peer_id)
        heard += len(hear(strangers, 0, now_ms))
    assert heard * IDS > 10 * 150_000


def test_who_says_little_is_heard_before_who_says_much() -> None:
    strangers, waited_ms = Strangers(), dict[int, int]()
    since_ms: int | None = None
    for now_ms in range(0, 20_000, 20):
        for peer_id in LOUD:
            add(strangers, peer_id)
        if now_ms % 1_000 == 500:
            since_ms = now_ms
            add(strangers, QUIET)
        if QUIET in hear(strangers, IDS, now_ms):
            assert since_ms is not None
            waited_ms[since_ms] = now_ms - since_ms
    assert len(waited_ms) == 20 and max(waited_ms.values()) <= 200


def test_a_window_of_messages_waits_and_what_waits_of_who_is_gone_is_settled() -> None:
    strangers, given = Strangers(), list[Verdict]()
    for _ in range(LIMITS[Topic.TRANSACTIONS].window_messages):
        assert add(strangers, QUIET, given)
    assert not add(strangers, QUIET) and strangers
    assert strangers.pop(0) is not None
    strangers.charge(QUIET, 1, 1, 0)
    strangers.drop(QUIET)
    assert not strangers and strangers.pop(0) is None
    assert strangers._tokens == strangers._served == {}
    assert given == [Verdict.DUPLICATE] * (LIMITS[Topic.TRANSACTIONS].window_messages - 1)


def test_a_new_peer_may_tell_all_at_once_and_a_relay_its_pace() -> None:
    assert TOLD_AT_ONCE_MAX * UNKNOWN_TOKENS <= TOKENS_BURST
    told, asked, messages = 2_500 * UNKNOWN_TOKENS, 2_500 // 8, 2 * 100 * MESSAGE_TOKENS
    assert told + asked + messages <= TOKENS_PER_S
