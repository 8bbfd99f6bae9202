"""Disputes: each rule of a leaf both ways, equivocation, and what a fault costs whom."""

from collections.abc import Callable
from typing import Any

import pytest

import cython_ext
from state.codec import replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.modules import bank
from state.modules.inference import queries
from state.modules.inference.bonds import OperatorBond, bond_of
from state.modules.inference.disputes import (
    DisputeLeaf,
    ProveReceipt,
    RefundEquivocation,
    SignedResponse,
)
from state.modules.inference.receipts import CallStatus, Node, PriceRow, ReceiptProof, Sums
from state.modules.inference.records import totals_of

OPERATOR, PAYER, STRANGER = 2, 3, 4
BOND = 10**9
GOOD = (100, 10, 20)


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def held(shop: Any, request: Any, response: Any) -> SignedResponse:
    signature = shop.sign(OPERATOR, response.digest(shop.network))
    return SignedResponse(request, response, signature)


def two_calls(shop: Any, bend: Callable[[Any, Any], Any]) -> list[Any]:
    """A true call at seq 1 and one at seq 2 that `bend` has bent before it was signed."""
    request = shop.request(2)
    bent = bend(request, shop.response(request, GOOD))
    return [*shop.serve(GOOD), shop.receipt(*bent)]


def bend_response(**bent: Any) -> Callable[[Any, Any], Any]:
    return lambda request, response: (request, replace(response, **bent))


def bend_request(shop: Any, **bent: Any) -> Callable[[Any, Any], Any]:
    def bend(request: Any, response: Any) -> Any:
        changed = replace(request, **bent)
        return changed, replace(response, request_hash=changed.digest(shop.network))

    return bend


FALSE_LEAVES: dict[str, Callable[[Any], Callable[[Any, Any], Any]]] = {
    "seq": lambda shop: bend_request(shop, seq=1),
    "lane": lambda shop: bend_request(shop, lane_no=1),
    "channel": lambda shop: bend_request(shop, channel_id=b"\x09" * 32),
    "model": lambda shop: bend_request(shop, model_id=b"\x09" * 32),
    "version": lambda shop: bend_request(shop, version=2),
    "price": lambda shop: bend_request(shop, price_id=2),
    "licence": lambda shop: bend_request(shop, licence_id=b"\x09" * 32),
    "workload": lambda shop: bend_request(shop, workload=2),
    "tokens in": lambda shop: bend_request(shop, tokens_in_max=109),
    "tokens out": lambda shop: bend_request(shop, tokens_out_max=19),
    "not after": lambda shop: bend_request(shop, not_after_ms=1_999),
    "hardware": lambda shop: bend_response(hw_class=8),
    "operator": lambda shop: bend_response(operator=b"\x09" * 20),
    "request hash": lambda shop: bend_response(request_hash=b"\x09" * 32),
    "cost": lambda shop: lambda q, r: (q, replace(r, cost=r.cost + 1)),
    "time": lambda shop: bend_response(start_ms=2_001),
}


@pytest.mark.parametrize("name", FALSE_LEAVES)
def test_a_false_leaf_is_refunded_and_its_operator_slashed(shop: Any, name: str) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    receipts = two_calls(shop, FALSE_LEAVES[name](shop))
    shop.claimed(receipts)
    value = receipts[1].response.cost
    before = balance(shop, PAYER)
    true_leaf = DisputeLeaf(shop.channel_id, 0, shop.proof(1))
    shop.chain.refuse("inference.leaf_is_true", true_leaf, by=STRANGER)
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=STRANGER)
    assert balance(shop, PAYER) == before + value
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND * 8 // 10
    assert shop.batch(1).removed == receipts[1].response.sums
    assert shop.chain.query(queries.fault, shop.channel_id, 0, 2).refunded
    shop.release()
    assert totals_of(shop.chain.state).paid == receipts[0].response.cost
    lane = shop.lane()
    assert (lane.released_in, lane.released_cached, lane.released_out) == GOOD


@pytest.mark.parametrize("side", ["payer_signature", "operator_signature"])
def test_a_leaf_that_one_side_did_not_sign_is_false(shop: Any, side: str) -> None:
    receipts = shop.serve(GOOD, GOOD)
    receipts[1] = replace(receipts[1], **{side: bytes(64)})
    shop.claimed(receipts)
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER)
    assert shop.batch(1).removed == receipts[1].response.sums


def test_a_call_in_error_costs_and_counts_nothing(shop: Any) -> None:
    request = shop.request(2)
    response = shop.response(request, (0, 0, 0), status=CallStatus.ERROR)
    counted = replace(response, tokens_out=1)
    true = [*shop.serve(GOOD), shop.receipt(request, response)]
    shop.claimed(true)
    shop.chain.refuse(
        "inference.leaf_is_true", DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER
    )
    sums = Sums(1, 0, 0, 0, 0)
    root, _ = tree_of([shop.receipt(shop.request(3), counted).leaf], [sums])
    receipt = shop.receipt(shop.request(3), counted)
    shop.chain.accept(shop.claim([receipt], batch={"sum_root": root, "sums": sums}), by=OPERATOR)
    proof = ReceiptProof(3, 3, receipt, sums, ())
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, proof), by=PAYER)


def tree_of(leaves: list[bytes], rows: list[Sums]) -> tuple[bytes, Sums]:
    sums = [row.as_tuple() for row in rows]
    root, total = cython_ext.sum_root(Tag.SUM_TREE.value, leaves, sums)
    return root, Sums(*total)


def test_a_leaf_whose_sums_are_not_its_responses_is_false(shop: Any) -> None:
    receipts = shop.serve(GOOD, GOOD)
    cost = receipts[0].response.cost
    rows = [Sums(1, *GOOD, cost), Sums(1, 100, 10, 20, cost + 1)]
    leaves = [receipt.leaf for receipt in receipts]
    root, sums = tree_of(leaves, rows)
    shop.chain.accept(shop.claim(receipts, batch={"sum_root": root, "sums": sums}), by=OPERATOR)
    sibling = Node(leaves[0], rows[0])
    before = balance(shop, PAYER)
    proof = ReceiptProof(1, 2, receipts[1], rows[1], (sibling,))
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, proof), by=STRANGER)
    assert balance(shop, PAYER) == before + cost + 1


def test_one_receipt_at_two_places_is_false_at_the_second(shop: Any) -> None:
    receipts = shop.serve(GOOD)
    shop.claimed([receipts[0], receipts[0]])
    shop.chain.refuse(
        "inference.leaf_is_true", DisputeLeaf(shop.channel_id, 0, shop.proof(1)), by=PAYER
    )
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER)


def test_a_leaf_is_refunded_once(shop: Any) -> None:
    shop.claimed(two_calls(shop, FALSE_LEAVES["cost"](shop)))
    message = DisputeLeaf(shop.channel_id, 0, shop.proof(2))
    shop.chain.accept(message, by=STRANGER)
    shop.chain.refuse("inference.already_proven", message, by=STRANGER)


def test_a_released_batch_is_beyond_dispute_but_not_beyond_proof(shop: Any) -> None:
    shop.claimed(two_calls(shop, FALSE_LEAVES["cost"](shop)))
    shop.release()
    message = DisputeLeaf(shop.channel_id, 0, shop.proof(2))
    shop.chain.refuse("inference.not_pending", message, by=PAYER)
    events = shop.chain.accept(ProveReceipt(shop.channel_id, 0, shop.proof(2)), by=STRANGER)
    assert events[0][0] == "inference.receipt_proven"


def test_a_cosigned_root_bars_the_payer_and_nobody_else(shop: Any) -> None:
    receipts = two_calls(shop, FALSE_LEAVES["cost"](shop))
    shop.claimed(receipts, cosign=True)
    message = DisputeLeaf(shop.channel_id, 0, shop.proof(2))
    shop.chain.refuse("inference.cosigned", message, by=PAYER)
    other = replace(receipts[1].response, end_ms=1_500)
    evidence = held(shop, receipts[1].request, other)
    refund = RefundEquivocation(shop.channel_id, 0, shop.proof(2), evidence, shop.key(OPERATOR))
    shop.chain.refuse("inference.cosigned", refund, by=PAYER)
    shop.chain.accept(message, by=STRANGER)


@pytest.mark.parametrize(
    "bend",
    [
        lambda proof: replace(proof, path=()),
        lambda proof: replace(proof, seq=1),
        lambda proof: replace(proof, seq=3),
        lambda proof: replace(proof, sums=replace(proof.sums, amount=proof.sums.amount + 1)),
        lambda proof: replace(proof, path=(replace(proof.path[0], hash=b"\x01" * 32),)),
        lambda proof: replace(proof, path=proof.path * 2),
        lambda proof: replace(proof, receipt=replace(proof.receipt, payer_signature=bytes(64))),
    ],
)
def test_a_false_accusation_fails(shop: Any, bend: Callable[[Any], Any]) -> None:
    shop.claimed(shop.serve(GOOD, GOOD))
    message = DisputeLeaf(shop.channel_id, 0, bend(shop.proof(2)))
    shop.chain.refuse("inference.proof_invalid", message, by=PAYER)
    proven = ProveReceipt(shop.channel_id, 0, bend(shop.proof(2)))
    shop.chain.refuse("inference.proof_invalid", proven, by=PAYER)


def test_check_receipt_tells_place_and_faults(shop: Any) -> None:
    shop.claimed(two_calls(shop, FALSE_LEAVES["cost"](shop)))
    first = shop.chain.query(queries.check_receipt, shop.channel_id, 0, shop.proof(1))
    second = shop.chain.query(queries.check_receipt, shop.channel_id, 0, shop.proof(2))
    assert (first.in_batch, first.faults) == (True, ())
    assert (second.in_batch, second.faults) == (True, ("the cost is not the price of its tokens",))


# --- equivocation ---------------------------------------------------------------------------------


def pair(shop: Any, **bent: Any) -> tuple[SignedResponse, SignedResponse]:
    request = shop.request(1)
    response = shop.response(request, GOOD)
    return held(shop, request, response), held(shop, request, replace(response, **bent))


def test_two_responses_for_one_seq_cost_a_slash_once(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    first, second = pair(shop, end_ms=1_999)
    message = shop.accuse(first, second)
    supply = shop.chain.query(bank.supply).total
    before = balance(shop, PAYER)
    outcome = shop.chain.submit(message, by=PAYER)
    slashed = BOND * 2 // 10
    assert balance(shop, PAYER) == before - outcome.fee + slashed // 10
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND - slashed
    fees_burned = outcome.fee * 5_000 // 10_000
    assert shop.chain.query(bank.supply).total == supply - slashed * 9 // 10 - fees_burned
    shop.chain.refuse("inference.already_proven", message, by=PAYER)


def test_an_operator_cannot_be_slashed_in_advance(shop: Any) -> None:
    """With a small bond at stake it would confess to every seq, and be safe with a large one."""
    shop.chain.accept(OperatorBond(1), by=OPERATOR)
    invented = pair(shop, end_ms=1_999)
    own = shop.accuse(*invented, session=shop.chain.keys[OPERATOR])
    shop.chain.refuse("inference.wrong_signer", own, by=STRANGER)
    unsigned = replace(shop.accuse(*invented), payer_signature=bytes(64))
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(unsigned, by=STRANGER)
    shop.chain.accept(shop.accuse(*invented), by=PAYER)


def test_an_operator_gains_nothing_by_reporting_itself(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    message = shop.accuse(*pair(shop, end_ms=1_999))
    before = balance(shop, OPERATOR)
    outcome = shop.chain.submit(message, by=OPERATOR)
    assert balance(shop, OPERATOR) == before - outcome.fee


def test_two_requests_under_one_seq_are_equivocation_too(shop: Any) -> None:
    requests = [shop.request(1), shop.request(1, prompt_commit=b"\x08" * 32)]
    shown = [held(shop, request, shop.response(request, GOOD)) for request in requests]
    shop.chain.accept(shop.accuse(*shown), by=PAYER)


def test_the_same_response_twice_is_no_equivocation(shop: Any) -> None:
    first, second = pair(shop)
    with pytest.raises(InvalidBlock, match="the same"):
        shop.chain.submit(shop.accuse(first, second), by=PAYER)


def test_responses_for_two_seqs_are_no_equivocation(shop: Any) -> None:
    shown = [
        held(shop, request, shop.response(request, GOOD))
        for request in (shop.request(1), shop.request(2))
    ]
    with pytest.raises(InvalidBlock, match="different seqs"):
        shop.chain.submit(shop.accuse(*shown), by=PAYER)


def test_a_response_to_another_request_is_no_equivocation(shop: Any) -> None:
    first, second = pair(shop, end_ms=1_999)
    other = replace(second, request=replace(second.request, prompt_commit=b"\x08" * 32))
    message = shop.accuse(first, other)
    shop.chain.refuse("inference.no_equivocation", message, by=PAYER)


def test_responses_of_somebody_else_convict_nobody(shop: Any) -> None:
    first, second = pair(shop, end_ms=1_999)
    forged = [
        replace(each, operator_signature=shop.sign(STRANGER, each.response.digest(shop.network)))
        for each in (first, second)
    ]
    message = shop.accuse(*forged, STRANGER)
    shop.chain.refuse("inference.wrong_signer", message, by=PAYER)
    with pytest.raises(InvalidBlock, match="signature"):
        shop.chain.submit(shop.accuse(*forged), by=PAYER)


def test_a_held_response_that_differs_from_the_leaf_refunds_it(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    receipts = shop.serve(GOOD, GOOD)
    shop.claimed(receipts)
    other = replace(receipts[1].response, tokens_out=1)
    evidence = held(shop, receipts[1].request, other)
    message = RefundEquivocation(shop.channel_id, 0, shop.proof(2), evidence, shop.key(OPERATOR))
    before = balance(shop, PAYER)
    shop.chain.accept(message, by=STRANGER)
    assert balance(shop, PAYER) == before + receipts[1].response.cost
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND * 8 // 10
    shop.chain.refuse("inference.already_proven", message, by=STRANGER)


def test_slash_first_and_refund_later_slashes_once(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    receipts = shop.serve(GOOD)
    shop.claimed(receipts)
    request = receipts[0].request
    shown = held(shop, request, replace(receipts[0].response, tokens_out=1))
    committed = held(shop, request, receipts[0].response)
    shop.chain.accept(shop.accuse(committed, shown), by=PAYER)
    message = RefundEquivocation(shop.channel_id, 0, shop.proof(1), shown, shop.key(OPERATOR))
    shop.chain.accept(message, by=PAYER)
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND * 8 // 10


def test_a_response_for_another_place_refunds_nothing(shop: Any) -> None:
    receipts = shop.serve(GOOD, GOOD)
    shop.claimed([receipts[0], receipts[0]])
    other = replace(receipts[0].response, end_ms=1_500)
    shown = held(shop, receipts[0].request, other)
    message = RefundEquivocation(shop.channel_id, 0, shop.proof(2), shown, shop.key(OPERATOR))
    shop.chain.refuse("inference.no_equivocation", message, by=PAYER)


def test_a_response_of_somebody_else_refunds_nothing(shop: Any) -> None:
    receipts = shop.serve(GOOD)
    shop.claimed(receipts)
    other = replace(receipts[0].response, end_ms=1_500)
    signature = shop.sign(STRANGER, other.digest(shop.network))
    shown = SignedResponse(receipts[0].request, other, signature)
    message = RefundEquivocation(shop.channel_id, 0, shop.proof(1), shown, shop.key(STRANGER))
    shop.chain.refuse("inference.wrong_signer", message, by=PAYER)


def test_a_response_to_another_request_refunds_nothing(shop: Any) -> None:
    receipts = shop.serve(GOOD)
    shop.claimed(receipts)
    shown = held(shop, receipts[0].request, replace(receipts[0].response, request_hash=bytes(32)))
    message = RefundEquivocation(shop.channel_id, 0, shop.proof(1), shown, shop.key(OPERATOR))
    shop.chain.refuse("inference.no_equivocation", message, by=PAYER)


def test_an_error_that_counts_tokens_is_false_even_when_the_sums_say_so(make_shop: Any) -> None:
    shop = make_shop(price=PriceRow(1, 1, 1, 0))
    request = shop.request(2)
    response = shop.response(request, (0, 0, 1), status=CallStatus.ERROR)
    shop.claimed([*shop.serve((1, 0, 0)), shop.receipt(request, response)])
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER)
