"""Claims: what two signatures settle, and every way in which they do not."""

from typing import Any

import pytest
from nacl.signing import SigningKey

from state.block import Status
from state.codec import replace
from state.errors import InvalidBlock
from state.modules import bank
from state.modules.inference.channels import TopUp
from state.modules.inference.receipts import Sums
from state.modules.inference.records import ESCROW, totals_of

OPERATOR, PAYER, STRANGER = 2, 3, 4
CALLS = ((100, 10, 20), (200, 0, 40), (0, 0, 1))


def test_a_claim_moves_its_value_from_escrow_to_pending(shop: Any) -> None:
    receipts = shop.serve(*CALLS)
    value = sum(receipt.response.cost for receipt in receipts)
    shop.claimed(receipts)
    totals = totals_of(shop.chain.state)
    assert (totals.pending, totals.escrow) == (value, 10**12 - value)
    lane = shop.lane()
    assert (lane.last_seq, lane.cum_in, lane.cum_cached, lane.cum_out) == (3, 300, 10, 61)
    assert bank.balance_of(shop.chain.state, ESCROW) == 10**12
    assert shop.batch(1).sums == Sums(3, 300, 10, 61, value)


def test_anyone_may_send_what_both_sides_signed(shop: Any) -> None:
    shop.chain.accept(shop.claim(shop.serve(*CALLS)), by=STRANGER)


def test_claiming_twice_is_stale(shop: Any) -> None:
    message = shop.claim(shop.serve(*CALLS))
    shop.chain.accept(message, by=OPERATOR)
    before = shop.lane()
    shop.chain.refuse("inference.stale_voucher", message, by=OPERATOR)
    assert shop.lane() == before


def test_two_claims_of_one_transaction_must_follow_each_other(shop: Any) -> None:
    message = shop.claim(shop.serve(*CALLS))
    shop.chain.refuse("inference.stale_voucher", message, message, by=OPERATOR)
    assert shop.lane().last_seq == 0


@pytest.mark.parametrize(("first", "code"), [(3, "sequence_gap"), (2, "sequence_gap")])
def test_a_gap_or_an_overlap_is_refused(shop: Any, first: int, code: str) -> None:
    receipts = shop.serve(*CALLS)
    shop.claimed(receipts[:1])
    later = [receipt for receipt in receipts if receipt.request.seq >= 2]
    offset = {2: -1, 3: 1}[first]
    bent = {"from_seq": 2 + offset, "to_seq": 3 + offset}
    message = shop.claim(later, batch=bent)
    shop.chain.refuse(f"inference.{code}", message, by=OPERATOR)


@pytest.mark.parametrize("field", ["cum_amount", "cum_in", "cum_cached", "cum_out", "cum_calls"])
@pytest.mark.parametrize("change", [-1, 1])
def test_every_total_of_the_voucher_is_compared(shop: Any, field: str, change: int) -> None:
    receipts = shop.serve(*CALLS)
    good = shop.claim(receipts).voucher
    bent = {field: getattr(good, field) + change}
    message = shop.claim(receipts, voucher=bent)
    shop.chain.refuse("inference.cumulative_mismatch", message, by=OPERATOR)


@pytest.mark.parametrize(
    "bent",
    [
        {"last_seq": 2},
        {"lane_no": 1},
        {"channel_id": b"\x09" * 32},
        {"bucket": 0},
        {"sum_root": b"\x09" * 32},
    ],
)
def test_voucher_and_batch_must_speak_of_the_same_calls(shop: Any, bent: dict[str, Any]) -> None:
    shop.chain.end_block(5)
    message = shop.claim(shop.serve(*CALLS), voucher=bent)
    with pytest.raises(InvalidBlock, match="Voucher and batch differ"):
        shop.chain.submit(message, by=OPERATOR)


def test_as_many_calls_as_seqs(shop: Any) -> None:
    receipts = shop.serve(*CALLS)
    sums = shop.claim(receipts).batch.sums
    message = shop.claim(receipts, batch={"sums": replace(sums, calls=2)})
    with pytest.raises(InvalidBlock, match="one call a seq"):
        shop.chain.submit(message, by=OPERATOR)


def test_an_overdrawn_voucher_is_refused_and_a_top_up_makes_it_good(make_shop: Any) -> None:
    receipts = make_shop().serve((1_000, 0, 1_000))
    value = receipts[0].response.cost
    shop = make_shop(deposit=value - 1)
    message = shop.claim(shop.serve((1_000, 0, 1_000)))
    shop.chain.refuse("inference.overdrawn", message, by=OPERATOR)
    shop.chain.accept(TopUp(shop.channel_id, 1), by=STRANGER)
    shop.chain.accept(message, by=OPERATOR)
    assert shop.channel().escrow == 0


def test_lanes_share_one_deposit(make_shop: Any) -> None:
    value = make_shop().serve((1_000, 0, 0))[0].response.cost
    shop = make_shop(deposit=2 * value - 1)
    shop.add_lane(1)
    shop.claimed(shop.serve((1_000, 0, 0)))
    message = shop.claim(shop.serve((1_000, 0, 0), lane_no=1), lane_no=1)
    shop.chain.refuse("inference.overdrawn", message, by=OPERATOR)


def test_only_the_session_key_signs_vouchers(shop: Any) -> None:
    receipts = shop.serve(*CALLS)
    other = shop.claim(receipts, session=SigningKey(b"x" * 32))
    shop.chain.refuse("inference.wrong_signer", other, by=OPERATOR)
    account = shop.claim(receipts, session=shop.chain.keys[PAYER])
    shop.chain.refuse("inference.wrong_signer", account, by=OPERATOR)


def test_only_the_operator_signs_batches(shop: Any) -> None:
    message = shop.claim(shop.serve(*CALLS), operator=STRANGER)
    shop.chain.refuse("inference.wrong_signer", message, by=OPERATOR)


@pytest.mark.parametrize("field", ["session_signature", "operator_signature"])
def test_a_bad_signature_never_gets_into_a_block(shop: Any, field: str) -> None:
    message = shop.claim(shop.serve(*CALLS))
    broken = bytearray(getattr(message, field))
    broken[0] ^= 1
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(replace(message, **{field: bytes(broken)}), by=OPERATOR)


def test_signatures_for_another_network_are_worthless(shop: Any) -> None:
    message = shop.claim(shop.serve(*CALLS), network=b"\x05" * 32)
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(message, by=OPERATOR)


def test_signatures_for_another_channel_are_worthless(shop: Any) -> None:
    other = shop.open(10**12)
    shop.add_lane(0, other)
    message = shop.claim(shop.serve(*CALLS))
    moved = replace(
        message,
        batch=replace(message.batch, channel_id=other),
        voucher=replace(message.voucher, channel_id=other),
    )
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(moved, by=OPERATOR)
    assert shop.lane(0, other).last_seq == 0


def test_a_lane_that_does_not_exist_takes_no_claim(shop: Any) -> None:
    message = shop.claim(shop.serve(*CALLS), batch={"lane_no": 1})
    shop.chain.refuse("state.not_found", message, by=OPERATOR)


@pytest.mark.parametrize(
    ("bent", "fits"),
    [({}, True), ({"amount": 1}, False), ({"amount": -1}, False)],
)
def test_value_bounds_of_a_single_call_are_exact(
    shop: Any, bent: dict[str, int], fits: bool
) -> None:
    receipts = shop.serve((1, 1, 1))
    sums = shop.claim(receipts).batch.sums
    changed = replace(sums, amount=sums.amount + bent.get("amount", 0))
    message = shop.claim(receipts, batch={"sums": changed})
    if fits:
        shop.chain.accept(message, by=OPERATOR)
    else:
        shop.chain.refuse("inference.value_out_of_bounds", message, by=OPERATOR)


def test_an_empty_claim_moves_nothing_and_settles(shop: Any) -> None:
    shop.claimed(shop.serve((0, 0, 0)))
    shop.release()
    assert totals_of(shop.chain.state).paid == 0
    assert shop.lane().pending == 0


def test_buckets_lie_within_the_lag_and_never_fall(shop: Any) -> None:
    shop.chain.advance_to(29)
    receipts = shop.serve(*CALLS)
    for bucket, fits in [(7, False), (2, False), (3, True)]:
        message = shop.claim(receipts, batch={"bucket": bucket})
        assert shop.chain.height + 1 < 35
        if fits:
            shop.chain.accept(message, by=OPERATOR)
        else:
            shop.chain.refuse("inference.bucket_out_of_range", message, by=OPERATOR)
    now = (shop.chain.height + 1) // 5
    shop.claimed(shop.serve(*CALLS), batch={"bucket": now})
    message = shop.claim(shop.serve(*CALLS), batch={"bucket": now - 1})
    shop.chain.refuse("inference.bucket_out_of_range", message, by=OPERATOR)


def test_a_failed_claim_pays_its_fee_only(shop: Any) -> None:
    before = bank.balance_of(shop.chain.state, shop.operator)
    outcome = shop.chain.submit(shop.claim(shop.serve(*CALLS), operator=STRANGER), by=OPERATOR)
    assert outcome.status == Status.FAILED
    assert bank.balance_of(shop.chain.state, shop.operator) == before - outcome.fee
