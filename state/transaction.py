"""The signed envelope of messages: what a client signs, what the wire carries, what it costs.

On the wire the signatures stand before the body, and the body's bytes are hashed as they came. The
id is the digest that is signed, H(transaction, genesis_hash || body); it does not cover the
signatures.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from state import crypto
from state.codec import Decoder, Struct, encode
from state.crypto import SignatureClaim, Tag
from state.errors import Rejected
from state.registry import Message
from state.types import Address, Amount, Hash, Height, Nonce, PublicKey, Signature

MESSAGES_MAX = 64
SIGNATURES_MAX = 8
SIGNATURE_WEIGHT = 50
"""A signature costs about 41 us to verify, a weight unit about one."""


class BadSignature(Rejected):
    """No signature of the transaction proves the account's consent on this network."""

    code = "tx.bad_signature"


class BadClaim(BadSignature):
    """The account consents, but a signature inside a message does not prove what that claims."""

    code = "tx.bad_claim"


class KeySignature(Struct):
    """A public key and its signature over the transaction's id."""

    public_key: PublicKey
    signature: Signature


class Envelope(Struct):
    """What the wire carries: signatures, then the body's canonical bytes as they are."""

    signatures: Annotated[tuple[KeySignature, ...], Meta(min_length=1, max_length=SIGNATURES_MAX)]
    body: msgspec.Raw


class Body(Struct):
    """What is signed: who pays, until when it is valid, at most what fee, and what to do."""

    account: Address
    nonce: Nonce
    valid_until_height: Height
    fee_max: Amount
    messages: tuple[Message, ...]


_envelopes: Decoder[Envelope] = Decoder(Envelope)


class Transaction:
    """A decoded transaction with its id and weight; decoded once, then passed around."""

    __slots__ = ("_genesis_hash", "body", "id", "signatures", "weight", "wire")

    def __init__(
        self,
        wire: bytes,
        body: Body,
        signatures: tuple[KeySignature, ...],
        tx_id: Hash,
        genesis_hash: Hash,
    ) -> None:
        self.wire = wire
        self.body = body
        self.signatures = signatures
        self.id = tx_id
        self._genesis_hash = genesis_hash
        self.weight = (
            len(wire)
            + SIGNATURE_WEIGHT * len(signatures)
            + sum(message.weight() for message in body.messages)
        )

    def claims(self) -> list[SignatureClaim]:
        """Return what `crypto.verify_many` has to accept: the envelope's and the messages' own."""
        found = [(s.public_key, self.id, s.signature) for s in self.signatures]
        for message in self.body.messages:
            found += message.claims(self._genesis_hash)
        return found

    def refusal(self, verdicts: Sequence[bool]) -> BadSignature | None:
        """Return what is wrong by the verdicts on `claims()`, in their order, or None."""
        if all(verdicts):
            return None
        at = len(self.signatures)
        if not all(verdicts[:at]):
            return BadSignature(
                "A signature does not verify; sign the id of this body for this network."
            )
        for number, message in enumerate(self.body.messages):
            end = at + len(message.claims(self._genesis_hash))
            if not all(verdicts[at:end]):
                return BadClaim(
                    f"The transaction is signed, but a signature inside its message {number}, "
                    f"{type(message).__name__}, does not verify; let the key that the message "
                    "names sign what it states, for this network."
                )
            at = end
        raise AssertionError("every claim is the envelope's or a message's")

    def check_signer(self) -> None:
        """Raise BadSignature unless the one signing key is the account's own."""
        if len(self.signatures) != 1 or (
            crypto.address_of(self.signatures[0].public_key) != self.body.account
        ):
            raise BadSignature(
                "The signing key is not the account's; sign with the key whose address it is."
            )


class WireReader(Protocol):
    """Whoever makes transactions of wire bytes."""

    def decode(self, wire: bytes, *, bytes_max: int) -> "Transaction":
        """Return the transaction; raises Malformed for what is not, or too long."""
        ...


class TransactionDecoder:
    """Decodes wire bytes of one network, given the message types that its modules declare."""

    __slots__ = ("_bodies", "_genesis_hash")

    def __init__(self, messages: tuple[type[Message], ...], genesis_hash: Hash) -> None:
        union: Any = messages[0]
        for message in messages[1:]:
            union = union | message
        bounded = Annotated[tuple[union, ...], Meta(min_length=1, max_length=MESSAGES_MAX)]
        body = msgspec.defstruct(
            "Body",
            [("messages", bounded)],
            bases=(Body,),
            frozen=True,
            array_like=True,
            forbid_unknown_fields=True,
        )
        assert body.__struct_fields__ == Body.__struct_fields__, "the wire order is Body's"
        self._bodies: Decoder[Body] = Decoder(body)
        self._genesis_hash = genesis_hash

    def decode(self, wire: bytes, *, bytes_max: int) -> Transaction:
        """Return the transaction; raises Malformed unless every byte of it is canonical."""
        envelope = _envelopes.decode(wire, bytes_max=bytes_max)
        body = self._bodies.decode(envelope.body, bytes_max=bytes_max)
        tx_id = transaction_id(self._genesis_hash, bytes(envelope.body))
        return Transaction(wire, body, envelope.signatures, tx_id, self._genesis_hash)


def transaction_id(genesis_hash: Hash, body: bytes) -> Hash:
    """Return the id of a transaction, which is also the digest that its signers sign."""
    return crypto.sign_hash(Tag.TRANSACTION, genesis_hash, body)


def wire_id(genesis_hash: Hash, wire: bytes) -> Hash:
    """Return the id of a transaction whose wire bytes were decoded before, and found good."""
    return transaction_id(genesis_hash, bytes(_envelopes.trusted(wire).body))


def assemble(body: Body, signatures: tuple[KeySignature, ...]) -> bytes:
    """Return the wire bytes of a signed transaction."""
    return encode(Envelope(signatures, msgspec.Raw(encode(body))))
