"""Bonds: in, out after the delay, and never out of a slash's reach before."""

from typing import Any

from state.modules import bank
from state.modules.inference import queries
from state.modules.inference.bonds import OperatorBond, OperatorUnbond, bonded
from state.modules.inference.disputes import ProveEquivocation, SignedResponse
from state.modules.inference.records import Bond

OPERATOR, PAYER = 2, 3
DELAY = 12


def balance(shop: Any, account: int) -> int:
    return bank.balance_of(shop.chain.state, shop.chain.address(account))


def equivocation(shop: Any, seq: int) -> ProveEquivocation:
    request = shop.request(seq)
    shown = []
    for tokens in ((1, 0, 0), (2, 0, 0)):
        response = shop.response(request, tokens)
        signature = shop.sign(OPERATOR, response.digest(shop.network))
        shown.append(SignedResponse(request, response, signature))
    accusation: ProveEquivocation = shop.accuse(shown[0], shown[1])
    return accusation


def test_a_bond_comes_back_after_the_delay(shop: Any) -> None:
    shop.chain.accept(OperatorBond(100), OperatorBond(20), by=OPERATOR)
    shop.chain.accept(OperatorUnbond(50), by=OPERATOR)
    height = shop.chain.height
    assert bonded(shop.chain.state, shop.operator) == 70
    before = balance(shop, OPERATOR)
    shop.chain.end_block(DELAY - 1)
    assert balance(shop, OPERATOR) == before
    shop.chain.end_block()
    assert shop.chain.height == height + DELAY
    assert balance(shop, OPERATOR) == before + 50
    assert shop.chain.query(queries.bond, shop.operator) == Bond(70, 0, 0)


def test_one_unbonding_at_a_time_and_never_more_than_the_bond(shop: Any) -> None:
    shop.chain.accept(OperatorBond(100), by=OPERATOR)
    shop.chain.refuse("inference.bond_too_small", OperatorUnbond(101), by=OPERATOR)
    shop.chain.accept(OperatorUnbond(100), by=OPERATOR)
    shop.chain.refuse("inference.unbonding_under_way", OperatorUnbond(1), by=OPERATOR)
    shop.chain.end_block(DELAY)
    shop.chain.accept(OperatorBond(1), OperatorUnbond(1), by=OPERATOR)


def test_a_slash_reaches_coins_on_their_way_out(shop: Any) -> None:
    shop.chain.accept(OperatorBond(1_000), OperatorUnbond(900), by=OPERATOR)
    shop.chain.accept(equivocation(shop, 1), by=PAYER)
    assert shop.chain.query(queries.bond, shop.operator).bonded == 0
    assert shop.chain.query(queries.bond, shop.operator).unbonding == 800
    shop.chain.accept(equivocation(shop, 2), by=PAYER)
    before = balance(shop, OPERATOR)
    shop.chain.end_block(DELAY)
    assert balance(shop, OPERATOR) == before + 640


def test_a_fault_without_a_bond_is_recorded(shop: Any) -> None:
    shop.chain.accept(equivocation(shop, 1), by=PAYER)
    assert shop.chain.query(queries.fault, shop.channel_id, 0, 1).slashed
