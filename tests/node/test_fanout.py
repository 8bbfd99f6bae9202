"""Whom a leader sends its proposal to first."""

from hypothesis import given
from hypothesis import strategies as st

from node.fanout import fan_out
from state.finality import is_quorum


def test_the_farthest_of_those_a_quorum_needs_comes_first_and_who_is_farther_last() -> None:
    delays = [0, 50, 10, 30, 90, 20, 70, 40]
    # with the sender, six of eight are a quorum and within the share: those up to 50
    assert fan_out(delays, [1] * 8, 0) == [1, 7, 3, 5, 2, 6, 4]
    # stake counts, not heads: the nearest alone has enough
    assert fan_out(delays, [1, 1, 94, 1, 1, 1, 1, 1], 0) == [2, 5, 3, 7, 1, 6, 4]
    # of four a quorum is three, though that is less than the share
    assert fan_out([0, 5, 3, 9], [1] * 4, 0) == [1, 2, 3]
    # one that holds more than the share allows is still waited for
    assert fan_out([0, 5, 3, 9], [1, 1, 1, 97], 0) == [3, 1, 2]


@given(st.data())
def test_everybody_else_is_sent_to_once(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    delays = data.draw(st.lists(st.integers(0, 99), min_size=count, max_size=count))
    stakes = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    sender = data.draw(st.integers(0, count - 1))
    order = fan_out(delays, stakes, sender)
    assert sorted(order) == [at for at in range(count) if at != sender]
    # the sender itself and everybody up to some distance hold a quorum, the farthest of them first
    head = 0
    while head < len(order) and all(delays[order[0]] >= delays[at] for at in order[: head + 1]):
        head += 1
    reached = stakes[sender] + sum(stakes[at] for at in order[:head])
    assert is_quorum(reached, sum(stakes))


def test_a_sender_that_stands_alone_or_has_no_stake_sends_nothing_to_itself() -> None:
    assert fan_out([0], [0], 0) == []
    assert sorted(fan_out([0, 5, 3], [0, 0, 0], 0)) == [1, 2]
