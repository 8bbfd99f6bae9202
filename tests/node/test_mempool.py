"""The mempool: what it admits, in which order it gives, and what a block leaves in it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.application import Application
from node.mempool import (
    AlreadyPending,
    Evicted,
    FundsReserved,
    Mempool,
    MempoolFull,
    MempoolLimits,
    NonceTaken,
    Replaced,
    SenderFull,
    fee_rate,
)
from node.storage.kv import MemoryStore
from state.errors import Rejected
from state.execute import Expired, FeeTooLow, check_inclusion
from state.modules.bank import BALANCES, Balance, Burn, InsufficientFunds, Transfer
from state.modules.chain import BASE_FEE, THE_ONE, BaseFee, NonceUsed
from state.tables import State
from state.transaction import Transaction
from state.types import NATIVE

LIMITS = MempoolLimits(transactions_max=100, bytes_max=10**6, per_sender_max=8)


class Pool:
    """A mempool over a chain in memory."""

    def __init__(self, local: Any, limits: MempoolLimits = LIMITS) -> None:
        self.local = local
        self.application: Application = local.open(MemoryStore())
        self.mempool = Mempool(limits)

    @property
    def height(self) -> int:
        return self.application.head.header.height + 1

    def admit(self, transaction: Transaction) -> list[tuple[Transaction, Rejected]]:
        application = self.application
        self.mempool.check(transaction, application.state, self.height, application.params)
        return self.mempool.add(transaction)

    def send(self, by: int, nonce: int, **options: Any) -> Transaction:
        transaction: Transaction = self.local.transaction(by, nonce, **options)
        assert self.admit(transaction) == []
        return transaction

    def take(self, state: State | None = None) -> list[Transaction]:
        application = self.application
        return self.mempool.take(state or application.state, self.height, application.params)

    def block(self, *found: Transaction) -> list[tuple[Transaction, Rejected]]:
        candidate = self.local.step(self.application, *found)
        application = self.application
        return self.mempool.recheck(
            candidate.transactions, application.state, self.height, application.params
        )

    def with_base_fee(self, grains: int) -> State:
        state = State(self.application.state)
        BASE_FEE.put(state, THE_ONE, BaseFee(grains))
        return state


@pytest.fixture
def pool(local_chain: Any) -> Pool:
    return Pool(local_chain)


@pytest.fixture
def make_pool(make_local_chain: Callable[..., Any]) -> Callable[..., Pool]:
    return lambda limits=LIMITS, **options: Pool(make_local_chain(**options), limits)


def test_what_is_admitted_is_taken_and_gone_after_its_block(pool: Pool) -> None:
    sent = [pool.send(0, nonce) for nonce in (3, 1, 2)]
    assert pool.take() == sent
    assert len(pool.mempool) == 3
    assert pool.mempool.bytes_held == sum(len(each.wire) for each in sent)
    assert pool.block(*sent) == []
    assert (len(pool.mempool), pool.mempool.bytes_held, pool.take()) == (0, 0, [])


def test_the_best_paid_comes_first_and_the_older_of_two_equals(pool: Pool) -> None:
    low, high = pool.send(0, 1, fee_max=1_000), pool.send(1, 1, fee_max=9_000)
    middle, later = pool.send(2, 1, fee_max=5_000), pool.send(3, 1, fee_max=5_000)
    assert pool.take() == [high, middle, later, low]


def test_refusals_of_the_executor_are_refusals_here(pool: Pool) -> None:
    local = pool.local
    cases = [
        (local.transaction(0, 1, fee_max=1), FeeTooLow),
        (local.transaction(0, 1, fee_max=10**16), InsufficientFunds),
        (local.transaction(0, 1, until=0), Expired),
        (local.transaction(0, 1, until=10**6), Expired),
        (local.transaction(0, 257), NonceUsed),
    ]
    for transaction, error in cases:
        with pytest.raises(error):
            pool.admit(transaction)
    assert len(pool.mempool) == 0


def test_twice_the_same_and_one_more_than_allowed(pool: Pool) -> None:
    first = pool.send(0, 1)
    with pytest.raises(AlreadyPending):
        pool.admit(first)
    for nonce in range(2, 9):
        pool.send(0, nonce)
    with pytest.raises(SenderFull):
        pool.admit(pool.local.transaction(0, 9))
    pool.send(1, 1)


def test_a_nonce_is_taken_over_only_for_more(pool: Pool) -> None:
    first = pool.send(0, 1, fee_max=1_000)
    for fee_max in (1_000, 1_099):
        with pytest.raises(NonceTaken, match="at least 1100"):
            pool.admit(pool.local.transaction(0, 1, Transfer(b"r" * 20, 2), fee_max=fee_max))
    second = pool.local.transaction(0, 1, Transfer(b"r" * 20, 2), fee_max=1_101)
    (dropped,) = pool.admit(second)
    assert dropped[0] is first
    assert isinstance(dropped[1], Replaced)
    assert pool.take() == [second]
    assert first.id not in pool.mempool


def test_fees_are_reserved_over_everything_pending(make_pool: Callable[..., Pool]) -> None:
    held = 10**10
    pool = make_pool(funds=held)
    pool.send(1, 1, fee_max=held - 2_000)
    with pytest.raises(FundsReserved):
        pool.admit(pool.local.transaction(1, 2, fee_max=2_001))
    first = pool.send(1, 2, fee_max=1_000)
    # What replaces a transaction is weighed without it.
    second = pool.local.transaction(1, 2, fee_max=2_000)
    assert [gone for gone, _ in pool.admit(second)] == [first]


def test_a_full_pool_lets_the_worst_paid_go(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(MempoolLimits(transactions_max=3, bytes_max=10**6, per_sender_max=8))
    kept = [pool.send(0, nonce, fee_max=nonce * 1_000) for nonce in (1, 2, 3)]
    with pytest.raises(MempoolFull):
        pool.admit(pool.local.transaction(1, 1, fee_max=1_000))
    newcomer = pool.local.transaction(1, 1, fee_max=1_500)
    ((gone, why),) = pool.admit(newcomer)
    assert gone is kept[0]
    assert isinstance(why, Evicted)
    assert pool.take() == [kept[2], kept[1], newcomer]


def test_a_full_pool_compares_with_what_is_still_there(make_pool: Callable[..., Pool]) -> None:
    """The worst paid have gone into a block; the newcomer is weighed against the others."""
    pool = make_pool(MempoolLimits(transactions_max=4, bytes_max=10**6, per_sender_max=8))
    sent = [pool.send(0, nonce, fee_max=nonce * 1_000) for nonce in (1, 2, 3, 4)]
    assert pool.block(sent[0], sent[1]) == []
    pool.send(1, 1, fee_max=9_000)
    pool.send(1, 2, fee_max=9_000)
    with pytest.raises(MempoolFull):
        pool.admit(pool.local.transaction(2, 1, fee_max=2_500))
    ((gone, _),) = pool.admit(pool.local.transaction(2, 1, fee_max=3_500))
    assert gone is sent[2]


def test_what_is_gone_reserves_nothing(make_pool: Callable[..., Pool]) -> None:
    held = 10**10
    pool = make_pool(funds=held)
    first = pool.send(1, 1, fee_max=held // 2)
    pool.send(1, 2, fee_max=held // 4)
    with pytest.raises(FundsReserved):
        pool.admit(pool.local.transaction(1, 3, fee_max=held // 2))
    assert pool.block(first) == []
    pool.send(1, 3, fee_max=held // 2)


def test_bytes_are_bounded_too(make_pool: Callable[..., Pool]) -> None:
    size = len(make_pool().local.transaction(0, 1).wire)
    limits = MempoolLimits(transactions_max=100, bytes_max=size * 5 // 2, per_sender_max=8)
    pool = make_pool(limits)
    pool.send(0, 1, fee_max=2_000)
    pool.send(0, 2, fee_max=3_000)
    with pytest.raises(MempoolFull):
        pool.admit(pool.local.transaction(1, 1, fee_max=2_000))
    pool.admit(pool.local.transaction(1, 1, fee_max=4_000))
    assert len(pool.mempool) == 2
    assert pool.mempool.bytes_held <= limits.bytes_max


def long_one(pool: Pool, by: int, nonce: int, grains: int, messages: int = 16) -> Transaction:
    """Some transfers in one transaction, which pay about `grains` per weight unit."""
    several = [Transfer(b"r" * 20, 1)] * messages
    weight = pool.local.transaction(by, nonce, *several).weight
    transaction: Transaction = pool.local.transaction(
        by, nonce, *several, fee_max=weight * grains + grains
    )
    return transaction


def test_a_long_one_does_not_drive_out_what_pays_more(make_pool: Callable[..., Pool]) -> None:
    size = len(make_pool().local.transaction(0, 1, fee_max=10**6).wire)
    pool = make_pool(MempoolLimits(100, bytes_max=size * 20, per_sender_max=64))
    cheap = pool.send(0, 1, fee_max=1_000)
    others = [pool.send(1, nonce, fee_max=10**6) for nonce in range(2, 21)]
    worst = fee_rate(cheap) >> 20
    with pytest.raises(MempoolFull):
        pool.admit(long_one(pool, 2, 1, worst + 1))
    assert pool.take() == [*others, cheap]
    ((gone, _),) = pool.admit(long_one(pool, 2, 1, worst + 1, messages=1))
    assert gone is cheap


def test_several_go_only_for_more_than_all_but_one_pay(
    make_pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is in bytes and rates are by weight: a light one may have the better rate, and pay less.

    One that has to go is not held against the newcomer, whatever it pays.
    """
    monkeypatch.setattr(Burn, "WEIGHT", 5_000)
    pool = make_pool()
    heavy = [pool.local.transaction(1, nonce, Burn(1), fee_max=50_000) for nonce in range(1, 9)]
    light, short = long_one(pool, 2, 1, 20), long_one(pool, 2, 1, 20, messages=1)
    room = 7 * len(heavy[0].wire) + len(short.wire)
    assert len(heavy[0].wire) + len(short.wire) < len(light.wire) < room
    pool = make_pool(MempoolLimits(100, room, per_sender_max=64))
    for each in heavy:
        assert pool.admit(each) == []
    assert fee_rate(light) > fee_rate(heavy[0])
    assert light.body.fee_max < 50_000
    with pytest.raises(MempoolFull):
        pool.admit(light)
    assert pool.take() == heavy
    assert short.body.fee_max < 50_000
    assert [gone for gone, _ in pool.admit(short)] == heavy[7:]


def test_what_is_replaced_makes_room_once(make_pool: Callable[..., Pool]) -> None:
    """Whoever replaces its own by a longer one needs room for what is longer, and pays for it."""
    pool = make_pool()
    first, longer = long_one(pool, 0, 1, 2, messages=1), long_one(pool, 0, 1, 4, messages=2)
    other = long_one(pool, 1, 1, 5, messages=1)
    limits = MempoolLimits(100, len(first.wire) + len(other.wire), per_sender_max=64)
    pool = make_pool(limits)
    assert pool.admit(first) == pool.admit(other) == []
    with pytest.raises(MempoolFull):
        pool.admit(longer)
    pool = make_pool(limits)
    cheaper = long_one(pool, 1, 1, 3, messages=1)
    assert pool.admit(first) == pool.admit(cheaper) == []
    dropped = [(gone, type(why)) for gone, why in pool.admit(longer)]
    assert dropped == [(first, Replaced), (cheaper, Evicted)]


def test_long_ones_do_not_keep_out_what_pays_better(make_pool: Callable[..., Pool]) -> None:
    """One gives way to whatever pays a better rate, though it pays more in all."""
    pool = make_pool()
    kept, long = long_one(pool, 0, 1, 3), long_one(pool, 1, 1, 2)
    newcomer = long_one(pool, 2, 1, 4, messages=1)
    pool = make_pool(MempoolLimits(100, len(kept.wire) + len(long.wire), per_sender_max=64))
    assert pool.admit(kept) == pool.admit(long) == []
    assert newcomer.body.fee_max < long.body.fee_max
    ((gone, _),) = pool.admit(newcomer)
    assert gone is long


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(2, 9), st.integers(1, 12)),
        min_size=16,
        max_size=40,
    )
)
def test_whoever_gives_way_pays_less(
    make_local_chain: Callable[..., Any], steps: list[tuple[int, int, int, int]]
) -> None:
    """A lower rate each, and together, but for one of them, less than what came in."""
    limits = MempoolLimits(transactions_max=12, bytes_max=2_000, per_sender_max=6)
    pool = Pool(make_local_chain(), limits)
    held: list[Transaction] = []
    for by, nonce, grains, messages in steps:
        newcomer = long_one(pool, by, nonce, grains, messages)
        try:
            dropped = pool.admit(newcomer)
        except (NonceTaken, MempoolFull, AlreadyPending):
            dropped = []
        else:
            held.append(newcomer)
        evicted = [gone for gone, why in dropped if isinstance(why, Evicted)]
        assert all(fee_rate(gone) < fee_rate(newcomer) for gone in evicted)
        assert sum(gone.body.fee_max for gone in evicted[:-1]) < newcomer.body.fee_max
        gone_ids = {gone.id for gone, _ in dropped}
        held = [each for each in held if each.id not in gone_ids]
        assert pool.take() == sorted(held, key=fee_rate, reverse=True)
        assert pool.mempool.bytes_held == sum(len(each.wire) for each in held) <= 2_000


def test_a_block_takes_no_more_than_it_may(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(MempoolLimits(100, 10**6, 64, block_transactions_max=5))
    for nonce in range(1, 9):
        pool.send(0, nonce)
    assert len(pool.take()) == 5
    pool = make_pool(MempoolLimits(100, 10**6, 64))
    sent = [pool.send(0, nonce) for nonce in range(1, 9)]
    params = pool.application.params
    for field, each in (
        ("block_weight_max", sent[0].weight),
        ("block_bytes_max", len(sent[0].wire)),
    ):
        fees = type(params.fees)(**{field: each * 7 // 2})
        narrow = type(params)(fees=fees)
        taken = pool.mempool.take(pool.application.state, pool.height, narrow)
        assert taken == sent[:3]


def test_an_account_pays_in_a_block_what_it_holds(make_pool: Callable[..., Pool]) -> None:
    """Reserved fees may exceed what is held after a block; then only some go in."""
    held = 10**10
    pool = make_pool(funds=held)
    spend = pool.local.transaction(1, 1, Transfer(b"r" * 20, held - 2_000), fee_max=1_500)
    assert pool.admit(spend) == []
    waiting = [pool.send(1, nonce, fee_max=1_000) for nonce in range(2, 8)]
    assert pool.block(spend) == []
    left = 2_000 - spend.weight
    fits = [left - waiting[0].weight * before >= 1_000 for before in range(6)]
    assert pool.take() == waiting[: fits.index(False)] != []
    outcomes = pool.local.step(pool.application, *pool.take()).executed.result.outcomes
    assert {outcome.code for outcome in outcomes} <= {"ok", "bank.insufficient_funds"}
    assert all(outcome.fee > 0 for outcome in outcomes)


def test_money_that_left_by_another_way_is_noticed(pool: Pool) -> None:
    """An account that no transaction of the block was sent by, and that holds less than before."""
    stuck = pool.send(1, 1)
    poorer = State(pool.application.state)
    BALANCES.put(poorer, (pool.local.accounts[1].address, NATIVE), Balance(5))
    params = pool.application.params
    assert pool.mempool.take(poorer, pool.height, params) == []
    dropped = pool.mempool.recheck([], poorer, pool.height, params)
    assert [(tx, type(error)) for tx, error in dropped] == [(stuck, InsufficientFunds)]
    assert len(pool.mempool) == 0


def test_a_block_tells_what_it_made_impossible(pool: Pool) -> None:
    """The nonce was used by another transaction, the money is gone, the height has passed."""
    taken_over = pool.send(0, 1)
    expiring = pool.send(3, 1, until=1)
    poor = pool.send(1, 2, fee_max=10**6)
    spend = pool.local.transaction(1, 1, Transfer(b"r" * 20, 10**15 - 10**5), fee_max=10**5)
    rival = pool.local.transaction(0, 1, Transfer(b"r" * 20, 2))
    staying = pool.send(2, 1, until=50)
    dropped = {tx.id: type(error) for tx, error in pool.block(spend, rival)}
    assert dropped == {taken_over.id: NonceUsed, expiring.id: Expired, poor.id: InsufficientFunds}
    assert pool.take() == [staying]
    assert len(pool.mempool) == 1


def test_what_pays_too_little_now_is_neither_taken_nor_kept(pool: Pool) -> None:
    cheap = pool.send(0, 1, fee_max=fee_rate_of(pool, 0, 2))
    dear = pool.send(1, 1, fee_max=10**6)
    risen = pool.with_base_fee(3)
    assert pool.take(risen) == [dear]
    dropped = pool.mempool.recheck([], risen, pool.height, pool.application.params)
    assert [(tx, type(error)) for tx, error in dropped] == [(cheap, FeeTooLow)]
    assert pool.take() == [dear]


def fee_rate_of(pool: Pool, by: int, grains: int) -> int:
    """The fee_max that pays exactly `grains` per weight unit (its own size is in its weight)."""
    weight = pool.local.transaction(by, 1, fee_max=1_000).weight
    transaction = pool.local.transaction(by, 1, fee_max=weight * grains)
    assert transaction.weight == weight
    assert fee_rate(transaction) == grains << 20
    return weight * grains


def test_memory_follows_what_is_pending(pool: Pool) -> None:
    for nonce in range(1, 60):
        pool.block(pool.send(0, nonce))
    assert len(pool.mempool._order) <= 2
    assert len(pool.mempool._expiries) <= 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(400, 3_000), st.integers(1, 8)),
        max_size=40,
    )
)
def test_a_plain_model_agrees(
    make_local_chain: Callable[..., Any], steps: list[tuple[int, int, int, int]]
) -> None:
    """Against a dictionary that is sorted and rechecked as a whole for every block.

    A step with an even fee is followed by a block of whatever is taken.
    """
    limits = MempoolLimits(transactions_max=6, bytes_max=10**6, per_sender_max=3)
    pool = Pool(make_local_chain(), limits)
    model: dict[bytes, Transaction] = {}
    for by, nonce, fee_max, until in steps:
        transaction = pool.local.transaction(by, nonce, fee_max=fee_max, until=until)
        try:
            dropped = pool.admit(transaction)
        except Rejected:
            assert _may_be_refused(pool, transaction, list(model.values()))
        else:
            assert not _may_be_refused(pool, transaction, list(model.values()))
            model[transaction.id] = transaction
            for gone, _ in dropped:
                del model[gone.id]
        taken = pool.take()
        assert taken == sorted(model.values(), key=fee_rate, reverse=True)
        if fee_max % 2 == 0:
            gone_ids = {tx.id for tx in taken} | {tx.id for tx, _ in pool.block(*taken)}
            model = {tx_id: tx for tx_id, tx in model.items() if tx_id not in gone_ids}
            assert all(_includable(pool, tx) for tx in model.values())
        assert len(pool.mempool) == len(model) <= limits.transactions_max
        assert pool.mempool.bytes_held == sum(len(tx.wire) for tx in model.values())


def _may_be_refused(pool: Pool, newcomer: Transaction, pending: list[Transaction]) -> bool:
    """The rules of admission, told over plain lists."""
    if newcomer.id in {tx.id for tx in pending} or not _includable(pool, newcomer):
        return True
    own = [tx for tx in pending if tx.body.account == newcomer.body.account]
    rivals = [tx for tx in own if tx.body.nonce == newcomer.body.nonce]
    if any(10 * newcomer.body.fee_max < 11 * tx.body.fee_max for tx in rivals):
        return True
    if not rivals and len(own) >= 3:
        return True
    worst = min((fee_rate(tx) for tx in pending), default=0)
    return len(pending) >= 6 and fee_rate(newcomer) <= worst


def _includable(pool: Pool, transaction: Transaction) -> bool:
    application = pool.application
    try:
        check_inclusion(application.state, transaction, pool.height, application.params)
    except Rejected:
        return False
    return True


def test_no_block_costs_more_rechecks_than_its_budget(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything expires at once; it goes over several blocks, and none of it goes into one."""
    monkeypatch.setattr("node.mempool.RECHECKS_MAX", 3)
    for by in range(4):
        pool.send(by, 1, until=1)
    staying = pool.send(0, 2, until=50)
    gone: list[Rejected] = []
    for _ in range(2):
        assert len(pool.mempool) > 1
        dropped = [error for _, error in pool.block()]
        assert 1 <= len(dropped) <= 3
        gone += dropped
        assert pool.take() == [staying]
    assert {type(error) for error in gone} == {Expired}
    assert (len(gone), len(pool.mempool)) == (4, 1)


def test_what_became_too_cheap_goes_by_and_by(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.mempool.RECHECKS_MAX", 3)
    for by in range(4):
        pool.send(by, 1, fee_max=1_000)
    dear = pool.send(0, 2)
    risen = pool.with_base_fee(10)
    params = pool.application.params
    counts = [len(pool.mempool.recheck([], risen, pool.height, params)) for _ in range(4)]
    assert counts == [3, 1, 0, 0]
    assert pool.take(risen) == [dear]
    assert not pool.mempool._doubtful
