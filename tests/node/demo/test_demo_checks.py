"""The demo's checks bite: each is shown something right, then the same with one thing wrong."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from node.demo.checks.markets import budget_faults, quote_faults, role_faults
from node.demo.checks.money import (
    InsuranceBook,
    TraderBook,
    fees_by_account,
    money_faults,
    pnl_by_account,
    pnl_sum,
)
from node.demo.checks.settlement import ChainResult, cut_faults, price_faults, total_faults
from node.demo.checks.splits import Recipients, cut, split_faults
from node.demo.checks.supply import added_up
from node.demo.expected import Expected
from node.demo.plot import Moment
from node.demo.profile import SPLIT
from node.demo.verdict import Verdict
from state.maths import largest_remainder
from state.modules.bank import Holding, PotView, SupplyView
from state.modules.index import BucketView, WindowView
from state.modules.inference.receipts import Sums
from state.modules.models.records import PayeeKind
from state.modules.split import Credit, Payout
from state.params import SplitParams
from state.types import NATIVE

PARAMS = SplitParams(burn_bps=1_000, validators_bps=400, audit_bps=200, treasury_bps=400)
PEOPLE = Recipients(operator=b"o" * 20, developer=b"d" * 20, dataset_pool=b"p" * 20)


# --- splits -------------------------------------------------------------------------------------


def payout(gross: int) -> Payout:
    """The payout of 1,003 grains, worked out by hand: 100.3, 40.12, 20.06, 40.12, 802.4."""
    assert gross == 1_003
    credits = (
        Credit(PayeeKind.OPERATOR, PEOPLE.operator, 442),
        Credit(PayeeKind.DEVELOPER, PEOPLE.developer, 201),
        Credit(PayeeKind.DATASET, PEOPLE.dataset_pool, 160),
    )
    return Payout(1_003, 100, 40, 20, 40, credits)


def test_a_payout_worked_out_by_hand_passes() -> None:
    assert not list(split_faults(payout(1_003), 1_003, PARAMS, SPLIT, PEOPLE))


@pytest.mark.parametrize(
    "wrong",
    [
        {"burn": 99, "treasury": 41},
        {"gross": 1_004},
        {"credits": ()},
        {"credits": (Credit(PayeeKind.OPERATOR, PEOPLE.operator, 803),)},
    ],
)
def test_a_payout_with_a_grain_in_the_wrong_place_is_caught(wrong: dict[str, object]) -> None:
    assert list(split_faults(changed(payout(1_003), **wrong), 1_003, PARAMS, SPLIT, PEOPLE))


def test_the_right_amount_to_the_wrong_account_is_caught() -> None:
    thief = replace(PEOPLE, operator=b"t" * 20)
    assert list(split_faults(payout(1_003), 1_003, PARAMS, SPLIT, thief))


@given(st.integers(0, 10**18), st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_fractions_and_the_chains_integers_cut_alike(amount: int, weights: list[int]) -> None:
    weights[0] += 1
    assert cut(amount, weights) == largest_remainder(amount, weights)
    assert sum(cut(amount, weights)) == amount


# --- settlement ---------------------------------------------------------------------------------

EXPECTED = Expected(3, 900, 50, 40, 10_550, (500, 560), 1)
BUCKETS = tuple(
    BucketView(8 + place, units, units, units, 1, 0) for place, units in enumerate((500, 560))
)
RESULT = ChainResult(Sums(3, 900, 50, 40, 10_550), WindowView(1_060, 1, 0, 0, BUCKETS), 1, 1_060)


def test_totals_and_price_of_the_trace_pass() -> None:
    assert not list(total_faults(EXPECTED, RESULT.paid))
    assert not list(price_faults(EXPECTED, RESULT))
    assert not list(cut_faults(RESULT.window))


@pytest.mark.parametrize("field", ["calls", "tokens_in", "tokens_cached", "tokens_out", "amount"])
def test_a_total_that_is_off_by_one_is_caught(field: str) -> None:
    paid = changed(RESULT.paid, **{field: getattr(RESULT.paid, field) + 1})
    assert len(list(total_faults(EXPECTED, paid))) == 1


@pytest.mark.parametrize(
    "result",
    [
        replace(RESULT, settlement_price=2),
        replace(RESULT, settlement_units=1_061),
        replace(RESULT, window=changed(RESULT.window, units=1_059)),
        replace(RESULT, window=changed(RESULT.window, buckets=BUCKETS[::-1])),
    ],
)
def test_a_wrong_price_index_or_bucket_is_caught(result: ChainResult) -> None:
    assert list(price_faults(EXPECTED, result))


def test_anything_cut_off_the_index_is_caught() -> None:
    assert list(cut_faults(changed(RESULT.window, cap_hits=1)))
    assert list(cut_faults(changed(RESULT.window, winsor_hits=1)))


# --- money --------------------------------------------------------------------------------------

WINNER = TraderBook("buyer", 1_240, 1_000, 0, 10, 0, 10, 0)
LOSER = TraderBook("seller", 640, 1_000, 100, 20, 0, 20, 0)
"""Lost 240, paid 20 of fees, and withdrew 100."""

NO_LOSSES = InsuranceBook(before=500, after=515, fees=15)


def test_profits_losses_and_fees_add_up_to_zero() -> None:
    books = [WINNER, LOSER]
    assert pnl_by_account([WINNER, WINNER, LOSER]) == {"buyer": 500, "seller": -240}
    assert fees_by_account(books) == {"buyer": 10, "seller": 20}
    assert pnl_sum([replace(WINNER, cash=1_230), LOSER], NO_LOSSES) == 0
    assert not list(money_faults([replace(WINNER, cash=1_230), LOSER], NO_LOSSES))


def test_a_loss_that_insurance_paid_and_a_liquidation_fee_are_part_of_the_sum() -> None:
    books = [replace(WINNER, cash=1_230), replace(LOSER, cash=630, liquidation_fees=10)]
    assert pnl_sum(books, NO_LOSSES) == 0
    books = [replace(WINNER, cash=1_237), LOSER]
    assert pnl_sum(books, replace(NO_LOSSES, after=508)) == 0


@pytest.mark.parametrize(
    ("winner", "insurance"),
    [
        (replace(WINNER, cash=1_231), NO_LOSSES),
        (replace(WINNER, cash=1_230, open_lots=1), NO_LOSSES),
        (replace(WINNER, cash=1_230, fees_of_fills=9), NO_LOSSES),
        (replace(WINNER, cash=1_230), replace(NO_LOSSES, after=514)),
    ],
)
def test_a_missing_grain_an_open_lot_or_an_unknown_fee_is_caught(
    winner: TraderBook, insurance: InsuranceBook
) -> None:
    assert list(money_faults([winner, LOSER], insurance))


# --- supply -------------------------------------------------------------------------------------

SUPPLY = SupplyView(NATIVE, 1_000, 10, 60, 950, 300)
POTS = [PotView("a.one", b"1" * 20, NATIVE, 100), PotView("b.two", b"2" * 20, NATIVE, 200)]
HOLDINGS = [
    Holding(b"1" * 20, NATIVE, 100),
    Holding(b"2" * 20, NATIVE, 200),
    Holding(b"3" * 20, NATIVE, 650),
    Holding(b"3" * 20, "other", 7),
]


def test_balances_and_pots_that_make_up_the_supply_pass() -> None:
    assert not list(added_up(SUPPLY, POTS, HOLDINGS))


@pytest.mark.parametrize(
    ("supply", "pots", "holdings"),
    [
        (changed(SUPPLY, burned=59), POTS, HOLDINGS),
        (SUPPLY, POTS[:1], HOLDINGS),
        (SUPPLY, POTS, HOLDINGS[:-2]),
        (SUPPLY, [POTS[0], changed(POTS[1], address=b"9" * 20)], HOLDINGS),
    ],
)
def test_a_grain_too_many_or_a_pot_nobody_lists_is_caught(
    supply: SupplyView, pots: list[PotView], holdings: list[Holding]
) -> None:
    assert list(added_up(supply, pots, holdings))


# --- markets ------------------------------------------------------------------------------------


def test_quotes_have_to_be_seen_on_both_sides_at_every_height() -> None:
    assert not list(quote_faults(5, 7, [5, 6, 7], []))
    assert "empty at 1 heights, first at 6" in " ".join(quote_faults(5, 7, [5, 7], [6]))
    assert "not seen at 2 of 3 heights, first at 5" in " ".join(quote_faults(5, 7, [6], []))


def test_open_interest_over_the_budget_is_caught_by_height() -> None:
    moments = [Moment(height, 0, 1, None, 0, lots) for height, lots in ((1, 9), (2, 10), (3, 11))]
    assert not list(budget_faults(moments, 11))
    assert list(budget_faults(moments, 10)) == ["11 lots were open at height 3; the budget is 10"]


def test_a_role_without_fills_is_caught() -> None:
    assert not list(role_faults("chat", {"a": 1, "b": 2}, ["a", "b"]))
    assert len(list(role_faults("chat", {"a": 1, "b": 0}, ["a", "b", "c"]))) == 2


def test_a_verdict_names_what_failed_and_shortens_long_lists() -> None:
    verdict = Verdict()
    verdict.judge("good", [])
    verdict.judge("bad", (f"fault {number}" for number in range(5)))
    assert verdict.checks == {"good": True, "bad": False}
    assert verdict.failures == {"bad": "fault 0; fault 1; fault 2 (and 2 more)"}
