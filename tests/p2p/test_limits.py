"""Buckets never give more than their rate, windows never more than a peer's share of memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import Flood
from p2p.limits import Pool, ReceiveWindow, TokenBucket
from p2p.topics import LIMITS, MIB, Topic

TOPIC = Topic.BLOCKS
WINDOW = LIMITS[TOPIC].window_bytes


@given(
    st.integers(1, 1_000),
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 300)), max_size=60),
)
def test_a_bucket_never_gives_more_than_burst_and_rate(
    rate: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate, burst, 0)
    now = taken = 0
    for pause, amount in steps:
        now += pause
        before = bucket.available(now)
        took = bucket.take(amount, now)
        assert took == (before >= amount)
        taken += amount * took
        assert taken <= burst + rate * now // 1_000


def test_a_bucket_refills_by_the_millisecond_and_no_further_than_its_burst() -> None:
    bucket = TokenBucket(1, 2, 0)
    assert bucket.take(2, 0) and not bucket.take(1, 999)
    assert bucket.take(1, 1_000) and bucket.available(10**9) == 2


def test_debt_is_paid_before_anything_is_given() -> None:
    bucket = TokenBucket(10, 10, 0)
    bucket.spend(30, 0)
    assert bucket.available(1_000) == -10
    assert bucket.available(500) == -10  # a clock that steps back gives nothing
    assert not bucket.take(1, 2_000) and bucket.take(1, 2_100)


def test_a_pool_is_shared_and_always_takes_one() -> None:
    pool = Pool(10)
    assert pool.reserve(15)
    assert not pool.reserve(1)
    pool.release(15)
    assert pool.reserve(4) and pool.reserve(6) and not pool.reserve(1)


def test_what_comes_without_leave_is_a_flood() -> None:
    window = ReceiveWindow(TOPIC, Pool(), 0)
    window.receive(WINDOW)
    with pytest.raises(Flood):
        window.receive(1)
    window = ReceiveWindow(TOPIC, Pool(), 0)
    for _ in range(LIMITS[TOPIC].window_messages):
        window.begin(0)
    with pytest.raises(Flood):
        window.begin(0)


def test_leave_comes_back_when_messages_are_dealt_with() -> None:
    window = ReceiveWindow(TOPIC, Pool(), 0)
    window.begin(WINDOW)
    window.receive(WINDOW)
    assert window.grant(10_000) == (0, 0)
    window.settle(WINDOW)
    assert window.grant(10_000) == (WINDOW, 1)
    assert window.grant(10_000) == (0, 0)


def test_leave_comes_no_faster_than_the_rate() -> None:
    limits = LIMITS[TOPIC]
    window = ReceiveWindow(TOPIC, Pool(), 0)
    came = 0
    for now in range(0, 3_000, 10):
        leave = window._granted_bytes
        window.receive(leave)
        window.begin(leave)
        window.settle(leave)
        came += leave
        window.grant(now)
    bound = limits.window_bytes + limits.rate_bytes_s * 4  # a second's burst, three seconds
    assert bound - 2 * limits.window_bytes <= came <= bound


def test_a_long_message_waits_for_room_in_the_pool() -> None:
    pool = Pool(10 * MIB)
    first, second = (ReceiveWindow(TOPIC, pool, 0) for _ in range(2))
    for window in (first, second):
        window.begin(8 * MIB)
        window.receive(WINDOW)
    assert first.grant(0) == (8 * MIB, 0)
    assert second.grant(0) == (0, 0)
    first.receive(8 * MIB - WINDOW)
    first.settle(8 * MIB)
    assert second.grant(0)[0] == 8 * MIB
    second.close()
    assert pool.held_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("bsrg"), st.integers(0, 6 * MIB)), max_size=60))
def test_a_peers_share_of_memory_is_bounded(steps: list[tuple[str, int]]) -> None:
    """Whatever a peer does with its leave: what is granted and held stays within its bound."""
    pool = Pool(9 * MIB)
    window = ReceiveWindow(TOPIC, pool, 0)
    queue: list[int] = []  # whole messages
    left = total = 0
    for step, (action, number) in enumerate(steps):
        if action == "b" and not left and window._granted_messages:
            left = total = number
            window.begin(total)
            queue += [0] * (not total)
        elif action == "r" and left:
            size = min(left, window._granted_bytes)
            window.receive(size)
            left -= size
            queue += [total] * (not left)
        elif action == "s" and queue:
            window.settle(queue.pop(0))
        elif action == "g":
            window.grant(step * 100)
        assert window._granted_bytes + window.held_bytes <= WINDOW + pool.held_bytes
        assert window.held_bytes == sum(queue) + (total - left if left else 0)
    window.close()
    assert pool.held_bytes == 0
