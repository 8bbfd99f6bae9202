"""The handshake: what stands in the place of one of its messages is refused, or is that message.

The first byte of the input says whose place it takes. Keys and chance are fixed, so that the honest
messages are known: a handshake that ends well with any other bytes would be a forgery.
"""

import random
from typing import Final

from fuzz.mutation import mutated
from p2p.handshake import HandshakeRefused, Initiator, NodeKey, Responder

GENESIS: Final = b"\x07" * 32
DIALLER, DIALLED = NodeKey(b"\x01" * 32), NodeKey(b"\x02" * 32)
PLACES: Final = 3


def _pair() -> tuple[Initiator, Responder]:
    initiator = Initiator(DIALLER, GENESIS, b"\x03" * 32, DIALLED.node_id)
    return initiator, Responder(DIALLED, GENESIS, b"\x04" * 32)


def _said() -> tuple[bytes, bytes, bytes]:
    initiator, responder = _pair()
    answer = responder.receive_hello(initiator.hello)
    last, _ = initiator.receive_data(answer)
    return initiator.hello, answer, last


SAID: Final = _said()


def seeds() -> list[bytes]:
    """The three honest messages, each in its place."""
    return [bytes([place]) + said for place, said in enumerate(SAID)]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change what stands in the place, seldom the place."""
    place = data[:1] if chance.randrange(8) else bytes([chance.randrange(PLACES)])
    return place + mutated(data[1:], size_max - 1, chance)


def check(data: bytes) -> None:
    """Play the handshake with one message replaced."""
    place, said = data[0] % PLACES if data else 0, data[1:]
    initiator, responder = _pair()
    try:
        match place:
            case 0:
                answer = responder.receive_hello(said)
                assert len(answer) <= 512
                _cannot_end_well(initiator, responder, answer, said)
            case 1:
                _, established = initiator.receive_data(said)
                assert (said, established.peer_id) == (SAID[1], DIALLED.node_id)
            case _:
                responder.receive_hello(SAID[0])
                ended = responder.receive_identity(said)
                assert (said, ended.peer_id) == (SAID[2], DIALLER.node_id)
    except HandshakeRefused as error:
        assert not error.is_provable and error.sentence.endswith("."), error
        assert said != SAID[place], "an honest message was refused"


def _cannot_end_well(
    initiator: Initiator, responder: Responder, answer: bytes, hello: bytes
) -> None:
    """After a hello that the dialler never sent, neither side may believe the other."""
    for step in (
        lambda: initiator.receive_data(answer),
        lambda: responder.receive_identity(SAID[2]),
    ):
        try:
            step()
        except HandshakeRefused:
            assert hello != SAID[0], "an honest handshake failed"
        else:
            assert hello == SAID[0], "a hello was changed and nobody noticed"
