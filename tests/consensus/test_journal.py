"""The journal's records: sorted by epoch and kind, with what only the guard remembers behind."""

import pytest

from consensus.journal import decode_record, encode_record, replay
from consensus.messages import MESSAGE_BYTES_MAX, Propose, Status, encode
from state.errors import Malformed
from state.finality import (
    Finalize,
    Header,
    Justify,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    Vote,
)

VOTE = Vote(1, b"s" * 64)
HEADER = Header(5, 1, 7, 6, b"p" * 32, 9, b"a" * 20, *[bytes([at]) * 32 for at in range(8)])


def subject(epoch: int) -> Proposal:
    return Proposal(epoch, 7, 6, b"b" * 32, b"j" * 32)


def test_records_of_one_epoch_are_sorted_and_keep_their_order() -> None:
    records = [
        Nullify(Nullified(1, 6), VOTE),
        Nullification(Nullified(1, 6), (VOTE,)),
        Propose(subject(1), VOTE, HEADER, Justify(None, ()), b"body"),
        Notarize(subject(0), VOTE),
        Finalize(subject(1), VOTE),
        Nullification(Nullified(2, 1), (VOTE,)),
    ]
    found = replay(records, (), 1)
    assert found.votes == [records[0], records[4]]
    assert found.certificates == [records[1]]
    assert found.proposals == [records[2]]
    assert replay(records, (), 0).votes == [records[3]]


def test_settled_11_what_only_the_guard_remembers_follows_once() -> None:
    logged, guarded = Nullify(Nullified(1, 6), VOTE), Finalize(subject(1), VOTE)
    stray = Notarize(subject(2), VOTE)
    found = replay([logged], [logged, guarded, stray], 1)
    assert found.votes == [logged, guarded]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_record_that_was_cut_off_is_none(cut: int) -> None:
    wire = encode_record(Notarize(subject(1), VOTE))
    assert decode_record(wire) == Notarize(subject(1), VOTE)
    with pytest.raises(Malformed):
        decode_record(wire[:-cut])
    with pytest.raises(Malformed):
        decode_record(wire + bytes(cut))


def test_what_others_say_of_themselves_is_no_record() -> None:
    with pytest.raises(Malformed):
        decode_record(encode(Status(1, 8, 1, 6, 5, b"f" * 32)))
    with pytest.raises(Malformed):
        decode_record(bytes(MESSAGE_BYTES_MAX + 1))
