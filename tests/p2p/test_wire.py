"""Frames and pieces: canonical, bounded before anything is kept, and whole on the other side."""

import random
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.codec import encode
from p2p.errors import Breach, Malformed, OutOfOrder, Oversize
from p2p.topics import LIMITS, Topic
from p2p.wire import (
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ITEMS_OVERHEAD_BYTES,
    PIECE_BYTES_MIN,
    PIECE_OVERHEAD_BYTES,
    Assembler,
    Credit,
    Goodbye,
    Item,
    Kind,
    Message,
    More,
    Ping,
    Pong,
    Start,
    cut,
    decode_frame,
    encode_frame,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "p2p_wire.txt"
SAMPLES: dict[str, Item] = {
    "start": Start(Topic.CONSENSUS, Kind.NOTICE, 0, 4, b"vote"),
    "request": Start(Topic.SYNC, Kind.REQUEST, 1, 3, b"ask"),
    "response": Start(Topic.SYNC, Kind.RESPONSE, 300, 70_000, bytes(20)),
    "refusal": Start(Topic.SYNC, Kind.REFUSAL, 2, 4, b"busy"),
    "more": More(Topic.BLOCKS, b"\xff" * 12),
    "credit": Credit(Topic.TRANSACTIONS, 2**20, 4_096),
    "ping": Ping(2**40),
    "pong": Pong(0),
    "goodbye": Goodbye("p2p.duplicate"),
}
WIDEST = [
    Start(Topic.PEERS, Kind.REFUSAL, 2**63 - 1, LIMITS[Topic.SYNC].message_bytes_max, b""),
    More(Topic.PEERS, b""),
]


def golden_lines() -> list[str]:
    frames = {name: encode_frame([item]) for name, item in SAMPLES.items()}
    frames["together"] = encode_frame(list(SAMPLES.values()))
    return [f"{name} {frame.hex()}" for name, frame in frames.items()]


def test_frames_are_pinned() -> None:
    assert GOLDEN.read_text().splitlines() == golden_lines()


def test_frames_read_by_another_reader() -> None:
    frame = encode_frame([SAMPLES["start"], SAMPLES["credit"]])
    assert msgpack.unpackb(frame) == [[0, 0, 0, 0, 4, b"vote"], [2, 2, 2**20, 4_096]]


@pytest.mark.parametrize("name", SAMPLES)
def test_an_item_comes_back(name: str) -> None:
    assert decode_frame(encode_frame([SAMPLES[name]])) == (SAMPLES[name],)


@pytest.mark.parametrize("item", WIDEST)
def test_a_piece_needs_no_more_than_its_overhead(item: Item) -> None:
    assert len(encode(item)) + 2 <= PIECE_OVERHEAD_BYTES  # two bytes more for a longer length
    assert len(encode([0] * FRAME_ITEMS_MAX)) - FRAME_ITEMS_MAX <= ITEMS_OVERHEAD_BYTES


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (encode(()), Malformed),
        (encode([[9, 0]]), Malformed),
        (encode([[0, 9, 0, 0, 1, b"x"]]), Malformed),
        (encode([[0, 0, 9, 0, 1, b"x"]]), Malformed),
        (encode([[0, 0, 0, 0, 2**26, b"x"]]), Malformed),
        (encode([[5, "Not A Code"]]), Malformed),
        (encode([[5, "x" * 65]]), Malformed),
        (encode([SAMPLES["ping"]] * (FRAME_ITEMS_MAX + 1)), Malformed),
        (encode([[0, 0, 0, 0, 1, b"x", 0]]), Malformed),
        (bytes(FRAME_BYTES_MAX + 1), Oversize),
    ],
)
def test_bad_frames_are_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_frame(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        items = decode_frame(data)
    except Breach:
        return
    assert encode_frame(list(items)) == data


def test_mutated_frames_are_frames_or_refused() -> None:
    chance = random.Random(5)
    frame = encode_frame(list(SAMPLES.values()))
    for _ in range(20_000):
        data = bytearray(frame)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assembler = Assembler()
        try:
            for item in decode_frame(bytes(data)):
                if isinstance(item, Start | More):
                    assembler.receive_data(item)
        except Breach:
            continue
        assert sum(kept for _, kept, _ in assembler.partial()) <= len(data)


def pieces(message: Message, room: int) -> list[Start | More]:
    made: list[Start | More] = []
    sent = 0
    while True:
        piece, size = cut(message, room, sent)
        assert isinstance(piece, Start | More)
        assert len(encode(piece)) <= room
        made.append(piece)
        sent += size
        if sent == len(message.data):
            return made


@given(st.integers(0, 20_000), st.integers(PIECE_BYTES_MIN + PIECE_OVERHEAD_BYTES, 9_000))
def test_a_cut_message_is_put_together(size: int, room: int) -> None:
    message = Message(Topic.BLOCKS, Kind.REQUEST, 5, random.Random(size).randbytes(size))
    assembler = Assembler()
    received = [assembler.receive_data(piece) for piece in pieces(message, room)]
    assert received[-1] == message
    assert not any(received[:-1])
    assert not list(assembler.partial())


def test_topics_interleave() -> None:
    block = Message(Topic.BLOCKS, Kind.NOTICE, 0, bytes(5_000))
    vote = Message(Topic.CONSENSUS, Kind.NOTICE, 0, b"vote")
    assembler = Assembler()
    first, *rest = pieces(block, 2_000)
    assert assembler.receive_data(first) is None
    assert [assembler.receive_data(piece) for piece in pieces(vote, 2_000)] == [vote]
    assert [assembler.receive_data(piece) for piece in rest][-1] == block


def test_no_room_no_piece() -> None:
    block = Message(Topic.BLOCKS, Kind.NOTICE, 0, bytes(5_000))
    assert cut(block, PIECE_BYTES_MIN + PIECE_OVERHEAD_BYTES - 1, 0) == (None, 0)
    tail, size = cut(block, 100 + PIECE_OVERHEAD_BYTES, 4_900)
    assert size == 100 and tail == More(Topic.BLOCKS, bytes(100))


LONG = Start(Topic.PEERS, Kind.NOTICE, 0, 4_000, bytes(2_000))


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([More(Topic.PEERS, b"x")], OutOfOrder),
        ([LONG, LONG], OutOfOrder),
        ([LONG, More(Topic.SYNC, bytes(2_000))], OutOfOrder),
        ([LONG, More(Topic.PEERS, bytes(2_001))], Malformed),
        ([LONG, More(Topic.PEERS, bytes(PIECE_BYTES_MIN - 1))], Malformed),
        ([LONG, More(Topic.PEERS, b"")], Malformed),
        ([Start(Topic.PEERS, Kind.NOTICE, 0, 4_000, bytes(10))], Malformed),
        ([Start(Topic.PEERS, Kind.NOTICE, 0, 9, bytes(10))], Malformed),
        ([Start(Topic.PEERS, Kind.NOTICE, 1, 1, b"x")], Malformed),
        ([Start(Topic.PEERS, Kind.REQUEST, 0, 1, b"x")], Malformed),
        ([Start(Topic.PEERS, Kind.NOTICE, 0, 2**16 + 1, bytes(2_000))], Oversize),
    ],
)
def test_pieces_out_of_place_are_refused(items: list[Start | More], error: type[Exception]) -> None:
    assembler = Assembler()
    for item in items[:-1]:
        assert assembler.receive_data(item) is None
    with pytest.raises(error):
        assembler.receive_data(items[-1])


def test_a_promise_of_bytes_allocates_nothing() -> None:
    assembler = Assembler()
    total = LIMITS[Topic.SYNC].message_bytes_max
    assembler.receive_data(Start(Topic.SYNC, Kind.NOTICE, 0, total, bytes(PIECE_BYTES_MIN)))
    assert list(assembler.partial()) == [(Topic.SYNC, PIECE_BYTES_MIN, total)]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(golden_lines()) + "\n")
