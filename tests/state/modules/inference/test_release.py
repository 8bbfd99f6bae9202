"""Releases: in time, in order, within the budget, paid through the split and counted once."""

from typing import Any

from state.codec import replace
from state.modules import bank, index
from state.modules.inference import queries
from state.modules.inference.bonds import OperatorBond
from state.modules.inference.disputes import DisputeLeaf
from state.modules.inference.records import BatchStatus, shift, totals_of

DEVELOPER, OPERATOR, PAYER = 1, 2, 3


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def test_a_batch_is_released_when_its_window_ends(shop: Any) -> None:
    shop.claimed(shop.serve((100, 10, 20), (1, 1, 1)))
    due = shop.chain.height + 9
    shop.chain.advance_to(due - 1)
    assert shop.batch(1).status == BatchStatus.PENDING
    shop.chain.end_block()
    row = shop.batch(1)
    assert (row.status, row.released_height) == (BatchStatus.RELEASED, due)
    assert shop.lane().pending == 0


def test_a_release_pays_the_split_exactly(shop: Any) -> None:
    receipts = shop.serve((100, 10, 20), (1, 1, 1))
    value = sum(receipt.response.cost for receipt in receipts)
    shop.claimed(receipts)
    before = [balance(shop, account) for account in (DEVELOPER, OPERATOR)]
    shop.release()
    after = [balance(shop, account) for account in (DEVELOPER, OPERATOR)]
    payout = shop.chain.query(queries.payout_of, shop.channel_id, 0, 1)
    parts = [payout.burn, payout.validators, payout.audit, payout.treasury]
    assert payout.gross == value == sum(parts) + sum(each.amount for each in payout.credits)
    assert sum(after) - sum(before) == sum(each.amount for each in payout.credits)
    assert after[1] - before[1] == (value * 9 // 10) * 7 // 10
    assert totals_of(shop.chain.state).paid == value


def test_what_exceeds_the_budget_waits_for_the_next_block(shop: Any) -> None:
    shop.bend(release_batches_max=2)
    others = [shop.open(10**9) for _ in range(4)]
    for channel_id in others:
        shop.add_lane(0, channel_id)
    wires = [
        shop.chain.wire(
            [shop.claim(shop.serve((10, 0, 1), channel_id=each), channel_id=each)], by=OPERATOR
        )
        for each in others
    ]
    assert {outcome.code for outcome in shop.chain.block(*wires)} == {"ok"}
    due = shop.batch(1, 0, others[0]).release_height
    shop.chain.advance_to(due + 1)
    released = [shop.batch(1, 0, each).released_height for each in sorted(others)]
    assert released == [due, due, due + 1, due + 1]


def test_the_index_counts_a_lanes_released_totals_once(shop: Any) -> None:
    terms = index.CreateIndex(shop.model, 1, 0, 4, 5 * 10**9, 1_000, 0)
    shop.chain.accept(terms, by=DEVELOPER)
    shop.chain.accept(OperatorBond(10**6), by=OPERATOR)
    shop.claimed(shop.serve((100, 10, 20)))
    shop.claimed(shop.serve((1, 1, 1), (2, 2, 2)))
    buckets = [shop.batch(seq).bucket for seq in (1, 2)]
    shop.release(2)
    counted: dict[int, int] = {}
    for bucket, units in zip(buckets, (100 + 4 * 20, 3 + 4 * 3), strict=True):
        counted[bucket] = counted.get(bucket, 0) + units
    for bucket, units in counted.items():
        assert index.raw_units(shop.chain.state, shop.model, bucket) == units


def test_a_refunded_leaf_leaves_the_index(shop: Any) -> None:
    terms = index.CreateIndex(shop.model, 1, 0, 4, 5 * 10**9, 1_000, 0)
    shop.chain.accept(terms, by=DEVELOPER)
    shop.chain.accept(OperatorBond(10**6), by=OPERATOR)
    receipts = shop.serve((100, 10, 20), (1_000, 0, 1_000))
    receipts[1] = replace(receipts[1], payer_signature=bytes(64))
    shop.claimed(receipts)
    shop.chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(2)), by=PAYER)
    shop.release()
    bucket = shop.batch(1).bucket
    assert index.raw_units(shop.chain.state, shop.model, bucket) == 100 + 4 * 20


def test_a_payout_exists_from_the_release_on(shop: Any) -> None:
    shop.claimed(shop.serve((100, 10, 20)))
    assert len(shop.chain.query(queries.pending, shop.channel_id)) == 1
    shop.release()
    assert shop.chain.query(queries.pending, shop.channel_id) == []
    view = shop.chain.query(queries.batches, shop.channel_id)[0]
    assert view.counted == view.batch.sums


def test_totals_outgrow_the_integers_at_rest(shop: Any) -> None:
    for _ in range(4):
        shift(shop.chain.state, refunded=2**62)
    assert totals_of(shop.chain.state).refunded == 2**64
