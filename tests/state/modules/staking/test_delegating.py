"""Stake that moves: at once to another validator, slowly home, and never out of reach."""

from typing import Any

import pytest

from state.crypto import Tag
from state.modules import bank, staking
from state.modules.staking import (
    ClaimRewards,
    Delegate,
    Redelegate,
    Undelegate,
    queries,
)
from state.modules.staking.records import DELEGATIONS, REDELEGATIONS, UNBONDINGS


def arrivals(network: Any, number: int) -> list[tuple[int, int, int, int]]:
    """An account's redelegations: from whom, to whom, shares, until when."""
    views = queries.redelegations(network.context(), network.accounts[number])
    found = [
        (
            network.accounts.index(view.source),
            network.accounts.index(view.validator),
            view.shares,
            view.due_height,
        )
        for view in views
    ]
    return sorted(found)


def test_redelegated_stake_counts_for_the_new_validator_at_once(network: Any) -> None:
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 700))
    network.accept(5, Redelegate(one, two, 300))
    assert network.delegations(5) == {1: 400, 2: 300}
    assert [network.validator(n).stake for n in (1, 2)] == [1_400, 1_300]
    assert bank.balance_of(network.state, staking.BONDED) == 4_700
    assert arrivals(network, 5) == [(1, 2, 300, 32)]
    assert network.events[-1].due_height == 32


def test_redelegated_stake_may_not_hop_on_until_its_time_is_over(network: Any) -> None:
    zero, one, two = network.accounts[:3]
    network.accept(5, Delegate(one, 700), Delegate(two, 50))
    network.accept(5, Redelegate(one, two, 300))
    network.refuse("staking.redelegation_under_way", 5, Redelegate(two, zero, 51))
    network.accept(5, Redelegate(two, zero, 50))
    network.advance_to(30)
    network.refuse("staking.redelegation_under_way", 5, Redelegate(two, zero, 1))
    network.advance_to(32)
    assert [row[:2] for row in arrivals(network, 5)] == [(2, 0)]
    network.accept(5, Redelegate(two, zero, 300))


def test_what_redelegate_refuses(make_network: Any) -> None:
    network = make_network(delegation_min=10, redelegation_entries_max=2)
    one, two, stranger = network.accounts[1], network.accounts[2], network.accounts[7]
    network.accept(5, Delegate(one, 100))
    network.refuse("staking.too_small", 5, Redelegate(one, two, 9))
    network.refuse("staking.same_validator", 5, Redelegate(one, one, 10))
    network.refuse("staking.unknown_validator", 5, Redelegate(one, stranger, 10))
    network.refuse("staking.unknown_validator", 5, Redelegate(stranger, one, 10))
    network.refuse("staking.not_delegated", 5, Redelegate(one, two, 101))
    network.refuse("staking.not_delegated", 5, Redelegate(two, one, 10))
    network.accept(5, Redelegate(one, two, 10), Redelegate(one, two, 10))
    network.refuse("staking.too_many_redelegations", 5, Redelegate(one, two, 10))
    assert network.delegations(5) == {1: 80, 2: 20}


def test_undelegating_takes_free_stake_first_and_then_what_ends_first(network: Any) -> None:
    """Each part keeps its own exposures, so one request may make several entries."""
    zero, one, two = network.accounts[:3]
    network.accept(5, Delegate(zero, 100), Delegate(one, 100), Delegate(two, 10))
    network.accept(5, Redelegate(zero, two, 20))
    network.accept(5, Redelegate(one, two, 30))
    network.accept(5, Undelegate(two, 35))
    rows = [row for _, row in UNBONDINGS.scan(network.state)]
    found = sorted([(row.amount, [e.validator for e in row.exposures]) for row in rows])
    assert found == [(5, [two, one]), (10, [two]), (20, [two, zero])]
    assert arrivals(network, 5) == [(1, 2, 25, 33)]
    assert network.delegations(5)[2] == 25


def test_stake_that_left_twice_pays_for_both(network: Any) -> None:
    """1,000 go from 1 to 2 and home; both are slashed by a twentieth: 1,000 -> 950 -> 902."""
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 1_000))
    network.accept(5, Redelegate(one, two, 1_000))
    network.accept(5, Undelegate(two, 1_000))
    network.block(evidence=(network.double_vote(1), network.double_vote(2)))
    (view,) = queries.unbondings(network.context(), network.accounts[5])
    assert (view.amount, view.expected, view.due_height) == (1_000, 902, 33)
    before = network.balance(5)
    network.advance_to(33)
    assert network.balance(5) - before == 902
    assert network.events[-1].slashed == 98


def test_a_redelegation_is_settled_before_anything_else_is_done_with_it(network: Any) -> None:
    one, two = network.accounts[1:3]
    for by in (5, 6):
        network.accept(by, Delegate(one, 1_000), Redelegate(one, two, 1_000))
    network.block(evidence=(network.double_vote(1),))
    assert [network.delegations(by) for by in (5, 6)] == [{2: 950}] * 2
    network.refuse("staking.not_delegated", 5, Undelegate(two, 951))
    assert network.validator(2).stake == 3_000, "a refusal settles nothing"
    network.accept(5, Undelegate(two, 950))
    network.accept(6, Delegate(two, 1))
    assert network.delegations(6) == {2: 951}
    assert arrivals(network, 5) == arrivals(network, 6) == []
    assert network.validator(2).stake == 1_000 + 951


def test_whoever_is_late_is_settled_when_the_redelegation_ends(network: Any) -> None:
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 1_000))
    network.accept(5, Redelegate(one, two, 1_000))
    network.block(evidence=(network.double_vote(1),))
    network.advance_to(31)
    assert network.validator(2).stake == 2_000
    network.block()
    assert network.validator(2).stake == 1_950
    assert list(REDELEGATIONS.scan(network.state)) == []


def test_limits_count_the_entries_that_a_request_makes(make_network: Any) -> None:
    network = make_network(unbonding_entries_max=2)
    zero, one, two = network.accounts[:3]
    network.accept(5, Delegate(zero, 100), Delegate(one, 100), Delegate(two, 10))
    network.accept(5, Redelegate(zero, two, 20), Redelegate(one, two, 30))
    network.refuse("staking.too_many_unbondings", 5, Undelegate(two, 60))
    network.accept(5, Undelegate(two, 30))
    network.refuse("staking.too_many_unbondings", 5, Undelegate(one, 1))
    network.advance_to(34)
    network.accept(5, Undelegate(one, 1))


def test_age_moves_with_the_stake(make_network: Any) -> None:
    network = make_network(stakes=(10**11,) * 3)
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 10**11))
    network.advance_to(20)
    network.accept(5, Redelegate(one, two, 5 * 10**10))
    assert staking.bonded_age(network.state, network.accounts[5], 101) == 100 * 100
    network.block(evidence=(network.double_vote(1, epoch=4),))
    # 47 whole coins are left of the 50 at the slashed one, and the 50 have not been settled yet.
    assert staking.bonded_age(network.state, network.accounts[5], 101) == 97 * 100


def test_the_last_one_out_leaves_nothing_behind(network: Any) -> None:
    """After a slash shares are worth less than a grain; who leaves pays the rounding."""
    one = network.accounts[1]
    for by, amount in ((5, 333), (6, 7)):
        network.accept(by, Delegate(one, amount))
    network.block(evidence=(network.double_vote(1),))
    assert network.validator(1).stake == 1_340 - 67
    paid = 0
    for by in (5, 6, 1):
        worth = network.delegations(by)[1]
        network.refuse("staking.not_delegated", by, Undelegate(one, worth + 1))
        network.accept(by, Undelegate(one, worth))
        paid += worth
        assert DELEGATIONS.get(network.state, (network.accounts[by], one)) is None
    row = network.validator(1)
    assert (row.stake, row.shares) == (0, 0)
    assert paid == 1_273


def test_a_validator_slashed_whole_leaves_nothing(make_network: Any) -> None:
    network = make_network(slash_bps=(10_000,) * 5)
    one = network.accounts[1]
    network.accept(5, Delegate(one, 100), Undelegate(one, 40))
    network.block(evidence=(network.double_vote(1),))
    assert network.delegations(5) == {1: 0}
    network.refuse("staking.not_delegated", 5, Undelegate(one, 1))
    assert staking.bonded_age(network.state, network.accounts[5], 99) == 0
    before = network.balance(5)
    network.advance_to(31)
    assert network.balance(5) == before


def test_rewards_survive_redelegation_and_slash(network: Any) -> None:
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 1_000))
    network.block(fees=5_000)
    network.accept(5, Redelegate(one, two, 1_000))
    network.block(evidence=(network.double_vote(1),), fees=3_000)
    before = network.balance(5)
    codes = network.block((5, ClaimRewards(one)), (5, ClaimRewards(two)))
    assert codes == ["ok", "ok"]
    # 1,000 of 5,000; then of 4,000 that earn: the stake that answers for the slash counts until
    # it is settled.
    assert network.balance(5) - before == 1_000 + 3_000 * 1_000 // 4_000
    assert network.delegations(5) == {2: 950}


@pytest.mark.parametrize("kind", [Tag.NOTARIZE, Tag.FINALIZE])
def test_certificates_alone_move_no_stake(network: Any, kind: Tag) -> None:
    before = dict(network.state.changes())
    network.block(certificates=(network.certificate(kind, (0, 1, 2, 3)),))
    changed = {key for key, row in network.state.changes() if before.get(key) != row}
    assert all(key[:2] == b"\x02\x0b" for key in changed), "only the watch"
