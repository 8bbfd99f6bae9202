"""Floods: cheap transactions of one account hold back nobody else's releases and refunds.

Whatever one block can bring into a queue, one block serves. So the bounds of params.py on the
weight of what feeds a queue must hold for the lightest messages that there are.
"""

from typing import Any

import pytest

from state.codec import encode, replace
from state.modules.inference.bonds import OperatorBond, OperatorUnbond
from state.modules.inference.channels import OpenChannel
from state.modules.inference.claims import ClaimBatch
from state.modules.inference.demands import AnswerLeaf, DemandLeaf
from state.modules.inference.direct import DirectInferClose, DirectInferOpen
from state.modules.inference.receipts import (
    Batch,
    CallStatus,
    PriceRow,
    Receipt,
    ReceiptProof,
    Request,
    Response,
    Sums,
    Voucher,
)
from state.modules.inference.records import BatchStatus
from state.params import CLAIM_WEIGHT_MIN, ENTRY_WEIGHT_MIN
from state.registry import Message
from state.types import ZERO_ADDRESS, ZERO_HASH

OPERATOR = 2
SIGNATURE = bytes(64)
NO_SUMS = Sums(0, 0, 0, 0, 0)
REQUEST = Request(ZERO_HASH, 0, 1, ZERO_HASH, 0, 0, ZERO_HASH, 0, 0, 0, ZERO_HASH, 0)
RESPONSE = Response(
    ZERO_HASH, ZERO_ADDRESS, 0, 0, 0, 0, 0, ZERO_HASH, ZERO_HASH, 0, 0, 0, CallStatus.OK
)
CLAIM = ClaimBatch(
    Batch(ZERO_HASH, 0, 1, 1, 0, ZERO_HASH, NO_SUMS, ZERO_HASH),
    Voucher(ZERO_HASH, 0, 1, 0, 0, 0, 0, 0, 0, ZERO_HASH),
    ZERO_HASH,
    SIGNATURE,
    ZERO_HASH,
    SIGNATURE,
)
PROOF = ReceiptProof(1, 1, Receipt(REQUEST, RESPONSE, SIGNATURE, SIGNATURE), NO_SUMS, ())


def lightest(message: Message) -> int:
    """What a message adds to the weight of the largest envelope, its own signatures unpaid."""
    return message.weight() + len(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        CLAIM,
        AnswerLeaf(ZERO_HASH, 0, PROOF),
        DirectInferClose(ZERO_HASH, RESPONSE, ZERO_HASH, SIGNATURE),
    ],
    ids=lambda message: type(message).__name__,
)
def test_nothing_that_causes_a_release_is_lighter_than_params_say(message: Message) -> None:
    assert lightest(message) >= CLAIM_WEIGHT_MIN


@pytest.mark.parametrize(
    "message",
    [
        OpenChannel(ZERO_ADDRESS, ZERO_HASH, 1, PriceRow(0, 0, 0, 0), 1),
        DirectInferOpen(REQUEST, ZERO_ADDRESS, 0, 1, ZERO_HASH, SIGNATURE),
        DemandLeaf(ZERO_HASH, 0, 1, 1, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_nothing_that_falls_due_later_is_lighter_than_params_say(message: Message) -> None:
    assert lightest(message) >= ENTRY_WEIGHT_MIN


def test_an_unbonding_takes_an_envelope_of_its_own(shop: Any) -> None:
    """An account has one unbonding at a time, so the envelope weighs too."""
    wire = shop.chain.wire([OperatorUnbond(1)], by=OPERATOR)
    decoded = shop.chain._decoder.decode(wire, bytes_max=10**5)
    assert decoded.weight >= ENTRY_WEIGHT_MIN
    shop.chain.accept(OperatorBond(2), OperatorUnbond(1), by=OPERATOR)
    shop.chain.refuse("inference.unbonding_under_way", OperatorUnbond(1), by=OPERATOR)


def test_a_block_full_of_claims_is_released_in_one_block(make_shop: Any, params: Any) -> None:
    weight = 20_000
    fees = replace(params.fees, block_weight_target=weight, block_weight_max=weight)
    served = replace(
        params.inference,
        release_batches_max=weight // CLAIM_WEIGHT_MIN,
        due_entries_max=weight // ENTRY_WEIGHT_MIN,
    )
    shop = make_shop(replace(params, fees=fees, inference=served))
    claims, weighed, receipts = [], 0, shop.serve(*[(0, 0, 0)] * 30)
    for number in range(1, 31):
        batch = {"from_seq": number, "to_seq": number}
        total = {"last_seq": number, "cum_calls": number}
        message = shop.claim(receipts[number - 1 : number], batch=batch, voucher=total)
        wire = shop.chain.wire([message], by=OPERATOR)
        weighed += shop.chain._decoder.decode(wire, bytes_max=10**5).weight
        if weighed > weight:
            break
        claims.append(wire)
    assert len(claims) > 15
    assert {outcome.code for outcome in shop.chain.block(*claims)} == {"ok"}
    shop.release()
    found = [shop.batch(number + 1).status for number in range(len(claims))]
    assert set(found) == {BatchStatus.RELEASED}
