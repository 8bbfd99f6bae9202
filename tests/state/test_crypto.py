"""Every domain tag is pinned with the digest it gives; equal data under two tags never meets."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from state import crypto
from state.crypto import Tag

GOLDEN = Path(__file__).parents[1] / "golden" / "tags.txt"


def blake2b(tag: bytes, data: bytes) -> bytes:
    """The definition, by the standard library."""
    return hashlib.blake2b(data, digest_size=32, person=tag.ljust(16, b"\0")).digest()


def test_tags_and_their_digests_are_pinned() -> None:
    lines = [
        f"{name} {tag.value.decode()} {crypto.hash_bytes(tag, b'sahara').hex()}"
        for name, tag in Tag.__members__.items()
    ]
    assert "\n".join(lines) + "\n" == GOLDEN.read_text(), (
        "a tag changed or came: whatever is pinned stays for ever, new ones are added to the file"
    )


def test_no_two_tags_can_mean_the_same() -> None:
    values = [tag.value for tag in Tag.__members__.values()]
    # An Enum folds equal values into one member silently; and zeros pad a personalisation.
    assert len(set(values)) == len(values) == len(list(Tag))
    assert all(value and value == value.strip(b"\0") and len(value) <= 16 for value in values)


@given(st.sampled_from(list(Tag)), st.binary(max_size=300))
def test_hash_is_personalised_blake2b(tag: Tag, data: bytes) -> None:
    assert crypto.hash_bytes(tag, data) == blake2b(tag.value, data)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_what_is_signed_names_the_network_first(network: bytes, body: bytes) -> None:
    expected = blake2b(b"notarize", network + body)
    assert crypto.sign_hash(Tag.NOTARIZE, network, body) == expected


def test_addresses_are_the_start_of_a_digest() -> None:
    assert crypto.address_of(bytes(32)) == blake2b(b"address", bytes(32))[:20]
    assert crypto.module_address("bank.x") == blake2b(b"module-account", b"bank.x")[:20]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_merkle_root_has_the_shape_of_rfc_6962(count: int) -> None:
    leaves = [bytes([number]) * number for number in range(count)]

    def root(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return blake2b(b"tx-root", b"\0" + part[0])
        split = 1
        while split * 2 < len(part):
            split *= 2
        return blake2b(b"tx-root", b"\1" + root(part[:split]) + root(part[split:]))

    expected = root(leaves) if leaves else blake2b(b"tx-root", b"")
    assert crypto.merkle_root(Tag.TX_ROOT, leaves) == expected


def test_verdicts_are_given_per_item() -> None:
    key = SigningKey(bytes(32))
    public, digest = bytes(key.verify_key), bytes([7]) * 32
    good = key.sign(digest).signature
    bad = bytes([good[0] ^ 1]) + good[1:]
    claims = [(public, digest, good), (public, digest, bad), (public, bytes(32), good)]
    assert crypto.verify_many(claims) == [True, False, False]
    assert [crypto.verify(*claim) for claim in claims] == [True, False, False]
    assert crypto.verify_many([]) == []
