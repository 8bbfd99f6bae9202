"""Staking: stake moves exactly, waits, and earns what exact fractions say it earns."""

from collections import defaultdict
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from state import crypto
from state.context import BlockContext, TxContext
from state.errors import InvariantBroken, Rejected
from state.execute import apply_genesis, assert_invariants
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import bank, chain, staking
from state.modules.staking import ClaimRewards, Delegate, Undelegate, queries
from state.modules.staking.records import DELEGATIONS, VALIDATORS
from state.params import Params, StakingParams
from state.registry import Message
from state.tables import Base, State
from state.types import GRAINS_PER_SAHARA as SAHARA
from state.types import ZERO_HASH

FUNDS = 10**15


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Any:
        return iter(())


class Bench:
    """Staking without envelopes: three validators, three delegators, fees as the test pays them."""

    def __init__(self, commissions: tuple[int, ...] = (0, 1_000, 10_000), **params: int) -> None:
        plain = {"delegation_min": 1, "self_bond_min": 1, "validators_min": 1}
        self.params = Params(staking=StakingParams(**{**plain, **params}))
        keys = [bytes(SigningKey(bytes([n]) * 32).verify_key) for n in range(1, 7)]
        self.addresses = [crypto.address_of(key) for key in keys]
        self.genesis = Genesis(
            "test",
            0,
            self.params,
            tuple([Allocation(address, FUNDS) for address in self.addresses]),
            tuple(
                [
                    GenesisValidator(keys[n], self.addresses[n], (n + 1) * 10, commission)
                    for n, commission in enumerate(commissions)
                ]
            ),
        )
        self.state: State = apply_genesis(Base(Nothing()), self.genesis)
        self.height = 1
        self.transactions = 0
        self.events: list[Any] = []

    def context(self, proposer: int = 5) -> BlockContext:
        return BlockContext(
            self.state,
            self.height,
            0,
            self.params,
            self.genesis.hash,
            self.addresses[proposer],
            ZERO_HASH,
        )

    def apply(self, by: int, message: Message) -> None:
        self.transactions += 1
        tx_id = self.transactions.to_bytes(32, "big")
        context = TxContext(self.context(), self.addresses[by], self.transactions, tx_id)
        self.state.begin()
        try:
            message.apply(context)
        except Rejected:
            self.state.rollback()
            raise
        self.state.commit()
        self.events = context.events

    def end_block(self, fees: int = 0, proposer: int = 5) -> None:
        bank.move(self.state, self.addresses[4], chain.FEES, fees)
        context = self.context(proposer)
        for hook in staking.MODULE.end_hooks:
            hook(context)
        assert_invariants(context, every=True)
        self.events = context.events
        self.height += 1

    def balance(self, account: int) -> int:
        return bank.balance_of(self.state, self.addresses[account])

    def rewards(self, account: int) -> dict[bytes, int]:
        views = queries.delegations(self.context(), self.addresses[account])
        return {view.validator: view.rewards for view in views}


def refused(bench: Bench, code: str, by: int, message: Message) -> None:
    before = dict(bench.state.changes())
    with pytest.raises(Rejected) as caught:
        bench.apply(by, message)
    assert caught.value.code == code
    assert dict(bench.state.changes()) == before


def test_stake_moves_to_the_bonded_pot_and_counts() -> None:
    bench = Bench()
    bench.apply(3, Delegate(bench.addresses[1], 500))
    assert bench.balance(3) == FUNDS - 500
    assert bank.balance_of(bench.state, staking.BONDED) == 60 + 500
    stakes = {member.account: member.stake for member in staking.validator_set(bench.state)}
    assert stakes == dict(zip(bench.addresses, (10, 520, 30), strict=False))
    assert [view.stake for view in queries.validators(bench.context())] == [
        stakes[account] for account in sorted(stakes)
    ]


def test_unbonding_pays_at_its_height_and_not_before() -> None:
    bench = Bench(unbonding_blocks=5, epoch_blocks=1, evidence_blocks=3)
    bench.apply(3, Delegate(bench.addresses[1], 500))
    bench.apply(3, Undelegate(bench.addresses[1], 200))
    (view,) = queries.unbondings(bench.context(), bench.addresses[3])
    assert (view.amount, view.due_height) == (200, 6)
    while bench.height < 6:
        bench.end_block()
        assert bench.balance(3) == FUNDS - 500
    bench.end_block()
    assert bench.balance(3) == FUNDS - 300
    assert queries.unbondings(bench.context(), bench.addresses[3]) == []
    assert bank.balance_of(bench.state, staking.UNBONDING) == 0


def test_what_staking_refuses_changes_nothing() -> None:
    bench = Bench(delegation_min=100, unbonding_entries_max=2)
    validator, stranger = bench.addresses[1], bench.addresses[5]
    refused(bench, "staking.too_small", 3, Delegate(validator, 99))
    refused(bench, "staking.unknown_validator", 3, Delegate(stranger, 100))
    refused(bench, "bank.insufficient_funds", 3, Delegate(validator, FUNDS + 1))
    refused(bench, "staking.unknown_validator", 3, Undelegate(stranger, 1))
    refused(bench, "staking.not_delegated", 3, Undelegate(validator, 1))
    refused(bench, "staking.unknown_validator", 3, ClaimRewards(stranger))
    refused(bench, "staking.not_delegated", 3, ClaimRewards(validator))
    bench.apply(3, Delegate(validator, 100))
    refused(bench, "staking.not_delegated", 3, Undelegate(validator, 101))
    bench.apply(3, Undelegate(validator, 10))
    bench.apply(3, Undelegate(validator, 10))
    refused(bench, "staking.too_many_unbondings", 3, Undelegate(validator, 10))


def test_the_limit_of_unbondings_is_an_accounts_own() -> None:
    bench = Bench(unbonding_entries_max=1)
    for by in (3, 4):
        bench.apply(by, Delegate(bench.addresses[1], 100))
        bench.apply(by, Undelegate(bench.addresses[1], 10))
    refused(bench, "staking.too_many_unbondings", 3, Undelegate(bench.addresses[1], 10))


def test_fees_follow_stake_after_commission() -> None:
    """10, 20 and 30 grains at 0, 10 and 100 %; delegators of each hold as much again."""
    bench = Bench(proposer_bps=0)
    for number, stake in enumerate((10, 20, 30)):
        bench.apply(3, Delegate(bench.addresses[number], stake))
    bench.end_block(fees=120_000)
    assert bench.rewards(3) == dict(zip(bench.addresses, (10_000, 18_000, 0), strict=False))
    assert [bench.rewards(n)[bench.addresses[n]] for n in range(3)] == [10_000, 22_000, 60_000]
    for by, number in ((3, 0), (3, 1), (0, 0), (1, 1), (2, 2)):
        bench.apply(by, ClaimRewards(bench.addresses[number]))
    bench.end_block()
    assert bench.balance(3) == FUNDS - 60 + 28_000
    assert bank.balance_of(bench.state, staking.REWARDS) == 0
    refused(bench, "staking.not_delegated", 3, ClaimRewards(bench.addresses[0]))


def test_the_proposer_has_its_share_only_while_it_validates() -> None:
    bench = Bench(proposer_bps=1_000)
    bench.end_block(fees=1_009, proposer=1)
    assert bench.balance(1) == FUNDS - 20 + 100
    bench.end_block(fees=1_009, proposer=5)
    assert bench.balance(5) == FUNDS
    assert bank.balance_of(bench.state, staking.REWARDS) == 909 + 1_009


def test_late_stake_earns_nothing_of_earlier_fees() -> None:
    bench = Bench(proposer_bps=0)
    bench.end_block(fees=60_000)
    bench.apply(3, Delegate(bench.addresses[0], 10**9))
    assert bench.rewards(3)[bench.addresses[0]] == 0
    assert bench.rewards(0)[bench.addresses[0]] == 10_000


def test_rewards_outlive_the_stake_that_earned_them() -> None:
    bench = Bench(proposer_bps=0)
    bench.apply(3, Delegate(bench.addresses[0], 60))
    bench.end_block(fees=120_000)
    bench.apply(3, Undelegate(bench.addresses[0], 60))
    bench.end_block()
    bench.apply(3, ClaimRewards(bench.addresses[0]))
    assert bench.balance(3) == FUNDS - 60 + 60_000
    assert DELEGATIONS.get(bench.state, (bench.addresses[3], bench.addresses[0])) is None


def test_all_fees_over_one_grain_never_stop_the_chain() -> None:
    bench = Bench((0,), proposer_bps=0)
    bench.apply(0, Undelegate(bench.addresses[0], 9))
    account = bench.addresses[0]
    for _ in range(4):
        bench.end_block(fees=FUNDS // 2)
        bench.apply(0, ClaimRewards(account))
        bank.move(bench.state, account, bench.addresses[4], FUNDS // 2)
    assert bench.balance(0) == FUNDS - 10


# --- how long stake was bonded


def test_bonded_age_counts_whole_coins_since_they_were_bonded() -> None:
    bench = Bench()
    account = bench.addresses[3]
    bench.height = 100
    bench.apply(3, Delegate(bench.addresses[0], 10 * SAHARA))
    assert [staking.bonded_age(bench.state, account, h) for h in (0, 100, 150)] == [0, 0, 500]
    bench.height = 200
    bench.apply(3, Delegate(bench.addresses[1], 5 * SAHARA + 1))
    assert staking.bonded_age(bench.state, account, 300) == 10 * 200 + 5 * 100


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 50)), min_size=1, max_size=10),
    st.integers(0, 600),
)
def test_adding_stake_never_makes_it_look_older(bonds: list[tuple[int, int]], later: int) -> None:
    """The averaged start never credits more coin-blocks than the bonds have by themselves."""
    bench = Bench()
    exact: list[tuple[int, int]] = []
    for amount, pause in bonds:
        bench.height += pause
        bench.apply(3, Delegate(bench.addresses[0], amount * SAHARA // 1_000))
        exact.append((amount * SAHARA // 1_000, bench.height))
    at = bench.height + later
    real = sum(Fraction(amount * (at - since), SAHARA) for amount, since in exact)
    assert staking.bonded_age(bench.state, bench.addresses[3], at) <= real


# --- rewards against exact fractions

_steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["delegate", "undelegate"]),
            st.integers(0, 5),
            st.integers(0, 2),
            st.integers(1, 200),
        ),
        st.tuples(st.just("claim"), st.integers(0, 5), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("fees"), st.integers(0, 5), st.just(0), st.integers(0, 10**6)),
    ),
    min_size=1,
    max_size=40,
)


class Reference:
    """The same rules in fractions, looping over everybody at every payment."""

    def __init__(self, stakes: dict[tuple[int, int], int], commissions: tuple[int, ...]) -> None:
        self.stakes = defaultdict(int, stakes)
        self.commissions = commissions
        self.earned: dict[tuple[int, int], Fraction] = defaultdict(Fraction)

    def share(self, amount: int) -> None:
        total = sum(self.stakes.values())
        for (holder, validator), stake in list(self.stakes.items()):
            part = Fraction(amount * stake, total)
            fee = part * self.commissions[validator] / 10_000
            self.earned[holder, validator] += part - fee
            self.earned[validator, validator] += fee


@settings(max_examples=80)
@given(_steps, st.sampled_from([(0, 1_000, 10_000), (333, 333, 9_999)]))
def test_rewards_equal_the_fractions(
    steps: list[tuple[str, int, int, int]], commissions: tuple[int, ...]
) -> None:
    """No account is ever off by more grains than payments and settlements could round away."""
    bench = Bench(
        commissions,
        proposer_bps=1_000,
        unbonding_blocks=3,
        epoch_blocks=1,
        evidence_blocks=1,
        unbonding_entries_max=3,
    )
    mirror = Reference({(n, n): (n + 1) * 10 for n in range(3)}, commissions)
    claimed: dict[tuple[int, int], int] = defaultdict(int)
    given_out = settlements = 0
    for kind, by, number, amount in steps:
        validator = bench.addresses[number]
        settlements += 1
        try:
            match kind:
                case "fees":
                    bonus = amount // 10 if by < 3 else 0
                    before = bank.balance_of(bench.state, staking.REWARDS)
                    bench.end_block(amount, by)
                    after = bank.balance_of(bench.state, staking.REWARDS)
                    assert after - before == amount - bonus
                    mirror.share(amount - bonus)
                    given_out += amount - bonus
                case "delegate":
                    bench.apply(by, Delegate(validator, amount))
                    mirror.stakes[by, number] += amount
                case "undelegate":
                    bench.apply(by, Undelegate(validator, amount))
                    mirror.stakes[by, number] -= amount
                    assert mirror.stakes[by, number] >= 0
                case _:
                    before = bench.balance(by)
                    bench.apply(by, ClaimRewards(validator))
                    claimed[by, number] += bench.balance(by) - before
        except Rejected as error:
            assert error.code.startswith("staking.")
    bench.end_block()
    pot = bank.balance_of(bench.state, staking.REWARDS)
    assert pot == given_out - sum(claimed.values())
    due = 0
    for by in range(6):
        for validator, rewards in bench.rewards(by).items():
            pair = (by, bench.addresses.index(validator))
            due += rewards
            got = claimed[pair] + rewards
            assert abs(got - mirror.earned[pair]) <= settlements + 2, pair
    assert due <= pot
    assert pot - due <= 6 * (settlements + 2), "hardly anything is left over"


def test_the_negative_control_pot_short_of_one_grain_is_found() -> None:
    bench = Bench((0,), proposer_bps=0)
    bench.end_block(fees=1_000)
    bank.move(bench.state, staking.REWARDS, bench.addresses[5], 1)
    with pytest.raises(InvariantBroken, match="rewards pot"):
        assert_invariants(bench.context(), every=True)


@pytest.mark.parametrize("pot", [staking.BONDED, staking.UNBONDING])
def test_a_pot_that_does_not_match_is_found(pot: bytes) -> None:
    bench = Bench()
    bank.move(bench.state, bench.addresses[5], pot, 1)
    with pytest.raises(InvariantBroken):
        assert_invariants(bench.context(), every=True)


def test_validators_and_delegations_that_differ_are_found() -> None:
    bench = Bench()
    row = VALIDATORS.require(bench.state, bench.addresses[0])
    VALIDATORS.put(bench.state, bench.addresses[1], row)
    with pytest.raises(InvariantBroken, match="Delegations"):
        assert_invariants(bench.context(), every=True)
