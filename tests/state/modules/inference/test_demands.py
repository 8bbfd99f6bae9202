"""Demands: a leaf that must be shown, what the answer earns, and what silence costs."""

from typing import Any

import pytest

from state.codec import replace
from state.errors import InvalidBlock, Malformed
from state.modules import bank
from state.modules.inference import queries
from state.modules.inference.bonds import OperatorBond, bond_of
from state.modules.inference.demands import AnswerLeaf, DemandLeaf
from state.modules.inference.disputes import DisputeLeaf
from state.modules.inference.leaves import withheld_sums
from state.modules.inference.records import BatchStatus, totals_of

OPERATOR, PAYER, STRANGER = 2, 3, 4
BOND = 10**9
ENOUGH = 10**6
GOOD = (100, 10, 20)


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def demand(shop: Any, seq: int, from_seq: int = 1, bond: int = ENOUGH) -> DemandLeaf:
    return DemandLeaf(shop.channel_id, 0, from_seq, seq, bond)


def test_an_answer_earns_the_bond(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD, GOOD))
    shop.chain.accept(demand(shop, 2), by=PAYER)
    before = balance(shop, OPERATOR)
    shop.chain.accept(AnswerLeaf(shop.channel_id, 0, shop.proof(2)), by=STRANGER)
    assert balance(shop, OPERATOR) == before + ENOUGH
    assert shop.batch(1).demands_open == 0
    shop.release()
    assert shop.batch(1).status == BatchStatus.RELEASED
    assert totals_of(shop.chain.state).refunded == 0


def test_silence_is_fraud_for_that_leaf(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    receipts = shop.serve(GOOD, (101, 0, 0), GOOD)
    shop.claimed(receipts)
    value = sum(receipt.response.cost for receipt in receipts)
    shop.chain.accept(demand(shop, 2), by=STRANGER)
    due = shop.chain.height + 3
    payer, stranger = balance(shop, PAYER), balance(shop, STRANGER)
    shop.chain.advance_to(due - 1)
    assert shop.batch(1).removed.calls == 0
    shop.chain.end_block()
    part = -(-value // 3)
    assert balance(shop, PAYER) == payer + part
    assert balance(shop, STRANGER) == stranger + ENOUGH + BOND * 2 // 100
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND * 8 // 10
    assert shop.batch(1).removed.as_tuple() == (1, 101, 7, 14, part)
    late = AnswerLeaf(shop.channel_id, 0, shop.proof(2))
    shop.chain.refuse("state.not_found", late, by=OPERATOR)


def test_an_answer_in_the_last_block_counts(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD))
    shop.chain.accept(demand(shop, 1), by=PAYER)
    shop.chain.end_block(2)
    shop.chain.accept(AnswerLeaf(shop.channel_id, 0, shop.proof(1)), by=OPERATOR)
    shop.chain.end_block(3)
    assert shop.batch(1).removed.calls == 0


def test_a_wholly_withheld_batch_is_refunded_to_the_grain(shop: Any) -> None:
    receipts = shop.serve(GOOD, (1, 0, 0), (0, 3, 0), (7, 0, 1), GOOD)
    shop.claimed(receipts)
    value = sum(receipt.response.cost for receipt in receipts)
    shop.chain.accept(demand(shop, 1), by=PAYER)
    before = balance(shop, PAYER)
    shop.chain.accept(*[demand(shop, seq) for seq in range(2, 6)], by=STRANGER)
    shop.chain.end_block(3)
    assert balance(shop, PAYER) == before + value + ENOUGH
    assert shop.batch(1).removed == shop.batch(1).sums
    shop.release()
    assert totals_of(shop.chain.state).paid == 0
    assert withheld_sums(shop.batch(1)).calls == 0


def test_a_false_leaf_answers_nothing(shop: Any) -> None:
    receipts = shop.serve(GOOD, GOOD)
    receipts[1] = replace(receipts[1], payer_signature=bytes(64))
    shop.claimed(receipts)
    shop.chain.accept(demand(shop, 2), by=PAYER)
    answer = AnswerLeaf(shop.channel_id, 0, shop.proof(2))
    assert "payer did not sign" in shop.chain.refuse("inference.leaf_is_false", answer, by=OPERATOR)
    wrong = AnswerLeaf(shop.channel_id, 0, replace(shop.proof(1), seq=2))
    shop.chain.refuse("inference.proof_invalid", wrong, by=OPERATOR)


def test_a_leaf_disputed_while_demanded_is_refunded_once(shop: Any) -> None:
    shop.chain.accept(OperatorBond(BOND), by=OPERATOR)
    receipts = shop.serve(GOOD, GOOD)
    receipts[1] = replace(receipts[1], payer_signature=bytes(64))
    shop.claimed(receipts)
    shop.chain.accept(demand(shop, 2), by=STRANGER)
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER)
    before = balance(shop, STRANGER)
    shop.chain.end_block(3)
    assert balance(shop, STRANGER) == before + ENOUGH
    assert shop.batch(1).removed == receipts[1].response.sums
    assert bond_of(shop.chain.state, shop.operator).bonded == BOND * 8 // 10
    shop.chain.refuse("inference.already_proven", demand(shop, 2), by=STRANGER)


def test_a_batch_with_an_open_demand_is_held(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD, GOOD))
    release = shop.batch(1).release_height
    shop.chain.advance_to(release - 1)
    shop.chain.accept(demand(shop, 1), demand(shop, 2), by=PAYER)
    assert shop.chain.height == release
    assert (shop.batch(1).status, shop.batch(1).held) == (BatchStatus.PENDING, True)
    shop.chain.accept(AnswerLeaf(shop.channel_id, 0, shop.proof(1)), by=OPERATOR)
    assert shop.batch(1).status == BatchStatus.PENDING
    shop.chain.end_block(2)
    row = shop.batch(1)
    assert (row.status, row.released_height) == (BatchStatus.RELEASED, release + 3)
    assert row.removed.calls == 1


def test_a_demand_comes_before_the_window_ends(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD))
    release = shop.batch(1).release_height
    shop.chain.advance_to(release)
    shop.chain.refuse("inference.not_pending", demand(shop, 1), by=PAYER)


def test_a_held_batch_takes_no_more_demands(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD, GOOD))
    shop.chain.advance_to(shop.batch(1).release_height - 1)
    shop.chain.accept(demand(shop, 1), by=PAYER)
    shop.chain.refuse("inference.demand_too_late", demand(shop, 2), by=PAYER)


def test_limits_of_demands(make_shop: Any, params: Any) -> None:
    narrow = replace(
        params.inference,
        leaf_demands_max=2,
        leaf_answer_blocks=6,
        operator_unbonding_blocks=20,
    )
    shop = make_shop(replace(params, inference=narrow))
    shop.claimed(shop.serve(*[GOOD] * 4))
    least = shop.chain.query(queries.demand_bond_min, shop.channel_id, 0, 1).bond_min
    assert least > 1_000
    shop.chain.refuse("inference.bond_too_small", demand(shop, 1, bond=least - 1), by=PAYER)
    shop.chain.accept(demand(shop, 1, bond=least), by=PAYER)
    shop.chain.refuse("inference.already_demanded", demand(shop, 1), by=STRANGER)
    shop.chain.accept(demand(shop, 2), by=STRANGER)
    shop.chain.refuse("inference.too_many_demands", demand(shop, 3), by=PAYER)
    listed = shop.chain.query(queries.demands, shop.channel_id, 0, 1)
    assert [view.seq for view in listed] == [1, 2]
    shop.chain.refuse(Malformed.code, demand(shop, 5), by=PAYER)


def test_an_operator_cannot_take_the_payers_room(make_shop: Any, params: Any) -> None:
    """It would demand true leaves of itself for ever, and never have to show a false one."""
    slow = replace(params.inference, leaf_answer_blocks=6, operator_unbonding_blocks=20)
    shop = make_shop(replace(params, inference=slow))
    shop.claimed(shop.serve(*[GOOD] * 9))
    shop.chain.accept(*[demand(shop, seq) for seq in (1, 2)], by=OPERATOR)
    shop.chain.accept(*[demand(shop, seq) for seq in (3, 4)], by=STRANGER)
    shop.chain.refuse("inference.too_many_demands", demand(shop, 5), by=OPERATOR)
    shop.chain.accept(*[demand(shop, seq) for seq in (6, 7, 8, 9)], by=PAYER)
    shop.chain.refuse("inference.too_many_demands", demand(shop, 5), by=PAYER)
    shop.chain.accept(AnswerLeaf(shop.channel_id, 0, shop.proof(6)), by=OPERATOR)
    shop.chain.refuse("inference.too_many_demands", demand(shop, 5), by=OPERATOR)
    shop.chain.accept(demand(shop, 5), by=PAYER)


def test_all_room_on_a_cosigned_batch_is_for_others(shop: Any) -> None:
    shop.claimed(shop.serve(*[GOOD] * 9), cosign=True)
    shop.chain.accept(*[demand(shop, seq) for seq in range(1, 9)], by=STRANGER)
    shop.chain.refuse("inference.too_many_demands", demand(shop, 9), by=STRANGER)


def test_a_bond_covers_the_fee_of_a_true_answer(shop: Any) -> None:
    shop.claimed(shop.serve(*[GOOD] * 9))
    least = shop.chain.query(queries.demand_bond_min, shop.channel_id, 0, 1).bond_min
    shop.chain.accept(demand(shop, 9, bond=least), by=PAYER)
    outcome = shop.chain.submit(AnswerLeaf(shop.channel_id, 0, shop.proof(9)), by=OPERATOR)
    assert 0 < outcome.fee <= least


def test_a_cosigned_root_bars_the_payers_demand(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD), cosign=True)
    shop.chain.refuse("inference.cosigned", demand(shop, 1), by=PAYER)
    shop.chain.accept(demand(shop, 1), by=STRANGER)


def test_nothing_is_demanded_for_free(shop: Any) -> None:
    shop.claimed(shop.serve(GOOD))
    with pytest.raises(InvalidBlock):
        shop.chain.submit(demand(shop, 1, bond=0), by=PAYER)
