"""Bank: coins move, burn and are refused, and never come from nowhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import ValidationError, convert

from state.block import Status
from state.context import BlockContext
from state.errors import InvariantBroken, Malformed, NotFound
from state.execute import apply_genesis, assert_invariants
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import bank
from state.modules.bank import Burn, Transfer
from state.params import Params
from state.tables import Base
from state.types import NATIVE, ZERO_ADDRESS, ZERO_HASH, Denom


def context(chain: Any) -> BlockContext:
    return BlockContext(
        chain.state,
        chain.height,
        0,
        chain.genesis.params,
        chain.genesis.hash,
        ZERO_ADDRESS,
        ZERO_HASH,
    )


def test_a_transfer_moves_exactly_the_amount(chain: Any) -> None:
    before = bank.balance_of(chain.state, chain.address(2))
    events = chain.accept(Transfer(chain.address(2), 7, memo=b"rent"), by=1)
    assert bank.balance_of(chain.state, chain.address(2)) == before + 7
    assert events == [
        ["bank.transferred", chain.address(1), chain.address(2), NATIVE, 7],
    ]


def test_the_sender_pays_amount_and_fee(chain: Any) -> None:
    before = bank.balance_of(chain.state, chain.address(1))
    outcome = chain.submit(Transfer(chain.address(2), 7), by=1)
    assert bank.balance_of(chain.state, chain.address(1)) == before - 7 - outcome.fee


def test_more_than_the_balance_is_refused_and_only_the_fee_is_gone(chain: Any) -> None:
    held = bank.balance_of(chain.state, chain.address(1))
    outcome = chain.submit(Transfer(chain.address(2), held), by=1)
    assert (outcome.status, outcome.code) == (Status.FAILED, "bank.insufficient_funds")
    assert bank.balance_of(chain.state, chain.address(1)) == held - outcome.fee


def test_a_failing_message_takes_the_others_back(chain: Any) -> None:
    before = bank.balance_of(chain.state, chain.address(2))
    chain.refuse(
        "bank.insufficient_funds",
        Transfer(chain.address(2), 5),
        Transfer(chain.address(3), 2**62),
        by=1,
    )
    assert bank.balance_of(chain.state, chain.address(2)) == before


def test_a_transfer_to_oneself_changes_nothing(chain: Any) -> None:
    held = bank.balance_of(chain.state, chain.address(1))
    outcome = chain.submit(Transfer(chain.address(1), 5), by=1)
    assert bank.balance_of(chain.state, chain.address(1)) == held - outcome.fee


@pytest.mark.parametrize("recipient", [ZERO_ADDRESS, bank.pot("chain.fees")])
def test_nobody_sends_to_an_address_without_a_key(recipient: bytes) -> None:
    with pytest.raises(bank.PotIsClosed):
        Transfer(recipient, 1).check()


def test_an_unknown_denomination_is_an_empty_balance(chain: Any) -> None:
    chain.refuse("bank.insufficient_funds", Transfer(chain.address(2), 1, "gold"), by=1)
    with pytest.raises(NotFound):
        chain.query(bank.supply, "gold")


@pytest.mark.parametrize("denom", ["", "Gold", "gold coin", "x" * 33, "gold\n"])
def test_a_denomination_is_lower_case_and_short(denom: str) -> None:
    with pytest.raises(ValidationError):
        convert(denom, Denom)


def test_burning_lowers_the_supply(chain: Any) -> None:
    before = chain.query(bank.supply)
    events = chain.accept(Burn(1_000), by=1)
    after = chain.query(bank.supply)
    assert events == [["bank.burned", chain.address(1), NATIVE, 1_000]]
    # Half of the fee burns as well; without the message nothing else would.
    assert before.total - after.total >= 1_000
    chain.refuse("bank.insufficient_funds", Burn(2**62), by=1)


def test_balances_page_by_page_add_up_to_the_supply(chain: Any) -> None:
    chain.accept(Transfer(chain.address(2), 5), by=1)
    supply = chain.query(bank.supply)
    found: list[bank.Holding] = []
    while page := chain.query(bank.balances, *_last(found), 3):
        assert len(page) <= 3
        found += page
    assert found == sorted(found, key=lambda holding: (holding.address, holding.denom))
    assert sum(holding.amount for holding in found if holding.denom == NATIVE) == supply.total
    assert {holding.address for holding in found} >= {pot.address for pot in chain.query(bank.pots)}
    for limit in (0, bank.HOLDINGS_MAX + 1):
        with pytest.raises(Malformed, match="1 to 1000"):
            chain.query(bank.balances, ZERO_ADDRESS, "", limit)
    with pytest.raises(Malformed, match="after_denom"):
        chain.query(bank.balances, ZERO_ADDRESS, "x" * 256, 3)


def _last(found: "list[bank.Holding]") -> tuple[bytes, str]:
    return (found[-1].address, found[-1].denom) if found else (ZERO_ADDRESS, "")


def test_the_supply_query_adds_up_the_pots(chain: Any) -> None:
    chain.accept(Transfer(chain.address(2), 5), by=1)
    supply = chain.query(bank.supply)
    assert supply.genesis == 8 * 10**15
    pots = sum(pot.amount for pot in chain.query(bank.pots) if pot.denom == NATIVE)
    assert supply.pots == pots
    assert supply.total == supply.genesis + supply.minted - supply.burned


def test_two_denominations_do_not_mix() -> None:
    one, two = bytes([1]) * 20, bytes([2]) * 20
    layer = apply_genesis(
        Base(_Empty()), _genesis(Allocation(one, 10**12), Allocation(two, 9, "gold"))
    )
    bank.move(layer, two, one, 4, "gold")
    assert bank.balance_of(layer, one) == 10**12 - 10**9  # the stake of the validator is bonded
    assert bank.balance_of(layer, one, "gold") == 4
    with pytest.raises(bank.InsufficientFunds):
        bank.move(layer, two, one, 6, "gold")
    assert bank.balance_of(layer, two, "gold") == 5


def test_genesis_refuses_to_fund_an_address_twice() -> None:
    one = bytes([1]) * 20
    with pytest.raises(Malformed, match="twice"):
        apply_genesis(Base(_Empty()), _genesis(Allocation(one, 10**12), Allocation(one, 5)))


def test_coins_from_nowhere_break_the_invariant(chain: Any) -> None:
    bank.credit(chain.state, chain.address(1), 1)
    with pytest.raises(InvariantBroken, match="supply"):
        assert_invariants(context(chain), every=True)


def test_minting_is_accounted_for(chain: Any) -> None:
    bank.mint(chain.state, chain.address(1), 12, "gold")
    bank.burn(chain.state, chain.address(1), 5, "gold")
    assert_invariants(context(chain), every=True)
    supply = chain.query(bank.supply, "gold")
    assert (supply.genesis, supply.minted, supply.burned, supply.total) == (0, 12, 5, 7)


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["move", "burn", "mint"]),
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(0, 50),
        ),
        max_size=40,
    )
)
def test_balances_equal_a_dictionary(steps: list[tuple[str, int, int, int]]) -> None:
    """Any order of moves, burns and mints gives what four plain integers give."""
    accounts = [bytes([number]) * 20 for number in range(1, 5)]
    layer = apply_genesis(Base(_Empty()), _genesis(Allocation(accounts[0], 10**9 + 100)))
    mirror = {account: bank.balance_of(layer, account) for account in accounts}
    for kind, left, right, amount in steps:
        sender, recipient = accounts[left], accounts[right]
        if kind == "mint":
            bank.mint(layer, recipient, amount)
            mirror[recipient] += amount
        elif mirror[sender] < amount:
            with pytest.raises(bank.InsufficientFunds):
                bank.move(layer, sender, recipient, amount)
        elif kind == "burn":
            bank.burn(layer, sender, amount)
            mirror[sender] -= amount
        else:
            bank.move(layer, sender, recipient, amount)
            mirror[sender] -= amount
            mirror[recipient] += amount
        assert mirror == {account: bank.balance_of(layer, account) for account in accounts}


class _Empty:
    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Any:
        return iter(())


def _genesis(*allocations: Allocation) -> Genesis:
    validator = GenesisValidator(bytes([3]) * 32, allocations[0].address, 10**9)
    return Genesis("test", 0, Params(), allocations, (validator,))
