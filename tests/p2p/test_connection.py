"""A connection: events on the other side, answers to their questions, floods that end it."""

import random
from typing import Any

import pytest

from p2p.codec import encode
from p2p.connection import (
    HOUSEKEEPING_BURST,
    PARTIAL_BYTES_PER_MS,
    PARTIAL_MS,
    REQUESTS_OPEN_MAX,
    SILENCE_MS,
    Answered,
    Connection,
    Departed,
    Failed,
    Received,
    Requested,
    Silent,
    Stalled,
)
from p2p.counters import Counters
from p2p.errors import (
    Breach,
    Flood,
    FrameForged,
    LocalError,
    Malformed,
    OutOfOrder,
    Oversize,
    RequestFailed,
)
from p2p.handshake import Established
from p2p.limits import Pool
from p2p.topics import LIMITS, MIB, Topic
from p2p.wire import Credit, Item, Kind, More, Ping, Start, encode_frame


def test_messages_of_any_size_arrive_once(pair: Any) -> None:
    one, _ = pair.ends
    sizes = [0, 1, 100, 70_000, LIMITS[Topic.BLOCKS].message_bytes_max]
    for size in sizes:
        data = random.Random(size).randbytes(size)
        assert one.notice(Topic.BLOCKS, data)
        for _ in range(5):  # leave for the longest comes at its rate
            pair.run()
            pair.now_ms += 500
        assert pair.events(1) == [Received(Topic.BLOCKS, data)]
        pair.ends[1].settle(Topic.BLOCKS, size)
    assert pair.ends[1].held_bytes == pair.pools[1].held_bytes == 0
    assert pair.counters[0].sent_bytes[Topic.BLOCKS] == sum(sizes)
    assert pair.counters[1].received_bytes[Topic.BLOCKS] == sum(sizes)


def test_small_messages_share_frames(pair: Any) -> None:
    for at in range(100):
        pair.ends[0].notice(Topic.CONSENSUS, b"vote %d" % at)
    pair.run()
    assert [event.data for event in pair.events(1)] == [b"vote %d" % at for at in range(100)]
    assert pair.counters[0].frames_sent == 1


def test_what_is_not_settled_keeps_its_place_and_holds_up_nobody_else(pair: Any) -> None:
    window = LIMITS[Topic.TRANSACTIONS].window_bytes
    for _ in range(8):
        pair.ends[0].notice(Topic.TRANSACTIONS, bytes(window // 4))
    pair.ends[0].notice(Topic.CONSENSUS, b"vote")
    pair.run()
    events = pair.events(1)
    assert len(events) == 5 and events[0] == Received(Topic.CONSENSUS, b"vote")
    assert pair.ends[1].held_bytes == window + 4
    for event in events[1:]:
        pair.ends[1].settle(event.topic, len(event.data))
    pair.run()
    assert len(pair.events(1)) == 4


def test_a_question_is_answered(pair: Any) -> None:
    one, other = pair.ends
    number = one.request(Topic.SYNC, b"block 5?", 1_000, pair.now_ms)
    pair.run()
    (asked,) = pair.events(1)
    assert asked == Requested(Topic.SYNC, number, b"block 5?")
    assert other.answer(Topic.SYNC, number, bytes(5 * MIB), pair.now_ms)
    assert not other.answer(Topic.SYNC, number, b"again", pair.now_ms)
    pair.run()
    assert pair.events(0) == [Answered(Topic.SYNC, number, bytes(5 * MIB))]


def test_a_question_is_refused_or_runs_out_of_time(pair: Any) -> None:
    one, other = pair.ends
    numbers = [one.request(Topic.SYNC, b"?", 1_000, pair.now_ms) for _ in range(2)]
    pair.run()
    pair.events(1)
    other.refuse(Topic.SYNC, numbers[0], "chain.unknown")
    pair.run()
    assert pair.events(0) == [Failed(Topic.SYNC, numbers[0], "chain.unknown")]
    pair.wait(1_000)
    assert pair.events(0) == [Failed(Topic.SYNC, numbers[1], "p2p.timeout")]
    other.answer(Topic.SYNC, numbers[1], b"late", pair.now_ms)
    pair.run()
    assert pair.events(0) == []  # a late answer is no offence


def test_open_questions_have_a_bound(pair: Any) -> None:
    one, other = pair.ends
    for _ in range(REQUESTS_OPEN_MAX):
        one.request(Topic.CONSENSUS, b"?", 1_000, pair.now_ms)
    with pytest.raises(RequestFailed):
        one.request(Topic.CONSENSUS, b"?", 1_000, pair.now_ms)
    other.close("p2p.stopped")
    one.close("p2p.stopped")
    assert len(pair.events(0)) == REQUESTS_OPEN_MAX


def test_a_peer_is_served_within_its_budget(pair: Any) -> None:
    one, other = pair.ends
    size = LIMITS[Topic.SYNC].message_bytes_max
    served = refused = 0
    for _ in range(12):
        number = one.request(Topic.SYNC, b"?", 60_000, pair.now_ms)
        pair.run()
        for event in pair.events(1):
            assert other.answer(Topic.SYNC, number, bytes(size), pair.now_ms)
            other.settle(Topic.SYNC, len(event.data))
        for _ in range(4):
            pair.run()
            pair.now_ms += 50
        for event in pair.events(0):
            served += isinstance(event, Answered)
            refused += isinstance(event, Failed) and event.code == "p2p.busy"
    rate = LIMITS[Topic.SYNC].rate_bytes_s // 4
    assert 1 <= served <= 2 + rate * 12 * 200 // 1_000 // size
    assert refused == 12 - served == pair.counters[1].requests_refused[Topic.SYNC]


def test_too_long_a_message_is_our_own_mistake(pair: Any) -> None:
    with pytest.raises(LocalError):
        pair.ends[0].notice(Topic.PEERS, bytes(2**16 + 1))


def test_goodbye_is_heard(pair: Any) -> None:
    data = pair.ends[0].say_goodbye("p2p.stopped")
    pair.ends[1].receive_data(data, pair.now_ms)
    assert pair.events(1) == [Departed("p2p.stopped")]


def test_silence_ends_it_and_a_ping_keeps_it(pair: Any) -> None:
    for _ in range(20):
        pair.wait(SILENCE_MS // 3)
        pair.run()
    assert all(end.round_trip_ms == 0 for end in pair.ends)
    with pytest.raises(Silent):
        pair.wait(SILENCE_MS)


def test_a_message_that_is_never_ended_ends_it(pair: Any) -> None:
    start = Start(Topic.CONSENSUS, Kind.NOTICE, 0, 2 * MIB, bytes(2_000))
    inject(pair, [start])
    for _ in range(37):
        pair.wait(1_000)
        pair.run()
    with pytest.raises(Stalled):
        pair.wait(2_000)


@pytest.mark.parametrize("topic", [Topic.BLOCKS, Topic.SYNC])
@pytest.mark.parametrize("leave", [0, 1_024])
def test_who_takes_nothing_of_what_it_asked_for_is_let_go(
    pair: Any, topic: Topic, leave: int
) -> None:
    """The peer pings and reads every frame, and gives little leave or none."""
    node, start_ms, size = pair.ends[0], pair.now_ms, 24 * MIB
    for _ in range(2):
        assert node.notice(topic, bytes(size))
    with pytest.raises(Stalled):
        for _ in range(200):
            pair.now_ms += 1_000
            credit = [Credit(topic, leave, 1)] if leave else []
            data = pair.ends[1]._channel.seal(encode_frame([Ping(pair.now_ms), *credit]))
            node.receive_data(data, pair.now_ms)
            node.poll(pair.now_ms)
            while node.data_to_send(pair.now_ms) is not None:
                continue
    allowed_ms = PARTIAL_MS + size // PARTIAL_BYTES_PER_MS
    assert allowed_ms < pair.now_ms - start_ms < allowed_ms + 5_000
    assert not Stalled.is_provable


def test_who_is_slow_but_takes_what_it_asked_for_stays(pair: Any) -> None:
    node, size = pair.ends[0], 8 * MIB
    for _ in range(4):
        assert node.notice(Topic.SYNC, bytes(size))
    for _ in range(4 * size // 2**18):
        pair.now_ms += 1_000
        credit = Credit(Topic.SYNC, 2**18, 1)
        data = pair.ends[1]._channel.seal(encode_frame([Ping(pair.now_ms), credit]))
        node.receive_data(data, pair.now_ms)
        node.poll(pair.now_ms)
        while node.data_to_send(pair.now_ms) is not None:
            continue
    assert node.queued(Topic.SYNC) == (0, 0)
    node.notice(Topic.SYNC, bytes(size))
    pair.now_ms += SILENCE_MS - 1
    node.poll(pair.now_ms)


def test_nothing_waits_for_who_is_gone() -> None:
    pool = Pool(64 * MIB)
    ends = Established(b"A" * 32, b"\x01" * 32, b"\x02" * 32, bytes(32))
    node = Connection(ends, Pool(), Counters(), 0, pool)
    assert node.notice(Topic.BLOCKS, bytes(30 * MIB))
    assert pool.held_bytes == 28 * MIB
    node.close("p2p.stopped")
    assert pool.held_bytes == 0
    assert not node.notice(Topic.BLOCKS, bytes(30 * MIB))
    assert pool.held_bytes == 0 and node.queued(Topic.BLOCKS) == (0, 0)


def inject(pair: Any, items: list[Item]) -> None:
    """Send what an honest node would not, under the peer's own key."""
    data = pair.ends[0]._channel.seal(encode_frame(items))
    pair.ends[1].receive_data(data, pair.now_ms)


VOTE = Start(Topic.CONSENSUS, Kind.NOTICE, 0, 4, b"vote")
LONG = Start(Topic.CONSENSUS, Kind.NOTICE, 0, 2 * MIB, bytes(60_000))
FLOODS: list[tuple[list[Item], int, type[Breach]]] = [
    ([VOTE], LIMITS[Topic.CONSENSUS].window_messages + 1, Flood),
    ([LONG, *[More(Topic.CONSENSUS, bytes(1_024))] * 3], 1_000, OutOfOrder),
    ([Ping(1)] * 100, HOUSEKEEPING_BURST // 100 + 1, Flood),
    ([Credit(Topic.SYNC, 1, 1)] * 100, HOUSEKEEPING_BURST // 100 + 1, Flood),
    ([Start(Topic.SYNC, Kind.RESPONSE, 1, 0, b"")], 1, OutOfOrder),
    ([Start(Topic.SYNC, Kind.REQUEST, 1, 0, b"")], 2, OutOfOrder),
    ([Start(Topic.PEERS, Kind.NOTICE, 0, MIB, bytes(2_000))], 1, Oversize),
]


@pytest.mark.parametrize(("items", "times", "error"), FLOODS)
def test_what_no_honest_node_sends_is_provable(
    pair: Any, items: list[Item], times: int, error: type[Breach]
) -> None:
    with pytest.raises(error):
        for _ in range(times):
            inject(pair, items)
    assert error.is_provable


def test_a_flood_without_leave_is_stopped_at_its_window(pair: Any) -> None:
    inject(pair, [Start(Topic.BLOCKS, Kind.NOTICE, 0, 32 * MIB, bytes(60_000))])
    with pytest.raises(Flood):
        for _ in range(1_000):
            inject(pair, [More(Topic.BLOCKS, bytes(60_000))])
    assert pair.ends[1].held_bytes <= LIMITS[Topic.BLOCKS].window_bytes


def test_absurd_leave_stays_a_small_number(pair: Any) -> None:
    for _ in range(1_000):
        inject(pair, [Credit(Topic.SYNC, 2**32, 2**32)])
    assert pair.ends[1]._scheduler._queues[Topic.SYNC].credit_bytes == 2**40


def test_a_pinger_gets_no_more_answers_than_fit(pair: Any) -> None:
    inject(pair, [Ping(at) for at in range(1_000)])
    assert len(pair.ends[1]._items) <= 64


def test_garbage_under_the_right_key_is_provable_and_forged_is_not(pair: Any) -> None:
    with pytest.raises(Malformed) as provable:
        pair.ends[1].receive_data(pair.ends[0]._channel.seal(encode([1])), pair.now_ms)
    with pytest.raises(FrameForged) as forged:
        pair.ends[0].receive_data(bytes(40), pair.now_ms)
    assert provable.value.is_provable and not forged.value.is_provable


def test_a_dropped_question_fails_at_once(pair: Any) -> None:
    one, _ = pair.ends
    size = LIMITS[Topic.CONSENSUS].message_bytes_max
    number = one.request(Topic.CONSENSUS, b"?", 1_000, pair.now_ms)
    for _ in range(3):
        one.notice(Topic.CONSENSUS, bytes(size))
    assert pair.events(0) == [Failed(Topic.CONSENSUS, number, "p2p.queue_full")]
    assert pair.counters[0].dropped_messages[Topic.CONSENSUS] == 2


def test_closing_gives_everything_back(pair: Any) -> None:
    inject(pair, [Start(Topic.BLOCKS, Kind.NOTICE, 0, 30 * MIB, bytes(60_000))])
    assert pair.pools[1].held_bytes == 30 * MIB
    pair.ends[1].close("p2p.silent")
    pair.ends[1].close("p2p.silent")
    assert pair.pools[1].held_bytes == 0
    assert pair.counters[1].endings == {"p2p.silent": 1}


def test_what_is_unfinished_in_either_direction_has_its_age(pair: Any) -> None:
    node, peer = pair.ends
    began_ms = pair.now_ms
    assert node.unfinished_since_ms is None and node.queued_bytes == 0
    size = LIMITS[Topic.CONSENSUS].window_bytes
    for _ in range(3):
        node.notice(Topic.CONSENSUS, bytes(size))
    pair.run()
    assert node.queued_bytes == 2 * size, "the first is not settled there"
    pair.wait(1_000)
    assert node.unfinished_since_ms == began_ms + 1_000, "since it was seen first"
    pair.pools[0].reserve(LIMITS[Topic.BLOCKS].message_bytes_max * 4)
    peer.notice(Topic.BLOCKS, bytes(LIMITS[Topic.BLOCKS].window_bytes + 1))
    pair.now_ms += 1_000
    pair.run()
    assert node.held_bytes > LIMITS[Topic.BLOCKS].window_bytes - 2**16
    peer.settle(Topic.CONSENSUS, size)
    pair.run()
    pair.wait(100)
    assert node.queued_bytes == size
    assert node.unfinished_since_ms == began_ms + 2_000, "the message that has no end"
    node.close("over")
    assert node.queued_bytes == 0 and not list(node._assembler.partial())
    node.receive_data(b"no frame", pair.now_ms)
    pair.pools[0].release(pair.pools[0].held_bytes)
    assert node.data_to_send(pair.now_ms) is None and not pair.pools[0].held_bytes
