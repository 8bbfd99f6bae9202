"""Ranges: asked of many, doubled when late or at the end, split where answers end, in order."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consensus.messages import Block
from node.sync import ranges as module
from node.sync.checks import ProvenBlock
from node.sync.ranges import ASKS_MAX, FIRST_BLOCKS, LATE_MS, Range, Ranges

LINK: Any = None


def ids(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def blocks(part: Range, count: int, size: int = 10) -> list[ProvenBlock]:
    header: Any = None
    return [
        ProvenBlock((part.height + at).to_bytes(32, "big"), Block(header, LINK, bytes(size)), None)
        for at in range(count)
    ]


def ask(ranges: Ranges, now_ms: int = 0, peer: bytes = b"p") -> Range:
    part = ranges.wanted(now_ms)
    assert part is not None
    ranges.asked(part, peer, now_ms)
    return part


def test_so_many_ranges_are_under_way() -> None:
    ranges = Ranges(1, ids(10_000))
    parts = [ask(ranges) for _ in range(ASKS_MAX)]
    assert [one.height for one in parts] == [1 + FIRST_BLOCKS * at for at in range(ASKS_MAX)]
    assert ranges.wanted(0) is None
    late = ranges.wanted(LATE_MS)
    assert late is parts[0], "the lowest is asked of a second peer"
    ranges.asked(late, b"q", LATE_MS)
    assert ranges.wanted(LATE_MS) is parts[1]


def test_an_answer_may_be_short_and_the_rest_is_asked_for() -> None:
    ranges = Ranges(1, ids(FIRST_BLOCKS))
    part = ask(ranges)
    assert ranges.take(part, blocks(part, 3), 30)
    rest = ranges.wanted(0)
    assert rest is not None and (rest.height, rest.count) == (4, FIRST_BLOCKS - 3)
    assert list(ranges.ids(rest)) == ids(FIRST_BLOCKS)[3:]
    assert len(ranges.pop(10**6, 100)) == 3 and ranges.held_bytes == 0


def test_the_first_answer_counts() -> None:
    ranges = Ranges(1, ids(4))
    part = ask(ranges)
    assert ranges.wanted(0) is part, "near the end two are asked"
    ranges.asked(part, b"q", 0)
    assert ranges.wanted(LATE_MS) is None, "but not three"
    assert ranges.take(part, blocks(part, 4), 40)
    assert not ranges.take(part, blocks(part, 4), 40) and ranges.held_bytes == 40


def test_who_fails_leaves_its_range_to_others() -> None:
    ranges = Ranges(1, ids(4))
    part = ask(ranges)
    ranges.failed(part, b"p")
    assert ranges.wanted(0) is part and not part.askers


def test_ranges_shrink_to_what_blocks_take() -> None:
    ranges = Ranges(1, ids(10_000))
    for _ in range(8):
        part = ask(ranges)
        ranges.take(part, blocks(part, part.count), part.count * module.RANGE_BYTES)
    assert ask(ranges).count == 1
    for _ in range(40):
        part = ask(ranges)
        ranges.take(part, blocks(part, part.count), part.count)
        ranges.pop(10**9, 10**9)
    assert ask(ranges).count == module.BLOCKS_MAX


def test_nothing_more_is_asked_for_while_too_much_is_held() -> None:
    ranges = Ranges(1, ids(10_000))
    first = ask(ranges)
    while (part := ranges.wanted(0)) is not None and part is not first:
        ranges.asked(part, b"p", 0)
        ranges.take(part, blocks(part, part.count), module.BYTES_MAX // 4)
    assert ranges.held_bytes <= module.BYTES_MAX and ranges.wanted(0) is None
    assert ranges.wanted(LATE_MS) is first, "what all wait for is asked of a second peer"
    assert not ranges.pop(10**9, 10**9), "in order, or not at all"


def test_what_short_answers_leave_over_waits_for_room_as_well() -> None:
    """Blocks may be longer than those before them: one fills an answer, and the rest is left."""
    ranges = Ranges(1, ids(10_000))
    size = module.BYTES_MAX // 4
    while (part := ranges.wanted(0)) is not None and not part.askers:
        ranges.asked(part, b"p", 0)
        ranges.take(part, blocks(part, 1), size)
        assert ranges.held_bytes <= module.BYTES_MAX + size
    assert ranges.held_bytes >= module.BYTES_MAX - size, "as much as there is room for"
    held = ranges.held_bytes
    assert len(ranges.pop(10**9, 1)) == 1 and ranges.held_bytes == held - size
    rest = ranges.wanted(0)
    assert rest is not None and not rest.askers, "it is asked for once there is room"


def test_what_lies_ahead_shares_the_room() -> None:
    many = ASKS_MAX * FIRST_BLOCKS
    below, ahead = Ranges(1, ids(many)), Ranges(many + 1, ids(100))
    asked = 0
    while (part := below.wanted(0)) is not None and not part.askers:
        below.asked(part, b"p", 0)
        asked += 1
    assert asked == ASKS_MAX and ahead.wanted(0, below) is None
    first = below._ranges[0]
    below.take(first, blocks(first, first.count), 10)
    part = ahead.wanted(0, below)
    assert part is not None and part.height == many + 1
    assert below.wanted(LATE_MS, is_end=False) is below._ranges[1], "what is late comes first"


def test_handed_on_by_bytes_and_count() -> None:
    ranges = Ranges(1, ids(FIRST_BLOCKS))
    part = ask(ranges)
    ranges.take(part, blocks(part, FIRST_BLOCKS, size=10), 100)
    assert len(ranges.pop(25, 100)) == 2 and len(ranges.pop(1, 100)) == 1
    assert len(ranges.pop(10**6, 2)) == 2 and ranges.held_bytes == 100
    assert len(ranges.pop(10**6, 100)) == FIRST_BLOCKS - 5 and ranges.held_bytes == 0


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_every_block_once_and_in_order(count: int, seed: int) -> None:
    chance = random.Random(seed)
    ranges = Ranges(7, ids(count))
    found: list[bytes] = []
    now_ms = 0
    under_way: list[tuple[Range, bytes, list[bytes]]] = []
    while len(found) < count:
        now_ms += 100
        peer = bytes([chance.randrange(4)])
        part = ranges.wanted(now_ms)
        if part is not None and peer not in part.askers:
            ranges.asked(part, peer, now_ms)
            under_way.append((part, peer, list(ranges.ids(part))))
        if under_way and chance.random() < 0.5:
            part, peer, wanted = under_way.pop(chance.randrange(len(under_way)))
            if chance.random() < 0.25:
                ranges.failed(part, peer)
            else:
                most = chance.randint(1, len(wanted))
                header: Any = None
                ranges.take(
                    part,
                    [ProvenBlock(one, Block(header, LINK, b"x"), None) for one in wanted[:most]],
                    most,
                )
        found += [one.block_id for one in ranges.pop(10, 7)]
    assert found == ids(count)
