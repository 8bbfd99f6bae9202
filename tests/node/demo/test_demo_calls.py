"""Signed calls: every signature holds, totals are those planned, and one receipt can be proven."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from consensus.light import Trust
from node.client import Account, trust_in
from node.demo.calls import Counter, SignedBatch, sign_batch
from node.demo.checks.receipts import Evidence, receipt_faults
from node.demo.lanes import OpenLane
from node.demo.profile import PRICES
from node.demo.receipts import PlannedBatch, planned_batches
from node.demo.trace import Trace, TraceCall
from node.rpc.backend import StateProof
from state import crypto
from state.block import Body, Result
from state.codec import encode
from state.modules.inference.receipts import LaneTerms, prove_receipt
from state.modules.inference.records import BATCHES, NO_SUMS, BatchRow, BatchStatus
from state.tables import State
from state.types import ZERO_HASH

GENESIS_HASH = b"g" * 32
TRACE = Trace("chat", tuple(TraceCall(7 * n, 100 + n, n, 50 + n) for n in range(23)), 1_000)
LANE = OpenLane(
    "chat",
    1,
    LaneTerms(b"c" * 32, 0, b"m" * 32, 1, 1, ZERO_HASH, 0, 0),
    session=Account.from_seed(b"s" * 32),
    operator=Account.from_seed(b"o" * 32),
)


def lane_batches() -> list[PlannedBatch]:
    planned = planned_batches(TRACE, PRICES, 2, 3)
    return [batch for bucket in planned for batch in bucket if batch.payer == 1]


def signed(planned: PlannedBatch, genesis_hash: bytes = GENESIS_HASH) -> SignedBatch:
    return sign_batch(TRACE, planned, LANE, Counter(genesis_hash, 40, 1_000_000))


def test_every_call_is_signed_by_both_sides_over_every_field() -> None:
    batch = signed(lane_batches()[0])
    for number, receipt in enumerate(batch.receipts, start=1):
        asked = receipt.request.digest(GENESIS_HASH)
        given = receipt.response.digest(GENESIS_HASH)
        assert receipt.request.seq == number
        assert receipt.response.request_hash == asked
        assert crypto.verify(LANE.session.public_key, asked, receipt.payer_signature)
        assert crypto.verify(LANE.operator.public_key, given, receipt.operator_signature)
    assert len({receipt.request.prompt_commit for receipt in batch.receipts}) == len(batch.receipts)


def test_claims_of_a_lane_follow_each_other_and_state_what_was_planned() -> None:
    seq = 0
    for planned in lane_batches():
        claim = signed(planned).claim
        claim.check()
        assert all(crypto.verify_many(claim.claims(GENESIS_HASH)))
        batch, voucher = claim.batch, claim.voucher
        assert (batch.from_seq, batch.to_seq) == (seq + 1, planned.seq_last)
        assert batch.bucket == voucher.bucket == 40 + planned.bucket
        totals, cumulative = planned.totals, planned.cumulative
        assert batch.sums.as_tuple() == (
            totals.calls,
            totals.tokens_in,
            totals.tokens_cached,
            totals.tokens_out,
            totals.grains,
        )
        assert (voucher.cum_calls, voucher.cum_amount) == (cumulative.calls, cumulative.grains)
        seq = batch.to_seq
    assert seq == len(TRACE.calls) // 2


# --- the proof of one call --------------------------------------------------------------------


def row_of(batch: SignedBatch) -> BatchRow:
    told = batch.claim.batch
    return BatchRow(
        to_seq=told.to_seq,
        bucket=told.bucket,
        sum_root=told.sum_root,
        sums=told.sums,
        removed=NO_SUMS,
        release_height=9,
        released_height=0,
        status=BatchStatus.PENDING,
        cosigned=False,
        held=False,
        demands_open=0,
        data_ref=told.data_ref,
    )


@pytest.fixture
def proven(memory_node: Any) -> Iterator[tuple[Evidence, Trust, TraceCall]]:
    """A call, its batch's row in a real state tree, and a finalized header above it."""
    genesis_hash = memory_node.genesis.hash
    batch = signed(lane_batches()[1], genesis_hash)
    state = State(memory_node.states[-1])
    BATCHES.put(state, batch.key, row_of(batch))
    memory_node._keep(state, Result((), ()))
    height = memory_node.height
    header = memory_node._header(height + 1, ZERO_HASH, Body(()).root)
    key = BATCHES.key(batch.key)
    path = memory_node._tree.prove(str(height).encode(), key)
    finalization = memory_node._finalize(header)
    shown = StateProof(height, key, encode(row_of(batch)), encode(path), header, finalization)
    proof = prove_receipt(batch.receipts, 2, batch.planned.seq_first)
    call = TRACE.calls[batch.planned.rows[2]]
    yield (
        Evidence(batch.key, proof, shown),
        trust_in(memory_node.genesis),
        call,
    )


Proven = tuple[Evidence, Trust, TraceCall]


def faults(evidence: Evidence, trusted: Trust, call: TraceCall) -> list[str]:
    return list(receipt_faults(evidence, trusted, LANE, call, PRICES))


def test_an_honest_proof_holds_at_every_step(proven: Proven) -> None:
    assert faults(*proven) == []


def test_a_tampered_leaf_is_caught(proven: Proven) -> None:
    evidence, trusted, call = proven
    receipt = evidence.proof.receipt
    fewer = changed(receipt.response, tokens_out=receipt.response.tokens_out - 1)
    later = changed(receipt.request, seq=receipt.request.seq + 1)
    flipped = bytes([receipt.payer_signature[0] ^ 1]) + receipt.payer_signature[1:]
    for wrong in (
        changed(receipt, response=fewer),
        changed(receipt, request=later),
        changed(receipt, payer_signature=flipped),
        changed(receipt, operator_signature=receipt.payer_signature),
    ):
        forged = replace(evidence, proof=changed(evidence.proof, receipt=wrong))
        found = faults(forged, trusted, call)
        assert len(found) >= 2, "the signature and the path both say so"
        assert any("sum root" in sentence for sentence in found)


def test_another_row_of_the_trace_another_place_or_path_is_caught(proven: Proven) -> None:
    evidence, trusted, call = proven
    proof = evidence.proof
    assert faults(evidence, trusted, replace(call, tokens_in=call.tokens_in + 1))
    for wrong in (
        changed(proof, seq=proof.seq - 1),
        changed(proof, path=proof.path[:-1]),
        changed(proof, sums=changed(proof.sums, amount=proof.sums.amount + 1)),
        changed(proof, from_seq=proof.from_seq - 1),
    ):
        assert faults(replace(evidence, proof=wrong), trusted, call)


def test_another_state_header_or_certificate_is_caught(proven: Proven) -> None:
    evidence, trusted, call = proven
    shown = evidence.state
    assert shown.value is not None
    other_root = changed(shown.header, state_root=b"r" * 32)
    for wrong in (
        changed(shown, value=shown.value[:-1] + b"x"),
        changed(shown, value=None),
        changed(shown, header=other_root),
        changed(shown, height=shown.height + 1),
        changed(shown, key=shown.key[:-1] + b"\xff"),
        changed(shown, finalization=changed(shown.finalization, votes=())),
    ):
        assert faults(replace(evidence, state=wrong), trusted, call)


def test_strangers_as_validators_or_another_network_are_caught(proven: Proven) -> None:
    evidence, trusted, call = proven
    assert faults(evidence, replace(trusted, genesis_hash=b"x" * 32), call)
    (known,) = trusted.validators
    stranger = changed(known, public_key=Account.from_seed(b"z" * 32).public_key)
    assert faults(evidence, replace(trusted, validators=(stranger,)), call)
