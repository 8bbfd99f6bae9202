"""Datasets: register, append, hand over, offer and subscribe."""

from typing import Any

import pytest
from msgspec import ValidationError, convert

from state.errors import NotFound
from state.modules import bank, datasets
from state.modules.assets import asset_id
from state.modules.datasets import queries
from state.modules.datasets.records import Language, PositiveCount, PositiveWeight
from state.modules.datasets.txs import (
    AcceptDataset,
    AppendDataset,
    OfferSubscription,
    RegisterDataset,
    SubscribeDataset,
    TransferDataset,
)


def test_a_dataset_is_registered_and_found_by_its_root(catalogue: Any) -> None:
    chain = catalogue.chain
    content = catalogue.content([(3, 5)], languages=("en", "zh-Hant"))
    events = chain.accept(RegisterDataset(content), by=1)
    dataset = asset_id(chain.address(1), 1, 0)
    assert events == [["datasets.registered", dataset, 1, content.root, chain.address(1)]]
    row = chain.query(queries.dataset, dataset)
    assert (row.title.owner, row.versions, row.created_height) == (chain.address(1), 1, 1)
    assert chain.query(queries.version, dataset, 1).content == content
    found = chain.query(queries.by_root, content.root)
    assert (found.dataset, found.version) == (dataset, 1)
    assert [ref.dataset for ref in chain.query(queries.owned, chain.address(1))] == [dataset]


def test_a_duplicate_root_is_refused_whoever_brings_it(catalogue: Any) -> None:
    chain = catalogue.chain
    content = catalogue.content([(3, 5)])
    chain.accept(RegisterDataset(content), by=1)
    dataset = asset_id(chain.address(1), 1, 0)
    sentence = chain.refuse("datasets.duplicate_root", RegisterDataset(content), by=2)
    assert dataset.hex() in sentence
    chain.refuse("datasets.duplicate_root", AppendDataset(dataset, content), by=1)
    fresh = RegisterDataset(catalogue.content([(3, 5)]))
    chain.refuse("datasets.duplicate_root", fresh, fresh, by=2)
    assert chain.query(queries.owned, chain.address(2)) == []
    assert chain.query(queries.dataset, dataset).versions == 1


def test_versions_follow_each_other_and_stay(catalogue: Any) -> None:
    chain, dataset = catalogue.chain, catalogue.dataset(1)
    first = chain.query(queries.version, dataset, 1)
    catalogue.append(dataset, 1, [(2, 7)])
    assert chain.query(queries.version, dataset, 1) == first
    assert chain.query(queries.dataset, dataset).versions == 2
    assert chain.query(queries.version, dataset, 2).content.total_weight == 7
    chain.refuse("assets.not_owner", AppendDataset(dataset, catalogue.content([(2, 7)])), by=2)
    for missing in ((dataset, 0), (dataset, 3), (bytes(32), 1)):
        with pytest.raises(NotFound) as refusal:
            datasets.version_of(chain.state, *missing)
        assert refusal.value.code == "datasets.unknown"


def test_a_dataset_changes_hands_in_two_steps(catalogue: Any) -> None:
    chain, dataset = catalogue.chain, catalogue.dataset(1)
    chain.refuse("assets.not_owner", TransferDataset(dataset, chain.address(2)), by=2)
    chain.accept(TransferDataset(dataset, chain.address(2)), by=1)
    assert chain.query(queries.dataset, dataset).title.owner == chain.address(1)
    chain.refuse("assets.not_offered", AcceptDataset(dataset), by=3)
    events = chain.accept(AcceptDataset(dataset), by=2)
    assert events == [["datasets.owner_changed", dataset, chain.address(2)]]
    assert chain.query(queries.dataset, dataset).title.owner == chain.address(2)
    assert chain.query(queries.owned, chain.address(1)) == []
    assert len(chain.query(queries.owned, chain.address(2))) == 1
    chain.refuse("assets.not_offered", AcceptDataset(dataset), by=2)


def test_a_subscription_pays_the_contributors_and_nobody_else(catalogue: Any) -> None:
    chain, dataset = catalogue.chain, catalogue.dataset(1, [(3, 1), (4, 2)])
    chain.refuse("datasets.not_for_sale", SubscribeDataset(dataset, 1, 10**9, 1), by=2)
    chain.refuse("assets.not_owner", OfferSubscription(dataset, 100, 50), by=2)
    chain.accept(OfferSubscription(dataset, 100, 50), by=1)
    chain.refuse("datasets.not_for_sale", SubscribeDataset(dataset, 1, 99, 1), by=2)
    before = bank.balance_of(chain.state, chain.address(2))
    outcome = chain.submit(SubscribeDataset(dataset, 3, 100, 1), by=2)
    assert bank.balance_of(chain.state, chain.address(2)) == before - 300 - outcome.fee
    pool = chain.query(queries.pool, dataset, 1)
    assert (pool.received, pool.claimed) == (300, 0)
    until = chain.query(queries.subscription, dataset, chain.address(2)).until_height
    assert until == chain.height + 150
    chain.accept(SubscribeDataset(dataset, 1, 100, 1), by=2)
    assert chain.query(queries.subscription, dataset, chain.address(2)).until_height == until + 50
    assert chain.query(queries.subscription, dataset, chain.address(3)).until_height == 0
    chain.accept(OfferSubscription(dataset, 100, 0), by=1)
    chain.refuse("datasets.not_for_sale", SubscribeDataset(dataset, 1, 100, 1), by=2)


def test_an_owner_cannot_shorten_what_a_subscriber_is_about_to_pay(catalogue: Any) -> None:
    """Whoever sees the payment coming could otherwise sell one block for the price of fifty."""
    chain, dataset = catalogue.chain, catalogue.dataset(1)
    chain.accept(OfferSubscription(dataset, 100, 50), by=1)
    payment = SubscribeDataset(dataset, 3, 100, 50)
    chain.accept(OfferSubscription(dataset, 100, 49), by=1)
    chain.refuse("datasets.not_for_sale", payment, by=2)
    chain.accept(OfferSubscription(dataset, 100, 50), by=1)
    chain.accept(payment, by=2)


def test_a_lapsed_subscription_starts_anew(catalogue: Any) -> None:
    chain, dataset = catalogue.chain, catalogue.dataset(1)
    chain.accept(OfferSubscription(dataset, 1, 2), by=1)
    chain.accept(SubscribeDataset(dataset, 1, 1, 1), by=2)
    chain.end_block(5)
    chain.accept(SubscribeDataset(dataset, 1, 1, 1), by=2)
    until = chain.query(queries.subscription, dataset, chain.address(2)).until_height
    assert until == chain.height + 2


def test_a_fee_beyond_every_balance_is_refused(catalogue: Any) -> None:
    chain, dataset = catalogue.chain, catalogue.dataset(1)
    chain.accept(OfferSubscription(dataset, 2**63 - 1, 2**63 - 1), by=1)
    chain.refuse("bank.insufficient_funds", SubscribeDataset(dataset, 1_000, 2**63 - 1, 1), by=2)
    chain.accept(OfferSubscription(dataset, 0, 2**63 - 1), by=1)
    chain.refuse("state.bound_exceeded", SubscribeDataset(dataset, 2, 0, 1), by=2)


def test_use_and_revenue_do_not_follow_ownership(catalogue: Any) -> None:
    """Feature A29: ownership is transferred; the subscriber and the contributors keep theirs."""
    chain, dataset = catalogue.chain, catalogue.dataset(1, [(3, 1)])
    chain.accept(OfferSubscription(dataset, 100, 50), by=1)
    chain.accept(SubscribeDataset(dataset, 1, 100, 1), by=2)
    held = chain.query(queries.subscription, dataset, chain.address(2))
    pool = chain.query(queries.pool, dataset, 1)
    chain.accept(TransferDataset(dataset, chain.address(5)), by=1)
    chain.accept(AcceptDataset(dataset), by=5)
    assert chain.query(queries.subscription, dataset, chain.address(2)) == held
    assert chain.query(queries.pool, dataset, 1) == pool


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("e", Language),
        ("en\n", Language),
        ("e n", Language),
        (0, PositiveCount),
        (0, PositiveWeight),
    ],
)
def test_facts_have_bounds(value: object, kind: Any) -> None:
    with pytest.raises(ValidationError):
        convert(value, kind)
