"""Receipts: pinned bytes of whatever is signed, exact costs, and trees against plain sums."""

from fractions import Fraction
from hashlib import blake2b
from math import ceil, floor
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.codec import encode, replace
from state.crypto import Tag
from state.modules.inference.channels import FinalTotals, LaneTotals
from state.modules.inference.receipts import (
    Batch,
    CallStatus,
    LaneTerms,
    PriceRow,
    Receipt,
    Request,
    Response,
    Sums,
    Voucher,
    cost_of,
    prove_receipt,
    receipt_tree,
    value_bounds,
    verify_receipt,
)

NETWORK = b"\xaa" * 32
CHANNEL = b"\x11" * 32
REQUEST = Request(
    CHANNEL, 2, 9, b"\x22" * 32, 3, 4, bytes(32), 5, 600, 70, b"\x33" * 32, 10**12, b"\x44" * 32
)
RESPONSE = Response(
    REQUEST.digest(NETWORK),
    b"\x55" * 20,
    500,
    60,
    70,
    6,
    123_456,
    b"\x66" * 32,
    b"\x77" * 32,
    8,
    10**12 - 5,
    10**12,
    CallStatus.PARTIAL,
)
VOUCHER = Voucher(CHANNEL, 2, 9, 10**9, 500, 60, 70, 9, 12, b"\x88" * 32)
BATCH = Batch(CHANNEL, 2, 1, 9, 12, b"\x88" * 32, Sums(9, 500, 60, 70, 10**9), b"\x99" * 32)
TERMS = LaneTerms(CHANNEL, 2, b"\x22" * 32, 3, 4, bytes(32), 5, 8)
FINALS = FinalTotals(CHANNEL, (LaneTotals(2, 9, 10**9, 500, 60, 70),))
SIGNED = {
    Tag.REQUEST: REQUEST,
    Tag.RESPONSE: RESPONSE,
    Tag.VOUCHER: VOUCHER,
    Tag.BATCH: BATCH,
    Tag.LANE: TERMS,
    Tag.CLOSE: FINALS,
}
GOLDEN: dict[Tag, tuple[int, str]] = {
    Tag.REQUEST: (189, "70be38ccd1abe282f2ccc6faaec52bc581c5f8d419a5770fd3298bf29db07ce5"),
    Tag.RESPONSE: (156, "e80404f8d11942bec934bc365b30f3f0916c936b3a167a9e41c6ba21b2181da0"),
    Tag.VOUCHER: (83, "b376ebeb0be85aaa092ab4b12a20c637ae53f4cd459c0f680945236297b38520"),
    Tag.BATCH: (119, "62bc732e626eb9f4f3fc88c0cae4d5266603f4ded3daf50e39a89bf2dbf2f2e4"),
    Tag.LANE: (108, "1f9f6dd31c3d52cffe60d95e4f06d541bca605a4e1f9494299d3535613721333"),
    Tag.CLOSE: (49, "2c2692376f9b26bff7ed7edbd6a332c26d6528002407cb7c62d3f4a6d38f3ff7"),
}
LEAF = "f21536e7771deac40c1ebf78f84a2da554e4f50543236ee4b1512847c7c34c48"


def flat(value: Any) -> Any:
    """A Struct as plain lists, for the independent encoder."""
    if hasattr(value, "__struct_fields__"):
        return [flat(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, tuple):
        return [flat(each) for each in value]
    return int(value) if isinstance(value, int) else value


def digest(tag: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=32, person=tag.ljust(16, b"\x00")).digest()


@pytest.mark.parametrize("tag", SIGNED, ids=lambda tag: tag.value.decode())
def test_sign_bytes_are_pinned(tag: Tag) -> None:
    body = encode(SIGNED[tag])
    assert body == msgpack.packb(flat(SIGNED[tag]), use_bin_type=True)
    expected = digest(tag.value, NETWORK + body)
    found = SIGNED[tag].digest(NETWORK)
    assert found == expected
    assert (len(body), found.hex()) == GOLDEN[tag]


@pytest.mark.parametrize("tag", SIGNED, ids=lambda tag: tag.value.decode())
def test_every_field_is_signed(tag: Tag) -> None:
    value = SIGNED[tag]
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if isinstance(field, bytes):
            bent: Any = bytes([field[0] ^ 1]) + field[1:]
        elif isinstance(field, CallStatus):
            bent = CallStatus.OK
        elif isinstance(field, int):
            bent = field + 1
        elif isinstance(field, tuple):
            bent = ()
        else:
            bent = replace(field, calls=field.calls + 1)
        assert replace(value, **{name: bent}).digest(NETWORK) != value.digest(NETWORK), name


def test_a_signature_for_one_network_is_worthless_on_another() -> None:
    for value in SIGNED.values():
        assert value.digest(NETWORK) != value.digest(b"\xab" + NETWORK[1:])


def test_the_leaf_is_pinned() -> None:
    receipt = Receipt(REQUEST, RESPONSE, b"\x0a" * 64, b"\x0b" * 64)
    data = b"\x00" + encode(REQUEST) + encode(RESPONSE) + b"\x0a" * 64 + b"\x0b" * 64
    assert receipt.leaf == digest(b"receipt", data)
    assert receipt.leaf.hex() == LEAF
    assert replace(receipt, payer_signature=b"\x0a" * 64).leaf != receipt.leaf


tokens = st.integers(0, 2**32 - 1)
grains = st.one_of(st.integers(0, 10), st.integers(0, 10**13))
prices = st.builds(PriceRow, grains, grains, grains, grains)


@given(price=prices, used=st.tuples(tokens, tokens, tokens))
def test_a_cost_is_the_exact_price_rounded_up(price: PriceRow, used: tuple[int, int, int]) -> None:
    rates = (price.tokens_in, price.tokens_cached, price.tokens_out)
    exact = sum(Fraction(a * b, 10**6) for a, b in zip(used, rates, strict=True))
    assert cost_of(price, CallStatus.OK, *used) == ceil(exact) + price.call
    assert cost_of(price, CallStatus.PARTIAL, *used) == ceil(exact) + price.call
    assert cost_of(price, CallStatus.ERROR, *used) == 0


@given(
    price=prices,
    calls=st.lists(st.tuples(tokens, tokens, tokens, st.booleans()), min_size=1, max_size=12),
)
def test_every_honest_batch_lies_within_its_value_bounds(
    price: PriceRow, calls: list[tuple[int, int, int, bool]]
) -> None:
    totals = [0, 0, 0, 0, 0]
    for used_in, cached, used_out, failed in calls:
        used = (0, 0, 0) if failed else (used_in, cached, used_out)
        status = CallStatus.ERROR if failed else CallStatus.OK
        for at, number in enumerate((1, *used, cost_of(price, status, *used))):
            totals[at] += number
    low, high = value_bounds(price, Sums(*totals))
    assert low <= totals[4] <= high
    exact = Fraction(
        totals[1] * price.tokens_in
        + totals[2] * price.tokens_cached
        + totals[3] * price.tokens_out,
        10**6,
    )
    slack = Fraction(len(calls) * (10**6 - 1), 10**6)
    assert low == ceil(exact)
    assert high == floor(exact + slack) + len(calls) * price.call


def made(count: int) -> list[Receipt]:
    found = []
    for at in range(count):
        request = replace(REQUEST, seq=at + 1)
        response = replace(RESPONSE, tokens_in=at, cost=at * at)
        found.append(Receipt(request, response, bytes([at]) * 64, b"\x0b" * 64))
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_receipt_of_a_tree_is_provable_at_its_own_place_only(count: int) -> None:
    receipts = made(count)
    root, total = receipt_tree(receipts)
    numbers = range(count)
    amounts = (sum(numbers), 60 * count, 70 * count, sum(at * at for at in numbers))
    assert total.as_tuple() == (count, *amounts)
    for at in numbers:
        proof = prove_receipt(receipts, at, 1)
        assert verify_receipt(root, total, proof)
        for other in numbers:
            if other != at:
                assert not verify_receipt(root, total, replace(proof, seq=other + 1))
        assert not verify_receipt(root, replace(total, amount=total.amount + 1), proof)
        assert not verify_receipt(b"\x01" * 32, total, proof)


def test_a_tree_whose_sums_reach_2_63_cannot_be_built() -> None:
    receipts = made(2)
    big = [replace(receipt, response=replace(receipt.response, cost=2**62)) for receipt in receipts]
    with pytest.raises(OverflowError):
        receipt_tree(big)
    just = replace(big[1], response=replace(big[1].response, cost=2**62 - 1))
    assert receipt_tree([big[0], just])[1].amount == 2**63 - 1


def test_no_receipts_make_no_tree() -> None:
    with pytest.raises(ValueError, match="no tree"):
        receipt_tree([])
