"""Bodies and results: what their roots commit to, and that the fullest body still decodes."""

import msgpack
import msgspec
import pytest

from state import crypto
from state.block import (
    TRANSACTIONS_MAX,
    Body,
    Outcome,
    Result,
    Status,
    bodies,
    check_body,
    pack_events,
    results,
)
from state.codec import ENCODED_BYTES_MAX, encode
from state.crypto import Tag
from state.errors import InvalidBlock, Malformed
from state.finality import (
    Conflict,
    Finalization,
    Finalize,
    Header,
    Nullified,
    Nullify,
    Proposal,
    Vote,
)
from state.modules.bank import Burned
from state.params import FeeParams

PROPOSAL = Proposal(0, 3, 2, bytes(32), bytes(32))
VOTE = Vote(1, bytes(64))
LATE = Finalization(PROPOSAL, (VOTE,))
PROOF = Conflict(Nullify(Nullified(0, 3), VOTE), Finalize(PROPOSAL, VOTE))
OUTCOME = Outcome(bytes(32), Status.OK, "ok", "", 5, 7, ())
EVENT = Burned(bytes(20), "sahara", 3)


def test_the_body_root_is_over_whole_wires_in_order() -> None:
    wires = (b"one", b"two", b"three")
    assert Body(wires).root == crypto.merkle_root(Tag.TX_ROOT, wires)
    for other in ((b"two", b"one", b"three"), wires[:2], (*wires, b"three"), (b"onetwo", b"three")):
        assert Body(other).root != Body(wires).root


def header_of(body: Body) -> Header:
    hashes = [bytes([at]) * 32 for at in range(9)]
    return Header(1, 0, 1, 0, hashes[0], 1, bytes(20), body.root, body.evidence_root, *hashes[1:7])


def test_a_body_with_other_late_votes_or_evidence_is_refused() -> None:
    bodies_of_one = [
        Body((b"one",), late, evidence)
        for late in (None, LATE)
        for evidence in ((), (PROOF,), (PROOF, PROOF))
    ]
    for body in bodies_of_one:
        check_body(bodies.decode(encode(body)), header_of(body))
        for other in bodies_of_one:
            if other != body:
                with pytest.raises(InvalidBlock, match="commits"):
                    check_body(other, header_of(body))


def test_a_body_under_a_foreign_root_is_refused() -> None:
    body = Body((b"one",))
    check_body(body, header_of(body))
    with pytest.raises(InvalidBlock, match="commits"):
        check_body(Body((b"two",)), header_of(body))


def test_the_outcomes_root_covers_every_field_and_every_event() -> None:
    result = Result((OUTCOME,), pack_events([EVENT]))
    changed = [
        Result((msgspec.structs.replace(OUTCOME, **{name: value}),), result.events)
        for name, value in {
            "tx_id": bytes([1]) * 32,
            "status": Status.FAILED,
            "code": "no",
            "sentence": "No.",
            "fee": 6,
            "weight": 8,
            "events": pack_events([EVENT]),
        }.items()
    ]
    changed += [Result((OUTCOME,), ()), Result((), result.events)]
    roots = [one.root for one in [result, *changed]]
    assert len(set(roots)) == len(roots)
    assert result.leaves() == [encode(OUTCOME), encode(EVENT)]


def test_results_round_trip_and_read_plainly() -> None:
    result = Result((OUTCOME,), pack_events([EVENT]))
    data = encode(result)
    assert results.decode(data).root == result.root
    plain_event = ["bank.burned", bytes(20), "sahara", 3]
    assert msgpack.unpackb(data) == [[[bytes(32), 0, "ok", "", 5, 7, []]], [plain_event]]


def test_the_fullest_body_that_parameters_allow_still_decodes() -> None:
    bytes_max = next(
        field.type.__metadata__[0].le
        for field in msgspec.structs.fields(FeeParams)
        if field.name == "block_bytes_max"
    )
    headers = 5 * (TRANSACTIONS_MAX + 2)
    assert bytes_max + headers <= ENCODED_BYTES_MAX
    size = FeeParams().block_bytes_max // 32
    full = Body(tuple([bytes(size)] * 32))
    assert bodies.decode(encode(full)) == full


def test_too_many_transactions_are_no_body() -> None:
    assert bodies.decode(encode(Body((b"",) * TRANSACTIONS_MAX)))
    with pytest.raises(Malformed):
        bodies.decode(encode(Body((b"",) * (TRANSACTIONS_MAX + 1))))
