"""The handshake: whoever does not prove who it is, in time, is not let in; whoever does, is.

The input is a plan: what a stranger says instead of the truth, in either role, how long it takes,
and what is changed of the sealed bytes. It speaks to the handshake itself, or to the transport, in
a loop whose clock the plan moves.
"""

import asyncio
import atexit
import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, cast

import aiohttp
import msgpack

from fuzz.mutation import mutated
from fuzz.stranger import GENESIS, Plan, Stranger, Victim
from fuzz.wires import Loop, Wire, faults_of
from p2p.addresses import Address
from p2p.counters import Counters
from p2p.errors import RemoteError
from p2p.gate import Gate, Place
from p2p.handshake import Established, HandshakeRefused, Initiator, NodeKey, Responder
from p2p.session import Line
from p2p.transport import OPENING_S, Transport, Unreachable, _DialledSocket, _Doorman

DIALLER, DIALLED = NodeKey(b"\x01" * 32), NodeKey(b"\x02" * 32)
CHANCE: Final = b"\x04" * 32
ANSWERS, DIALS, LISTENS, CONNECTS = range(4)
"""Whom the stranger meets: who was dialled, who dials, and both behind a transport."""
OPENING_MS: Final = round(OPENING_S * 1_000)
WAIT_MS_MAX: Final = 20_000
UPGRADE: Final = (
    b"GET /p2p HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
WAITS: Final = (0, 1, 2_500, OPENING_MS - 1, OPENING_MS, OPENING_MS + 1)
CHOICES: Final[dict[str, tuple[int | bytes, ...]]] = {
    "role": (ANSWERS, DIALS, LISTENS, CONNECTS),
    "wait_ms": WAITS,
    "later_ms": WAITS,
    "expected": (0, 1, 2),
    "version": (0, 1, -1, 2**16 - 1),
    "genesis": (0, 1, b"", bytes(31), bytes(33)),
    "key": (*range(16), b"", bytes(31), bytes(33), b"\x09" * 32),
    "who": (*range(10), b"", bytes(31), b"\x09" * 32),
    "signature": (0, 1, 2, 3, b"", bytes(63), b"\x09" * 64),
    "side": (0, 1, 2),
    "over": (0, 1, 2, 3, 4),
    "form": (0, 1, 2),
    "seal": (0, 1, 2, 3, 4, 5),
    "place": (0, 1),
    "at": (0, 1, 2, 34, 35, 36, 37, 69, 70, 71, 72, 1_000),
    "xor": (b"", b"\x01", b"\x80", b"\x01" * 32, bytes(600)),
    "cut": (0, 1, 16, 32, 1_000),
}
"""Of every field: the truth first, and lies."""
assert list(CHOICES) == [field.name for field in fields(Plan)]


def _heard() -> tuple[bytes, bytes]:
    """What both nodes signed when the stranger talked to them before, the dialler's first."""
    signed: list[bytes] = []

    class Signing(NodeKey):
        def sign(self, digest: bytes) -> bytes:
            signed.append(super().sign(digest))
            return signed[-1]

    keys = (Signing(b"\x01" * 32), Signing(b"\x02" * 32))
    initiator = Initiator(keys[0], GENESIS, b"\x0a" * 32)
    responder = Responder(keys[1], GENESIS, b"\x0b" * 32)
    initiator.receive_data(responder.receive_hello(initiator.hello))
    return signed[1], signed[0]


HEARD: Final = _heard()
VICTIMS: Final = (
    Victim(DIALLED.node_id, DIALLER.node_id, HEARD[0]),
    Victim(DIALLER.node_id, DIALLED.node_id, HEARD[1]),
)
"""Whom the stranger meets when it dials, and when it is dialled."""


def check(data: bytes) -> None:
    """Play the plan, and see that the stranger is let in if and only if it told the truth."""
    plan = _plan(data)
    stranger = Stranger(plan, plan.role % 2, VICTIMS[plan.role % 2])
    play = (_answers, _dials, SERVER.listens, SERVER.connects)[plan.role % 4]
    may = [stranger.node_id, None, DIALLED.node_id][plan.expected % 3]
    established, is_late = play(stranger, may)
    is_meant = plan.role % 2 == 0 or may in (None, stranger.node_id)
    if not stranger.is_honest or not is_meant or is_late:
        assert established is None, "a stranger is let in that lied, or came too late"
        return
    assert established is not None, "an honest handshake was refused"
    assert established.peer_id == stranger.node_id
    own, others = stranger.keys(b"p2p/connection")[:: -1 if stranger.side else 1]
    assert (established.receive_key, established.send_key) == (own, others) and own != others
    assert established.transcript == stranger.transcript


Said = tuple[Established | None, bool]
"""What was established, and whether the stranger took too long."""


def _answers(stranger: Stranger, _: bytes | None) -> Said:
    """The stranger dials, without a transport."""
    responder = Responder(DIALLED, GENESIS, CHANCE)

    def talk() -> Established:
        hello, own = _hello(stranger)
        answer = responder.receive_hello(hello)
        return responder.receive_identity(_reply(stranger, own, answer))

    return _unless_refused(talk), False


def _dials(stranger: Stranger, may: bytes | None) -> Said:
    """The stranger is dialled, without a transport."""
    initiator = Initiator(DIALLER, GENESIS, CHANCE, may)

    def talk() -> Established:
        last, established = initiator.receive_data(_answer(stranger, initiator.hello))
        stranger.hear(last)
        return established

    return _unless_refused(talk), False


def _unless_refused(talk: Callable[[], Established]) -> Established | None:
    try:
        return talk()
    except HandshakeRefused as error:
        assert not error.is_provable and error.sentence.endswith("."), error
        return None


def _hello(stranger: Stranger) -> tuple[bytes, list[Any]]:
    """The stranger's first message where it dials, and what stands in it."""
    own = stranger.hello(_public(CHANCE))
    return stranger.bent(0, _packed(own)), own


def _reply(stranger: Stranger, own: list[Any], answer: bytes) -> bytes:
    """The stranger's last message where it dials."""
    assert len(answer) <= 512, "an answer longer than messages of the handshake are"
    hello, sealed = msgpack.unpackb(answer)
    stranger.agree(_packed(own) + _packed(hello), own[2], hello[2])
    if stranger.is_honest:
        stranger.hear(sealed)
    else:
        stranger.overhear(sealed)
    return stranger.bent(1, stranger.identity())


def _answer(stranger: Stranger, hello: bytes) -> bytes:
    """The stranger's only message where it is dialled."""
    victims_key = msgpack.unpackb(hello)[2]
    own: list[Any] = stranger.hello(victims_key)
    stranger.agree(hello + _packed(own), own[2], victims_key)
    answer = stranger.bent(1, _packed([own, stranger.identity()]))
    return stranger.bent(0, answer)


def _packed(value: object) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def _public(seed: bytes) -> bytes:
    return bytes(msgpack.unpackb(Initiator(DIALLER, GENESIS, seed).hello)[2])


class _Socket:
    """A dialled WebSocket in memory: what is said is kept, what is heard comes when it may."""

    def __init__(self, loop: Loop) -> None:
        self.transport = Wire()
        self.said: list[bytes] = []
        self.is_aborted = False
        self.heard: asyncio.Future[bytes] = loop.create_future()

    async def send_bytes(self, data: bytes) -> None:
        """Keep what is said."""
        self.said.append(data)

    async def receive(self) -> aiohttp.WSMessage:
        """Wait for what the stranger says."""
        return aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, await self.heard, None)

    def abort(self) -> None:
        """Remember that it was cut off."""
        self.is_aborted = True


class _Dialler(Transport):
    """A transport that meets the stranger wherever it dials."""

    socket: _Socket

    async def _connect(self, _: Address) -> _DialledSocket:
        return cast(_DialledSocket, self.socket)


class Server:
    """A transport that listens and dials in memory, in a loop whose clock a plan moves."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.broken: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.broken.append(context))
        self.faults = faults_of("p2p.http", "aiohttp")
        self.gate, self.welcomed = Gate(4), list[tuple[Line, Established, Place | None]]()
        self.clock_ms = 0
        self.transport = _Dialler(
            *(DIALLED, GENESIS, self.gate, self._clock, Counters(), lambda n: CHANCE[:n]),
            self._welcome,
        )
        self.loop.run_until_complete(self.transport.start("127.0.0.1", 0, None))

    def stop(self) -> None:
        """Close the listener and the loop."""
        self.loop.is_real = True
        self.loop.run_until_complete(self.transport.stop())
        self.loop.close()

    def _clock(self) -> int:
        self.clock_ms += 10_000
        return self.clock_ms

    async def _welcome(
        self, line: Line, established: Established, _: str, place: Place | None
    ) -> None:
        self.welcomed.append((line, established, place))
        await self.loop.create_future()

    def listens(self, stranger: Stranger, _: bytes | None) -> Said:
        """The stranger connects, upgrades, and speaks when it likes."""
        for heard in (self.welcomed, self.broken, self.faults.found):
            heard.clear()
        found = self.loop.run_until_complete(self._listens(stranger))
        assert not self.broken and not self.faults.found, (self.broken, self.faults.found)
        assert not self.gate._counted and not self.gate._pending, "the place is given back"
        return found

    async def _listens(self, stranger: Stranger) -> Said:
        assert self.transport._keeper is not None
        wire = Wire()
        wire.protocol = _Doorman(self.transport._keeper)
        wire.protocol.connection_made(wire)
        try:
            return await self._talks(stranger, wire)
        finally:
            wire.close()
            wire.protocol.connection_lost(None)
            await self.loop.turn()

    async def _talks(self, stranger: Stranger, wire: Wire) -> Said:
        plan = stranger.plan
        await self.loop.turn()
        wire.protocol.data_received(UPGRADE)
        await self.loop.turn()
        await self.loop.wait(plan.wait_ms / 1_000)
        hello, own = _hello(stranger)
        await self._hears(wire, hello)
        await self.loop.wait(plan.later_ms / 1_000)
        if (answer := _last_of(wire)) and not wire.is_closing():
            await self._hears(wire, _reply(stranger, own, answer))
        taken_ms = plan.wait_ms + plan.later_ms
        established = self.welcomed[0][1] if self.welcomed else None
        await self.loop.wait(max(0, OPENING_MS - taken_ms) / 1_000)
        assert wire.is_closing() is (established is None), "who has no name is not cut off"
        return established, taken_ms >= OPENING_MS

    async def _hears(self, wire: Wire, said: bytes) -> None:
        if not wire.is_closing():
            size = len(said).to_bytes(2, "big")
            head = b"\x82\xfe" + size if len(said) > 125 else bytes([0x82, 0x80 | len(said)])
            wire.protocol.data_received(head + bytes(4) + said)
            await self.loop.turn()

    def connects(self, stranger: Stranger, may: bytes | None) -> Said:
        """The stranger is dialled, and answers when it likes."""
        self.transport._key = DIALLER
        try:
            return self.loop.run_until_complete(self._connects(stranger, may))
        finally:
            self.transport._key = DIALLED

    async def _connects(self, stranger: Stranger, may: bytes | None) -> Said:
        socket = self.transport.socket = _Socket(self.loop)
        dialling = self.loop.create_task(self.transport.dial(Address("203.0.113.9", 1), may))
        await self.loop.turn()
        await self.loop.wait(stranger.plan.wait_ms / 1_000)
        if not socket.heard.done():
            socket.heard.set_result(_answer(stranger, socket.said[0]))
        await self.loop.turn()
        is_late = stranger.plan.wait_ms >= OPENING_MS
        is_over = dialling.done() or not dialling.cancel()
        assert is_over, "a dial ends when its time is over"
        try:
            _, established = dialling.result()
        except RemoteError as error:
            assert isinstance(error, HandshakeRefused | Unreachable) and not error.is_provable
            assert socket.is_aborted, "a line that leads nowhere is cut off"
            assert len(socket.said) == 1, "whom it did not mean learns its name"
            return None, is_late
        stranger.hear(socket.said[1])
        assert not socket.is_aborted
        return established, is_late


SERVER: Final = Server()
atexit.register(SERVER.stop)


def _last_of(wire: Wire) -> bytes:
    """The message behind the upgrade, if one came."""
    _, _, said = bytes(wire.said).partition(b"\r\n\r\n")
    return said[4:] if said[:2] == b"\x82\x7e" else b""


# --- inputs ---------------------------------------------------------------------------------------


def _plan(data: bytes) -> Plan:
    """Return the plan in an input: a list of its fields, and the truth where one is missing."""
    values = _values(data)
    known: dict[str, Any] = {}
    for at, (name, choices) in enumerate(CHOICES.items()):
        value = values[at] if at < len(values) else choices[0]
        kinds = {type(choice) for choice in choices}
        known[name] = value if type(value) in kinds else choices[0]
    for name in ("wait_ms", "later_ms"):
        known[name] = abs(known[name]) % WAIT_MS_MAX
    for name in ("at", "cut"):
        known[name] = abs(known[name])
    return Plan(**known)


def _values(data: bytes) -> list[Any]:
    try:
        values = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return []
    return values if isinstance(values, list) else []


def seeds() -> list[bytes]:
    """The truth in every role, and every lie alone."""
    truth = [choices[0] for choices in CHOICES.values()]
    plans = []
    for role in CHOICES["role"]:
        for at, choices in enumerate(CHOICES.values()):
            for choice in choices[1:] if at else [role]:
                plans.append([role, *truth[1:]])
                plans[-1][at] = choice
    others = ({"who": who, "signature": 3} for who in range(3, 10))
    for lies in ({"who": 2, "signature": 1}, {"wait_ms": 2_500, "later_ms": 2_500}, *others):
        for role in CHOICES["role"]:
            plan = {**dict(zip(CHOICES, truth, strict=True)), **lies, "role": role}
            plans.append(list(plan.values()))
    return [_packed(plan) for plan in plans]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Tell another lie, take one back, or change bytes."""
    values = _values(data)
    if chance.randrange(16) == 0:
        return mutated(data, size_max, chance)
    truth = [choices[0] for choices in CHOICES.values()]
    values = [*values, *truth[len(values) :]][: len(truth)]
    at = chance.randrange(len(values))
    choices = list(CHOICES.values())[at]
    match chance.randrange(8):
        case 0 | 1:
            values[at] = choices[0]
        case 2 if isinstance(values[at], bytes):
            values[at] = mutated(values[at], 600, chance)
        case 3:
            values[CHOICES_AT["at"]] = chance.randrange(256)
            values[CHOICES_AT["xor"]] = bytes([1 << chance.randrange(8)])
        case _:
            values[at] = chance.choice(choices)
    try:
        return _packed(values)[:size_max]
    except (ValueError, TypeError, OverflowError):
        return mutated(data, size_max, chance)


CHOICES_AT: Final = {name: at for at, name in enumerate(CHOICES)}
