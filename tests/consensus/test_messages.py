"""Every message: pinned bytes, one decoder, nothing beyond its bounds."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgpack
import pytest
from msgspec import Struct
from nacl.signing import SigningKey

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
from state.crypto import Tag, verify
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
    justify_hash,
    vote_digest,
)

SUBJECT = Proposal(1, 7, 5, b"b" * 32, b"j" * 32)
VOTE = Vote(3, b"s" * 64)
VOTES = (Vote(0, b"r" * 64), VOTE)
HEADER = Header(5, 1, 7, 5, b"p" * 32, 1_000, b"a" * 20, *[bytes([at]) * 32 for at in range(8)])
SKIPPED = Nullification(Nullified(1, 6), VOTES)
JUSTIFY = Justify(Notarization(SUBJECT, VOTES), (SKIPPED,))
MESSAGES: list[tuple[int, str, Message]] = [
    (0, "Propose", Propose(SUBJECT, VOTE, HEADER, JUSTIFY, b"body")),
    (0, "Propose without justification", Propose(SUBJECT, VOTE, HEADER, None, b"")),
    (1, "Notarization", Notarization(SUBJECT, VOTES)),
    (2, "Nullification", SKIPPED),
    (3, "Finalization", Finalization(SUBJECT, VOTES)),
    (4, "Notarize", Notarize(SUBJECT, VOTE)),
    (5, "Nullify", Nullify(Nullified(1, 7), VOTE)),
    (6, "Finalize", Finalize(SUBJECT, VOTE)),
    (7, "Status", Status(1, 8, 1, 6, 5, b"f" * 32)),
    (8, "CertificateRequest", CertificateRequest(1, 6)),
    (9, "BlockRequest", BlockRequest(b"b" * 32, 32)),
    (10, "BlockReply", BlockReply((Block(HEADER, JUSTIFY, b"body"),))),
    (11, "JustifyRequest", JustifyRequest(b"j" * 32)),
    (12, "JustifyReply", JustifyReply(JUSTIFY)),
    (13, "BoundaryRequest", BoundaryRequest(1)),
]
SIGNED = [
    (Tag.NOTARIZE, "Notarize", SUBJECT),
    (Tag.NULLIFY, "Nullify", Nullified(1, 7)),
    (Tag.FINALIZE, "Finalize", SUBJECT),
]
GOLDEN = Path(__file__).parents[1] / "golden" / "consensus.txt"
GENESIS = bytes(range(32))
KEY = SigningKey(bytes(range(100, 132)))


def lines() -> list[str]:
    """Every message's bytes; what votes sign and the signature of a fixed key; ids and hashes."""
    found = [f"message {name}: {encode(message).hex()}" for _, name, message in MESSAGES]
    for tag, name, subject in SIGNED:
        signed = vote_digest(tag, GENESIS, subject)
        found.append(f"digest {name}: {signed.hex()}")
        found.append(f"signature {name}: {KEY.sign(signed).signature.hex()}")
    found.append(f"id Header: {HEADER.id.hex()}")
    found.append(f"hash Justify: {justify_hash(JUSTIFY).hex()}")
    return found


def plain(value: Any) -> Any:
    """A value as lists, integers and bytes, by the names of its fields alone."""
    if isinstance(value, Struct):
        tag = value.__struct_config__.tag
        fields = [plain(getattr(value, name)) for name in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def test_bytes_digests_and_signatures_are_pinned() -> None:
    """Signatures, stored chains and peers depend on every byte.

    Who changes one on purpose writes the file anew with

        PYTHONPATH=. python tests/consensus/test_messages.py > tests/golden/consensus.txt
    """
    assert GOLDEN.read_text().splitlines() == lines()


@pytest.mark.parametrize(("number", "name", "message"), MESSAGES, ids=lambda one: str(one)[:20])
def test_an_independent_reader_sees_every_field(number: int, name: str, message: Message) -> None:
    wire = encode(message)
    read = msgpack.unpackb(wire)
    assert read[0] == number
    assert read == plain(message)
    assert msgpack.packb(read) == wire, "the shortest form, so there is no other"
    assert decode(wire) == message
    assert type(decode(wire)) is type(message)
    assert name.startswith(type(message).__name__)


@pytest.mark.parametrize(("tag", "name", "subject"), SIGNED, ids=lambda one: str(one)[:20])
def test_what_a_vote_signs_is_the_tagged_hash_of_network_and_subject(
    tag: Tag, name: str, subject: Proposal | Nullified
) -> None:
    """Settled 17: H(tag, genesis_hash || canonical body), computed here by other libraries."""
    body = msgpack.packb(plain(subject))
    person = tag.value.ljust(16, b"\0")
    expected = blake2b(GENESIS + body, digest_size=32, person=person).digest()
    assert vote_digest(tag, GENESIS, subject) == expected
    signature = KEY.sign(expected).signature
    assert verify(bytes(KEY.verify_key), expected, signature)
    assert f"signature {name}: {signature.hex()}" in GOLDEN.read_text().splitlines()


def test_the_same_subject_signs_differently_by_kind_and_network() -> None:
    digests = {
        vote_digest(tag, genesis, SUBJECT)
        for tag in (Tag.NOTARIZE, Tag.FINALIZE)
        for genesis in (GENESIS, bytes(32))
    }
    assert len(digests) == 4


def test_records_are_messages_of_ones_own() -> None:
    for number, _, message in MESSAGES:
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


if __name__ == "__main__":
    print("\n".join(lines()))
