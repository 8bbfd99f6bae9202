"""The demo's only source of chance: H(seed, name, index) -> a generator of its own.

Equal arguments give equal draws in every process and under every hash seed; different names or
indexes give unrelated ones. Callers draw integers only (`randrange`, `choice`, `shuffle`).
"""

import hashlib
import random

PERSONALISATION = b"sahara/demo/seed"


def generator_of(seed: int, name: str, index: int) -> random.Random:
    """The generator of one named thing at one index, say an agent at a height."""
    text = f"{seed}/{index}/{name}".encode()
    digest = hashlib.blake2b(text, digest_size=32, person=PERSONALISATION).digest()
    return random.Random(int.from_bytes(digest, "big"))


def digest_of(seed: int, name: str) -> bytes:
    """32 bytes that stand for a document which the demo does not have."""
    return hashlib.blake2b(
        f"{seed}/{name}".encode(), digest_size=32, person=b"sahara/demo/doc"
    ).digest()


def key_seed_of(seed: int, name: str) -> bytes:
    """The Ed25519 seed of a demo account: no secret, since anyone can draw it again."""
    text = f"key/{seed}/{name}".encode()
    return hashlib.blake2b(text, digest_size=32, person=PERSONALISATION).digest()
