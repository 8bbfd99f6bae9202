"""Headers and certificates: pinned bytes, and every way in which a quorum can be feigned."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.signing import SigningKey

from state import crypto
from state.codec import Decoder, encode
from state.crypto import Tag
from state.errors import Malformed
from state.finality import (
    Finalization,
    Header,
    Notarization,
    Nullified,
    Proposal,
    Validator,
    ValidatorSet,
    Vote,
    is_quorum,
    set_hash,
    verify_certificate,
    vote_digest,
)

NETWORK = bytes([9]) * 32
KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 8)]
SUBJECT = Proposal(1, 7, 6, bytes([4]) * 32, bytes([5]) * 32)
CERTIFICATES: Decoder[Finalization] = Decoder(Finalization)

_hashes = [bytes([number]) * 32 for number in range(3, 11)]
HEADER = Header(5, 0, 7, 6, bytes([1]) * 32, 1_000, bytes([2]) * 20, *_hashes)


def members(*stakes: int) -> ValidatorSet:
    return tuple(
        [
            Validator(bytes(key.verify_key), crypto.address_of(bytes(key.verify_key)), stake)
            for key, stake in zip(KEYS, stakes, strict=False)
        ]
    )


def vote(
    index: int, *, tag: Tag = Tag.FINALIZE, by: int | None = None, network: bytes = NETWORK
) -> Vote:
    key = KEYS[index if by is None else by]
    return Vote(index, key.sign(vote_digest(tag, network, SUBJECT)).signature)


def holds(votes: list[Vote], validators: ValidatorSet, *, tag: Tag = Tag.FINALIZE) -> bool:
    kind = Notarization if tag is Tag.NOTARIZE else Finalization
    return verify_certificate(NETWORK, kind(SUBJECT, tuple(votes)), validators)


def test_the_header_is_an_array_in_this_order_and_its_id_is_pinned() -> None:
    expected = [
        *(5, 0, 7, 6, bytes([1]) * 32, 1_000, bytes([2]) * 20),
        *[bytes([n]) * 32 for n in range(3, 11)],
    ]
    assert msgpack.unpackb(encode(HEADER)) == expected
    assert HEADER.id == crypto.hash_bytes(Tag.HEADER, msgpack.packb(expected))
    assert HEADER.id.hex() == "d72d9b286f23b9d56b10822c49a194dbeb61e7f3b87980120b2bf97e35d84a31"


def test_the_id_covers_every_field() -> None:
    ids = {HEADER.id}
    for name in Header.__struct_fields__:
        value = getattr(HEADER, name)
        other = value + 1 if isinstance(value, int) else bytes(len(value))
        ids.add(replace(HEADER, **{name: other}).id)
    assert len(ids) == 1 + len(Header.__struct_fields__)


def test_what_votes_sign_is_pinned() -> None:
    assert (
        vote_digest(Tag.NOTARIZE, NETWORK, SUBJECT).hex()
        == "9eb37699deb1250b0441637183e83c25d3b3552859cbaecd5400c7d80c3deae2"
    )
    assert (
        vote_digest(Tag.NULLIFY, NETWORK, Nullified(1, 7)).hex()
        == "e3c3f251f2e5fa3c11372f309eaeeab73c1ed5a46ade54426e32c38694f571ba"
    )
    assert (
        set_hash(members(1, 2, 3)).hex()
        == "cb46c439a58420b8508b839aac340c2126e4b9c55e98345716d20e306a02deff"
    )


def test_a_quorum_of_valid_votes_holds() -> None:
    four = members(1, 1, 1, 1)
    assert holds([vote(0), vote(1), vote(3)], four)
    assert holds([vote(n) for n in range(4)], four)


@pytest.mark.parametrize(
    "votes",
    [
        [vote(0), vote(1)],
        [vote(0), vote(1), vote(1)],
        [vote(0), vote(0), vote(1), vote(2)],
        [vote(1), vote(0), vote(2)],
        [vote(2), vote(1), vote(0)],
        [vote(0), vote(1), vote(4)],
        [vote(0), vote(1), vote(2, by=3)],
        [vote(0), vote(1), vote(2), vote(3, by=0)],
        [vote(0), vote(1), vote(2, tag=Tag.NOTARIZE)],
        [vote(0), vote(1), vote(2, network=bytes(32))],
        [vote(0), vote(1), Vote(-1, bytes(64)), vote(2)],
        [vote(0), vote(1), Vote(2, bytes(64))],
    ],
    ids=[
        "too few",
        "duplicate",
        "duplicate first",
        "swapped",
        "descending",
        "unknown validator",
        "foreign key",
        "quorum plus a foreign key",
        "other tag",
        "other network",
        "negative index",
        "no signature",
    ],
)
def test_what_is_no_certificate(votes: list[Vote]) -> None:
    assert not holds(votes, members(1, 1, 1, 1))


def test_votes_of_one_kind_are_worthless_as_another() -> None:
    votes = [vote(n, tag=Tag.NOTARIZE) for n in range(4)]
    assert holds(votes, members(1, 1, 1, 1), tag=Tag.NOTARIZE)
    assert not holds(votes, members(1, 1, 1, 1), tag=Tag.FINALIZE)


def test_another_subject_needs_other_votes() -> None:
    votes = tuple([vote(n) for n in range(4)])
    for name in Proposal.__struct_fields__:
        value = getattr(SUBJECT, name)
        other = value + 1 if isinstance(value, int) else bytes(32)
        forged = Finalization(replace(SUBJECT, **{name: other}), votes)
        assert not verify_certificate(NETWORK, forged, members(1, 1, 1, 1))


def test_stake_counts_and_heads_do_not() -> None:
    uneven = members(66, 1, 1, 1, 31)
    assert not holds([vote(n) for n in range(1, 5)], uneven), "four of five hold 34 of 100"
    assert not holds([vote(0)], uneven), "66 of 100 are less than two thirds"
    assert holds([vote(0), vote(1)], uneven), "67 of 100 are more"


def test_exactly_two_thirds_are_no_quorum() -> None:
    assert not holds([vote(0), vote(1)], members(1, 1, 1))
    assert holds([vote(0), vote(1), vote(2)], members(1, 1, 1))
    assert not is_quorum(0, 0)


@given(st.integers(0, 2**70), st.integers(1, 2**70))
def test_two_quorums_share_more_than_a_third(stake: int, total: int) -> None:
    stake = min(stake, total)
    if is_quorum(stake, total):
        assert (2 * stake - total) * 3 > total


def test_an_empty_set_certifies_nothing() -> None:
    assert not holds([vote(0)], ())
    assert not holds([vote(0)], members(0))


def test_certificates_without_votes_or_with_an_index_beyond_the_largest_set_do_not_decode() -> None:
    wire = encode(Finalization(SUBJECT, (vote(0),)))
    assert CERTIFICATES.decode(wire).votes[0] == vote(0)
    for votes in ((), (Vote(200, bytes(64)),), (Vote(0, bytes(63)),), (vote(0),) * 201):
        with pytest.raises(Malformed):
            CERTIFICATES.decode(encode(Finalization(SUBJECT, votes)))
