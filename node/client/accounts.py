"""An account that signs: its key, and which of its nonces are spoken for on this side."""

import heapq

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state import crypto
from state.codec import encode
from state.nonces import WINDOW
from state.transaction import Body, KeySignature, assemble, transaction_id
from state.types import Address, Hash, PublicKey, Signature

AHEAD_MAX = WINDOW - 56
"""Nonces in flight beyond the highest that the chain has seen: some room stays in the window, so
that a transaction that arrives late is still usable."""


class Account:
    """A key, its address, and a local nonce counter for concurrent sends.

    One Account object should send for one key at a time: two of them hand out the same nonces.
    """

    __slots__ = ("_free", "_high", "_key", "_next", "address", "public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: PublicKey = key.public_key().public_bytes_raw()
        self.address: Address = crypto.address_of(self.public_key)
        self._next: int | None = None
        self._high = 0
        self._free: list[int] = []

    @classmethod
    def from_seed(cls, seed: bytes) -> "Account":
        """Return the account whose Ed25519 seed is these 32 bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, digest: Hash) -> Signature:
        """Return the signature of a 32-byte digest."""
        return self._key.sign(digest)

    def sign_body(self, body: Body, genesis_hash: Hash) -> tuple[bytes, Hash]:
        """Return wire bytes and id of a transaction that this account signs."""
        tx_id = transaction_id(genesis_hash, encode(body))
        return assemble(body, (KeySignature(self.public_key, self.sign(tx_id)),)), tx_id

    @property
    def is_synced(self) -> bool:
        """Whether the chain's highest nonce has been learned."""
        return self._next is not None

    def learn(self, high: int) -> None:
        """Take in the highest nonce that the chain has seen of this account."""
        self._high = max(self._high, high)
        self._next = max(self._next or 0, high + 1)

    def take_nonce(self) -> int | None:
        """Return an unused nonce, or None while too many are in flight."""
        assert self._next is not None, "learn comes first"
        while self._free:
            nonce = heapq.heappop(self._free)
            if nonce > self._high - WINDOW:
                return nonce
        if self._next > self._high + AHEAD_MAX:
            return None
        self._next += 1
        return self._next - 1

    def give_back(self, nonce: int) -> None:
        """Return a nonce whose transaction the node refused, so that the next one uses it."""
        heapq.heappush(self._free, nonce)
