"""Calls: what payer and operator sign for each of them, and the claim that settles a batch.

For every call the payer's session key signs a Request, the operator a Response over it, and then
the payer a voucher for the lane's new totals; the newest voucher and the operator's signature of
the batch's sum tree make the claim. Nothing here talks to the chain.
"""

from dataclasses import dataclass

from node.demo.lanes import HARDWARE_CLASS, WORKLOAD, OpenLane
from node.demo.profile import PRICES
from node.demo.receipts import PlannedBatch
from node.demo.seeds import digest_of
from node.demo.trace import Trace, TraceCall
from state.codec import encode
from state.crypto import Tag, hash_bytes
from state.maths import mul_div_floor
from state.modules.inference.claims import ClaimBatch
from state.modules.inference.receipts import (
    Batch,
    CallStatus,
    Receipt,
    Request,
    Response,
    Voucher,
    receipt_tree,
)
from state.types import ZERO_HASH, Hash

MILLISECONDS = 1_000
SERVICE_MS_PER_TOKEN_OUT = 10
REQUEST_MS_MAX = 2**43
"""A request stays good for longer than any answer takes."""


@dataclass(frozen=True, slots=True)
class SignedBatch:
    """One claim, and the receipts that its operator keeps to prove every leaf of it."""

    planned: PlannedBatch
    claim: ClaimBatch
    receipts: tuple[Receipt, ...]

    @property
    def key(self) -> tuple[Hash, int, int]:
        """The batch's key in the inference module's table: channel, lane, first seq."""
        batch = self.claim.batch
        return (batch.channel_id, batch.lane_no, batch.from_seq)


@dataclass(frozen=True, slots=True)
class Counter:
    """Where and when calls are served: the network, the first bucket, the time of the first."""

    genesis_hash: Hash
    bucket_first: int
    start_ms: int


def sign_batch(
    trace: Trace, planned: PlannedBatch, lane: OpenLane, counter: Counter
) -> SignedBatch:
    """Sign every call of one lane and bucket, and the claim for all of them."""
    bucket = counter.bucket_first + planned.bucket
    book = LaneBook(lane, counter.genesis_hash, planned)
    for row in planned.rows:
        book.serve(trace.calls[row], start_ms_of(trace, trace.calls[row], counter), bucket)
    return book.close(bucket)


def start_ms_of(trace: Trace, call: TraceCall, counter: Counter) -> int:
    """When a call began, on the trace's clock laid onto the chain's."""
    return counter.start_ms + mul_div_floor(call.time, MILLISECONDS, trace.units_per_second)


class LaneBook:
    """The operator's book of one lane during one bucket: receipts, and the newest voucher."""

    def __init__(self, lane: OpenLane, genesis_hash: Hash, planned: PlannedBatch) -> None:
        self._lane = lane
        self._genesis_hash = genesis_hash
        self._planned = planned
        totals, last = planned.totals, planned.cumulative
        self._calls = last.calls - totals.calls
        self._tokens_in = last.tokens_in - totals.tokens_in
        self._tokens_cached = last.tokens_cached - totals.tokens_cached
        self._tokens_out = last.tokens_out - totals.tokens_out
        self._grains = last.grains - totals.grains
        self._receipts: list[Receipt] = []
        self._voucher: Voucher | None = None
        self._voucher_signature = b""

    def serve(self, call: TraceCall, start_ms: int, bucket: int) -> None:
        """One paid call: request, response, and the voucher for everything so far."""
        request, request_hash, payer_signature = self._request(call, start_ms)
        cost = PRICES.cost_of(call)
        response = Response(
            request_hash=request_hash,
            operator=self._lane.operator.address,
            tokens_in=call.tokens_in,
            tokens_cached=call.tokens_cached,
            tokens_out=call.tokens_out,
            tokenizer_id=0,
            cost=cost,
            response_commit=hash_bytes(Tag.RESPONSE, request_hash),
            exec_commit=ZERO_HASH,
            hw_class=HARDWARE_CLASS,
            start_ms=start_ms,
            end_ms=start_ms + SERVICE_MS_PER_TOKEN_OUT * call.tokens_out,
            status=CallStatus.OK,
        )
        operator_signature = self._lane.operator.sign(response.digest(self._genesis_hash))
        self._receipts.append(Receipt(request, response, operator_signature, payer_signature))
        self._calls += 1
        self._tokens_in += call.tokens_in
        self._tokens_cached += call.tokens_cached
        self._tokens_out += call.tokens_out
        self._grains += cost
        self._pay(bucket)

    def _request(self, call: TraceCall, start_ms: int) -> tuple[Request, Hash, bytes]:
        terms = self._lane.terms
        seq = self._calls + 1
        request = Request(
            channel_id=terms.channel_id,
            lane_no=terms.lane_no,
            seq=seq,
            model_id=terms.model_id,
            version=terms.version,
            price_id=terms.price_id,
            licence_id=terms.licence_id,
            workload=WORKLOAD,
            tokens_in_max=call.tokens_in + call.tokens_cached,
            tokens_out_max=call.tokens_out,
            prompt_commit=digest_of(seq, f"prompt on {terms.channel_id.hex()}"),
            not_after_ms=start_ms + REQUEST_MS_MAX,
        )
        request_hash = request.digest(self._genesis_hash)
        return request, request_hash, self._lane.session.sign(request_hash)

    def _pay(self, bucket: int) -> None:
        """The payer's voucher for all calls up to the last response; it replaces the one before."""
        terms = self._lane.terms
        voucher = Voucher(
            channel_id=terms.channel_id,
            lane_no=terms.lane_no,
            last_seq=self._calls,
            cum_amount=self._grains,
            cum_in=self._tokens_in,
            cum_cached=self._tokens_cached,
            cum_out=self._tokens_out,
            cum_calls=self._calls,
            bucket=bucket,
            sum_root=ZERO_HASH,
        )
        self._voucher = voucher
        self._voucher_signature = self._lane.session.sign(voucher.digest(self._genesis_hash))

    def close(self, bucket: int) -> SignedBatch:
        """The claim for all calls of the bucket, with the newest voucher."""
        assert self._voucher is not None, "a planned batch has calls"
        root, sums = receipt_tree(self._receipts)
        terms, planned = self._lane.terms, self._planned
        batch = Batch(
            channel_id=terms.channel_id,
            lane_no=terms.lane_no,
            from_seq=planned.seq_first,
            to_seq=planned.seq_last,
            bucket=bucket,
            sum_root=root,
            sums=sums,
            data_ref=hash_bytes(Tag.RECEIPT, encode((self._lane.model, root))),
        )
        operator = self._lane.operator
        claim = ClaimBatch(
            batch,
            self._voucher,
            self._lane.session.public_key,
            self._voucher_signature,
            operator.public_key,
            operator.sign(batch.digest(self._genesis_hash)),
        )
        return SignedBatch(planned, claim, tuple(self._receipts))
