"""The table of topics: relations between its bounds that the rest of the network leans on."""

import pytest

from p2p.topics import LIMITS, Overflow, Topic
from p2p.wire import FRAME_BYTES_MAX


def test_the_order_of_urgency() -> None:
    order = [Topic.CONSENSUS, Topic.BLOCKS, Topic.TRANSACTIONS, Topic.SYNC, Topic.PEERS]
    assert list(LIMITS) == order == sorted(Topic)


@pytest.mark.parametrize("topic", Topic)
def test_bounds_leave_room_for_a_frame(topic: Topic) -> None:
    limits = LIMITS[topic]
    assert limits.window_bytes >= min(limits.message_bytes_max, FRAME_BYTES_MAX)
    assert limits.share_percent >= 2


def test_votes_give_way_to_newer_votes_and_transactions_to_none() -> None:
    assert LIMITS[Topic.CONSENSUS].overflow is Overflow.DROP_OLDEST
    assert LIMITS[Topic.TRANSACTIONS].overflow is Overflow.DROP_NEW
