"""Prices: posted once, numbered, effective later, and charged with one rounding."""

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import NotFound
from state.modules.models import prices, queries
from state.modules.models.prices import PostPrice, Price
from state.modules.models.records import Operation, Status
from state.modules.models.txs import AdmitOperator, SetStatus
from state.types import ZERO_ADDRESS


def test_a_price_names_its_operator_and_takes_effect_later(catalogue: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1)
    events = chain.accept(PostPrice(model, 1, 5, 1, 20, 3), by=2)
    effective = chain.height + chain.genesis.params.assets.price_delay_blocks
    assert events == [["models.price_posted", model, 1, 1, chain.address(2), effective]]
    found = prices.price_of(chain.state, model, 1, 1)
    assert found == Price(chain.address(2), 5, 1, 20, 3, effective)


def test_prices_are_numbered_by_version_and_never_change(
    catalogue: Any, version_message: Any
) -> None:
    chain, model, other = catalogue.chain, catalogue.model(1), catalogue.model(1)
    chain.accept(version_message(model), by=1)
    chain.accept(PostPrice(model, 1, 5, 1, 20), by=2)
    first = chain.query(queries.price, model, 1, 1)
    chain.accept(PostPrice(model, 1, 6, 1, 20), PostPrice(model, 1, 7, 1, 20), by=3)
    chain.accept(PostPrice(model, 2, 8, 1, 20), PostPrice(other, 1, 9, 1, 20), by=2)
    assert chain.query(queries.price, model, 1, 1) == first
    listed = chain.query(queries.prices, model, 1)
    assert [(view.price_id, view.price.in_) for view in listed] == [(1, 5), (2, 6), (3, 7)]
    assert [view.price_id for view in chain.query(queries.prices, model, 1, 2)] == [3]
    assert chain.query(queries.price, model, 2, 1).in_ == 8
    assert chain.query(queries.price, other, 1, 1).in_ == 9
    for missing in ((model, 1, 0), (model, 1, 4), (model, 3, 1)):
        with pytest.raises(NotFound) as refusal:
            prices.price_of(chain.state, *missing)
        assert refusal.value.code == "models.unknown_price"


def test_only_listed_models_are_offered(catalogue: Any, version_message: Any) -> None:
    chain, model = catalogue.chain, catalogue.draft(1)
    chain.refuse("models.unknown", PostPrice(model, 1, 5, 1, 20), by=2)
    chain.accept(version_message(model), by=1)
    chain.refuse("models.not_listed", PostPrice(model, 1, 5, 1, 20), by=2)
    chain.accept(SetStatus(model, Status.LISTED), by=1)
    chain.accept(PostPrice(model, 1, 5, 1, 20), by=2)
    chain.refuse("models.unknown", PostPrice(model, 2, 5, 1, 20), by=2)
    chain.accept(SetStatus(model, Status.RETIRED), by=1)
    chain.refuse("models.retired", PostPrice(model, 1, 5, 1, 20), by=2)
    assert prices.price_of(chain.state, model, 1, 1).in_ == 5


def test_a_closed_model_is_offered_by_whom_its_owner_admits(catalogue: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1, operation=Operation.ADMITTED)
    chain.refuse("models.not_admitted", PostPrice(model, 1, 5, 1, 20), by=2)
    chain.accept(PostPrice(model, 1, 5, 1, 20), by=1)
    chain.accept(AdmitOperator(model, chain.address(2)), by=1)
    chain.accept(PostPrice(model, 1, 5, 1, 20), by=2)
    chain.accept(AdmitOperator(model, chain.address(2), False), by=1)
    chain.refuse("models.not_admitted", PostPrice(model, 1, 5, 1, 20), by=2)


def test_the_cost_query_charges_tokens_and_call(catalogue: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1)
    number = catalogue.price(model, 2, 5_000_000_000, 500_000_000, 20_000_000_000, 11)
    found = chain.query(queries.cost, model, 1, number, 374, 100, 44)
    assert found.grains == 374 * 5_000 + 100 * 500 + 44 * 20_000 + 11


tokens = st.integers(0, 2**32 - 1)
amounts = st.one_of(st.integers(0, 10), st.integers(0, 2**63 - 1))


@given(asked=st.tuples(amounts, amounts, amounts, amounts), used=st.tuples(tokens, tokens, tokens))
def test_the_cost_equals_the_fraction_rounded_up_once(
    asked: tuple[int, int, int, int], used: tuple[int, int, int]
) -> None:
    price = Price(ZERO_ADDRESS, *asked, 0)
    exact = sum(
        (Fraction(count * grains, 10**6) for count, grains in zip(used, asked[:3], strict=True)),
        Fraction(0),
    )
    assert prices.cost(price, *used) == ceil(exact) + asked[3]
