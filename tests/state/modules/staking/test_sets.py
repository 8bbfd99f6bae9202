"""Sets: the largest stakes, fixed two epochs ahead, never empty, too small or too large."""

from typing import Any

import pytest

from state.finality import Validator
from state.modules import staking
from state.modules.staking import Delegate, Undelegate
from state.modules.staking.records import SETS
from state.modules.staking.sets import epoch_of, evidence_end, fixed_height, is_usable
from state.params import StakingParams


def members(network: Any, epoch: int) -> list[int]:
    found = staking.members_of(network.state, epoch)
    return [network.accounts.index(member.account) for member in found]


def stakes(network: Any, epoch: int) -> list[int]:
    return [member.stake for member in staking.members_of(network.state, epoch)]


def test_epochs_begin_behind_the_boundary() -> None:
    params = StakingParams(epoch_blocks=5, evidence_blocks=20)
    assert [epoch_of(height, params) for height in (0, 1, 5, 6, 10, 11)] == [0, 0, 0, 1, 1, 2]
    assert [fixed_height(epoch, params) for epoch in (0, 1, 2, 3)] == [0, 0, 5, 10]
    assert [evidence_end(epoch, params) for epoch in (0, 1)] == [25, 30]


def test_stake_that_has_left_is_there_while_evidence_is_taken() -> None:
    """The relation of the parameters at its edge: the last proof comes before the first payment."""
    params = StakingParams(epoch_blocks=5, evidence_blocks=20, unbonding_blocks=30)
    params.check()
    for epoch in range(9):
        first_paid = fixed_height(epoch, params) + 1 + params.unbonding_blocks
        assert evidence_end(epoch, params) < first_paid


def test_a_boundary_fixes_the_set_of_the_epoch_after_next(network: Any) -> None:
    network.accept(5, Delegate(network.accounts[2], 10))
    network.advance_to(4)
    assert SETS.get(network.state, 2) is None
    network.block((5, Delegate(network.accounts[3], 7)))
    assert stakes(network, 1) == [1_000] * 4
    assert stakes(network, 2) == [1_000, 1_000, 1_010, 1_007], "the boundary block itself counts"
    network.block((5, Delegate(network.accounts[0], 1)))
    assert stakes(network, 2) == [1_000, 1_000, 1_010, 1_007]
    network.advance_to(10)
    assert stakes(network, 3) == [1_001, 1_000, 1_010, 1_007]


def test_the_largest_stakes_sit_and_ties_go_to_the_lower_account(make_network: Any) -> None:
    network = make_network((1_000, 1_000, 999, 1_001), validators_max=4)
    network.accept(6, network.create(6, 1_000))
    network.accept(5, network.create(5, 999))
    network.advance_to(5)
    assert members(network, 2) == [0, 1, 3, 6]
    assert stakes(network, 2) == [1_000, 1_000, 1_001, 1_000]
    network.accept(7, Delegate(network.accounts[2], 1))
    network.advance_to(10)
    assert members(network, 3) == [0, 1, 2, 3], "2 and 6 tie at 1,000"


@pytest.mark.parametrize("minimum", [3, 4])
def test_a_set_below_the_minimum_is_refused(make_network: Any, minimum: int) -> None:
    network = make_network(validators_min=minimum)
    network.accept(1, Undelegate(network.accounts[1], 1_000))
    network.accept(5, Delegate(network.accounts[2], 5))
    network.advance_to(5)
    assert members(network, 2) == ([0, 2, 3] if minimum == 3 else [0, 1, 2, 3])
    assert stakes(network, 2)[-2:] == ([1_005, 1_000] if minimum == 3 else [1_000, 1_000])
    kept = [event for event in network.events if type(event).__name__ == "SetKept"]
    assert [(event.epoch, event.candidates) for event in kept] == ([] if minimum == 3 else [(2, 3)])


def test_a_set_without_stake_is_refused(make_network: Any) -> None:
    """With no minimum at all, nobody stands for anything once everybody has left."""
    network = make_network((100, 100), self_bond_min=0)
    for by in (0, 1):
        network.accept(by, Undelegate(network.accounts[by], 100))
    network.advance_to(5)
    assert (members(network, 2), stakes(network, 2)) == ([0, 1], [100, 100])
    network.block(fees=1_000)
    network.advance_to(20)
    assert members(network, 5) == [0, 1]
    network.accept(0, Delegate(network.accounts[0], 7))
    network.advance_to(25)
    assert stakes(network, 6) == [7]


def test_fees_wait_while_nobody_earns(make_network: Any) -> None:
    network = make_network((100,), proposer_bps=5_000)
    network.accept(0, Undelegate(network.accounts[0], 100))
    network.block(fees=1_000)
    before = network.balance(0)
    network.accept(0, Delegate(network.accounts[0], 100))
    assert network.balance(0) - before == 500 - 100
    views = staking.queries.delegations(network.context(), network.accounts[0])
    assert [view.rewards for view in views] == [500]


def test_only_members_earn(make_network: Any) -> None:
    network = make_network((1_000,) * 3, validators_max=3)
    network.accept(6, network.create(6, 999))
    network.block(fees=3_000)
    network.advance_to(20)
    network.block(fees=3_000)
    assert [network.validator(n).is_earning for n in (0, 1, 2, 6)] == [True, True, True, False]
    rewards = [
        view.rewards
        for n in (0, 6)
        for view in staking.queries.delegations(network.context(), network.accounts[n])
    ]
    assert rewards == [2_000, 0]


def test_old_sets_are_dropped_once_no_evidence_is_taken_against_them(network: Any) -> None:
    """Evidence against epoch 0 is taken until height 25; the boundary at 30 drops it."""
    network.advance_to(29)
    assert SETS.get(network.state, 0) is not None
    network.block()
    assert [epoch for epoch, _ in SETS.scan(network.state)] == [1, 2, 3, 4, 5, 6, 7]
    network.advance_to(60)
    assert len(list(SETS.scan(network.state))) == 7


def test_founders_below_the_minimum_sit_while_no_other_set_can_be_fixed(make_network: Any) -> None:
    network = make_network((10, 10, 10), validators_min=1)
    network.advance_to(5)
    assert members(network, 2) == [0, 1, 2]
    network.accept(6, network.create(6, 50))
    network.advance_to(10)
    assert members(network, 3) == [6]


@pytest.mark.parametrize(
    ("stakes", "usable"),
    [
        ((), False),
        ((5,), False),
        ((5, 5), True),
        ((0, 0), False),
        ((0, 1), True),
        ((1,) * 3, True),
        ((1,) * 4, False),
    ],
)
def test_which_sets_are_refused(stakes: tuple[int, ...], usable: bool) -> None:
    """Empty of stake, below the minimum of two, above the maximum of three (settled 8)."""
    params = StakingParams(validators_min=2, validators_max=3)
    members = tuple([Validator(bytes(32), bytes([n]) * 20, s) for n, s in enumerate(stakes)])
    assert is_usable(members, params) == usable


def test_members_that_stay_are_one_object_in_every_set(network: Any) -> None:
    network.accept(5, Delegate(network.accounts[2], 1))
    network.advance_to(10)
    kept = [
        [
            one is two
            for one, two in zip(*[staking.members_of(network.state, e) for e in pair], strict=True)
        ]
        for pair in ((1, 2), (2, 3))
    ]
    assert kept == [[True, True, False, True], [True] * 4]
