"""A stranger in the handshake: it says what it likes, and seals it as the one it is can.

The handshake written again from its specification, so that what a plan changes is changed before
it is signed and sealed: the stranger holds a key of its own, knows the others' public halves, and
has heard each of them sign in a handshake that is over.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION: Final = 1
GENESIS: Final = b"\x07" * 32
SEED, EPHEMERAL = b"\x03" * 32, b"\x05" * 32
SIDES: Final = (b"p2p/initiator", b"p2p/responder")
FIELD: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
LOW_ORDER: Final = (
    *[number.to_bytes(32, "little") for number in (0, 1, FIELD - 1, FIELD, FIELD + 1)],
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
)
"""Points that make an X25519 secret of zeros."""
SMALL_ORDER: Final = (
    *[number.to_bytes(32, "little") for number in (0, 1, FIELD - 1, FIELD, FIELD + 1)],
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
)
"""Ed25519 keys under which a signature of nothing holds, for who checks no more than the sum."""

Value = int | bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said instead of the truth, which is 0 in every field; bytes stand for themselves."""

    role: int
    wait_ms: int
    later_ms: int
    expected: int
    version: int
    genesis: Value
    key: Value
    who: Value
    signature: Value
    side: int
    over: int
    form: int
    seal: int
    place: int
    at: int
    xor: bytes
    cut: int


@dataclass(frozen=True, slots=True)
class Victim:
    """Whom the stranger talks to, and whom it would like to be."""

    node_id: bytes
    claimed_id: bytes
    heard: bytes
    """A signature that the claimed node made in another handshake."""


def hashed(tag: bytes, data: bytes) -> bytes:
    """Return H(tag, data)."""
    return blake2b(data, digest_size=32, person=tag).digest()


def packed(value: object) -> bytes:
    """Return canonical bytes."""
    return bytes(msgpack.packb(value, use_bin_type=True))


class Stranger:
    """One handshake of the stranger's; `side` is 0 where it dials."""

    node_id: Final = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()

    def __init__(self, plan: Plan, side: int, victim: Victim) -> None:
        self.plan, self.side, self.victim = plan, side, victim
        self._secret = X25519PrivateKey.from_private_bytes(EPHEMERAL)
        self._own = self._secret.public_key().public_bytes_raw()
        self._said = b""
        self._shared = b""
        self._seals = (b"", b"")
        self.is_honest = True
        """Whether all that was said is what an honest node says."""

    def hello(self, victims_key: bytes) -> list[Value]:
        """Return the fields of the hello."""
        plan = self.plan
        others = (GENESIS, b"\x08" * 32)
        genesis = plan.genesis if isinstance(plan.genesis, bytes) else others[plan.genesis % 2]
        keys = (self._own, victims_key, *LOW_ORDER, *[_marked(point) for point in LOW_ORDER])
        key = plan.key if isinstance(plan.key, bytes) else keys[plan.key % len(keys)]
        version = (VERSION + plan.version) % 2**64
        self.is_honest &= (version, genesis) == (VERSION, GENESIS) and len(key) == 32
        self.is_honest &= _point(key) == _point(self._own)
        return [version, genesis, key]

    def agree(self, said: bytes, key: bytes, victims_key: bytes) -> None:
        """Both hellos are said; where the own key was of low order, the secret is known."""
        self._said = said
        is_low = _point(key) in [_point(one) for one in LOW_ORDER]
        exchanged = self._secret.exchange(X25519PublicKey.from_public_bytes(victims_key))
        self._shared = bytes(32) if is_low else exchanged
        self._seals = self.keys(b"p2p/handshake")

    def identity(self) -> bytes:
        """Return the sealed identity, and let it join what was said."""
        plan = self.plan
        lies = (self.node_id, self.victim.node_id, self.victim.claimed_id, *SMALL_ORDER)
        who = plan.who if isinstance(plan.who, bytes) else lies[plan.who % len(lies)]
        honest = self._sealed(0, packed([self.node_id, self._signed(self.node_id, 0, 0)]))
        signature = _formed(self._signature(who), plan.form)
        sealed = self._sealed(plan.seal, packed([who, signature]))
        self.is_honest &= sealed == honest
        self._said += packed(sealed)
        return sealed

    def _signature(self, who: bytes) -> bytes:
        plan = self.plan
        if isinstance(plan.signature, bytes):
            return plan.signature
        nothing = (1).to_bytes(32, "little") + bytes(32)
        own = self._signed(who, plan.side, plan.over)
        return (own, self.victim.heard, bytes(64), nothing)[plan.signature % 4]

    def _signed(self, who: bytes, side: int, over: int) -> bytes:
        transcript = hashed(b"p2p/transcript", self._said)
        other = hashed(b"p2p/transcript", b"")
        subjects = (transcript + who, other + who, who, transcript, transcript + self.node_id)
        tag = (SIDES[self.side], SIDES[1 - self.side], b"p2p/transcript")[side % 3]
        digest = hashed(tag, subjects[over % len(subjects)])
        return Ed25519PrivateKey.from_private_bytes(SEED).sign(digest)

    def _sealed(self, seal: int, identity: bytes) -> bytes:
        salt = hashed(b"p2p/transcript", self._said)
        keys = self._seals
        key = bytes(32) if seal % 6 == 1 else keys[self.side ^ (seal % 6 == 2)]
        nonce = (1 if seal % 6 == 3 else 0).to_bytes(12, "little")
        bound = (None, bytes(32))[seal % 6 == 5] if seal % 6 >= 4 else salt
        return ChaCha20Poly1305(key).encrypt(nonce, identity, bound)

    def keys(self, info: bytes) -> tuple[bytes, bytes]:
        """Return two keys bound to all that was said, the dialler's first."""
        salt = hashed(b"p2p/transcript", self._said)
        made = HKDF(SHA256(), 64, salt, info).derive(self._shared)
        return made[:32], made[32:]

    @property
    def transcript(self) -> bytes:
        """The hash of all that was said."""
        return hashed(b"p2p/transcript", self._said)

    def hear(self, sealed: bytes) -> None:
        """Open what the victim sealed: it is who it is, and signs this handshake."""
        key = self._seals[1 - self.side]
        opened = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, self.transcript)
        node_id, signature = msgpack.unpackb(opened)
        assert node_id == self.victim.node_id
        digest = hashed(SIDES[1 - self.side], self.transcript + node_id)
        try:
            Ed25519PublicKey.from_public_bytes(node_id).verify(signature, digest)
        except InvalidSignature as error:
            raise AssertionError("the victim signs something else") from error
        self._said += packed(sealed)

    def overhear(self, sealed: bytes) -> None:
        """Let what the victim sealed join what was said, whatever is in it."""
        self._said += packed(sealed)

    def bent(self, place: int, said: bytes) -> bytes:
        """Return a message with its bytes changed, if this is the place."""
        plan = self.plan
        if plan.place % 2 != place:
            return said
        at = plan.at % (len(said) + 1)
        changed = int.from_bytes(said[at : at + len(plan.xor)], "big")
        patch = plan.xor[: len(said) - at]
        bent = (changed ^ int.from_bytes(patch, "big")).to_bytes(len(patch), "big")
        bent = said[:at] + bent + said[at + len(patch) :] + plan.xor[len(patch) :]
        bent = bent[: max(0, len(bent) - plan.cut)]
        self.is_honest &= bent == said
        return bent


def _formed(signature: bytes, form: int) -> bytes:
    """Return the signature in a form that a strict check refuses."""
    match form % 3:
        case 1 if len(signature) == 64:
            scalar = int.from_bytes(signature[32:], "little") + ORDER
            return signature[:32] + (scalar % 2**256).to_bytes(32, "little")
        case 2 if signature:
            return signature[:-1] + bytes([signature[-1] ^ 1])
    return signature


def _marked(point: bytes) -> bytes:
    return point[:31] + bytes([point[31] | 128])


def _point(key: bytes) -> int:
    """What X25519 reads: the highest bit counts for nothing."""
    return (int.from_bytes(key, "little") & (2**255 - 1)) % FIELD
