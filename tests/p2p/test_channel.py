"""The channel: in order and once, or not at all; keys move on at the same frame on both sides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p import channel
from p2p.channel import SEAL_BYTES, Channel
from p2p.errors import FrameForged

GOLDEN = Path(__file__).parents[1] / "golden" / "p2p_channel.txt"
KEYS = (b"\x01" * 32, b"\x02" * 32)


def ends() -> tuple[Channel, Channel]:
    return Channel(*KEYS), Channel(*reversed(KEYS))


def golden_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(channel, "REKEY_FRAMES", 2)
    one, _ = ends()
    return [one.seal(b"frame %d" % at).hex() for at in range(5)]


def test_sealed_frames_are_pinned_across_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GOLDEN.read_text().splitlines() == golden_lines(monkeypatch)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80)), max_size=30))
def test_frames_open_on_the_other_side(frames: list[tuple[bool, bytes]]) -> None:
    one, other = ends()
    for forth, frame in frames:
        sender, receiver = (one, other) if forth else (other, one)
        sealed = sender.seal(frame)
        assert len(sealed) == len(frame) + SEAL_BYTES
        assert receiver.open(sealed) == frame


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 2), (0, 1, 1), (0, 1, 0), (2,)], ids=str)
def test_replayed_reordered_and_dropped_frames_end_it(order: tuple[int, ...]) -> None:
    one, other = ends()
    sealed = [one.seal(b"frame %d" % at) for at in range(3)]
    for at in order[:-1] if order[0] == 0 else ():
        assert other.open(sealed[at]) == b"frame %d" % at
    with pytest.raises(FrameForged):
        other.open(sealed[order[-1] if order[0] == 0 else order[0]])
    for frame in sealed:
        with pytest.raises(FrameForged):
            other.open(frame)


def test_a_change_of_any_byte_ends_it() -> None:
    sealed = ends()[0].seal(b"a frame")
    for at in range(len(sealed)):
        with pytest.raises(FrameForged):
            ends()[1].open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
    for cut in range(len(sealed)):
        with pytest.raises(FrameForged):
            ends()[1].open(sealed[:cut])


def test_a_frame_sent_back_is_refused() -> None:
    one, _ = ends()
    with pytest.raises(FrameForged):
        one.open(one.seal(b"mine"))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FrameForged):
        ends()[0].open(data)


@pytest.mark.parametrize(("frames", "size"), [(3, 2**30), (2**16, 100)])
def test_keys_move_on_together(frames: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "REKEY_FRAMES", frames)
    monkeypatch.setattr(channel, "REKEY_BYTES", size)
    one, other = ends()
    keys = set()
    for _ in range(20):
        keys.add(one._sending._key)
        assert one._sending._key == other._receiving._key
        assert other.open(one.seal(bytes(20))) == bytes(20)
    assert len(keys) == 7  # a new one after three frames of 36 bytes, whichever limit is meant


def test_no_nonce_serves_twice_under_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "REKEY_FRAMES", 4)
    one, _ = ends()
    assert len({one.seal(bytes(32)) for _ in range(64)}) == 64


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        GOLDEN.write_text("\n".join(golden_lines(patch)) + "\n")
