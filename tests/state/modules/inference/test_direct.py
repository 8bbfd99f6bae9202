"""Direct calls: one call escrowed, answered or timed out, settled like any other."""

from typing import Any

import pytest

from state.codec import replace
from state.errors import InvalidBlock
from state.modules import bank
from state.modules.inference import queries
from state.modules.inference.channels import TopUp, UniClose
from state.modules.inference.direct import DirectInferClose, DirectInferOpen, dearest_cost
from state.modules.inference.disputes import ProveReceipt
from state.modules.inference.receipts import (
    CallStatus,
    PriceRow,
    Receipt,
    ReceiptProof,
    Request,
    Response,
)
from state.modules.inference.records import totals_of
from state.types import ZERO_HASH

OPERATOR, PAYER, STRANGER = 2, 3, 4
GOOD = (100, 10, 20)
TIMEOUT = 5


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def asked(shop: Any, index: int = 0, **bent: Any) -> Request:
    request = Request(
        shop.next_id(PAYER, index),
        0,
        1,
        shop.model,
        1,
        1,
        ZERO_HASH,
        1,
        500,
        50,
        b"\x01" * 32,
        10**9,
    )
    return replace(request, **bent)


def opening(shop: Any, request: Request, escrow: int | None = None) -> DirectInferOpen:
    return DirectInferOpen(
        request,
        shop.operator,
        7,
        dearest_cost(shop.price, request) if escrow is None else escrow,
        bytes(shop.session.verify_key),
        shop.sign(shop.session, request.digest(shop.network)),
    )


def closing(shop: Any, request: Request, response: Response, signer: int = OPERATOR) -> Any:
    signature = shop.sign(signer, response.digest(shop.network))
    return DirectInferClose(request.channel_id, response, shop.key(signer), signature)


def opened(shop: Any, **bent: Any) -> Request:
    request = asked(shop, **bent)
    shop.chain.accept(opening(shop, request), by=PAYER)
    return request


def test_the_answer_is_paid_and_the_rest_goes_back_at_once(shop: Any) -> None:
    request = opened(shop)
    response = shop.response(request, GOOD)
    before = balance(shop, PAYER)
    shop.chain.accept(closing(shop, request, response), by=OPERATOR)
    escrow = dearest_cost(shop.price, request)
    assert balance(shop, PAYER) == before + escrow - response.cost
    assert totals_of(shop.chain.state).pending == response.cost
    shop.chain.end_block(9)
    assert totals_of(shop.chain.state).paid == response.cost
    payout = shop.chain.query(queries.payout_of, request.channel_id, 0, 1)
    assert payout.gross == response.cost


def test_the_receipt_is_proved_like_any_other(shop: Any) -> None:
    request = opened(shop)
    response = shop.response(request, GOOD)
    message = closing(shop, request, response)
    shop.chain.accept(message, by=OPERATOR)
    signature = shop.sign(shop.session, request.digest(shop.network))
    receipt = Receipt(request, response, message.operator_signature, signature)
    proof = ReceiptProof(1, 1, receipt, response.sums, ())
    shop.chain.accept(ProveReceipt(request.channel_id, 0, proof), by=STRANGER)
    view = shop.chain.query(queries.check_receipt, request.channel_id, 0, proof)
    assert (view.in_batch, view.faults) == (True, ())


def test_one_transaction_that_both_sides_signed(shop: Any) -> None:
    request = asked(shop)
    response = shop.response(request, GOOD)
    shop.chain.accept(opening(shop, request), closing(shop, request, response), by=PAYER)
    assert shop.channel(request.channel_id).closed


def test_silence_gives_everything_back(shop: Any) -> None:
    before = balance(shop, PAYER)
    request = asked(shop)
    outcome = shop.chain.submit(opening(shop, request), by=PAYER)
    opened_at = shop.chain.height
    shop.chain.advance_to(opened_at + TIMEOUT - 1)
    assert not shop.channel(request.channel_id).closed
    shop.chain.end_block()
    assert balance(shop, PAYER) == before - outcome.fee
    late = closing(shop, request, shop.response(request, GOOD))
    shop.chain.refuse("inference.channel_closed", late, by=OPERATOR)


def test_an_answer_in_the_last_block_is_in_time(shop: Any) -> None:
    request = opened(shop)
    shop.chain.end_block(TIMEOUT - 1)
    shop.chain.accept(closing(shop, request, shop.response(request, GOOD)), by=OPERATOR)


def test_an_error_costs_nothing(shop: Any) -> None:
    request = opened(shop)
    response = shop.response(request, (0, 0, 0), status=CallStatus.ERROR)
    shop.chain.accept(closing(shop, request, response), by=OPERATOR)
    assert totals_of(shop.chain.state).pending == 0


def test_the_escrow_covers_the_dearest_answer(shop: Any) -> None:
    request = asked(shop)
    dearest = dearest_cost(shop.price, request)
    assert dearest == shop.response(request, (500, 0, 50)).cost
    short = opening(shop, request, dearest - 1)
    shop.chain.refuse("inference.overdrawn", short, by=PAYER)


def test_the_request_names_the_call_that_it_opens(shop: Any) -> None:
    message = opening(shop, asked(shop, 1))
    shop.chain.refuse("inference.voucher_mismatch", message, by=PAYER)


@pytest.mark.parametrize("bent", [{"lane_no": 1}, {"seq": 2}, {"licence_id": b"\x01" * 32}])
def test_a_direct_call_is_lane_0_seq_1_without_licence(shop: Any, bent: dict[str, Any]) -> None:
    with pytest.raises(InvalidBlock):
        shop.chain.submit(opening(shop, asked(shop, **bent)), by=PAYER)


@pytest.mark.parametrize(
    ("bent", "code"),
    [
        ({"cost": 1}, "leaf_is_false"),
        ({"tokens_out": 51}, "leaf_is_false"),
        ({"end_ms": 10**9 + 1}, "leaf_is_false"),
        ({"request_hash": b"\x01" * 32}, "voucher_mismatch"),
        ({"hw_class": 8}, "voucher_mismatch"),
        ({"operator": b"\x01" * 20}, "wrong_signer"),
    ],
)
def test_a_response_that_breaks_a_rule_is_not_paid(
    shop: Any, bent: dict[str, Any], code: str
) -> None:
    request = opened(shop)
    response = shop.response(request, GOOD, **bent)
    shop.chain.refuse(f"inference.{code}", closing(shop, request, response), by=OPERATOR)


def test_only_the_operator_answers(shop: Any) -> None:
    request = opened(shop)
    message = closing(shop, request, shop.response(request, GOOD), STRANGER)
    shop.chain.refuse("inference.wrong_signer", message, by=STRANGER)


def test_forged_halves_never_get_into_a_block(shop: Any) -> None:
    request = asked(shop)
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(replace(opening(shop, request), payer_signature=bytes(64)), by=PAYER)
    request = opened(shop)
    message = closing(shop, request, shop.response(request, GOOD))
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(replace(message, operator_signature=bytes(64)), by=OPERATOR)


def test_calls_and_channels_are_not_mixed_up(shop: Any) -> None:
    request = opened(shop)
    for message in (TopUp(request.channel_id, 1), UniClose(request.channel_id)):
        shop.chain.refuse("inference.wrong_kind", message, by=PAYER)
    claim = shop.claim(
        [shop.receipt(request, shop.response(request, GOOD))], channel_id=request.channel_id
    )
    shop.chain.refuse("inference.wrong_kind", claim, by=OPERATOR)
    response = shop.response(shop.request(1), GOOD)
    mixed = closing(shop, shop.request(1), response)
    shop.chain.refuse("inference.wrong_kind", mixed, by=OPERATOR)


def test_the_dearest_answer_may_come_from_the_cache(make_shop: Any) -> None:
    shop = make_shop(price=PriceRow(10**6, 2 * 10**6, 0, 0))
    request = asked(shop, tokens_in_max=500, tokens_out_max=50)
    assert dearest_cost(shop.price, request) == 500 * 2


def test_an_answered_call_leaves_the_queue_of_timeouts(shop: Any) -> None:
    request = opened(shop)
    shop.chain.accept(closing(shop, request, shop.response(request, GOOD)), by=OPERATOR)
    returned = shop.channel(request.channel_id).returned
    shop.chain.end_block(TIMEOUT + 1)
    assert shop.channel(request.channel_id).returned == returned
