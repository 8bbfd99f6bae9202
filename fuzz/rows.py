"""Rows of steps for the frames' fuzzer: sizes, topics and waits at the bounds of the protocol."""

import random
from typing import Any, Final

import msgpack

from fuzz.mutation import mutated
from fuzz.seeds import golden
from p2p.topics import LIMITS, MIB, Topic

STEPS_MAX: Final = 48
REPEATS_MAX: Final = 64
PIECE_BYTES: Final = 60_000
WHOLE, LONGER, SHORTER = -1, -2, -3
"""Lengths of a piece: as much as is missing and fits, one byte more than is missing, one less."""
FRAME, NOTICE, ASK, HOW, DEAL, OTHERS = range(6)
"""What a list begins with: a frame, and what the node does."""
PATIENCE: Final = [10_000, [FRAME, 1, [[3, 1]]]] * 3
"""A while in which the peer is heard, and does nothing."""
AT_ONCE, HOLD, REFUSE = range(3)
"""How the node deals with what came."""


def steps_of(data: bytes) -> list[Any]:
    """Return the steps of an input, as far as it can be read."""
    reader = msgpack.Unpacker(max_buffer_size=2**20, strict_map_key=False)
    found: list[Any] = []
    try:
        reader.feed(data)
        for step in reader:
            if len(found) == STEPS_MAX:
                break
            found.append(step)
    except (ValueError, TypeError, msgpack.UnpackException):
        return found
    return found


def seeds() -> list[bytes]:
    """The golden frames, and of every topic a row that goes to each of its bounds."""
    frames = list(golden("p2p_wire.txt").values())
    return [*[_row([frame]) for frame in frames], _row(frames), *[_row(row) for row in _rows()]]


def _rows() -> list[list[Any]]:
    """Rows of steps: some that are taken to the end, and some whose last step is refused."""
    rows: list[list[Any]] = []
    for topic, limits in LIMITS.items():
        sizes = _sizes(topic)
        rows.append([[FRAME, 1, [_start(topic, 0, 0, size)]] for size in sizes[:8]])
        rows.append([[FRAME, 1, [_start(topic, 1, size + 1, size)]] for size in sizes[:8]])
        rows.append([[FRAME, 1, [_start(topic, 0, 0, limits.message_bytes_max)]], 1_000, 20_000])
        rows.append([[FRAME, 2, [_start(topic, 0, 0, limits.message_bytes_max)]]])
        rows.append([[FRAME, 1, [_start(topic, 0, 0, 2_048, 1_024), [1, topic, LONGER]]]])
        rows.append([[HOW, HOLD, 0], [FRAME, 2, [_start(topic, 1, 7, 21)]]])
        rows.append([[FRAME, 1, [_start(topic, 0, 0, 2_048, 1_024)]], *PATIENCE, 1_000])
        rows.append([[HOW, HOLD, 0], *[[FRAME, 64, [_start(topic, 0, 0, 1)]]] * 2])
        rows.append([[NOTICE, topic, limits.window_bytes], [ASK, topic, 21], 5_000])
        if limits.window_bytes < limits.message_bytes_max:
            begun = [FRAME, 1, [_start(topic, 0, 0, limits.window_bytes + 1)]]
            more = [FRAME, 40, [[1, topic, WHOLE]]]
            rows.append([[HOW, HOLD, 0], begun, more, 100, begun, [DEAL], 100])
            rows.append([[OTHERS, 127], begun, more, [OTHERS, 0], more, 100])
    answers = [_start(Topic.CONSENSUS, 2, 1, 3), _start(Topic.SYNC, 3, 2, 3)]
    rows.append([[HOW, AT_ONCE, 3 * MIB], [FRAME, 1, [_start(Topic.SYNC, 1, 5, 16)]]])
    rows += [[[FRAME, 1, answers]], [[FRAME, 1, [_start(Topic.SYNC, 2, 1, 3)]]]]
    rows.append([[FRAME, 5, [[2, Topic.SYNC, 1, 1]] * 1_000]])
    return rows


def _start(topic: int, kind: int, number: int, total: int, size: int = WHOLE) -> list[int]:
    return [0, topic, kind, number, total, size]


def _row(steps: list[Any]) -> bytes:
    return b"".join([msgpack.packb(step, use_bin_type=True, default=int) for step in steps])


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change one step of the row, put one in, or change bytes."""
    steps = steps_of(data)
    if not steps or chance.randrange(8) == 0:
        return mutated(data, size_max, chance)
    at = chance.randrange(len(steps) + 1)
    near = steps[min(at, len(steps) - 1)]
    match chance.randrange(6):
        case 0:
            steps.insert(at, near)
        case 1 if len(steps) > 1:
            del steps[min(at, len(steps) - 1)]
        case 2 if isinstance(near, bytes):
            steps[min(at, len(steps) - 1)] = mutated(near, size_max, chance)
        case 2 | 3 if isinstance(near, list) and near and near[0] == FRAME:
            steps[min(at, len(steps) - 1)] = _changed(near, chance)
        case _:
            steps[at:at] = _any_steps(chance)
    try:
        return _row(steps)[:size_max]
    except (ValueError, TypeError, OverflowError):
        return mutated(data, size_max, chance)


def _changed(step: list[Any], chance: random.Random) -> list[Any]:
    """Return the frame with an item more, less, or another."""
    repeats, items = (*step[1:], [])[:2] if len(step) == 3 else (1, [])
    items = list(items) if isinstance(items, list) else []
    at = chance.randrange(len(items) + 1)
    match chance.randrange(4):
        case 0:
            repeats = chance.choice((1, 2, 5, 40, REPEATS_MAX))
        case 1 if items:
            del items[min(at, len(items) - 1)]
        case 2 if items:
            items.insert(at, items[min(at, len(items) - 1)])
        case _:
            items.insert(at, _any_item(chance))
    return [FRAME, repeats, items]


def _any_steps(chance: random.Random) -> list[Any]:
    topic = chance.choice(list(LIMITS))
    size = chance.choice(_sizes(topic))
    match chance.randrange(12):
        case 0 if chance.randrange(4) == 0:
            return PATIENCE
        case 0:
            return [chance.choice((1, 100, 1_000, 4_000, 5_000, 14_999, 15_000, 30_001))]
        case 1:
            return [[chance.choice((NOTICE, ASK)), topic, size]]
        case 2:
            return [[HOW, chance.randrange(3), chance.choice((0, 3, 1_024, MIB, 3 * MIB))]]
        case 3:
            return [[DEAL]]
        case 4:
            return [[OTHERS, chance.choice((0, 0, 96, 124, 126, 128))]]
        case 5 | 6:
            start = _start(topic, 0, 0, size, chance.choice((WHOLE, 1_024, PIECE_BYTES)))
            more = [1, topic, chance.choice((WHOLE, WHOLE, LONGER, SHORTER))]
            return [[FRAME, 1, [start]], [FRAME, chance.choice((1, 36, 40)), [more]]]
        case 7:
            small = [FRAME, 64, [_start(topic, 0, 0, 1)]]
            begun = [FRAME, 1, [_start(topic, 0, 0, 2_048, 1_024)]]
            flood = [FRAME, 5, [[2, topic, 1, 1]] * 1_000]
            rows = ([[HOW, HOLD, 0], small, small], [begun, *PATIENCE, 1_000], [flood])
            return chance.choice(rows)
    items = [_any_item(chance) for _ in range(chance.choice((1, 1, 2, 4)))]
    return [[FRAME, chance.choice((1, 1, 1, 2, REPEATS_MAX)), items]]


def _any_item(chance: random.Random) -> list[Any]:
    topic = chance.choice(list(LIMITS))
    size = chance.choice(_sizes(topic))
    piece = chance.choice((WHOLE, WHOLE, LONGER, SHORTER, 0, 1_023, 1_024, PIECE_BYTES))
    kind = chance.choice((0, 0, 1, 1, 2, 3))
    match chance.randrange(8):
        case 0 | 1:
            return [1, topic, piece]
        case 2:
            return [2, topic, size, chance.choice((0, 1, 64, 2**32))]
        case 3:
            return chance.choice([[3, size], [4, 0], [5, "p2p.stopped"]])
    return _start(topic, kind, chance.randrange(1, 5) if kind else 0, size, piece)


def _sizes(topic: Topic) -> list[int]:
    """Lengths at the bounds of a topic, the least first."""
    window, longest = LIMITS[topic].window_bytes, LIMITS[topic].message_bytes_max
    return [
        *(0, 1, 16, 17, 20, 21, 1_023, 1_024, 1_025, PIECE_BYTES, window - 1, window, window + 1),
        *(longest - 1, longest, longest + 1),
    ]
