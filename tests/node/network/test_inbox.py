"""The inbox: turns that are fair to every peer, a bound for each, and little for strangers."""

from collections import Counter

import pytest

from node.network.inbox import (
    STRANGERS_BYTES,
    STRANGERS_MESSAGES,
    TURN_MESSAGES,
    Inbox,
    Rotation,
)
from p2p.interface import Delivery
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic

MANY = 600


def anybody(_: bytes) -> bool:
    """Take everybody for a validator."""
    return True


def delivery(peer: int, topic: Topic, number: int = 0) -> Delivery:
    return Delivery(bytes([peer]) * 32, topic, number.to_bytes(4, "big"), lambda _: None)


def taken(inbox: Inbox) -> list[tuple[int, Topic, int]]:
    found = inbox.take(anybody)
    return [(one.peer_id[0], one.topic, int.from_bytes(one.data, "big")) for one in found]


def test_a_turn_goes_round_the_peers_in_the_order_that_each_has_sent() -> None:
    inbox = Inbox()
    assert not inbox
    for number in range(3):
        assert inbox.add(delivery(1, Topic.CONSENSUS, number))
    assert inbox.add(delivery(2, Topic.CONSENSUS, 7))
    assert inbox
    found = [(peer, number) for peer, _, number in taken(inbox)]
    assert found == [(1, 0), (2, 7), (1, 1), (1, 2)]
    assert not inbox
    assert inbox.take(anybody) == []


def test_the_most_urgent_topic_comes_first_and_none_takes_all() -> None:
    inbox = Inbox()
    for topic in (Topic.SYNC, Topic.BLOCKS, Topic.CONSENSUS):
        for peer in range(TURN_MESSAGES[topic] + 1):
            number = peer // 256
            assert inbox.add(delivery(peer % 256, topic, number))
    found = [topic for _, topic, _ in taken(inbox)]
    assert found == sorted(found), "CONSENSUS, BLOCKS, SYNC"
    assert {topic: found.count(topic) for topic in TURN_MESSAGES} == TURN_MESSAGES
    assert len(taken(inbox)) == len(TURN_MESSAGES), "one of each was left"


def test_whoever_floods_waits_behind_everybody_else() -> None:
    inbox = Inbox()
    limit = LIMITS[Topic.CONSENSUS].window_messages
    for number in range(limit):
        assert inbox.add(delivery(1, Topic.CONSENSUS, number))
    assert not inbox.add(delivery(1, Topic.CONSENSUS, limit)), "a window is all that one peer has"
    assert inbox.add(delivery(1, Topic.BLOCKS)), "of each topic"
    assert inbox.add(delivery(2, Topic.CONSENSUS))
    assert [peer for peer, _, _ in taken(inbox)[:2]] == [1, 2]


@pytest.mark.parametrize("topic", [Topic.TRANSACTIONS, Topic.PEERS])
def test_topics_that_have_no_turn_do_not_wait_here(topic: Topic) -> None:
    assert topic not in TURN_MESSAGES
    with pytest.raises(KeyError):
        Inbox().add(Delivery(bytes(32), topic, b"", lambda _: None))


def test_what_is_taken_is_not_settled_by_the_inbox() -> None:
    verdicts: list[Verdict] = []
    inbox = Inbox()
    inbox.add(Delivery(bytes(32), Topic.CONSENSUS, b"", verdicts.append))
    (one,) = inbox.take(anybody)
    assert verdicts == []
    one.settle(Verdict.USEFUL)
    assert verdicts == [Verdict.USEFUL]


def filled(**waiting: int) -> Inbox:
    inbox = Inbox()
    for name, count in waiting.items():
        for _ in range(count):
            delivery = Delivery(name.encode(), Topic.CONSENSUS, b"", lambda verdict: None)
            assert inbox.add(delivery)
    return inbox


def turn(inbox: Inbox) -> dict[bytes, int]:
    """How many messages of each peer one turn takes; names of validators begin with v."""
    taken = inbox.take(lambda peer: peer.startswith(b"v"))
    return dict(Counter(delivery.peer_id for delivery in taken))


def test_a_stranger_gets_little_of_a_turn_even_alone() -> None:
    inbox = filled(s=20, v=MANY)
    most = TURN_MESSAGES[Topic.CONSENSUS]
    assert turn(inbox) == {b"s": STRANGERS_MESSAGES, b"v": most - STRANGERS_MESSAGES}
    assert turn(inbox) == {b"s": STRANGERS_MESSAGES, b"v": MANY - most + STRANGERS_MESSAGES}
    assert turn(inbox) == {b"s": 20 - 2 * STRANGERS_MESSAGES}
    assert not inbox


def test_in_a_rotation_everybody_has_one_turn_after_the_other() -> None:
    limit = 5
    rotation = Rotation(limit)
    assert not rotation
    given: list[Verdict] = []
    for number in range(limit):
        data = number.to_bytes(4, "big")
        assert rotation.add(Delivery(b"1" * 32, Topic.TRANSACTIONS, data, given.append))
    assert not rotation.add(delivery(ord("1"), Topic.TRANSACTIONS)), "so many are all it has"
    assert rotation.add(delivery(2, Topic.TRANSACTIONS))
    assert [rotation.pop().peer_id[0] for _ in range(3)] == [ord("1"), 2, ord("1")]
    rotation.drop(b"1" * 32)
    assert not rotation
    assert given == [Verdict.USELESS] * (limit - 2), "what is dropped holds no place"


def long(name: str, size: int = 5_000) -> Delivery:
    return Delivery(name.encode(), Topic.CONSENSUS, bytes(size), lambda _: None)


def test_strangers_share_what_a_turn_looks_at_of_them_and_none_is_passed_over() -> None:
    inbox = Inbox()
    strangers = [f"s{at}" for at in range(20)]
    for _ in range(3):
        for name in [*strangers, "v"]:
            assert inbox.add(long(name))
    counts: Counter[bytes] = Counter()
    turns = 0
    while inbox:
        taken = turn(inbox)
        counts.update(taken)
        turns += 1
        assert sum([count for name, count in taken.items() if name != b"v"]) * 5_000 < (
            STRANGERS_BYTES + 5_000
        )
        if turns == 1:
            assert taken[b"v"] == 3, "a validator waits for none of them"
        if turns * (STRANGERS_BYTES // 5_000) >= 20:
            assert all(counts[name.encode()] for name in strangers)
    assert set(counts.values()) == {3}


def test_a_long_message_of_a_stranger_is_taken_by_itself() -> None:
    inbox = Inbox()
    for _ in range(2):
        assert inbox.add(long("s", 2 * STRANGERS_BYTES))
    assert turn(inbox) == {b"s": 1}
    assert turn(inbox) == {b"s": 1}
    assert not inbox


def test_who_is_dropped_has_nothing_waiting_on_any_topic() -> None:
    inbox, verdicts = Inbox(), list[Verdict]()
    for topic in TURN_MESSAGES:
        assert inbox.add(Delivery(b"s", topic, b"", verdicts.append))
    assert inbox.add(Delivery(b"v", Topic.CONSENSUS, b"", verdicts.append))
    inbox.drop(b"s")
    assert verdicts == [Verdict.DUPLICATE] * len(TURN_MESSAGES), "who is gone may be honest"
    assert turn(inbox) == {b"v": 1}
