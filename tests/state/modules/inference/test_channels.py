"""Channels and lanes: who may open, fill and close them, and where every grain ends."""

from typing import Any

import pytest

from state.codec import replace
from state.errors import InvalidBlock
from state.modules import bank
from state.modules.assets import asset_id
from state.modules.inference.channels import (
    FinalTotals,
    LaneTotals,
    OpenChannel,
    TopUp,
    UniClose,
)
from state.modules.inference.lanes import CloseLane
from state.modules.inference.receipts import PriceRow
from state.modules.inference.records import totals_of
from state.modules.models.prices import PostPrice
from state.modules.models.records import Artefact, Operation, Split, Status
from state.modules.models.txs import AddVersion, AdmitOperator, RegisterModel, SetStatus
from state.params import Params

DEVELOPER, OPERATOR, PAYER, STRANGER = 1, 2, 3, 4
DEPOSIT = 10**12


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def test_a_deposit_is_escrowed_and_accounted_for(shop: Any) -> None:
    before = balance(shop, PAYER)
    message = OpenChannel(shop.operator, shop.key(PAYER), 77, shop.price, 1_000)
    outcome = shop.chain.submit(message, by=PAYER)
    assert balance(shop, PAYER) == before - 77 - outcome.fee
    assert totals_of(shop.chain.state).escrow == DEPOSIT + 77


@pytest.mark.parametrize("ahead", [0, -1, 2_592_001])
def test_an_expiry_lies_ahead_but_not_too_far(shop: Any, ahead: int) -> None:
    expiry = shop.chain.height + 1 + ahead
    message = OpenChannel(shop.operator, shop.key(PAYER), 1, shop.price, expiry)
    shop.chain.refuse("inference.expiry_out_of_range", message, by=PAYER)


def test_a_channel_cannot_be_opened_on_credit(shop: Any) -> None:
    message = OpenChannel(shop.operator, shop.key(PAYER), 10**16, shop.price, 1_000)
    shop.chain.refuse("bank.insufficient_funds", message, by=PAYER)
    assert totals_of(shop.chain.state).deposits == DEPOSIT


def test_two_channels_of_one_transaction_have_two_ids(shop: Any) -> None:
    ids = [shop.next_id(PAYER, index) for index in (0, 1)]
    message = OpenChannel(shop.operator, shop.key(PAYER), 5, shop.price, 1_000)
    shop.chain.accept(message, message, by=PAYER)
    assert [shop.channel(each).deposited for each in ids] == [5, 5]


def test_an_expired_channel_pays_back_after_the_claim_window(shop: Any) -> None:
    expiry = shop.chain.height + 3
    channel_id = shop.open(100, expiry=expiry)
    shop.add_lane(0, channel_id)
    shop.chain.advance_to(expiry + 7)
    before = balance(shop, PAYER)
    assert not shop.channel(channel_id).closed
    receipts = shop.serve((0, 0, 1), channel_id=channel_id)
    shop.chain.refuse("inference.overdrawn", shop.claim(receipts, channel_id=channel_id), by=2)
    assert shop.chain.height == expiry + 8
    assert shop.channel(channel_id).closed
    assert balance(shop, PAYER) == before + 100
    claim = shop.claim(receipts, channel_id=channel_id)
    shop.chain.refuse("inference.channel_closed", claim, by=OPERATOR)


def test_claims_are_accepted_up_to_close_height_and_not_after(shop: Any) -> None:
    shop.chain.accept(UniClose(shop.channel_id), by=PAYER)
    close = shop.channel().close_height
    assert close == shop.chain.height + 8
    shop.chain.advance_to(close - 1)
    receipts = shop.serve((10, 0, 10))
    value = receipts[0].response.cost
    before = balance(shop, PAYER)
    shop.claimed(receipts)
    assert shop.chain.height == close
    assert shop.channel().closed
    assert balance(shop, PAYER) == before + DEPOSIT - value
    late = shop.claim(shop.serve((10, 0, 10)))
    shop.chain.refuse("inference.channel_closed", late, by=OPERATOR)
    shop.release()
    totals = totals_of(shop.chain.state)
    assert (totals.escrow, totals.pending, totals.paid) == (0, 0, value)


def test_a_closing_channel_takes_no_deposits_and_lanes(shop: Any) -> None:
    shop.chain.accept(UniClose(shop.channel_id), by=OPERATOR)
    code = "inference.channel_closed"
    shop.chain.refuse(code, TopUp(shop.channel_id, 1), by=PAYER)
    shop.chain.refuse(code, shop.lane_message(shop.terms(1)), by=PAYER)
    shop.chain.refuse(code, UniClose(shop.channel_id), by=PAYER)


def test_an_expired_channel_takes_no_deposits_and_lanes(shop: Any) -> None:
    channel_id = shop.open(100, expiry=shop.chain.height + 2)
    shop.chain.accept(TopUp(channel_id, 1), by=PAYER)
    shop.chain.refuse("inference.channel_closed", TopUp(channel_id, 1), by=PAYER)
    message = shop.lane_message(shop.terms(0, channel_id))
    shop.chain.refuse("inference.channel_closed", message, by=PAYER)


def test_closing_alone_never_lengthens_a_channel(shop: Any) -> None:
    channel_id = shop.open(100, expiry=shop.chain.height + 2)
    close = shop.channel(channel_id).close_height
    shop.chain.end_block(4)
    shop.chain.accept(UniClose(channel_id), by=PAYER)
    assert shop.channel(channel_id).close_height == close


def test_only_the_two_sides_close(shop: Any) -> None:
    shop.chain.refuse("inference.not_a_party", UniClose(shop.channel_id), by=STRANGER)
    shop.chain.refuse("inference.not_a_party", shop.coop_close(), by=STRANGER)


def test_both_sides_close_at_once(shop: Any) -> None:
    receipts = shop.serve((10, 0, 10))
    shop.claimed(receipts)
    before = balance(shop, PAYER)
    shop.chain.accept(shop.coop_close(shop.session), by=OPERATOR)
    assert balance(shop, PAYER) == before + DEPOSIT - receipts[0].response.cost
    shop.release()
    assert totals_of(shop.chain.state).paid == receipts[0].response.cost
    shop.chain.end_block(20)
    assert totals_of(shop.chain.state).refunded == DEPOSIT - receipts[0].response.cost


def test_a_last_claim_and_the_close_fit_into_one_transaction(shop: Any) -> None:
    claim = shop.claim(shop.serve((10, 0, 10)))
    sums = claim.batch.sums
    lane = LaneTotals(0, 1, sums.amount, sums.tokens_in, sums.tokens_cached, sums.tokens_out)
    close = shop.coop_close(PAYER, FinalTotals(shop.channel_id, (lane,)))
    shop.chain.accept(claim, close, by=OPERATOR)
    assert shop.channel().closed


def test_final_totals_other_than_the_lanes_close_nothing(shop: Any) -> None:
    stale = shop.coop_close()
    shop.claimed(shop.serve((10, 0, 10)))
    shop.chain.refuse("inference.totals_differ", stale, by=PAYER)
    assert not shop.channel().closed


def test_one_side_cannot_sign_for_both(shop: Any) -> None:
    shop.chain.refuse("inference.wrong_signer", shop.coop_close(PAYER), by=PAYER)
    shop.chain.refuse("inference.wrong_signer", shop.coop_close(OPERATOR), by=OPERATOR)
    shop.chain.refuse("inference.wrong_signer", shop.coop_close(STRANGER), by=PAYER)
    for signer, by in [(PAYER, PAYER), (OPERATOR, OPERATOR), (STRANGER, OPERATOR)]:
        message = shop.lane_message(shop.terms(1), signer)
        shop.chain.refuse("inference.wrong_signer", message, by=by)


@pytest.mark.parametrize("signer", ["session", "account"])
def test_a_lane_is_opened_from_either_side(shop: Any, signer: str) -> None:
    key = shop.session if signer == "session" else PAYER
    shop.chain.accept(shop.lane_message(shop.terms(1), key), by=OPERATOR)
    assert shop.lane(1).model_id == shop.model


def test_the_signature_of_a_lane_opens_it_once(shop: Any) -> None:
    message = shop.lane_message(shop.terms(1))
    shop.chain.accept(message, by=PAYER)
    shop.chain.refuse("inference.lane_out_of_order", message, by=PAYER)


def test_lane_numbers_have_no_gaps(shop: Any) -> None:
    message = shop.lane_message(shop.terms(2))
    shop.chain.refuse("inference.lane_out_of_order", message, by=PAYER)


def test_a_forged_counter_signature_never_gets_into_a_block(shop: Any) -> None:
    message = shop.lane_message(shop.terms(1))
    forged = type(message)(shop.terms(1, hw_class=8), message.key, message.signature)
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(forged, by=PAYER)


@pytest.mark.parametrize("field", ["tokens_in", "tokens_cached", "tokens_out", "call"])
def test_each_component_of_the_price_is_compared_with_the_maximum(shop: Any, field: str) -> None:
    limits = dict(zip(PriceRow.__struct_fields__, (5, 6, 7, 8), strict=True))
    asked = {**limits, field: limits[field] + 1}
    post = PostPrice(
        shop.model,
        1,
        in_=asked["tokens_in"],
        cached=asked["tokens_cached"],
        out=asked["tokens_out"],
        call=asked["call"],
    )
    shop.chain.accept(post, by=OPERATOR)
    shop.chain.end_block()
    channel_id = shop.open(10, price_max=PriceRow(**limits))
    message = shop.lane_message(shop.terms(0, channel_id, price_id=2))
    assert field in shop.chain.refuse("inference.price_too_high", message, by=PAYER)
    wide = shop.open(10, price_max=PriceRow(**asked))
    shop.chain.accept(shop.lane_message(shop.terms(0, wide, price_id=2)), by=PAYER)


def test_a_price_is_the_operators_own_and_exists(shop: Any) -> None:
    shop.chain.accept(PostPrice(shop.model, 1, 1, 1, 1), by=STRANGER)
    shop.chain.end_block()
    other = shop.lane_message(shop.terms(1, price_id=2))
    shop.chain.refuse("inference.price_not_in_force", other, by=PAYER)
    unknown = shop.lane_message(shop.terms(1, price_id=3))
    shop.chain.refuse("models.unknown_price", unknown, by=PAYER)


def test_a_price_of_the_same_block_is_not_in_force(shop: Any) -> None:
    post = shop.chain.wire([PostPrice(shop.model, 1, 1, 1, 1)], by=OPERATOR)
    lane = shop.chain.wire([shop.lane_message(shop.terms(1, price_id=2))], by=PAYER)
    assert [outcome.code for outcome in shop.chain.block(post, lane)] == [
        "ok",
        "inference.price_not_in_force",
    ]


def test_an_unknown_licence_opens_no_lane(shop: Any) -> None:
    with pytest.raises(InvalidBlock, match="no such licence"):
        shop.chain.submit(shop.lane_message(shop.terms(1, licence_id=b"\x01" * 32)), by=PAYER)


def test_a_settled_lane_makes_room_for_another(make_shop: Any, params: Params) -> None:
    shop = make_shop(replace(params, inference=replace(params.inference, lanes_max=1)))
    second = shop.lane_message(shop.terms(1))
    shop.chain.refuse("inference.lane_limit", second, by=PAYER)
    shop.claimed(shop.serve((1, 0, 1)))
    close = CloseLane(shop.channel_id, 0)
    shop.chain.refuse("inference.lane_unsettled", close, by=OPERATOR)
    shop.release()
    shop.chain.refuse("inference.not_a_party", close, by=PAYER)
    shop.chain.accept(close, by=OPERATOR)
    shop.chain.refuse("inference.lane_closed", close, by=OPERATOR)
    shop.chain.accept(second, by=PAYER)
    claim = shop.claim(shop.serve((1, 0, 1)))
    shop.chain.refuse("inference.lane_closed", claim, by=OPERATOR)


def test_an_unknown_channel_is_not_found(shop: Any) -> None:
    shop.chain.refuse("state.not_found", UniClose(b"\x01" * 32), by=PAYER)


def test_a_closing_that_waits_for_its_turn_takes_no_claims(shop: Any) -> None:
    shop.bend(due_entries_max=1)
    expiry = shop.chain.height + 5
    ids = sorted([shop.open(10**9, expiry=expiry) for _ in range(2)])
    for channel_id in ids:
        shop.add_lane(0, channel_id)
    shop.chain.advance_to(expiry + 8)
    assert [shop.channel(each).closed for each in ids] == [True, False]
    claim = shop.claim(shop.serve((1, 0, 0), channel_id=ids[1]), channel_id=ids[1])
    shop.chain.refuse("inference.claim_too_late", claim, by=OPERATOR)
    assert shop.channel(ids[1]).closed


@pytest.mark.parametrize("how", ["alone", "together"])
def test_an_early_close_takes_the_channel_out_of_its_queue(shop: Any, how: str) -> None:
    shop.channel_id = shop.open(100, expiry=shop.chain.height + 3)
    end = shop.channel().close_height
    if how == "alone":
        shop.chain.accept(UniClose(shop.channel_id), by=PAYER)
    else:
        shop.chain.accept(shop.coop_close(), by=PAYER)
    shop.chain.advance_to(end + 2)
    assert shop.channel().closed
    assert shop.channel().returned == 100


def test_closed_lanes_are_not_among_the_final_totals(shop: Any) -> None:
    shop.add_lane(1)
    shop.claimed(shop.serve((1, 0, 1)))
    shop.release()
    shop.chain.accept(CloseLane(shop.channel_id, 0), by=OPERATOR)
    totals = FinalTotals(shop.channel_id, (LaneTotals(1, 0, 0, 0, 0, 0),))
    shop.chain.accept(shop.coop_close(totals=totals), by=PAYER)
    assert shop.channel().closed


def test_a_retired_model_gets_no_new_lanes_but_pays_the_old_ones(shop: Any) -> None:
    shop.chain.accept(SetStatus(shop.model, Status.RETIRED), by=DEVELOPER)
    shop.chain.refuse("models.retired", shop.lane_message(shop.terms(1)), by=PAYER)
    receipts = shop.serve((1, 0, 1))
    shop.claimed(receipts)
    shop.release()
    assert totals_of(shop.chain.state).paid == receipts[0].response.cost


def test_an_operator_that_is_no_longer_admitted_gets_no_new_lanes(shop: Any) -> None:
    model = asset_id(shop.chain.address(DEVELOPER), shop.next_nonce(DEVELOPER), 0)
    shop.chain.accept(RegisterModel("closed", operation=Operation.ADMITTED), by=DEVELOPER)
    shop.chain.accept(
        AddVersion(model, Artefact(b"\x08" * 32, 1), Split(7_000, 3_000)),
        SetStatus(model, Status.LISTED),
        AdmitOperator(model, shop.operator),
        by=DEVELOPER,
    )
    shop.chain.accept(PostPrice(model, 1, 1, 1, 1), by=OPERATOR)
    shop.chain.end_block()
    shop.chain.accept(shop.lane_message(shop.terms(1, model_id=model)), by=PAYER)
    shop.chain.accept(AdmitOperator(model, shop.operator, admitted=False), by=DEVELOPER)
    again = shop.lane_message(shop.terms(2, model_id=model))
    shop.chain.refuse("models.not_admitted", again, by=PAYER)
