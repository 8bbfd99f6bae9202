"""The handshake: two nodes agree on keys and prove who they are, station to station.

    initiator -> responder   Hello: version, genesis hash, ephemeral X25519 key
    responder -> initiator   Hello, and its identity sealed
    initiator -> responder   its identity sealed

An identity is an Ed25519 key and its signature over H(all bytes before it || that key), under one
tag for each side. The seals' keys come by HKDF from the X25519 secret and the hash of both hellos;
the connection's keys from the secret and the hash of all four parts. So neither side can be made to
believe in another network, version, peer or order of bytes than the other saw. The responder shows
itself first: whoever dials tells its name only to the peer it meant. Sans-I/O: bytes in, bytes out.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

import cython_ext
from p2p.codec import Bytes32, Bytes64, Decoder, Struct, Tag, encode, hash_bytes
from p2p.errors import Breach, LocalError, RemoteError

PROTOCOL_VERSION: Final = 1
HANDSHAKE_BYTES_MAX: Final = 512
"""No message of the handshake is longer."""
_NONCE: Final = bytes(12)  # each handshake key seals one message


class HandshakeRefused(RemoteError):
    """The handshake broke a rule; nothing is known of who was there."""

    code: ClassVar[str] = "p2p.handshake_refused"


class WrongVersion(HandshakeRefused):
    """The other node speaks another version of the protocol."""

    code: ClassVar[str] = "p2p.wrong_version"


class WrongNetwork(HandshakeRefused):
    """The other node belongs to a network with another genesis."""

    code: ClassVar[str] = "p2p.wrong_network"


class WeakKey(HandshakeRefused):
    """The ephemeral key is a point of low order, which makes the secret known to everybody."""

    code: ClassVar[str] = "p2p.weak_key"


class BadProof(HandshakeRefused):
    """The identity is not sealed or not signed as this handshake demands."""

    code: ClassVar[str] = "p2p.bad_proof"


class WrongPeer(HandshakeRefused):
    """Somebody else answered at the address than the one who was meant."""

    code: ClassVar[str] = "p2p.wrong_peer"


class SelfDial(HandshakeRefused):
    """This node has dialled itself."""

    code: ClassVar[str] = "p2p.self_dial"


class Hello(Struct):
    """What both sides say in the clear."""

    version: Annotated[int, Meta(ge=0, lt=2**16)]
    genesis_hash: Bytes32
    ephemeral_key: Bytes32


class Identity(Struct):
    """Who a node is, and the proof that it was there."""

    node_id: Bytes32
    signature: Bytes64


class Answer(Struct):
    """The responder's hello and its sealed identity."""

    hello: Hello
    sealed: Annotated[bytes, Meta(max_length=256)]


_hellos: Decoder[Hello] = Decoder(Hello, "hello", HANDSHAKE_BYTES_MAX)
_answers: Decoder[Answer] = Decoder(Answer, "answer", HANDSHAKE_BYTES_MAX)
_identities: Decoder[Identity] = Decoder(Identity, "identity", HANDSHAKE_BYTES_MAX)


class NodeKey:
    """The Ed25519 key that names a node; `node_id` is its public half."""

    __slots__ = ("_key", "node_id")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise LocalError(f"A node key is made of 32 bytes; {len(seed)} were given.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.node_id: bytes = self._key.public_key().public_bytes_raw()

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a digest."""
        return self._key.sign(digest)


@dataclass(frozen=True, slots=True)
class Established:
    """What a handshake yields: who the peer is, and a key for each direction."""

    peer_id: bytes
    send_key: bytes
    receive_key: bytes
    transcript: bytes
    """The hash of everything both sides said; equal on both, and never seen twice."""


class _Side(Enum):
    INITIATOR = Tag.INITIATOR
    RESPONDER = Tag.RESPONDER


class _Handshake:
    """What both sides share: the hello, the transcript, sealing and opening identities."""

    def __init__(self, key: NodeKey, genesis_hash: bytes, ephemeral_seed: bytes) -> None:
        self._key = key
        self._secret = X25519PrivateKey.from_private_bytes(ephemeral_seed)
        self._hello = Hello(
            PROTOCOL_VERSION, genesis_hash, self._secret.public_key().public_bytes_raw()
        )
        self._said = b""
        self._shared = b""
        self._keys = (b"", b"")

    def _agree(self, other: Hello, said: bytes) -> None:
        """Judge the other's hello and derive the keys of the seals, initiator's first."""
        if other.version != PROTOCOL_VERSION:
            raise WrongVersion(
                f"The peer speaks version {other.version} of the protocol, this node "
                f"{PROTOCOL_VERSION}; run the same release on both."
            )
        if other.genesis_hash != self._hello.genesis_hash:
            raise WrongNetwork(
                f"The peer's genesis is {other.genesis_hash.hex()[:16]}, this node's "
                f"{self._hello.genesis_hash.hex()[:16]}; it belongs to another network."
            )
        if other.ephemeral_key == self._hello.ephemeral_key:
            raise WeakKey("The peer sent this node's own ephemeral key back.")
        try:
            point = X25519PublicKey.from_public_bytes(other.ephemeral_key)
            self._shared = self._secret.exchange(point)
        except ValueError as error:
            raise WeakKey("The peer's ephemeral key is a point of low order.") from error
        self._said = said
        self._keys = self._derive(b"p2p/handshake")

    def _derive(self, info: bytes) -> tuple[bytes, bytes]:
        """Two keys bound to everything said so far, initiator to responder first."""
        salt = hash_bytes(Tag.TRANSCRIPT, self._said)
        made = HKDF(SHA256(), 64, salt, info).derive(self._shared)
        return made[:32], made[32:]

    def _proof(self, side: _Side, node_id: bytes) -> bytes:
        """The digest that an identity signs."""
        return hash_bytes(side.value, hash_bytes(Tag.TRANSCRIPT, self._said) + node_id)

    def _seal(self, side: _Side) -> bytes:
        """This node's identity, sealed; it joins what has been said."""
        node_id = self._key.node_id
        identity = Identity(node_id, self._key.sign(self._proof(side, node_id)))
        key = self._keys[side is _Side.RESPONDER]
        salt = hash_bytes(Tag.TRANSCRIPT, self._said)
        sealed = ChaCha20Poly1305(key).encrypt(_NONCE, encode(identity), salt)
        self._said += encode(sealed)
        return sealed

    def _unseal(self, side: _Side, sealed: bytes) -> bytes:
        """The id of the other node, proven; raises BadProof or SelfDial."""
        key = self._keys[side is _Side.RESPONDER]
        salt = hash_bytes(Tag.TRANSCRIPT, self._said)
        try:
            identity = _identities.decode(ChaCha20Poly1305(key).decrypt(_NONCE, sealed, salt))
        except (InvalidTag, Breach) as error:
            raise BadProof("The peer's identity is not sealed for this handshake.") from error
        digest = self._proof(side, identity.node_id)
        if not cython_ext.verify(identity.node_id, digest, identity.signature):
            raise BadProof("The peer's identity is not signed for this handshake.")
        if identity.node_id == self._key.node_id:
            raise SelfDial("The node at this address is this node itself.")
        self._said += encode(sealed)
        return identity.node_id

    def _finish(self, peer_id: bytes, *, is_initiator: bool) -> Established:
        first, second = self._derive(b"p2p/connection")
        transcript = hash_bytes(Tag.TRANSCRIPT, self._said)
        self._shared, self._keys = b"", (b"", b"")
        keys = (first, second) if is_initiator else (second, first)
        return Established(peer_id, *keys, transcript)


class Initiator(_Handshake):
    """The side that dials: send `hello`, give the answer to `receive_data`, send what it returns.

    `ephemeral_seed` is 32 fresh random bytes. With `expected_id` set, nobody else is accepted, and
    nobody else learns who dialled.
    """

    def __init__(
        self,
        key: NodeKey,
        genesis_hash: bytes,
        ephemeral_seed: bytes,
        expected_id: bytes | None = None,
    ) -> None:
        super().__init__(key, genesis_hash, ephemeral_seed)
        self._expected_id = expected_id
        self.hello: bytes = encode(self._hello)

    def receive_data(self, data: bytes) -> tuple[bytes, Established]:
        """Take the answer; return the last message and what was established.

        Raises a leaf of HandshakeRefused.
        """
        try:
            answer = _answers.decode(data)
        except Breach as error:
            raise HandshakeRefused(error.sentence) from error
        self._agree(answer.hello, self.hello + encode(answer.hello))
        peer_id = self._unseal(_Side.RESPONDER, answer.sealed)
        if self._expected_id not in (None, peer_id):
            raise WrongPeer(
                f"Node {peer_id.hex()[:16]} answered where {(self._expected_id or b'').hex()[:16]} "
                "was expected; correct the address or the node id."
            )
        last = self._seal(_Side.INITIATOR)
        return last, self._finish(peer_id, is_initiator=True)


class Responder(_Handshake):
    """The side that was dialled: `receive_hello` returns the answer, `receive_identity` ends it."""

    def receive_hello(self, data: bytes) -> bytes:
        """Take a hello and return the answer to send; raises a leaf of HandshakeRefused."""
        try:
            hello = _hellos.decode(data)
        except Breach as error:
            raise HandshakeRefused(error.sentence) from error
        self._agree(hello, data + encode(self._hello))
        return encode(Answer(self._hello, self._seal(_Side.RESPONDER)))

    def receive_identity(self, data: bytes) -> Established:
        """Take the last message; return what was established; raises a leaf of HandshakeRefused."""
        if len(data) > HANDSHAKE_BYTES_MAX:
            raise HandshakeRefused("The last message of the handshake is too long.")
        peer_id = self._unseal(_Side.INITIATOR, data)
        return self._finish(peer_id, is_initiator=False)
