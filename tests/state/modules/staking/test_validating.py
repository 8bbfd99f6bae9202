"""Validators come with a key that they hold and stake of their own, and keep their promises."""

from typing import Any

import pytest

from state import crypto
from state.codec import replace
from state.modules import bank, staking
from state.modules.staking import (
    ClaimRewards,
    Delegate,
    EditValidator,
    Redelegate,
    Undelegate,
    Unjail,
    possession_digest,
)
from state.modules.staking.records import KEYS, Standing


def members(network: Any, epoch: int) -> list[int]:
    """Who sits in an epoch's set, by number."""
    found = staking.members_of(network.state, epoch)
    return [network.accounts.index(member.account) for member in found]


def test_a_new_validator_sits_in_the_epoch_after_next(network: Any) -> None:
    network.accept(6, network.create(6, 2_000, commission_bps=500, moniker="six"))
    view = network.validator(6)
    assert (view.stake, view.self_bond, view.moniker, view.is_earning) == (2_000, 2_000, "six", 0)
    assert network.events[0].commission_bps == 500
    network.advance_to(5)
    assert [6 in members(network, epoch) for epoch in (0, 1, 2)] == [False, False, True]
    assert staking.members_of(network.state, 2)[-1].public_key == network.public_key(6)
    network.advance_to(9)
    assert not network.validator(6).is_earning
    network.advance_to(10)
    assert network.validator(6).is_earning
    network.block(fees=6_000)
    assert [
        v.rewards for v in staking.queries.delegations(network.context(), network.accounts[6])
    ] == [1_999]


def test_the_proof_is_bound_to_chain_account_and_key(network: Any) -> None:
    message = network.create(6)
    digest = possession_digest(network.genesis.hash, network.accounts[6])

    def valid(one: Any, genesis: bytes = network.genesis.hash) -> bool:
        return all(crypto.verify_many(one.claims(genesis)))

    assert message.claims(network.genesis.hash) == [(message.public_key, digest, message.proof)]
    assert valid(message)
    assert not valid(message, bytes(32))
    assert not valid(replace(message, validator=network.accounts[7]))
    assert not valid(replace(message, public_key=network.public_key(7)))


def test_what_create_refuses(network: Any) -> None:
    network.refuse("staking.not_the_account", 7, network.create(6))
    network.refuse("staking.self_bond_too_small", 6, network.create(6, 49))
    network.refuse("bank.insufficient_funds", 6, network.create(6, 10**13))
    network.refuse("staking.already_validator", 1, network.create(1))
    proof = network.keys[1].sign(possession_digest(network.genesis.hash, network.accounts[6]))
    taken = replace(network.create(6), public_key=network.public_key(1), proof=proof.signature)
    network.refuse("staking.key_taken", 6, taken)
    network.accept(6, network.create(6, 50))
    again = replace(taken, public_key=network.public_key(6))
    proof = network.keys[6].sign(possession_digest(network.genesis.hash, network.accounts[7]))
    stolen = replace(again, validator=network.accounts[7], proof=proof.signature)
    network.refuse("staking.key_taken", 7, stolen)


def test_a_key_is_taken_for_ever(network: Any) -> None:
    network.block(evidence=(network.double_vote(1),))
    proof = network.keys[1].sign(possession_digest(network.genesis.hash, network.accounts[6]))
    reused = replace(network.create(6), public_key=network.public_key(1), proof=proof.signature)
    network.refuse("staking.key_taken", 6, reused)
    assert KEYS.require(network.state, network.public_key(1)).account == network.accounts[1]


def test_commission_moves_in_small_steps_once_in_a_while(network: Any) -> None:
    """At most 100 bps at a time, and again ten blocks after the last change."""
    network.refuse("staking.commission_too_fast", 1, EditValidator(100))
    network.advance_to(9)
    network.refuse("staking.commission_too_fast", 1, EditValidator(101))
    network.accept(1, EditValidator(100, "one"))
    assert network.validator(1).moniker == "one"
    network.advance_to(19)
    network.refuse("staking.commission_too_fast", 1, EditValidator(101))
    network.accept(1, EditValidator(100, "uno"))
    network.accept(1, EditValidator(0))
    network.refuse("staking.unknown_validator", 5, EditValidator(0))


def test_a_new_commission_takes_nothing_of_what_was_earned_before(network: Any) -> None:
    network.advance_to(10)
    network.block(fees=40_000)
    network.accept(1, EditValidator(100))
    assert network.validator(1).commission == 0
    network.block(fees=40_000)
    assert network.validator(1).commission == 100
    before = network.balance(1)
    network.accept(1, ClaimRewards(network.accounts[1]))
    assert network.balance(1) - before == 20_000 - 1, "9.9 grains a share are rounded down"


@pytest.mark.parametrize("way", ["undelegate", "redelegate"])
def test_who_stands_for_too_little_leaves_the_next_set(network: Any, way: str) -> None:
    own, other = network.accounts[1], network.accounts[2]
    network.accept(5, Delegate(own, 10**6))
    leave = Undelegate(own, 951) if way == "undelegate" else Redelegate(own, other, 951)
    network.accept(1, leave)
    network.advance_to(5)
    assert [1 in members(network, epoch) for epoch in (1, 2)] == [True, False]
    assert network.validator(1).is_earning, "a member until its last set ends"
    network.advance_to(10)
    assert not network.validator(1).is_earning
    network.accept(1, Delegate(own, 1))
    network.advance_to(15)
    assert [1 in members(network, epoch) for epoch in (2, 3, 4)] == [False, False, True]


def test_all_stake_may_leave_and_come_back(network: Any) -> None:
    own = network.accounts[1]
    network.accept(1, Undelegate(own, 1_000))
    view = network.validator(1)
    assert (view.stake, view.shares) == (0, 0)
    network.advance_to(16)
    assert 1 not in members(network, 3)
    network.block(fees=999)
    network.accept(1, Delegate(own, 60))
    assert network.validator(1).self_bond == 60
    network.advance_to(20)
    assert 1 in members(network, 5)


def jail(network: Any, number: int) -> None:
    """Let a validator be unseen in a whole window of eight blocks, the next that begins."""
    others = [n for n in range(4) if n != number]
    network.advance_to(-(-network.height // 8) * 8)
    for _ in range(8):
        network.block(certificates=(network.certificate(crypto.Tag.NOTARIZE, others),))
    assert network.validator(number).standing == Standing.JAILED


def test_unjail_waits_for_its_time_and_the_minimum(network: Any) -> None:
    own = network.accounts[1]
    network.refuse("staking.not_jailed", 1, Unjail())
    network.refuse("staking.unknown_validator", 5, Unjail())
    jail(network, 1)
    release = network.height + 3
    assert network.validator(1).release_height == release
    network.refuse("staking.jail_lasts", 1, Unjail())
    network.accept(1, Undelegate(own, 951))
    assert network.height + 1 == release
    network.refuse("staking.self_bond_too_small", 1, Unjail())
    network.accept(1, Delegate(own, 1), Unjail())
    view = network.validator(1)
    assert (view.standing, view.release_height) == (Standing.ACTIVE, 0)
    assert network.height == 20, "a boundary: the set of epoch 4 was fixed before it was jailed"
    assert 1 in members(network, 4) and view.is_earning


def test_unjail_at_the_first_height_it_may(network: Any) -> None:
    jail(network, 1)
    network.advance_to(network.validator(1).release_height - 2)
    network.refuse("staking.jail_lasts", 1, Unjail())
    network.accept(1, Unjail())


def test_who_is_back_earns_once_it_is_a_member_again(network: Any) -> None:
    network.advance_to(8)
    jail(network, 1)  # height 16, the first of epoch 3; it sits in sets 3 and 4
    assert [1 in members(network, epoch) for epoch in (3, 4)] == [True, True]
    network.advance_to(20)
    assert 1 not in members(network, 5)
    assert not network.validator(1).is_earning
    network.accept(1, Unjail())
    network.advance_to(25)
    assert 1 in members(network, 6)
    assert not network.validator(1).is_earning, "it does not sit in set 5"
    network.advance_to(30)
    assert network.validator(1).is_earning


def test_jailed_stake_earns_nothing_and_delegators_may_leave(network: Any) -> None:
    network.accept(5, Delegate(network.accounts[1], 400))
    jail(network, 1)
    network.block(fees=30_000)
    views = staking.queries.delegations(network.context(), network.accounts[5])
    assert [view.rewards for view in views] == [0]
    network.accept(5, Redelegate(network.accounts[1], network.accounts[2], 400))
    assert bank.balance_of(network.state, staking.REWARDS) == 30_000
