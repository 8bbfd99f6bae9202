"""Ed25519: one rule for every node, over both twins."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_seed_keypair
from nacl.signing import SigningKey

import cython_ext
from cython_ext import _ed25519, _ed25519_py

TWINS = pytest.mark.parametrize("twin", [_ed25519, _ed25519_py], ids=["compiled", "pure"])
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19

# RFC 8032 section 7.1: secret seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0"
        "f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76098"
        "4dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]

# Every encoding of the eight points of small order, the non-canonical ones among them.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def signed(message: bytes, seed: int = 1) -> tuple[bytes, bytes, bytes]:
    """A public key, the message, and a valid signature of it."""
    key = SigningKey(bytes([seed]) * 32)
    return bytes(key.verify_key), message, key.sign(message).signature


def test_the_compiled_kernel_is_the_one_that_serves() -> None:
    assert cython_ext.IMPLEMENTATION == "compiled"
    assert cython_ext.verify is _ed25519.verify
    assert _ed25519.__file__.endswith(".so")


@TWINS
@pytest.mark.parametrize("vector", RFC_8032, ids=["empty", "one byte", "two bytes"])
def test_rfc_8032(twin: ModuleType, vector: tuple[str, str, str, str]) -> None:
    seed, public_key, message, signature = (bytes.fromhex(part) for part in vector)
    assert crypto_sign_seed_keypair(seed)[0] == public_key
    assert twin.verify(public_key, message, signature) is True
    assert twin.verify(public_key, message + b"!", signature) is False


@TWINS
def test_every_flipped_bit_is_refused(twin: ModuleType) -> None:
    public_key, message, signature = signed(b"a call, paid for")
    for part, value in enumerate((public_key, message, signature)):
        for bit in range(len(value) * 8):
            flipped = bytearray(value)
            flipped[bit // 8] ^= 1 << bit % 8
            item = [public_key, message, signature]
            item[part] = bytes(flipped)
            assert twin.verify(*item) is False, (part, bit)


@TWINS
def test_wrong_lengths_are_false_and_never_raise(twin: ModuleType) -> None:
    public_key, message, signature = signed(b"")
    for size in (0, 1, 31, 33, 64):
        assert twin.verify((public_key * 2)[:size], message, signature) is False
    for size in (0, 1, 32, 63, 65, 128):
        assert twin.verify(public_key, message, (signature * 2)[:size]) is False
    # The last byte of a signature is not the first one of the message, nor the other way round.
    assert twin.verify(public_key, signature[63:], signature[:63]) is False


@TWINS
def test_s_outside_the_group_order_is_refused(twin: ModuleType) -> None:
    public_key, message, signature = signed(b"malleable")
    s = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 16):
        if s + multiple * ORDER < 2**256:
            other = signature[:32] + (s + multiple * ORDER).to_bytes(32, "little")
            assert twin.verify(public_key, message, other) is False, multiple


@TWINS
@pytest.mark.parametrize("key", SMALL_ORDER)
def test_keys_of_small_order_are_refused(twin: ModuleType, key: str) -> None:
    """With the identity as key, R = identity and S = 0 satisfy the bare equation."""
    for point in SMALL_ORDER:
        forged = bytes.fromhex(point) + bytes(32)
        for message in (b"", b"any", b"message", b"at all"):
            assert twin.verify(bytes.fromhex(key), message, forged) is False


@TWINS
def test_keys_with_a_y_outside_the_field_are_refused(twin: ModuleType) -> None:
    for y in range(FIELD, 2**255):
        for sign in (0, 1 << 255):
            key = (y | sign).to_bytes(32, "little")
            assert twin.verify(key, b"", key + bytes(32)) is False


@TWINS
def test_r_outside_the_field_is_refused(twin: ModuleType) -> None:
    public_key, message, signature = signed(b"r")
    for y in range(FIELD, 2**255):
        assert twin.verify(public_key, message, y.to_bytes(32, "little") + signature[32:]) is False


@TWINS
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 203])
def test_many_gives_each_item_its_own_verdict(twin: ModuleType, count: int) -> None:
    items = [signed(b"message %d" % at, seed=at % 5 + 1) for at in range(count)]
    bad = {at for at in range(count) if at % 3 == 1}
    for at in bad:
        public_key, message, signature = items[at]
        items[at] = [
            (public_key, message + b".", signature),
            (public_key[:31], message, signature),
            (public_key, message, signature + b"\x00"),
            (bytes.fromhex(SMALL_ORDER[1]), message, bytes.fromhex(SMALL_ORDER[1]) + bytes(32)),
        ][at % 4]
    assert twin.verify_many(items) == [at not in bad for at in range(count)]
    assert twin.verify_many(tuple(items)) == twin.verify_many(items)


@TWINS
def test_what_is_not_bytes_is_a_type_error(twin: ModuleType) -> None:
    public_key, message, signature = signed(b"x")
    for item in ((None, message, signature), (public_key, "x", signature)):
        with pytest.raises(TypeError):
            twin.verify(*item)
        with pytest.raises(TypeError):
            twin.verify_many([item] * 20)


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.booleans())
def test_twins_agree(message: bytes, seed: bytes, spoil: bool) -> None:
    key = SigningKey(seed)
    signature = key.sign(message).signature
    message = message + b"!" if spoil else message
    item = (bytes(key.verify_key), message, signature)
    assert _ed25519.verify(*item) is _ed25519_py.verify(*item) is (not spoil)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=8), st.binary(max_size=70))
def test_twins_agree_on_noise(key: bytes, message: bytes, signature: bytes) -> None:
    assert _ed25519.verify(key, message, signature) is False
    assert _ed25519_py.verify(key, message, signature) is False


def test_batches_of_several_threads_at_once_do_not_mix() -> None:
    items = [signed(b"%d" % at) for at in range(40)]
    spoiled = [(key, message + b"!", signature) for key, message, signature in items]
    with ThreadPoolExecutor(4) as callers:
        batches = [items, spoiled, items + spoiled, spoiled + items] * 5
        verdicts = list(callers.map(_ed25519.verify_many, batches))
    good, bad = [True] * 40, [False] * 40
    assert verdicts == [good, bad, good + bad, bad + good] * 5


FORKED = """
import os
from nacl.signing import SigningKey
from cython_ext import _ed25519, verify_many
key = SigningKey(bytes(32))
items = [(bytes(key.verify_key), b"x", key.sign(b"x").signature)] * 40
assert all(verify_many(items))
child = os.fork()
if child == 0:
    os._exit(7 if _ed25519._pool is None and all(verify_many(items)) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_forked_child_verifies_too() -> None:
    """It inherits no threads by fork, so it must not count on its parent's pool."""
    root = Path(cython_ext.__file__).parents[1]
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], cwd=root, timeout=30, check=True)
