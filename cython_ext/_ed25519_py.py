"""The pure twin of _ed25519: the same library through PyNaCl's own binding, one call at a time."""

from collections.abc import Sequence

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

KEY_SIZE = 32
SIGNATURE_SIZE = 64


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature of the message holds; wrong lengths are False.

    Strict Ed25519 as libsodium has it: small-order keys and non-canonical S are refused.
    """
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def verify_many(items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """One verdict per (public_key, message, signature), in their order."""
    return [verify(public_key, message, signature) for public_key, message, signature in items]
