"""Signatures of a simulation: real Ed25519, or a stand-in that costs a thirtieth.

The stand-in is a keyed hash of the digest under the public key, so whoever knows the public key
could forge it. No actor of the simulator does: what a Byzantine validator can do here it does with
its own key, which is all that unforgeable signatures would allow it (--real-signatures).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state import crypto
from state.crypto import SignatureClaim
from state.types import Hash, PublicKey, Signature

Sign = Callable[[Hash], Signature]


@dataclass(frozen=True)
class Scheme:
    """How votes are signed and verified in a run."""

    keys: tuple[PublicKey, ...]
    signers: tuple[Sign, ...]
    verify_many: Callable[[Sequence[SignatureClaim]], list[bool]]


def stand_in_signature(public_key: PublicKey, digest: Hash) -> Signature:
    """Return what stands for the signature of that key over that digest."""
    return blake2b(digest, digest_size=64, key=public_key).digest()


def verify_stand_ins(claims: Sequence[SignatureClaim]) -> list[bool]:
    """Return one verdict for each claim."""
    return [signature == stand_in_signature(key, digest) for key, digest, signature in claims]


def _stand_in_signer(public_key: PublicKey) -> Sign:
    return lambda digest: stand_in_signature(public_key, digest)


def make_scheme(seed: int, count: int, real: bool) -> Scheme:
    """Return keys that follow from the seed, and how they sign."""
    seeds = [
        blake2b(f"{seed}:{index}".encode(), digest_size=32, person=b"sim-key").digest()
        for index in range(count)
    ]
    if not real:
        signers = tuple(_stand_in_signer(each) for each in seeds)
        return Scheme(tuple(seeds), signers, verify_stand_ins)
    keys = [Ed25519PrivateKey.from_private_bytes(each) for each in seeds]
    return Scheme(
        tuple(key.public_key().public_bytes_raw() for key in keys),
        tuple(key.sign for key in keys),
        crypto.verify_many,
    )
