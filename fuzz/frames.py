"""Frames: whatever a peer seals, the connection takes it or ends with an error of the peer's.

The input is a row of frames, each with two bytes of length before it; `0xffff` lets a second pass.
Frames are sealed under the peer's own key, as only the peer can, and reach a real connection that
has asked two questions. Whatever it holds stays within its windows, and is given back at the end.
"""

import random
from collections.abc import Iterator
from typing import Final

from fuzz.mutation import mutated
from fuzz.seeds import golden
from p2p.channel import Channel
from p2p.connection import Answered, Connection, Departed, Failed, Received, Requested
from p2p.counters import Counters
from p2p.errors import Breach, FrameForged, RemoteError
from p2p.handshake import Established
from p2p.limits import Pool
from p2p.topics import LIMITS, Topic
from p2p.wire import FRAME_BYTES_MAX, FRAME_ITEMS_MAX, decode_frame, encode_frame

OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
WINDOWS_BYTES: Final = sum(limits.window_bytes for limits in LIMITS.values())
LONGEST_BYTES: Final = sum(limits.message_bytes_max for limits in LIMITS.values())
PAUSE: Final = 0xFFFF
PAUSE_MS: Final = 1_000
FRAMES_MAX: Final = 64


def seeds() -> list[bytes]:
    """The golden frames: each alone, all in a row, and a message in three pieces."""
    frames = list(golden("p2p_wire.txt").values())
    begun = bytes.fromhex("91960100000000cd0c00c50400") + bytes(1_024)
    more = bytes.fromhex("91930101c50400") + bytes(1_024)
    rows = [*[[frame] for frame in frames], frames, [begun, more, more]]
    return [b"".join([len(one).to_bytes(2, "big") + one for one in row]) for row in rows]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change one frame of the row, or the row itself."""
    frames = list(_frames(data))
    if not frames or chance.randrange(4) == 0:
        return mutated(data, size_max, chance)
    at = chance.randrange(len(frames))
    match chance.randrange(6):
        case 0:
            frames.insert(at, frames[chance.randrange(len(frames))])
        case 1:
            frames.insert(at, None)
        case 2:
            del frames[at]
        case _:
            frames[at] = mutated(frames[at] or b"\x90", PAUSE - 1, chance)
    return _row(frames)[:size_max]


def check(data: bytes) -> None:
    """Send the row of frames to a connection, and hold it to its bounds."""
    pool = Pool()
    connection = Connection(Established(b"A" * 32, OURS, THEIRS, bytes(32)), pool, Counters(), 0)
    ours, peer = Channel(THEIRS, OURS), Channel(THEIRS, OURS)
    for topic in (Topic.CONSENSUS, Topic.SYNC):
        connection.request(topic, b"what?", 5_000, 0)
    now_ms = 0
    try:
        for frame in _frames(data):
            if frame is None:
                now_ms += PAUSE_MS
                connection.poll(now_ms)
            else:
                _decodes(frame)
                connection.receive_data(peer.seal(frame), now_ms)
            _serve(connection, ours, now_ms)
            assert connection.held_bytes <= WINDOWS_BYTES + LONGEST_BYTES
            assert pool.held_bytes <= LONGEST_BYTES
    except RemoteError as error:
        assert error.code.startswith("p2p.") and error.sentence.endswith("."), error
    _forged(data)
    connection.close("p2p.stopped")
    assert pool.held_bytes == 0, "what was reserved is given back"
    failed = [event for event in _events(connection) if isinstance(event, Failed)]
    assert len(failed) <= 2, "each question fails once at most"


def _frames(data: bytes) -> Iterator[bytes | None]:
    at = 0
    for _ in range(FRAMES_MAX):
        if at + 2 > len(data):
            return
        length = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if length == PAUSE:
            yield None
        else:
            yield data[at : at + length]
            at += length


def _row(frames: list[bytes | None]) -> bytes:
    return b"".join(
        [
            PAUSE.to_bytes(2, "big") if one is None else len(one).to_bytes(2, "big") + one
            for one in frames
        ]
    )


def _decodes(frame: bytes) -> None:
    """What decodes encodes to the same bytes; what does not is a breach."""
    try:
        items = decode_frame(frame)
    except Breach:
        return
    assert 0 < len(items) <= FRAME_ITEMS_MAX
    assert encode_frame(list(items)) == frame


def _serve(connection: Connection, ours: Channel, now_ms: int) -> None:
    """Do what a node does with events, and read every frame that goes out."""
    for event in _events(connection):
        match event:
            case Received(topic, body):
                assert len(body) <= LIMITS[topic].message_bytes_max
                connection.settle(topic, len(body))
            case Requested(topic, number, body):
                connection.answer(topic, number, body[:64], now_ms)
                connection.settle(topic, len(body))
            case Answered(topic, number, _):
                assert (number, topic) in ((1, Topic.CONSENSUS), (2, Topic.SYNC))
            case Failed() | Departed():
                pass
    while (sealed := connection.data_to_send(now_ms)) is not None:
        frame = ours.open(sealed)
        assert len(frame) <= FRAME_BYTES_MAX
        decode_frame(frame)


def _events(
    connection: Connection,
) -> Iterator[Received | Requested | Answered | Failed | Departed]:
    while (event := connection.next_event()) is not None:
        yield event


def _forged(data: bytes) -> None:
    """Bytes that nobody sealed never open, and nobody is to blame for them."""
    try:
        Channel(OURS, THEIRS).open(data)
    except FrameForged as error:
        assert not error.is_provable
    else:
        raise AssertionError("a frame opened that nobody sealed")
