"""The inbox: turns are fair to peers, and strangers' share of one is small."""

from collections import Counter
from typing import Any

from node.network.inbox import STRANGERS_MESSAGES, TURN_MESSAGES, Inbox
from p2p.interface import Delivery
from p2p.topics import LIMITS, Topic

MANY = 600


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


def test_a_turn_takes_one_of_each_peer_after_the_other() -> None:
    half = TURN_MESSAGES[Topic.CONSENSUS] // 2
    assert turn(filled(v1=MANY, v2=MANY)) == {b"v1": half, b"v2": half}


def test_a_stranger_gets_little_of_a_turn_even_alone() -> None:
    inbox = filled(s=20, v=MANY)
    most = TURN_MESSAGES[Topic.CONSENSUS]
    assert turn(inbox) == {b"s": STRANGERS_MESSAGES, b"v": most - STRANGERS_MESSAGES}
    assert turn(inbox) == {b"s": STRANGERS_MESSAGES, b"v": MANY - most + STRANGERS_MESSAGES}
    assert turn(inbox) == {b"s": 20 - 2 * STRANGERS_MESSAGES}
    assert not inbox


def test_nobody_keeps_more_waiting_than_its_window() -> None:
    most = LIMITS[Topic.CONSENSUS].window_messages
    inbox = filled(s=most)
    one_more: Any = Delivery(b"s", Topic.CONSENSUS, b"", lambda verdict: None)
    assert not inbox.add(one_more)
    assert inbox.add(Delivery(b"other", Topic.CONSENSUS, b"", lambda verdict: None))
