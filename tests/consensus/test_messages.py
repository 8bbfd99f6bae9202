"""Every message: pinned bytes, one decoder, nothing beyond its bounds."""

from hashlib import blake2b

import msgpack
import pytest

from consensus.journal import decode_record, encode_record
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyReply,
    JustifyRequest,
    Message,
    Propose,
    Status,
    decode,
    encode,
)
from state.errors import Malformed
from state.finality import (
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    Vote,
)

SUBJECT = Proposal(1, 7, 5, b"b" * 32, b"j" * 32)
VOTE = Vote(3, b"s" * 64)
VOTES = (Vote(0, b"r" * 64), VOTE)
HEADER = Header(5, 1, 7, 5, b"p" * 32, 1_000, b"a" * 20, *[bytes([at]) * 32 for at in range(8)])
SKIPPED = Nullification(Nullified(1, 6), VOTES)
JUSTIFY = Justify(Notarization(SUBJECT, VOTES), (SKIPPED,))
GOLDEN: list[tuple[Message, int, str]] = [
    (Propose(SUBJECT, VOTE, HEADER, JUSTIFY, b"body"), 0, "9c1f6ce5e2848f68b7c73e506193702c"),
    (Propose(SUBJECT, VOTE, HEADER, None, b""), 0, "966c77c2ac082bfd9310d6a980e397dd"),
    (Notarization(SUBJECT, VOTES), 1, "7452ed4fa7f9085bfc724280642462a9"),
    (SKIPPED, 2, "df4b46894a0bb1ca49108b91d0192b57"),
    (Finalization(SUBJECT, VOTES), 3, "787d38222b9922c4f4a5f9f7a8270caa"),
    (Notarize(SUBJECT, VOTE), 4, "8d26a63c51e70698f2a61b92ea6fae31"),
    (Nullify(Nullified(1, 7), VOTE), 5, "27e471109f2feff12567874c2ef69dc3"),
    (Finalize(SUBJECT, VOTE), 6, "d4bc1daedce785bb5cbfc3107eca85ac"),
    (Status(1, 8, 1, 6, 5, b"f" * 32), 7, "c2e6afeb58bdc9f9d2d7e2a8becbf546"),
    (CertificateRequest(1, 6), 8, "4c40df6d2e5837f04517dc82bd46befb"),
    (BlockRequest(b"b" * 32, 32), 9, "83b89afc0d5f64d6f04479b7e1d5dccf"),
    (BlockReply((Block(HEADER, JUSTIFY, b"body"),)), 10, "3b201f39d97b50474cdc20ce200730d0"),
    (JustifyRequest(b"j" * 32), 11, "7d7e78b4e538a17b881c6ac0439b0d59"),
    (JustifyReply(JUSTIFY), 12, "48bf404bcf0f787fb45b0201e219f2c8"),
    (BoundaryRequest(1), 13, "fb641e7169e03b28945ac5bcce75691a"),
]


@pytest.mark.parametrize(("message", "number", "pinned"), GOLDEN)
def test_bytes_are_pinned(message: Message, number: int, pinned: str) -> None:
    wire = encode(message)
    assert msgpack.unpackb(wire)[0] == number
    assert decode(wire) == message
    assert type(decode(wire)) is type(message)
    assert blake2b(wire, digest_size=16).hexdigest() == pinned


def test_records_are_messages_of_ones_own() -> None:
    for message, number, _ in GOLDEN:
        wire = encode(message)
        if number <= 6:
            record = decode_record(wire)
            assert encode_record(record) == wire
        else:
            with pytest.raises(Malformed):
                decode_record(wire)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x90",
        msgpack.packb([99]),
        msgpack.packb([9, b"b" * 32, 0]),
        msgpack.packb([9, b"b" * 32, 33]),
        msgpack.packb([9, b"b" * 31, 1]),
        msgpack.packb([10, []]),
        msgpack.packb([13, -1]),
        msgpack.packb([13, 1]) + b"\x00",
        msgpack.packb([4, [1, 7, 5, b"b" * 32, b"j" * 32], [200, b"s" * 64]]),
        msgpack.packb([4, [1, 7, 5, b"b" * 32, b"j" * 32], [0, b"s" * 63]]),
    ],
)
def test_what_is_no_message(wire: bytes) -> None:
    with pytest.raises(Malformed):
        decode(wire)
