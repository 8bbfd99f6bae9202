"""Split: every grain of a payment goes where the table says, against fractions."""

from fractions import Fraction
from math import floor
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.codec import replace
from state.context import BlockContext
from state.modules import bank, datasets, split
from state.modules.chain import FEES
from state.modules.datasets.queries import pool as pool_of
from state.modules.datasets.records import POOLS
from state.modules.models import queries
from state.modules.models.records import (
    WHOLE,
    DatasetRelation,
    DatasetUse,
    Parent,
    ParentRelation,
    Payee,
    PayeeKind,
    Split,
    Status,
)
from state.modules.models.txs import AcceptModel, SetStatus, TransferModel
from state.modules.split import shares
from state.params import SplitParams
from state.types import INT_MAX, ZERO_ADDRESS, ZERO_HASH


def hamilton(amount: int, weights: list[int]) -> list[int]:
    """Largest remainder by exact fractions, one unit at a time; written apart from maths.py."""
    total = sum(weights)
    exact = [Fraction(amount * weight, total) for weight in weights]
    parts = [floor(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda at: (parts[at] - exact[at], at))
    for at in order[: amount - sum(parts)]:
        parts[at] += 1
    return parts


def table(weights: list[int]) -> list[Payee]:
    return [Payee(PayeeKind.ANCESTOR, ZERO_HASH, 0, weight) for weight in weights]


cuts = st.lists(st.integers(0, 500), min_size=4, max_size=4)
grains = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))


@st.composite
def weights_of_whole(draw: st.DrawFn) -> list[int]:
    """Weights that sum to at most WHOLE; what is missing has no recipient."""
    left, found = WHOLE, []
    for _ in range(draw(st.integers(1, 12))):
        weight = draw(st.integers(0, left))
        found.append(weight)
        left -= weight
    if draw(st.booleans()):
        found[-1] += left
    return found


@given(gross=grains, cut=cuts, weights=weights_of_whole())
def test_shares_equal_the_reference_and_sum_exactly(
    gross: int, cut: list[int], weights: list[int]
) -> None:
    found = shares(gross, SplitParams(*cut), table(weights))
    *kept, net = hamilton(gross, [*cut, 10_000 - sum(cut)])
    *parts, orphaned = hamilton(net, [*weights, WHOLE - sum(weights)])
    assert [found.burn, found.validators, found.audit] == kept[:3]
    assert found.treasury == kept[3] + orphaned
    assert list(found.parts) == parts
    everything = found.burn + found.validators + found.audit + found.treasury + sum(found.parts)
    assert everything == gross


def test_ties_go_to_the_lower_row() -> None:
    third = WHOLE // 4
    found = shares(7, SplitParams(0, 0, 0, 0), table([third] * 4))
    assert found.parts == (2, 2, 2, 1)
    assert shares(2, SplitParams(0, 0, 0, 0), table([third] * 4)).parts == (1, 1, 0, 0)


def test_the_golden_split_of_the_design() -> None:
    """One SAHARA at the default cut, over operator 5500, developer 2500, data 1500, parents 500."""
    found = shares(10**9 + 7, SplitParams(), table([55_000_000, 25_000_000, 15_000_000, 5_000_000]))
    assert (found.burn, found.validators, found.audit, found.treasury) == (
        20_000_000,
        40_000_000,
        20_000_000,
        20_000_000,
    )
    assert found.parts == (495_000_004, 225_000_002, 135_000_001, 45_000_000)


def test_nothing_is_split_into_nothing() -> None:
    found = shares(0, SplitParams(), table([WHOLE]))
    assert (found.burn, found.treasury, found.parts) == (0, 0, (0,))


def test_what_no_row_takes_goes_to_the_treasury() -> None:
    found = shares(1_000, SplitParams(0, 0, 0, 100), table([WHOLE // 2]))
    assert found.parts == (495,)
    assert found.treasury == 10 + 495


ESCROW = bank.pot("test.escrow")


def family(catalogue: Any) -> tuple[bytes, bytes]:
    """Register a model of account 2 that pays every kind of payee; return it and its dataset."""
    base = catalogue.model(1, derivative_bps=300)
    dataset = catalogue.dataset(4, [(4, 1)])
    child = catalogue.model(
        2,
        Split(5_500, 2_700, 1_500, 300),
        parents=[Parent(base, 1, ParentRelation.DISTILLED_FROM)],
        datasets=[DatasetUse(dataset, 1, DatasetRelation.TRAINED_ON, 10_000)],
    )
    return child, dataset


def context(chain: Any) -> BlockContext:
    return BlockContext(
        chain.state,
        chain.height + 1,
        0,
        chain.genesis.params,
        chain.genesis.hash,
        ZERO_ADDRESS,
        ZERO_HASH,
    )


def holdings(chain: Any) -> dict[bytes, int]:
    places = [ESCROW, FEES, split.AUDIT, split.TREASURY, datasets.POOL, *chain.addresses]
    return {place: bank.balance_of(chain.state, place) for place in places}


@settings(max_examples=50)
@given(gross=st.one_of(st.integers(0, 200), st.integers(0, 10**14)))
def test_paying_moves_exactly_the_shares(gross: int, make_chain: Any, make_catalogue: Any) -> None:
    chain = make_chain()
    child, dataset = family(make_catalogue(chain))
    bank.move(chain.state, chain.address(7), ESCROW, gross + 5)
    before, supply = holdings(chain), chain.query(bank.supply)
    payout = split.pay(context(chain), ESCROW, gross, child, 1, chain.address(5))
    share = shares(gross, SplitParams(), chain.query(queries.version, child, 1).payees)
    operator, developer, data, ancestor = share.parts
    moved = {place: held - before[place] for place, held in holdings(chain).items()}
    assert {place: change for place, change in moved.items() if change} == {
        place: change
        for place, change in {
            ESCROW: -gross,
            FEES: share.validators,
            split.AUDIT: share.audit,
            split.TREASURY: share.treasury,
            datasets.POOL: data,
            chain.address(5): operator,
            chain.address(2): developer,
            chain.address(1): ancestor,
        }.items()
        if change
    }
    after = chain.query(bank.supply)
    assert supply.total - after.total == share.burn == payout.burn
    assert [credit.amount for credit in payout.credits] == list(share.parts)
    assert chain.query(pool_of, dataset, 1).received == data
    chain.end_block()


def test_owners_of_now_are_paid_and_retired_models_settle(catalogue: Any) -> None:
    chain = catalogue.chain
    child, _ = family(catalogue)
    chain.accept(TransferModel(child, chain.address(6)), by=2)
    chain.accept(AcceptModel(child), by=6)
    chain.accept(SetStatus(child, Status.RETIRED), by=6)
    bank.move(chain.state, chain.address(7), ESCROW, 10_000)
    before = bank.balance_of(chain.state, chain.address(6))
    payout = split.pay(context(chain), ESCROW, 10_000, child, 1, chain.address(5))
    assert bank.balance_of(chain.state, chain.address(6)) - before == 2_430
    assert [(credit.kind, credit.recipient) for credit in payout.credits] == [
        (PayeeKind.OPERATOR, chain.address(5)),
        (PayeeKind.DEVELOPER, chain.address(6)),
        (PayeeKind.DATASET, datasets.POOL),
        (PayeeKind.ANCESTOR, chain.address(1)),
    ]


def test_one_account_in_many_roles_gets_the_sum(catalogue: Any) -> None:
    chain = catalogue.chain
    model = catalogue.model(2)
    bank.move(chain.state, chain.address(7), ESCROW, 10_000)
    before = bank.balance_of(chain.state, chain.address(2))
    split.pay(context(chain), ESCROW, 10_000, model, 1, chain.address(2))
    assert bank.balance_of(chain.state, chain.address(2)) - before == 9_000


def test_a_part_that_a_full_pool_cannot_take_goes_to_the_treasury(catalogue: Any) -> None:
    chain = catalogue.chain
    child, dataset = family(catalogue)
    pool = POOLS.require(chain.state, (dataset, 1))
    full = replace(pool, received=INT_MAX, claimed=INT_MAX)
    POOLS.put(chain.state, (dataset, 1), full)
    bank.move(chain.state, chain.address(7), ESCROW, 10_000)
    payout = split.pay(context(chain), ESCROW, 10_000, child, 1, chain.address(5))
    assert payout.treasury == 200 + 1_350
    assert (payout.credits[2].recipient, payout.credits[2].amount) == (split.TREASURY, 0)
    assert bank.balance_of(chain.state, split.TREASURY) == 1_550
    assert bank.balance_of(chain.state, ESCROW) == 0
    chain.end_block()
