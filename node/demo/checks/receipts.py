"""One receipt traced from its leaf to a finalized header, every step checked here by itself.

leaf            hash over request, response and both signatures; both signatures hold
sum tree        the path leads from leaf and sums to the batch's root and totals
state           the batch's row, with that root, stands under the header's state root
header          header(h + 1) is finalized by more than 2/3 of the stake of its epoch
"""

from collections.abc import Iterator
from dataclasses import dataclass

from consensus.light import Trust
from node.client import ProofInvalid, SaharaClient, verify_state_proof
from node.demo.calls import SignedBatch
from node.demo.expected import Prices
from node.demo.lanes import OpenLane
from node.demo.trace import TraceCall
from node.rpc.backend import StateProof
from state import crypto
from state.modules.inference.receipts import ReceiptProof, prove_receipt, verify_receipt
from state.modules.inference.records import BATCHES, BatchRow
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that proves one call: its receipt, its path, and its batch's row with proof."""

    key: tuple[Hash, int, int]
    proof: ReceiptProof
    state: StateProof


async def gather_evidence(client: SaharaClient, batch: SignedBatch, index: int) -> Evidence:
    """Prove the call at `index` of a batch from the operator's leaves and the node's state."""
    proof = prove_receipt(batch.receipts, index, batch.planned.seq_first)
    state = await client.query("chain.state_proof", raw_key=BATCHES.key(batch.key))
    return Evidence(batch.key, proof, state)


def receipt_faults(
    evidence: Evidence, trust: Trust, lane: OpenLane, call: TraceCall, prices: Prices
) -> Iterator[str]:
    """Yield what is wrong with the proof of one call; nothing when every step holds."""
    yield from call_faults(evidence, lane, call, prices)
    yield from signature_faults(evidence, trust, lane)
    if evidence.state.key != BATCHES.key(evidence.key):
        yield "the node proved another row than the batch's"
    try:
        value = verify_state_proof(evidence.state, trust)
    except ProofInvalid as error:
        yield error.sentence
        return
    if value is None:
        yield "the state holds no such batch"
        return
    yield from tree_faults(evidence, BATCHES.decode(value))


def call_faults(
    evidence: Evidence, lane: OpenLane, call: TraceCall, prices: Prices
) -> Iterator[str]:
    """Yield where the receipt differs from the lane's terms and the row of the trace."""
    request, response = evidence.proof.receipt.request, evidence.proof.receipt.response
    terms = lane.terms
    if (request.channel_id, request.lane_no) != evidence.key[:2]:
        yield "the request is of another lane than the batch"
    if request.seq != evidence.proof.seq:
        yield "the request has another number than its place"
    if (request.model_id, request.version, request.price_id) != (
        terms.model_id,
        terms.version,
        terms.price_id,
    ):
        yield "the request is for another model, version or price than the lane's"
    tokens = (response.tokens_in, response.tokens_cached, response.tokens_out)
    if tokens != (call.tokens_in, call.tokens_cached, call.tokens_out):
        yield "the response counts other tokens than the row of the trace"
    if response.cost != prices.cost_of(call):
        yield "the call costs something else than its tokens' price"
    if evidence.proof.sums != response.sums:
        yield "the leaf's sums are not the response's"


def signature_faults(evidence: Evidence, trust: Trust, lane: OpenLane) -> Iterator[str]:
    """Yield which signature of the receipt does not hold."""
    receipt = evidence.proof.receipt
    asked = receipt.request.digest(trust.genesis_hash)
    given = receipt.response.digest(trust.genesis_hash)
    if receipt.response.request_hash != asked:
        yield "the response answers another request"
    if not crypto.verify(lane.session.public_key, asked, receipt.payer_signature):
        yield "the payer has not signed the request"
    if not crypto.verify(lane.operator.public_key, given, receipt.operator_signature):
        yield "the operator has not signed the response"


def tree_faults(evidence: Evidence, row: BatchRow) -> Iterator[str]:
    """Yield whether the path does not lead from the leaf to the row's root and totals."""
    proof = evidence.proof
    if not evidence.key[2] == proof.from_seq <= proof.seq <= row.to_seq:
        yield "the receipt's number lies outside the batch"
    if not verify_receipt(row.sum_root, row.sums, proof):
        yield "the path does not lead from the receipt to the batch's sum root"
