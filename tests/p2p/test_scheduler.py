"""Urgent first, a share for everybody, queues that end, and nothing lost or turned round."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.codec import encode
from p2p.limits import Pool
from p2p.scheduler import TURN_BYTES, Scheduler
from p2p.topics import LIMITS, MIB, Topic
from p2p.wire import (
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    PIECE_OVERHEAD_BYTES,
    Assembler,
    Item,
    Kind,
    Message,
    More,
    Start,
)


def notice(topic: Topic, size: int, fill: int = 0) -> Message:
    return Message(topic, Kind.NOTICE, 0, bytes([fill]) * size)


def frame(scheduler: Scheduler) -> list[Start | More]:
    items: list[Item] = []
    scheduler.fill(items, 0)
    assert len(items) <= FRAME_ITEMS_MAX and (not items or len(encode(items)) <= FRAME_BYTES_MAX)
    assert all(isinstance(item, Start | More) for item in items)
    return [item for item in items if isinstance(item, Start | More)]


def with_leave() -> Scheduler:
    scheduler = Scheduler()
    for topic in Topic:
        scheduler.add_credit(topic, 2**36, 2**30)
    return scheduler


def test_the_most_urgent_goes_first() -> None:
    scheduler = with_leave()
    for topic in reversed(Topic):
        scheduler.offer(notice(topic, 100))
    assert [item.topic for item in frame(scheduler)] == sorted(Topic)
    assert not frame(scheduler)


def test_a_vote_waits_for_one_turn_of_the_others_at_most() -> None:
    scheduler = with_leave()
    for topic in (Topic.BLOCKS, Topic.TRANSACTIONS, Topic.SYNC):
        for _ in range(8):
            scheduler.offer(notice(topic, LIMITS[topic].message_bytes_max // 4))
    for _ in range(100):
        frame(scheduler)
        scheduler.offer(notice(Topic.CONSENSUS, 200))
        ahead = 0
        for item in frame(scheduler):
            if item.topic is Topic.CONSENSUS:
                break
            ahead += len(item.data)
        else:
            raise AssertionError("the vote was not in the next frame")
        assert ahead <= 3 * TURN_BYTES


@given(st.sets(st.sampled_from(list(Topic)), min_size=2))
def test_everybody_gets_a_share_of_a_busy_link(topics: set[Topic]) -> None:
    scheduler = with_leave()
    sent: Counter[Topic] = Counter()
    for _ in range(300):
        for topic in topics:
            while scheduler.queued(topic)[0] < 2 * FRAME_BYTES_MAX:
                scheduler.offer(notice(topic, LIMITS[topic].message_bytes_max // 8))
        for item in frame(scheduler):
            sent[item.topic] += len(item.data) + PIECE_OVERHEAD_BYTES
    total = sum(sent.values())
    assert total > 250 * FRAME_BYTES_MAX
    for topic in topics:
        share = total * LIMITS[topic].share_percent // 100
        assert sent[topic] >= share - 2 * TURN_BYTES, (topic, sent)
    urgent = min(topics)
    others = sum(LIMITS[topic].share_percent for topic in topics - {urgent})
    assert sent[urgent] >= total * (100 - others) // 100 - 10 * TURN_BYTES


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Topic)), st.sampled_from([0, 1, 900, 5_000, 60_000])),
        max_size=80,
    ),
    st.lists(st.integers(0, 3 * MIB), max_size=20),
)
def test_nothing_is_lost_or_reordered_within_a_topic(
    offers: list[tuple[Topic, int]], leave: list[int]
) -> None:
    scheduler, assembler = Scheduler(), Assembler()
    queued = [notice(topic, size, at % 256) for at, (topic, size) in enumerate(offers)]
    dropped = [lost for message in queued for lost in scheduler.offer(message)]
    came: list[Message] = []
    granted = {topic: LIMITS[topic].window_bytes for topic in Topic}
    for more in [*leave, *([64 * MIB] * 3)]:
        while items := frame(scheduler):
            for item in items:
                granted[item.topic] -= len(item.data)
                message = assembler.receive_data(item)
                came += [message] if message else []
        assert min(granted.values()) >= 0
        for topic in Topic:
            scheduler.add_credit(topic, more, 64)
            granted[topic] += more
    for topic in Topic:
        kept = [one for one in queued if one.topic is topic and one not in dropped]
        assert [one for one in came if one.topic is topic] == kept


@pytest.mark.parametrize("topic", Topic)
def test_queues_end_by_messages_and_by_bytes(topic: Topic) -> None:
    limits = LIMITS[topic]
    for size in (1, limits.message_bytes_max):
        scheduler = Scheduler()
        places = min(limits.queue_messages_max, limits.queue_bytes_max // size)
        messages = [Message(topic, Kind.REQUEST, at + 1, bytes(size)) for at in range(places + 2)]
        dropped = [lost for message in messages for lost in scheduler.offer(message)]
        queued_bytes, queued_messages = scheduler.queued(topic)
        assert queued_messages == places and queued_bytes == places * size
        is_oldest = limits.overflow.value == "drop_oldest"
        expected = messages[:2] if is_oldest else messages[-2:]
        assert [one.request_id for one in dropped] == [one.request_id for one in expected]


def test_a_message_that_is_partly_sent_is_never_dropped() -> None:
    scheduler, assembler = with_leave(), Assembler()
    size = LIMITS[Topic.BLOCKS].message_bytes_max
    first = notice(Topic.BLOCKS, size, 1)
    scheduler.offer(first)
    came = [assembler.receive_data(item) for item in frame(scheduler)]
    lost = [one for fill in (2, 3, 4) for one in scheduler.offer(notice(Topic.BLOCKS, size, fill))]
    assert first not in lost and len(lost) == 2
    while items := frame(scheduler):
        came += [assembler.receive_data(item) for item in items]
    assert [one.data[0] for one in came if one] == [1, 4]


def test_without_leave_nothing_goes_and_others_are_not_held_up() -> None:
    scheduler = Scheduler()
    window = LIMITS[Topic.CONSENSUS].window_bytes
    for _ in range(4):
        scheduler.offer(notice(Topic.CONSENSUS, window // 2))
    scheduler.offer(notice(Topic.SYNC, 10))
    sent: Counter[Topic] = Counter()
    while items := frame(scheduler):
        sent.update({item.topic: 0 for item in items})
        for item in items:
            sent[item.topic] += len(item.data)
    assert sent == {Topic.CONSENSUS: window, Topic.SYNC: 10}


OFFERS = st.tuples(
    st.integers(0, 3), st.sampled_from(list(Topic)), st.sampled_from([1, 60_000, MIB, 30 * MIB])
)


@given(st.lists(OFFERS, max_size=60), st.lists(st.integers(0, 40 * MIB), max_size=6))
def test_what_waits_for_many_is_bounded_by_windows_and_their_pool(
    offers: list[tuple[int, Topic, int]], leave: list[int]
) -> None:
    """Partly sent messages lie in memory as a whole, so they count as a whole."""
    pool_bytes, windows = 64 * MIB, sum(limits.window_bytes for limits in LIMITS.values())
    pool = Pool(pool_bytes)
    schedulers = [Scheduler(pool) for _ in range(4)]

    def check() -> None:
        held = [[queue.held_bytes for queue in one._queues.values()] for one in schedulers]
        assert sum(map(sum, held)) <= pool_bytes + len(schedulers) * windows
        assert pool.held_bytes == sum(
            max(0, size - limits.window_bytes)
            for sizes in held
            for size, limits in zip(sizes, LIMITS.values(), strict=True)
        )

    for at, topic, size in offers:
        size = min(size, LIMITS[topic].message_bytes_max)
        schedulers[at].offer(Message(topic, Kind.NOTICE, 0, bytes(size)))
        check()
    for more in leave:
        for one in schedulers:
            one.add_credit(Topic.BLOCKS, more, 1)
            frame(one)
        check()
    for one in schedulers:
        one.clear()
        assert one.head(Topic.BLOCKS) is None and not frame(one)
    assert pool.held_bytes == 0


@pytest.mark.parametrize("topic", [Topic.BLOCKS, Topic.SYNC])
def test_a_full_pool_leaves_everybody_a_window(topic: Topic) -> None:
    pool, window = Pool(MIB), LIMITS[topic].window_bytes
    greedy, modest = Scheduler(pool), Scheduler(pool)
    assert not greedy.offer(notice(topic, window + MIB))
    long, short = notice(topic, window + 1, 1), notice(topic, window, 2)
    assert modest.offer(long) == [long]
    assert not modest.offer(short)
    greedy.clear()
    assert not modest.offer(notice(topic, MIB, 3))
