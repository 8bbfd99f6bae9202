"""Every invariant of staking bites: a state that breaks one of them alone is found by it."""

from collections.abc import Callable
from typing import Any

import pytest

from state.codec import replace
from state.errors import InvariantBroken
from state.execute import assert_invariants
from state.modules import bank, staking
from state.modules.staking import Delegate, Redelegate, Undelegate
from state.modules.staking.records import (
    KEYS,
    RANKS,
    REDELEGATIONS,
    SETS,
    SLASHES,
    TOTALS,
    VALIDATORS,
    EpochSet,
    KeyUse,
    Standing,
)


def _edit(network: Any, **changes: Any) -> None:
    account = network.accounts[1]
    row = VALIDATORS.require(network.state, account)
    VALIDATORS.put(network.state, account, replace(row, **changes))


def _double_redelegation(network: Any) -> None:
    ((key, row),) = REDELEGATIONS.scan(network.state)
    REDELEGATIONS.put(network.state, key, replace(row, shares=row.shares + 1))


def _sit_in_jail(network: Any) -> None:
    network.advance_to(10)
    members = staking.members_of(network.state, 3)
    SETS.put(network.state, 3, EpochSet(members[1:]))
    _edit(network, standing=Standing.JAILED, earning=False)


def _totals(network: Any, **changes: int) -> None:
    row = TOTALS.require(network.state, 0)
    TOTALS.put(network.state, 0, replace(row, **changes))


BREACHES: dict[str, Callable[[Any], None]] = {
    "The bonded pot holds": lambda n: bank.move(n.state, n.accounts[5], staking.BONDED, 1),
    "holds a validator that is jailed": _sit_in_jail,
    "shares": lambda n: _edit(n, shares=1_001),
    "worth more than a grain": lambda n: _edit(n, stake=999),
    "slashed and not out": lambda n: _edit(n, standing=Standing.TOMBSTONED),
    "the stake that earns": lambda n: _totals(n, earning=1),
    "less than was redelegated": _double_redelegation,
    "rewards pot": lambda n: bank.move(n.state, staking.REWARDS, n.accounts[5], 1),
    "unbonding pot": lambda n: bank.move(n.state, staking.UNBONDING, n.accounts[5], 1),
    "ranks": lambda n: RANKS.delete(n.state, next(RANKS.scan(n.state))[0]),
    "key is not entered": lambda n: KEYS.put(n.state, n.public_key(1), KeyUse(n.accounts[2])),
}


@pytest.mark.parametrize("sentence", list(BREACHES))
def test_a_breach_is_found(network: Any, sentence: str) -> None:
    one, two = network.accounts[1:3]
    network.accept(5, Delegate(one, 100), Redelegate(one, two, 40), Undelegate(one, 10))
    network.block(fees=4_090)
    assert_invariants(network.context(), every=True)
    BREACHES[sentence](network)
    with pytest.raises(InvariantBroken, match=sentence):
        assert_invariants(network.context(), every=True)


def test_a_slash_without_its_validator_out_is_found(network: Any) -> None:
    network.block(evidence=(network.double_vote(1),))
    SLASHES.delete(network.state, network.accounts[1])
    with pytest.raises(InvariantBroken, match="out and not slashed"):
        assert_invariants(network.context(), every=True)
