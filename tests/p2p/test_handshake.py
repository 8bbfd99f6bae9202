"""The handshake: both sides agree, every refusal has its reason, no byte can be changed."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.codec import encode
from p2p.errors import LocalError, RemoteError
from p2p.handshake import (
    HANDSHAKE_BYTES_MAX,
    PROTOCOL_VERSION,
    BadProof,
    Established,
    HandshakeRefused,
    Hello,
    Initiator,
    NodeKey,
    Responder,
    SelfDial,
    WeakKey,
    WrongNetwork,
    WrongPeer,
    WrongVersion,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "p2p_handshake.txt"
GENESIS = b"\x07" * 32
ALICE, BOB, EVE = (NodeKey(bytes([seed]) * 32) for seed in (1, 2, 3))
EPHEMERALS = (b"\x0a" * 32, b"\x0b" * 32)
P = 2**255 - 19
LOW_ORDER = [
    *(number.to_bytes(32, "little") for number in (0, 1, P - 1, P, P + 1)),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def sides(
    expected: bytes | None = None, responder: NodeKey = BOB, genesis: bytes = GENESIS
) -> tuple[Initiator, Responder]:
    first, second = EPHEMERALS
    return Initiator(ALICE, GENESIS, first, expected), Responder(responder, genesis, second)


def talk(initiator: Initiator, responder: Responder) -> tuple[list[bytes], list[Established]]:
    answer = responder.receive_hello(initiator.hello)
    last, dialled = initiator.receive_data(answer)
    return [initiator.hello, answer, last], [dialled, responder.receive_identity(last)]


def golden_lines() -> list[str]:
    said, (dialled, _) = talk(*sides())
    values = {
        **dict(zip(("hello", "answer", "identity"), said, strict=True)),
        "initiator_key": dialled.send_key,
        "responder_key": dialled.receive_key,
        "transcript": dialled.transcript,
    }
    return [f"{name} {value.hex()}" for name, value in values.items()]


def test_the_whole_handshake_is_pinned() -> None:
    assert GOLDEN.read_text().splitlines() == golden_lines()


def test_both_sides_agree() -> None:
    said, (dialled, accepted) = talk(*sides(BOB.node_id))
    assert (dialled.peer_id, accepted.peer_id) == (BOB.node_id, ALICE.node_id)
    assert (dialled.send_key, dialled.receive_key) == (accepted.receive_key, accepted.send_key)
    assert dialled.send_key != dialled.receive_key
    assert dialled.transcript == accepted.transcript
    assert all(len(data) <= HANDSHAKE_BYTES_MAX for data in said)


def test_no_name_travels_in_the_clear() -> None:
    said, _ = talk(*sides())
    assert not any(key.node_id in data for key in (ALICE, BOB) for data in said)


def test_keys_are_fresh_with_either_ephemeral_key() -> None:
    _, (first, _) = talk(*sides())
    again = (
        (Initiator(ALICE, GENESIS, b"\x0c" * 32), Responder(BOB, GENESIS, EPHEMERALS[1])),
        (Initiator(ALICE, GENESIS, EPHEMERALS[0]), Responder(BOB, GENESIS, b"\x0c" * 32)),
    )
    for pair in again:
        _, (other, _) = talk(*pair)
        keys = {first.send_key, first.receive_key, other.send_key, other.receive_key}
        assert len(keys) == 4 and first.transcript != other.transcript


def test_another_network_is_refused() -> None:
    initiator, responder = sides(genesis=b"\x08" * 32)
    with pytest.raises(WrongNetwork):
        responder.receive_hello(initiator.hello)
    stranger = Initiator(ALICE, b"\x08" * 32, EPHEMERALS[0])
    with pytest.raises(WrongNetwork):
        initiator.receive_data(responder.receive_hello(stranger.hello))


def test_another_version_is_refused() -> None:
    _, responder = sides()
    hello = Hello(PROTOCOL_VERSION + 1, GENESIS, bytes([9]) * 32)
    with pytest.raises(WrongVersion):
        responder.receive_hello(encode(hello))


@pytest.mark.parametrize("point", [*LOW_ORDER, *(p[:31] + bytes([p[31] | 128]) for p in LOW_ORDER)])
def test_points_of_low_order_are_refused(point: bytes) -> None:
    _, responder = sides()
    with pytest.raises(WeakKey):
        responder.receive_hello(encode(Hello(PROTOCOL_VERSION, GENESIS, point)))


def test_a_mirror_is_refused() -> None:
    mirror = Responder(ALICE, GENESIS, EPHEMERALS[0])
    with pytest.raises(WeakKey):
        mirror.receive_hello(sides()[0].hello)


def test_a_dial_to_oneself_is_noticed_by_the_dialling_side() -> None:
    initiator, responder = sides(responder=ALICE)
    with pytest.raises(SelfDial):
        initiator.receive_data(responder.receive_hello(initiator.hello))


def test_the_dialled_side_notices_itself_too() -> None:
    """A stranger holds our key, or we dial through a relay that shows another name to us."""

    class Masked(Initiator):
        """Agrees under one name and signs under another."""

        def receive_data(self, data: bytes) -> tuple[bytes, Established]:
            self._key = ALICE
            try:
                return super().receive_data(data)
            finally:
                self._key = EVE

    def last_of(kind: type[Initiator], name: NodeKey) -> tuple[bytes, Responder]:
        initiator, responder = kind(name, GENESIS, EPHEMERALS[0]), sides()[1]
        return initiator.receive_data(responder.receive_hello(initiator.hello))[0], responder

    last, responder = last_of(Masked, EVE)
    assert responder.receive_identity(last).peer_id == ALICE.node_id
    last, responder = last_of(Masked, EVE)
    responder._key = ALICE
    with pytest.raises(SelfDial):
        responder.receive_identity(last)


def test_another_peer_than_the_expected_is_refused_before_we_show_ourselves() -> None:
    initiator, responder = sides(EVE.node_id)
    with pytest.raises(WrongPeer):
        initiator.receive_data(responder.receive_hello(initiator.hello))


def test_a_replayed_hello_or_identity_leads_nowhere() -> None:
    said, _ = talk(*sides())
    later = Responder(BOB, GENESIS, b"\x0d" * 32)
    assert later.receive_hello(said[0]) != said[1]
    with pytest.raises(BadProof):
        later.receive_identity(said[2])
    dialling = Initiator(ALICE, GENESIS, b"\x0d" * 32)
    with pytest.raises(BadProof):
        dialling.receive_data(said[1])


def test_a_man_in_the_middle_is_noticed() -> None:
    """Eve agrees on secrets with both, and can pass neither off as the other."""
    initiator, responder = sides(BOB.node_id)
    to_alice, to_bob = Responder(EVE, GENESIS, b"\x0e" * 32), Initiator(EVE, GENESIS, b"\x0e" * 32)
    with pytest.raises(WrongPeer):
        initiator.receive_data(to_alice.receive_hello(initiator.hello))
    answer = responder.receive_hello(to_bob.hello)
    with pytest.raises(BadProof):
        initiator.receive_data(answer)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_change_of_any_byte_is_noticed(part: int) -> None:
    size = len(talk(*sides())[0][part])
    for at in range(size):
        for mask in (0x01, 0x80):
            initiator, responder = sides()

            def bent(data: bytes, which: int, at: int = at, mask: int = mask) -> bytes:
                if which != part:
                    return data
                return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]

            with pytest.raises(HandshakeRefused):
                answer = responder.receive_hello(bent(initiator.hello, 0))
                last, _ = initiator.receive_data(bent(answer, 1))
                responder.receive_identity(bent(last, 2))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_truncated_and_prolonged_messages_are_refused(part: int) -> None:
    said, _ = talk(*sides())
    size = len(said[part])
    for data in (*(said[part][:cut] for cut in range(size)), said[part] + b"\x00", bytes(10_000)):
        initiator, responder = sides()
        with pytest.raises(HandshakeRefused):
            if part == 0:
                responder.receive_hello(data)
            elif part == 1:
                initiator.receive_data(data)
            else:
                responder.receive_hello(initiator.hello)
                responder.receive_identity(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_refused(data: bytes) -> None:
    initiator, responder = sides()
    with pytest.raises(RemoteError):
        initiator.receive_data(data)
    with pytest.raises(RemoteError):
        responder.receive_hello(data)
    _, responder = sides()
    responder.receive_hello(initiator.hello)
    with pytest.raises(RemoteError):
        responder.receive_identity(data)


def test_random_mutations_are_refused() -> None:
    chance = random.Random(11)
    initiator, responder = sides()
    answer = responder.receive_hello(initiator.hello)
    for _ in range(2_000):
        data = bytearray(answer)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] ^= chance.randint(1, 255)
        if bytes(data) == answer:
            continue
        with pytest.raises(HandshakeRefused):
            sides()[0].receive_data(bytes(data))


def test_a_key_needs_its_32_bytes() -> None:
    with pytest.raises(LocalError):
        NodeKey(b"short")


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(golden_lines()) + "\n")
