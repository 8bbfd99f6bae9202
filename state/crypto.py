"""Hashes, signatures and addresses: every domain tag in one list, everything else a thin call.

H(tag, data) is BLAKE2b-256 with the tag as its personalisation, so equal data under two tags never
gives one digest. Sign bytes are H(tag, genesis_hash || canonical body): a signature for one
network is worthless on another (architecture 3).
"""

from collections.abc import Sequence
from enum import Enum

import cython_ext
from state.types import Address, Hash, PublicKey, Signature

SignatureClaim = tuple[PublicKey, Hash, Signature]
"""A public key, the digest it is said to have signed, and the signature."""


class Tag(Enum):
    """Domain-separation tags, at most 16 bytes each; pinned in tests/golden, never reused."""

    ADDRESS = b"address"
    GENESIS = b"genesis"
    TRANSACTION = b"transaction"
    TX_ROOT = b"tx-root"
    OUTCOME_ROOT = b"outcome-root"
    HEADER = b"header"
    NOTARIZE = b"notarize"
    NULLIFY = b"nullify"
    FINALIZE = b"finalize"
    JUSTIFY = b"justify"
    EVIDENCE_ROOT = b"evidence-root"
    VALIDATORS = b"validators"
    PARAMS = b"params"
    ASSET_ID = b"asset-id"
    CHANNEL_ID = b"channel-id"
    REQUEST = b"request"
    RESPONSE = b"response"
    RECEIPT = b"receipt"
    SUM_TREE = b"sum-tree"
    VOUCHER = b"voucher"
    BATCH = b"batch"
    LANE = b"lane"
    LEADER = b"leader"
    CLOSE = b"close"
    CONTRIBUTORS = b"contributors"
    ORDER_ID = b"order-id"
    ORDER_TURN = b"order-turn"
    MODULE_ACCOUNT = b"module-account"
    DECLARATION = b"declaration"
    POSSESSION = b"possession"


assert all(len(tag.value) <= 16 for tag in Tag), "personalisation holds 16 bytes"


def hash_bytes(tag: Tag, data: bytes) -> Hash:
    """Return H(tag, data), 32 bytes."""
    return cython_ext.tagged_hash(tag.value, data)


def sign_hash(tag: Tag, genesis_hash: Hash, body: bytes) -> Hash:
    """Return the digest that a signature over the canonical `body` signs on one network."""
    return cython_ext.tagged_hash(tag.value, genesis_hash + body)


def verify(public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
    """Tell whether the strict Ed25519 rule accepts the signature; malformed input is False."""
    return cython_ext.verify(public_key, digest, signature)


def verify_many(items: Sequence[SignatureClaim]) -> list[bool]:
    """Return one verdict per (public key, digest, signature), spread over all cores."""
    return cython_ext.verify_many(items)


def merkle_root(tag: Tag, leaves: Sequence[bytes]) -> Hash:
    """Return the RFC 6962 shaped root of the leaves in order."""
    return cython_ext.merkle_root(tag.value, leaves)


def merkle_path(tag: Tag, leaves: Sequence[bytes], index: int) -> list[Hash]:
    """Return the sibling hashes that prove leaf `index`, from the leaf up."""
    return cython_ext.merkle_path(tag.value, leaves, index)


def merkle_verify(
    tag: Tag, root: Hash, leaf: bytes, index: int, count: int, path: Sequence[Hash]
) -> bool:
    """Tell whether `leaf` is number `index` of the `count` leaves under `root`."""
    return cython_ext.merkle_verify(tag.value, root, leaf, index, count, path)


def address_of(public_key: PublicKey) -> Address:
    """Return the 20-byte address of a single-key account."""
    return cython_ext.tagged_hash(Tag.ADDRESS.value, public_key)[:20]


def module_address(name: str) -> Address:
    """Return the address that holds a module's pot `name`; no key can sign for it."""
    return cython_ext.tagged_hash(Tag.MODULE_ACCOUNT.value, name.encode())[:20]
