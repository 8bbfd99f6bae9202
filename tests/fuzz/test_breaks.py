"""Every oracle bites: with one rule of the code broken, its fuzzer finds it among few inputs."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import cython_ext
from fuzz import frames, handshake, http
from node.rpc.connections import Handler
from p2p import handshake as shaking
from p2p import transport, wire
from p2p.codec import hash_bytes
from p2p.connection import Connection
from p2p.handshake import HandshakeRefused
from p2p.limits import ReceiveWindow, TokenBucket
from p2p.scheduler import Scheduler, _Queue
from p2p.wire import Assembler

ROUNDS = 400
"""Mutations beyond the seeds; most breaks are found by a seed."""

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


def is_found(target: Any) -> bool:
    """Whether an oracle of the target fails for a seed or a mutation of one."""
    seeds, chance = target.seeds(), random.Random(1)
    inputs = list(seeds)
    for _ in range(ROUNDS):
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 2, 4))):
            data = target.mutate(data, 4_096, chance)
        inputs.append(data)
    for data in inputs:
        try:
            target.check(data)
        except AssertionError:
            return True
    return False


# --- frames ---------------------------------------------------------------------------------------


def pool_is_not_given_back(patch: Patch) -> None:
    patch.setattr(ReceiveWindow, "close", lambda self: None)


def settled_stays_reserved(patch: Patch) -> None:
    settle = ReceiveWindow.settle

    def broken(self: ReceiveWindow, size: int) -> None:
        reserved = self._reserved_bytes
        settle(self, size)
        self._pool.reserve(reserved - self._reserved_bytes)
        self._reserved_bytes = reserved

    patch.setattr(ReceiveWindow, "settle", broken)


def piece_may_be_longer(patch: Patch) -> None:
    check = wire._check_piece
    patch.setattr(wire, "_check_piece", lambda size, left: check(min(size, left), left))


def message_may_begin_twice(patch: Patch) -> None:
    start = Assembler._start

    def broken(self: Assembler, piece: Any) -> Any:
        self._partial.pop(piece.topic, None)
        return start(self, piece)

    patch.setattr(Assembler, "_start", broken)


def message_may_be_longer(patch: Patch) -> None:
    begun = Assembler.__init__

    def broken(self: Assembler) -> None:
        begun(self)
        self._limits = dict.fromkeys(self._limits, wire.MESSAGE_BYTES_MAX)

    patch.setattr(Assembler, "__init__", broken)


def messages_need_no_leave(patch: Patch) -> None:
    begin = ReceiveWindow.begin

    def broken(self: ReceiveWindow, total_bytes: int) -> None:
        self._granted_messages = max(1, self._granted_messages)
        begin(self, total_bytes)

    patch.setattr(ReceiveWindow, "begin", broken)


def leave_forgets_what_is_held(patch: Patch) -> None:
    grant = ReceiveWindow.grant

    def broken(self: ReceiveWindow, now_ms: int) -> tuple[int, int]:
        held, self._held_bytes = self._held_bytes, 0
        try:
            return grant(self, now_ms)
        finally:
            self._held_bytes = held

    patch.setattr(ReceiveWindow, "grant", broken)


def request_may_come_twice(patch: Patch) -> None:
    take = Connection._take_request

    def broken(self: Connection, message: Any, now_ms: int) -> None:
        self._open.pop((message.topic, message.request_id), None)
        take(self, message, now_ms)

    patch.setattr(Connection, "_take_request", broken)


def answer_needs_no_question(patch: Patch) -> None:
    def broken(self: Connection, message: Any) -> None:
        self._windows[message.topic].settle(len(message.data))

    patch.setattr(Connection, "_take_answer", broken)


def credits_have_no_bound(patch: Patch) -> None:
    patch.setattr(TokenBucket, "take", lambda self, amount, now_ms: True)


def we_send_without_leave(patch: Patch) -> None:
    patch.setattr(_Queue, "room", lambda self, room: room if self.messages else 0)


def what_waits_stays_reserved(patch: Patch) -> None:
    patch.setattr(Scheduler, "_give_back", lambda self, topic: None)


def partial_may_take_for_ever(patch: Patch) -> None:
    patch.setattr(Assembler, "partial", lambda self: iter(()))


FRAMES: tuple[Break, ...] = (
    pool_is_not_given_back,
    settled_stays_reserved,
    piece_may_be_longer,
    message_may_begin_twice,
    message_may_be_longer,
    messages_need_no_leave,
    leave_forgets_what_is_held,
    request_may_come_twice,
    answer_needs_no_question,
    credits_have_no_bound,
    we_send_without_leave,
    what_waits_stays_reserved,
    partial_may_take_for_ever,
)


# --- handshake ------------------------------------------------------------------------------------


def signature_is_not_checked(patch: Patch) -> None:
    patch.setattr(cython_ext, "verify", lambda *_: True)


def signature_names_no_side(patch: Patch) -> None:
    def broken(self: Any, side: Any, node_id: bytes) -> bytes:
        digest = hash_bytes(shaking.Tag.TRANSCRIPT, self._said) + node_id
        return hash_bytes(shaking.Tag.RESPONDER, digest)

    patch.setattr(shaking._Handshake, "_proof", broken)


def signature_holds_elsewhere(patch: Patch) -> None:
    def broken(self: Any, side: Any, node_id: bytes) -> bytes:
        return hash_bytes(side.value, hash_bytes(shaking.Tag.TRANSCRIPT, b"") + node_id)

    patch.setattr(shaking._Handshake, "_proof", broken)


def genesis_is_not_compared(patch: Patch) -> None:
    agree = shaking._Handshake._agree

    def broken(self: Any, other: Any, said: bytes) -> None:
        own = self._hello.genesis_hash
        agree(self, shaking.Hello(other.version, own, other.ephemeral_key), said)

    patch.setattr(shaking._Handshake, "_agree", broken)


def version_is_not_compared(patch: Patch) -> None:
    agree = shaking._Handshake._agree

    def broken(self: Any, other: Any, said: bytes) -> None:
        agree(self, shaking.Hello(1, other.genesis_hash, other.ephemeral_key), said)

    patch.setattr(shaking._Handshake, "_agree", broken)


class Lenient:
    """Agrees on a secret of zeros where the other key is of low order."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> "Lenient":
        return cls(X25519PrivateKey.from_private_bytes(seed))

    def public_key(self) -> Any:
        return self._key.public_key()

    def exchange(self, point: Any) -> bytes:
        try:
            return self._key.exchange(point)
        except ValueError:
            return bytes(32)


def weak_key_is_taken(patch: Patch) -> None:
    patch.setattr(shaking, "X25519PrivateKey", Lenient)


def anybody_may_answer(patch: Patch) -> None:
    begun = shaking.Initiator.__init__

    def broken(self: Any, key: Any, genesis: bytes, seed: bytes, expected: Any = None) -> None:
        begun(self, key, genesis, seed)

    patch.setattr(shaking.Initiator, "__init__", broken)


def stranger_may_take_for_ever(patch: Patch) -> None:
    patch.setattr(transport, "OPENING_S", 3_600.0)


def whoever_is_let_in_is_cut_off(patch: Patch) -> None:
    """Its deadline is not lifted."""
    patch.setattr(transport.Transport, "_keeper_places", {})


def name_is_told_to_whom_it_did_not_mean(patch: Patch) -> None:
    introduce = transport.Transport._introduce

    async def broken(self: Any, socket: Any, expected_id: Any) -> Any:
        try:
            return await introduce(self, socket, expected_id)
        except HandshakeRefused:
            await socket.send_bytes(self._key.node_id)
            raise

    patch.setattr(transport.Transport, "_introduce", broken)


HANDSHAKE: tuple[Break, ...] = (
    signature_is_not_checked,
    signature_names_no_side,
    signature_holds_elsewhere,
    genesis_is_not_compared,
    version_is_not_compared,
    weak_key_is_taken,
    anybody_may_answer,
    stranger_may_take_for_ever,
    whoever_is_let_in_is_cut_off,
    name_is_told_to_whom_it_did_not_mean,
)


@pytest.mark.parametrize("broken", FRAMES, ids=lambda one: one.__name__)
def test_a_broken_rule_of_frames_is_found(broken: Break, monkeypatch: Patch) -> None:
    broken(monkeypatch)
    assert is_found(frames)
    monkeypatch.undo()
    for seed in frames.seeds()[:4]:
        frames.check(seed)  # and what was found is that, not something that was left behind


@pytest.mark.parametrize("broken", HANDSHAKE, ids=lambda one: one.__name__)
def test_a_broken_rule_of_the_handshake_is_found(broken: Break, monkeypatch: Patch) -> None:
    broken(monkeypatch)
    assert is_found(handshake)
    monkeypatch.undo()
    for seed in handshake.seeds()[:4]:
        handshake.check(seed)  # and what was found is that, not something that was left behind


def test_a_websocket_that_fails_inside_is_found(monkeypatch: Patch) -> None:
    """Nobody sees it but the log: aiohttp answers 500, or has answered long before."""

    def broken(*_: object) -> None:
        raise AttributeError("broken")

    monkeypatch.setattr(Handler, "hear_messages", broken)
    with pytest.raises(AssertionError, match="broken"):
        for seed in http.seeds():
            http.check(seed)
