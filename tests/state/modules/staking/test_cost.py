"""What a punishment costs does not depend on how many delegators it reaches."""

from typing import Any

import pytest

from state.codec import replace
from state.modules import bank, staking
from state.modules.staking.records import DELEGATIONS, Delegation
from state.modules.staking.shares import keep_validator, settled_validator


def crowd(network: Any, number: int, count: int) -> None:
    """Let so many accounts hold a grain each with a validator."""
    account = network.accounts[number]
    for index in range(count):
        delegator = index.to_bytes(20, "little")
        DELEGATIONS.put(network.state, (delegator, account), Delegation(1, 0, bytes(16), 0))
    row = settled_validator(network.state, account)
    grown = replace(row, stake=row.stake + count, shares=row.shares + count)
    keep_validator(network.state, account, grown)
    bank.move(network.state, network.accounts[-1], staking.BONDED, count)


@pytest.mark.parametrize("crowded", [0, 3_000])
def test_a_punishment_touches_as_few_rows_whoever_delegates(
    make_network: Any, crowded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows read and written, counted: the same for nobody and for thousands."""
    network = make_network()
    crowd(network, 1, crowded)
    touched: list[bytes] = []
    state = type(network.state)
    read, write, span = state.row, state.write, state.span
    monkeypatch.setattr(state, "row", lambda s, k, d: (touched.append(k), read(s, k, d))[1])
    monkeypatch.setattr(state, "write", lambda s, k, r: (touched.append(k), write(s, k, r))[1])

    def spanned(*args: Any) -> Any:
        for key, row in span(*args):
            touched.append(key)
            yield key, row

    monkeypatch.setattr(state, "span", spanned)
    evidence = network.double_vote(1)
    accused = staking.slashing.accused_by(network.state, network.params.staking, 1, evidence)
    touched.clear()
    staking.slashing.punish(network.context(), accused, network.accounts[5])
    assert network.validator(1).stake == (1_000 + crowded) * 95 // 100
    assert 5 < len(touched) < 40
