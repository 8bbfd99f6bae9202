"""One leaf before the rules: whether it stands in a batch, and which rule it breaks.

The same list serves accusers, who must show a leaf that breaks a rule, and operators, who must
answer with one that breaks none (assets C.1, settled points 4, 7 and 10).
"""

from collections.abc import Iterator

from state import crypto
from state.codec import replace
from state.context import BlockContext, QueryContext
from state.maths import ceil_div
from state.modules import bank
from state.modules.inference import events
from state.modules.inference.errors import AlreadyProven, Cosigned, NotPending, ProofInvalid
from state.modules.inference.receipts import (
    CallStatus,
    PriceRow,
    Receipt,
    ReceiptProof,
    Request,
    Response,
    Sums,
    cost_of,
    verify_receipt,
)
from state.modules.inference.records import (
    BATCHES,
    CHANNELS,
    ESCROW,
    FAULTS,
    BatchKey,
    BatchRow,
    BatchStatus,
    Channel,
    Fault,
    Lane,
    minus,
    plus,
    shift,
)
from state.tables import State
from state.types import Address, Hash

NO_FAULT = Fault(refunded=False, slashed=False)


def require_in_batch(row: BatchRow, proof: ReceiptProof) -> None:
    """Raise ProofInvalid unless the receipt stands at its place in the batch."""
    if not verify_receipt(row.sum_root, row.sums, proof):
        raise ProofInvalid(
            "The path does not lead from this receipt, with these sums and at this seq, to the "
            "batch's root and totals; take the path from the batch's own leaves."
        )


def faults(
    ctx: QueryContext, channel: Channel, lane: Lane, proof: ReceiptProof, key: tuple[Hash, int]
) -> Iterator[str]:
    """Yield every rule that a committed leaf breaks, the cheap ones first."""
    request, response = proof.receipt.request, proof.receipt.response
    if (request.channel_id, request.lane_no, request.seq) != (*key, proof.seq):
        yield "the request is of another channel, lane or seq than its place"
    if lane_of(request, response) != lane_of_lane(lane):
        yield "model, version, price, licence, workload or hardware is not the lane's"
    if response.operator != channel.operator:
        yield "the response is of another operator"
    if response.request_hash != request.digest(ctx.genesis_hash):
        yield "the response answers another request"
    if proof.sums != response.sums:
        yield "the leaf's sums are not its response's"
    yield from response_faults(lane.price, request, response)
    yield from _signature_faults(ctx, channel, lane, proof.receipt)


def response_faults(price: PriceRow, request: Request, response: Response) -> Iterator[str]:
    """Yield every rule that a response breaks against its request and the lane's price."""
    tokens = (response.tokens_in, response.tokens_cached, response.tokens_out)
    if response.cost != cost_of(price, response.status, *tokens):
        yield "the cost is not the price of its tokens"
    if response.status == CallStatus.ERROR and any(tokens):
        yield "a call in error counts tokens"
    if tokens[0] + tokens[1] > request.tokens_in_max or tokens[2] > request.tokens_out_max:
        yield "there are more tokens than the request allowed"
    if not response.start_ms <= response.end_ms <= request.not_after_ms:
        yield "the call ended before it began, or after the request's not_after_ms"


def lane_of(request: Request, response: Response) -> tuple[Hash, int, int, Hash, int, int]:
    """Return the six properties that a receipt says its lane has."""
    return (
        request.model_id,
        request.version,
        request.price_id,
        request.licence_id,
        request.workload,
        response.hw_class,
    )


def lane_of_lane(lane: Lane) -> tuple[Hash, int, int, Hash, int, int]:
    """Return the six properties that a lane has."""
    return (
        lane.model_id,
        lane.version,
        lane.price_id,
        lane.licence_id,
        lane.workload,
        lane.hw_class,
    )


def _signature_faults(
    ctx: QueryContext, channel: Channel, lane: Lane, receipt: Receipt
) -> Iterator[str]:
    asked = receipt.request.digest(ctx.genesis_hash)
    if not crypto.verify(channel.session_key, asked, receipt.payer_signature):
        yield "the payer did not sign the request"
    given = receipt.response.digest(ctx.genesis_hash)
    if not crypto.verify(lane.operator_key, given, receipt.operator_signature):
        yield "the operator did not sign the response"


def pending_batch(state: State, key: BatchKey, account: Address) -> tuple[Channel, BatchRow]:
    """Return channel and batch when `account` may still dispute it; raises Rejected otherwise."""
    row = BATCHES.require(state, key)
    channel = CHANNELS.require(state, key[0])
    if row.status != BatchStatus.PENDING:
        raise NotPending("The batch is released; leaves are disputed before that.")
    if row.cosigned and account == channel.payer:
        raise Cosigned("The payer co-signed the root, and with it every leaf of the batch.")
    return channel, row


def fault_of(state: State, channel_id: Hash, lane_no: int, seq: int) -> Fault:
    """Return what was proved against a seq before."""
    return FAULTS.get(state, (channel_id, lane_no, seq)) or NO_FAULT


def require_not_refunded(state: State, key: BatchKey, seq: int) -> None:
    """Raise AlreadyProven when the leaf has left its batch before."""
    if fault_of(state, key[0], key[1], seq).refunded:
        raise AlreadyProven("This leaf was refunded before; a leaf is refunded once.")


def refund_leaf(
    ctx: BlockContext, key: BatchKey, row: BatchRow, seq: int, sums: Sums, reason: str
) -> BatchRow:
    """Take a leaf out of a pending batch, give its value back, and return the batch as written.

    What leaves is never more than what earlier refunds have left of the batch.
    """
    channel_id, lane_no, _ = key
    left = minus(row.sums, row.removed)
    taken = Sums(*[min(a, b) for a, b in zip(sums.as_tuple(), left.as_tuple(), strict=True)])
    channel = CHANNELS.require(ctx.state, channel_id)
    bank.move(ctx.state, ESCROW, channel.payer, taken.amount)
    shift(ctx.state, pending=-taken.amount, refunded=taken.amount)
    fault = fault_of(ctx.state, channel_id, lane_no, seq)
    FAULTS.put(ctx.state, (channel_id, lane_no, seq), replace(fault, refunded=True))
    changed = replace(row, removed=plus(row.removed, taken))
    BATCHES.put(ctx.state, key, changed)
    ctx.emit(events.LeafRefunded(channel_id, lane_no, seq, taken, reason))
    return changed


def withheld_sums(row: BatchRow) -> Sums:
    """Return what a withheld leaf counts for: an equal part of what is left, rounded up.

    Its true sums are known to the operator alone, who could have shown them; rounding up and
    dividing what is left makes the parts of a wholly withheld batch add up to exactly the batch.
    """
    left = minus(row.sums, row.removed)
    if left.calls == 0:
        return left
    parts = [ceil_div(total, left.calls) for total in left.as_tuple()]
    return Sums(*parts)
