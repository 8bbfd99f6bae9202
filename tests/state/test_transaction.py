"""The envelope: one encoding, one id, and no byte of it can be changed unnoticed."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import ValidationError
from nacl.signing import SigningKey

from state import crypto
from state.codec import encode
from state.errors import Malformed, Rejected
from state.execute import verify_signatures
from state.finality import Conflict, Notarize, Proposal, Vote
from state.modules.all import MESSAGES
from state.modules.bank import Burn, Transfer
from state.modules.staking import CreateValidator, SubmitEvidence
from state.registry import Message
from state.transaction import (
    MESSAGES_MAX,
    SIGNATURE_WEIGHT,
    BadSignature,
    Body,
    KeySignature,
    Transaction,
    TransactionDecoder,
    assemble,
    transaction_id,
)
from state.types import INT_MAX

NETWORK = bytes([9]) * 32
KEY = SigningKey(bytes([1]) * 32)
PUBLIC = bytes(KEY.verify_key)
ACCOUNT = crypto.address_of(PUBLIC)
DECODER = TransactionDecoder(MESSAGES, NETWORK)

GOLDEN_WIRE = (
    "929192c4208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5cc440a54b50cc38"
    "b24765ab3ba5d8638aa97fcc21ee7ff0f619bb53e7f8f7edec9c0e7fa50045397d2f6eef8e59995aca26bcd5"
    "056c0a5cba7f1a47bbd6c07eba3c0695c414604e3219d6fe6bb6c1a94e8f7525e473645df6e10364cd138891"
    "95cd0101c414020202020202020202020202020202020202020207a6736168617261c40472656e74"
)
GOLDEN_ID = "33fdc436d2f7a0dd9d87c7d173621a3235da6966ab2f7550f72bae4b1bfff36c"


def signed(body: Body, network: bytes = NETWORK) -> bytes:
    signature = KEY.sign(transaction_id(network, encode(body))).signature
    return assemble(body, (KeySignature(PUBLIC, signature),))


def transfer(*messages: Message) -> Body:
    return Body(ACCOUNT, 3, 100, 5_000, messages or (Transfer(bytes([2]) * 20, 7, memo=b"rent"),))


def decode(wire: bytes) -> Transaction:
    return DECODER.decode(wire, bytes_max=4_096)


def accepted(wire: bytes) -> Transaction | None:
    """The transaction if a node would take it, by decoder, signer and signatures."""
    try:
        transaction = decode(wire)
        transaction.check_signer()
    except Rejected:
        return None
    return transaction if verify_signatures([transaction]) == [None] else None


def test_the_wire_is_pinned() -> None:
    wire = signed(transfer())
    assert wire.hex() == GOLDEN_WIRE
    assert decode(wire).id.hex() == GOLDEN_ID


def test_an_independent_reader_sees_signatures_then_body() -> None:
    wire = signed(transfer())
    (((public, signature),), body) = msgpack.unpackb(wire)
    assert public == PUBLIC
    assert body == [ACCOUNT, 3, 100, 5_000, [[0x0101, bytes([2]) * 20, 7, "sahara", b"rent"]]]
    digest = crypto.sign_hash(crypto.Tag.TRANSACTION, NETWORK, msgpack.packb(body))
    KEY.verify_key.verify(digest, signature)
    assert msgpack.packb([[[public, signature]], body]) == wire


@given(
    st.integers(1, INT_MAX),
    st.integers(0, INT_MAX),
    st.integers(0, INT_MAX),
    st.lists(
        st.one_of(
            st.builds(Burn, st.integers(1, INT_MAX)),
            st.builds(
                Transfer,
                st.binary(min_size=20, max_size=20),
                st.integers(1, INT_MAX),
                st.just("gold"),
                st.binary(max_size=40),
            ),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_round_trip(nonce: int, until: int, fee: int, messages: list[Message]) -> None:
    body = Body(ACCOUNT, nonce, until, fee, tuple(messages))
    wire = signed(body)
    found = accepted(wire)
    assert found is not None
    assert found.wire == wire
    assert found.id == transaction_id(NETWORK, encode(body))
    assert [getattr(found.body, name) for name in Body.__struct_fields__] == [
        getattr(body, name) for name in Body.__struct_fields__
    ]


def test_every_flipped_bit_is_noticed() -> None:
    wire = signed(transfer())
    assert accepted(wire) is not None
    for position in range(len(wire)):
        for bit in range(8):
            flipped = bytearray(wire)
            flipped[position] ^= 1 << bit
            assert accepted(bytes(flipped)) is None, (position, bit)


def test_every_truncation_and_extension_is_refused() -> None:
    wire = signed(transfer())
    for length in range(len(wire)):
        with pytest.raises(Malformed):
            decode(wire[:length])
    for tail in (b"\0", b"\x90", b"\xc0", wire):
        with pytest.raises(Malformed):
            decode(wire + tail)


def test_a_body_that_is_not_canonical_is_refused_however_it_is_signed() -> None:
    body = encode(transfer())
    # Nonce 3 in two bytes instead of one: the same value, and a signature over these very bytes.
    at = body.index(b"\x03", 22)
    long_form = body[:at] + b"\xcc\x03" + body[at + 1 :]
    signature = KEY.sign(transaction_id(NETWORK, long_form)).signature
    head = b"\x92" + encode((KeySignature(PUBLIC, signature),))
    assert decode(head + body).body.nonce == 3
    with pytest.raises(Malformed, match="canonical"):
        decode(head + long_form)


def test_depth_is_no_way_in() -> None:
    head = b"\x92" + encode((KeySignature(PUBLIC, bytes(64)),))
    for filler in (b"\x91", b"\x81\x01"):
        with pytest.raises(Malformed):
            DECODER.decode(head + filler * 60_000, bytes_max=2**17)


def test_another_network_refuses_the_signature() -> None:
    foreign = decode(signed(transfer(), bytes(32)))
    foreign.check_signer()
    assert isinstance(verify_signatures([foreign])[0], BadSignature)


def test_only_the_accounts_own_single_key_signs() -> None:
    body = transfer()
    other = SigningKey(bytes([2]) * 32)
    signature = other.sign(transaction_id(NETWORK, encode(body))).signature
    theirs = KeySignature(bytes(other.verify_key), signature)
    ours = decode(signed(body)).signatures[0]
    for signatures in ((theirs,), (ours, theirs), (ours, ours)):
        with pytest.raises(BadSignature):
            decode(assemble(body, signatures)).check_signer()


def test_signatures_do_not_change_the_id() -> None:
    body = transfer()
    unsigned = decode(assemble(body, (KeySignature(PUBLIC, bytes(64)),)))
    assert unsigned.id == decode(signed(body)).id
    assert accepted(unsigned.wire) is None


def test_verdicts_name_the_transaction_that_is_wrong() -> None:
    good, bad = decode(signed(transfer())), decode(signed(transfer(), bytes(32)))
    verdicts = verify_signatures([good, bad, good])
    assert [verdict is None for verdict in verdicts] == [True, False, True]


def test_what_a_message_claims_is_told_from_what_the_account_signs() -> None:
    created = CreateValidator(ACCOUNT, PUBLIC, bytes(64), 10**12, 0, 0)
    votes = [
        Notarize(Proposal(0, 3, 2, bytes([n]) * 32, NETWORK), Vote(0, bytes(64))) for n in (1, 2)
    ]
    proof = SubmitEvidence(0, PUBLIC, Conflict(*votes))
    verdicts = verify_signatures(
        [
            decode(signed(transfer())),
            decode(signed(transfer(created))),
            decode(signed(transfer(Burn(1), proof, created))),
            decode(signed(transfer(created), bytes(32))),
        ]
    )
    told = [(verdict.code, verdict.sentence) for verdict in verdicts[1:] if verdict is not None]
    assert [code for code, _ in told] == ["tx.bad_claim", "tx.bad_claim", "tx.bad_signature"]
    assert "message 0, CreateValidator" in told[0][1]
    assert "message 1, SubmitEvidence" in told[1][1]
    assert verdicts[0] is None
    assert isinstance(verdicts[1], BadSignature), "never valid, whoever brings it"


def test_weight_is_bytes_and_signatures_and_messages() -> None:
    wire = signed(transfer(Burn(1), Transfer(bytes([2]) * 20, 1)))
    expected = len(wire) + SIGNATURE_WEIGHT + Burn.WEIGHT + Transfer.WEIGHT
    assert decode(wire).weight == expected


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 0},
        {"nonce": INT_MAX + 1},
        {"fee_max": -1},
        {"fee_max": INT_MAX + 1},
        {"account": bytes(19)},
        {"messages": ()},
        {"messages": (Burn(1),) * (MESSAGES_MAX + 1)},
        {"messages": (Burn(0),)},
        {"messages": (Transfer(bytes(20), 1, "Gold"),)},
        {"messages": (Transfer(bytes(20), 1, memo=bytes(257)),)},
    ],
    ids=lambda change: "-".join(change),
)
def test_fields_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    fields = {name: getattr(transfer(), name) for name in Body.__struct_fields__} | change
    with pytest.raises(Malformed) as caught:
        decode(signed(Body(**fields)))
    assert isinstance(caught.value.__cause__, ValidationError)


def test_unknown_tags_and_extra_fields_are_refused() -> None:
    for messages in ([[0xFFFF, 1]], [[0x0102]], [[0x0102, 1, "sahara", 0]], [[1.0, 1]], []):
        body = msgpack.packb([ACCOUNT, 3, 100, 5_000, messages])
        signature = KEY.sign(transaction_id(NETWORK, body)).signature
        with pytest.raises(Malformed):
            decode(b"\x92" + encode((KeySignature(PUBLIC, signature),)) + body)


def test_size_is_checked_before_anything_is_decoded() -> None:
    wire = signed(transfer())
    assert DECODER.decode(wire, bytes_max=len(wire)).wire == wire
    with pytest.raises(Malformed, match="larger than"):
        DECODER.decode(wire, bytes_max=len(wire) - 1)
