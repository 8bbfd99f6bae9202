"""Headers and certificates: pinned bytes, and every way in which a quorum can be feigned."""

from typing import Any

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
    Conflict,
    Evidence,
    Finalization,
    Finalize,
    Header,
    Misfit,
    Notarization,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    Validator,
    ValidatorSet,
    Vote,
    fits,
    is_quorum,
    offender,
    set_hash,
    verify_certificate,
    verify_evidence,
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


# --- evidence ---

EPOCH_BLOCKS = 5
FOUR = members(1, 1, 1, 1)
NORMAL = replace(HEADER, epoch=1, height=8)
RIVAL = replace(SUBJECT, block_id=bytes([7]) * 32)


def proposal(header: Header = NORMAL, **changes: Any) -> Proposal:
    own = Proposal(header.epoch, header.view, header.parent_view, header.id, header.justify_hash)
    return replace(own, **changes)


def signed(
    kind: type[Notarize | Nullify | Finalize], subject: Proposal, index: int = 2, by: int = 2
) -> Notarize | Nullify | Finalize:
    tags = {Notarize: Tag.NOTARIZE, Nullify: Tag.NULLIFY, Finalize: Tag.FINALIZE}
    what = Nullified(subject.epoch, subject.view) if kind is Nullify else subject
    digest = vote_digest(tags[kind], NETWORK, what)
    vote = Vote(index, KEYS[by].sign(digest).signature)
    if kind is Nullify:
        return Nullify(Nullified(subject.epoch, subject.view), vote)
    return Notarize(subject, vote) if kind is Notarize else Finalize(subject, vote)


def verdict(evidence: Evidence) -> str:
    return verify_evidence(evidence, NETWORK, FOUR, EPOCH_BLOCKS)


@pytest.mark.parametrize(
    ("first", "second", "offence"),
    [
        (signed(Notarize, SUBJECT), signed(Notarize, RIVAL), "E1"),
        (signed(Finalize, SUBJECT), signed(Finalize, RIVAL), "E2"),
        (signed(Nullify, SUBJECT), signed(Finalize, SUBJECT), "E3"),
        (signed(Finalize, RIVAL), signed(Nullify, SUBJECT), "E3"),
        (signed(Notarize, SUBJECT), signed(Finalize, RIVAL), "E4"),
        (signed(Notarize, SUBJECT), signed(Finalize, replace(SUBJECT, parent_view=5)), "E4"),
        (signed(Notarize, SUBJECT), signed(Finalize, SUBJECT), ""),
        (signed(Notarize, SUBJECT), signed(Nullify, SUBJECT), ""),
        (signed(Notarize, SUBJECT), signed(Notarize, SUBJECT), ""),
        (signed(Notarize, SUBJECT), signed(Notarize, replace(RIVAL, view=8)), ""),
        (signed(Notarize, SUBJECT), signed(Notarize, replace(RIVAL, epoch=2)), ""),
        (signed(Notarize, SUBJECT), signed(Notarize, RIVAL, 3, 3), ""),
        (signed(Notarize, SUBJECT), signed(Notarize, RIVAL, 2, 3), ""),
        (signed(Notarize, SUBJECT, 5, 5), signed(Notarize, RIVAL, 5, 5), ""),
    ],
)
def test_two_votes_prove_an_offence(
    first: Notarize | Nullify | Finalize, second: Notarize | Nullify | Finalize, offence: str
) -> None:
    assert verdict(Conflict(first, second)) == offence
    assert verdict(Conflict(second, first)) == offence
    assert offender(Conflict(first, second)) == first.vote.validator


BOUNDARY = replace(HEADER, epoch=1, height=10)
BEYOND = replace(HEADER, epoch=1, height=11)
BEFORE = replace(HEADER, epoch=1, height=5)


@pytest.mark.parametrize(
    ("header", "subject", "fit"),
    [
        (NORMAL, proposal(), True),
        (BOUNDARY, proposal(BOUNDARY), True),
        (BOUNDARY, proposal(BOUNDARY, view=9, parent_view=8, justify_hash=bytes(32)), True),
        (BOUNDARY, proposal(BOUNDARY, view=9, parent_view=6), False),
        (NORMAL, proposal(epoch=2), False),
        (NORMAL, proposal(parent_view=5), False),
        (NORMAL, proposal(justify_hash=bytes(32)), False),
        (NORMAL, proposal(view=9, parent_view=8), False),
        (NORMAL, proposal(view=6, parent_view=5), False),
        (BEYOND, proposal(BEYOND), False),
        (BEFORE, proposal(BEFORE), False),
    ],
)
def test_one_vote_beside_its_header_proves_e5(header: Header, subject: Proposal, fit: bool) -> None:
    assert fits(subject, header, EPOCH_BLOCKS) is fit
    for kind in (Notarize, Finalize):
        vote = signed(kind, subject)
        assert not isinstance(vote, Nullify)
        assert verdict(Misfit(vote, header)) == ("" if fit else "E5")
        assert verdict(Misfit(vote, replace(header, time_ms=7))) == "", "another header"
        stranger = signed(kind, subject, 2, 1)
        assert not isinstance(stranger, Nullify)
        assert verdict(Misfit(stranger, header)) == ""


def test_evidence_and_votes_are_pinned() -> None:
    conflict = Conflict(
        Notarize(SUBJECT, Vote(2, b"s" * 64)), Nullify(Nullified(1, 7), Vote(2, b"t" * 64))
    )
    misfit = Misfit(Finalize(SUBJECT, Vote(2, b"s" * 64)), HEADER)
    decoder: Decoder[Evidence] = Decoder(Evidence)
    for evidence in (conflict, misfit):
        assert decoder.decode(encode(evidence)) == evidence
    assert msgpack.unpackb(encode(conflict))[0] == 0
    assert msgpack.unpackb(encode(misfit))[0] == 1
    digests = [crypto.hash_bytes(Tag.JUSTIFY, encode(one)).hex()[:16] for one in (conflict, misfit)]
    assert digests == PINNED_EVIDENCE


PINNED_EVIDENCE = ["c4db3c6ad36eb931", "be8244112932a55d"]
