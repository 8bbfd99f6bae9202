"""Receipts: what a payer and an operator sign about model calls, and how calls become one root.

Pure types that clients use as they are; this file knows no table. A receipt is a Request signed by
the payer's session key and the Response to it signed by the operator, each over every field
(assets C.1). Receipts of one lane and one bucket form a Merkle-sum tree; the operator signs its
root and totals (Batch), the payer the lane's new cumulative totals (Voucher).
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated

from msgspec import Meta

import cython_ext
from state import crypto
from state.codec import Struct, encode
from state.crypto import Tag
from state.maths import ceil_div, floor_div
from state.types import (
    PPM,
    U8,
    U16,
    U32,
    ZERO_HASH,
    Address,
    Amount,
    Count,
    Hash,
    Signature,
    TimestampMs,
)

PATH_MAX = 64
"""Siblings in the longest path of a tree that a count of calls can describe."""

LaneNo = U16
Seq = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""A call's number within its lane, from 1 without gaps."""


class CallStatus(IntEnum):
    """How a call ended; ERROR costs nothing, PARTIAL what was delivered."""

    OK = 0
    PARTIAL = 1
    ERROR = 2


class PriceRow(Struct):
    """Grains per 10^6 tokens by component, and grains per call that did not end in ERROR."""

    tokens_in: Amount
    tokens_cached: Amount
    tokens_out: Amount
    call: Amount


class Sums(Struct):
    """What calls add up to; `tokens_in` excludes cached tokens (assets settled point 3)."""

    calls: Count
    tokens_in: Count
    tokens_cached: Count
    tokens_out: Count
    amount: Amount

    def as_tuple(self) -> tuple[int, int, int, int, int]:
        """Return the five numbers in the order in which the tree sums them."""
        return (self.calls, self.tokens_in, self.tokens_cached, self.tokens_out, self.amount)


class Request(Struct):
    """What a payer asks for; the session key signs all of it."""

    channel_id: Hash
    lane_no: LaneNo
    seq: Seq
    model_id: Hash
    version: U32
    price_id: U32
    licence_id: Hash
    workload: U8
    tokens_in_max: U32
    tokens_out_max: U32
    prompt_commit: Hash
    not_after_ms: TimestampMs
    agent_id: Hash = ZERO_HASH

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the payer signs, and what the Response names as its request."""
        return crypto.sign_hash(Tag.REQUEST, genesis_hash, encode(self))


class Response(Struct):
    """What an operator delivered for one Request; the operator signs all of it, once for ever."""

    request_hash: Hash
    operator: Address
    tokens_in: U32
    tokens_cached: U32
    tokens_out: U32
    tokenizer_id: U16
    cost: Amount
    response_commit: Hash
    exec_commit: Hash
    hw_class: U16
    start_ms: TimestampMs
    end_ms: TimestampMs
    status: CallStatus

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the operator signs."""
        return crypto.sign_hash(Tag.RESPONSE, genesis_hash, encode(self))

    @property
    def sums(self) -> Sums:
        """What this call alone adds to its batch."""
        return Sums(1, self.tokens_in, self.tokens_cached, self.tokens_out, self.cost)


class Receipt(Struct):
    """One paid call: both halves and both signatures."""

    request: Request
    response: Response
    operator_signature: Signature
    payer_signature: Signature

    @property
    def leaf(self) -> Hash:
        """L = H(receipt, 0x00 || Request || Response || operator's || payer's signature)."""
        return leaf_hash(self.request, self.response, self.operator_signature, self.payer_signature)


class Voucher(Struct):
    """The payer's word for a lane's totals up to `last_seq`; it replaces every earlier one.

    `sum_root` is zero, or the root that the payer has checked leaf by leaf and co-signs.
    """

    channel_id: Hash
    lane_no: LaneNo
    last_seq: Seq
    cum_amount: Amount
    cum_in: Count
    cum_cached: Count
    cum_out: Count
    cum_calls: Count
    bucket: Count
    sum_root: Hash

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the payer's session key signs."""
        return crypto.sign_hash(Tag.VOUCHER, genesis_hash, encode(self))


class Batch(Struct):
    """The operator's word for the calls from_seq..to_seq of one lane in one index bucket.

    `data_ref` is the hash of the address under which the operator serves the leaves.
    """

    channel_id: Hash
    lane_no: LaneNo
    from_seq: Seq
    to_seq: Seq
    bucket: Count
    sum_root: Hash
    sums: Sums
    data_ref: Hash

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the operator signs."""
        return crypto.sign_hash(Tag.BATCH, genesis_hash, encode(self))


class LaneTerms(Struct):
    """What payer and operator agree on when they open a lane; both sign it."""

    channel_id: Hash
    lane_no: LaneNo
    model_id: Hash
    version: U32
    price_id: U32
    licence_id: Hash
    workload: U8
    hw_class: U16

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the party signs that does not send the transaction."""
        return crypto.sign_hash(Tag.LANE, genesis_hash, encode(self))


class Node(Struct):
    """A sibling on the way from a leaf to the root."""

    hash: Hash
    sums: Sums


Path = Annotated[tuple[Node, ...], Meta(max_length=PATH_MAX)]


class ReceiptProof(Struct):
    """One receipt and its way to the root of the batch that starts at `from_seq`."""

    from_seq: Seq
    seq: Seq
    receipt: Receipt
    sums: Sums
    path: Path


def leaf_hash(
    request: Request, response: Response, operator_signature: bytes, payer_signature: bytes
) -> Hash:
    """Return the hash of one receipt as a leaf; its prefix keeps it apart from inner nodes."""
    body = b"".join(
        (b"\x00", encode(request), encode(response), operator_signature, payer_signature)
    )
    return crypto.hash_bytes(Tag.RECEIPT, body)


def cost_of(
    price: PriceRow, status: CallStatus, tokens_in: int, tokens_cached: int, tokens_out: int
) -> int:
    """Return the grains of one call: the tokens' price rounded up, plus the call's (assets C.1)."""
    if status == CallStatus.ERROR:
        return 0
    scaled = scaled_cost(price, tokens_in, tokens_cached, tokens_out)
    return ceil_div(scaled, PPM) + price.call


def scaled_cost(price: PriceRow, tokens_in: int, tokens_cached: int, tokens_out: int) -> int:
    """Return the tokens' price in millionths of a grain, exactly."""
    return (
        tokens_in * price.tokens_in
        + tokens_cached * price.tokens_cached
        + tokens_out * price.tokens_out
    )


def value_bounds(price: PriceRow, sums: Sums) -> tuple[int, int]:
    """Return the least and the greatest value that such calls can have (settled point 3).

    Every call rounds up by less than one grain, and pays the call's price or, in error, nothing.
    """
    scaled = scaled_cost(price, sums.tokens_in, sums.tokens_cached, sums.tokens_out)
    high = floor_div(scaled + sums.calls * (PPM - 1), PPM) + sums.calls * price.call
    return ceil_div(scaled, PPM), high


def voucher_after(before: Sums, batch: Batch, *, cosigned: bool = False) -> Voucher:
    """Return the voucher for a batch on a lane whose claimed totals are `before`.

    A payer sets `cosigned` only after checking every leaf: it gives up its disputes.
    """
    sums = batch.sums
    return Voucher(
        batch.channel_id,
        batch.lane_no,
        batch.to_seq,
        before.amount + sums.amount,
        before.tokens_in + sums.tokens_in,
        before.tokens_cached + sums.tokens_cached,
        before.tokens_out + sums.tokens_out,
        before.calls + sums.calls,
        batch.bucket,
        batch.sum_root if cosigned else ZERO_HASH,
    )


def receipt_tree(receipts: Sequence[Receipt]) -> tuple[Hash, Sums]:
    """Return root and totals of receipts in order of seq; OverflowError beyond 2^63."""
    leaves = [receipt.leaf for receipt in receipts]
    rows = [receipt.response.sums.as_tuple() for receipt in receipts]
    root, total = cython_ext.sum_root(Tag.SUM_TREE.value, leaves, rows)
    return root, Sums(*total)


def prove_receipt(receipts: Sequence[Receipt], index: int, from_seq: int) -> ReceiptProof:
    """Return the proof of the receipt at `index` of the batch whose receipts these are."""
    leaves = [receipt.leaf for receipt in receipts]
    rows = [receipt.response.sums.as_tuple() for receipt in receipts]
    path = cython_ext.sum_path(Tag.SUM_TREE.value, leaves, rows, index)
    nodes = tuple([Node(sibling, Sums(*sums)) for sibling, sums in path])
    receipt = receipts[index]
    return ReceiptProof(from_seq, from_seq + index, receipt, receipt.response.sums, nodes)


def verify_receipt(root: Hash, total: Sums, proof: ReceiptProof) -> bool:
    """Tell whether the receipt, with these sums, stands at its place under root and totals."""
    return cython_ext.sum_verify(
        Tag.SUM_TREE.value,
        root,
        total.as_tuple(),
        proof.receipt.leaf,
        proof.sums.as_tuple(),
        proof.seq - proof.from_seq,
        [(node.hash, node.sums.as_tuple()) for node in proof.path],
    )
