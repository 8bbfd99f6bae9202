"""Pools: contributors are paid by weight, exactly, once, and only with a proof."""

from fractions import Fraction
from hashlib import blake2b
from math import floor
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.codec import replace
from state.context import BlockContext
from state.errors import InvariantBroken
from state.execute import assert_invariants
from state.modules import bank, datasets
from state.modules.datasets import queries
from state.modules.datasets.pools import (
    POOL,
    ClaimContribution,
    contributor_leaf,
    contributor_path,
    contributors_root,
)
from state.modules.datasets.records import POOLS, Contribution, Pool
from state.types import INT_MAX, ZERO_ADDRESS, ZERO_HASH

LIST = [(1, 5), (2, 1), (3, 3), (2, 4), (4, 7)]
"""(account, weight): five leaves, so that one of them is promoted; account 2 stands there twice."""


def claim(chain: Any, dataset: bytes, leaf: int, **changes: Any) -> ClaimContribution:
    named = [(chain.address(account), weight) for account, weight in LIST]
    fields: dict[str, Any] = {
        "version": 1,
        "index": leaf,
        "leaf_weight": LIST[leaf][1],
        "path": tuple(contributor_path(named, leaf)),
    }
    return ClaimContribution(dataset, **{**fields, **changes})


@pytest.fixture
def funded(catalogue: Any) -> tuple[Any, bytes]:
    """A chain, and a dataset whose pool holds 1,000 grains over a total weight of 20."""
    dataset = catalogue.dataset(0, LIST)
    datasets.fund(catalogue.chain.state, catalogue.chain.address(7), dataset, 1, 1_000)
    return catalogue.chain, dataset


def test_every_leaf_takes_its_part(funded: tuple[Any, bytes]) -> None:
    chain, dataset = funded
    for index, (account, weight) in enumerate(LIST):
        before = bank.balance_of(chain.state, chain.address(account))
        outcome = chain.submit(claim(chain, dataset, index), by=account)
        assert outcome.code == "ok", outcome.sentence
        gained = bank.balance_of(chain.state, chain.address(account)) - before + outcome.fee
        assert gained == 1_000 * weight // 20
    assert bank.balance_of(chain.state, POOL) == 0
    pool = chain.query(queries.pool, dataset, 1)
    assert (pool.received, pool.claimed, pool.claimed_weight) == (1_000, 1_000, 20)


def test_a_claim_tells_what_it_paid(funded: tuple[Any, bytes]) -> None:
    chain, dataset = funded
    events = chain.accept(claim(chain, dataset, 0), by=1)
    assert events == [["datasets.claimed", dataset, 1, 0, chain.address(1), 250]]
    view = chain.query(queries.contribution, dataset, 1, 0)
    assert (view.contributor, view.weight, view.paid, view.due) == (chain.address(1), 5, 250, 0)


def test_a_double_claim_is_refused(funded: tuple[Any, bytes]) -> None:
    chain, dataset = funded
    chain.accept(claim(chain, dataset, 0), by=1)
    chain.refuse("datasets.nothing_due", claim(chain, dataset, 0), by=1)
    twice = claim(chain, dataset, 1)
    chain.refuse("datasets.nothing_due", twice, twice, by=2)
    chain.accept(twice, by=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"leaf_weight": 6},
        {"index": 1},
        {"index": 5},
        {"path": ()},
        {"path": (bytes(32),) * 3},
        {"path": (bytes(32),) * 32},
    ],
)
def test_a_wrong_proof_is_refused(funded: tuple[Any, bytes], changes: dict[str, Any]) -> None:
    chain, dataset = funded
    chain.refuse("datasets.bad_proof", claim(chain, dataset, 0, **changes), by=1)


def test_a_promoted_leaf_has_one_place_only(funded: tuple[Any, bytes]) -> None:
    """In a smaller tree the last leaf's path would fit another index; the count forbids it."""
    chain, dataset = funded
    good = claim(chain, dataset, 4)
    for index in (1, 2, 3):
        chain.refuse("datasets.bad_proof", claim(chain, dataset, 4, index=index), by=4)
    chain.accept(good, by=4)


def test_a_leaf_is_paid_to_nobody_else(funded: tuple[Any, bytes]) -> None:
    chain, dataset = funded
    chain.refuse("datasets.bad_proof", claim(chain, dataset, 0), by=6)


def test_an_unknown_version_has_no_pool(funded: tuple[Any, bytes]) -> None:
    chain, dataset = funded
    chain.refuse("datasets.unknown", claim(chain, dataset, 0, version=2), by=1)
    chain.refuse("datasets.unknown", claim(chain, bytes(32), 0), by=1)


def test_a_list_that_weighs_more_than_declared_cannot_drain_the_pot(catalogue: Any) -> None:
    chain = catalogue.chain
    dataset = catalogue.dataset(0, LIST, total_weight=12)
    datasets.fund(chain.state, chain.address(7), dataset, 1, 1_200)
    other = catalogue.dataset(0, [(0, 1)])
    datasets.fund(chain.state, chain.address(7), other, 1, 10**6)
    chain.accept(claim(chain, dataset, 0), by=1)
    chain.accept(claim(chain, dataset, 4), by=4)
    for index, account in ((1, 2), (2, 3), (3, 2)):
        chain.refuse("datasets.weights_exceed_total", claim(chain, dataset, index), by=account)
    assert bank.balance_of(chain.state, POOL) == 10**6


def test_versions_have_pools_of_their_own(catalogue: Any) -> None:
    chain = catalogue.chain
    dataset = catalogue.dataset(0, LIST)
    catalogue.append(dataset, 0, LIST)
    datasets.fund(chain.state, chain.address(7), dataset, 2, 1_000)
    chain.refuse("datasets.nothing_due", claim(chain, dataset, 0), by=1)
    chain.accept(claim(chain, dataset, 0, version=2), by=1)
    assert chain.query(queries.pool, dataset, 1).received == 0


@settings(max_examples=40)
@given(
    payments=st.lists(st.integers(0, 60), min_size=1, max_size=25),
    claims=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=25, max_size=25),
)
def test_when_one_claims_does_not_matter(
    payments: list[int], claims: list[list[int]], make_chain: Any, make_catalogue: Any
) -> None:
    """After any payments and claims a leaf was paid floor(weight / total of all it was due)."""
    chain = make_chain()
    dataset = make_catalogue(chain).dataset(0, LIST)
    paid = [0] * len(LIST)
    received = 0
    for payment, claimed in zip(payments, claims, strict=False):
        datasets.fund(chain.state, chain.address(7), dataset, 1, payment)
        received += payment
        for index in claimed:
            entitled = floor(Fraction(received * LIST[index][1], 20))
            outcome = chain.submit(claim(chain, dataset, index), by=LIST[index][0])
            assert outcome.code == ("ok" if entitled > paid[index] else "datasets.nothing_due")
            paid[index] = entitled
            assert chain.query(queries.pool, dataset, 1).claimed == sum(paid)
    assert bank.balance_of(chain.state, POOL) == received - sum(paid)


@given(
    weights=st.lists(st.integers(1, 2**58), min_size=1, max_size=20),
    payments=st.lists(st.integers(0, 2**55), max_size=20),
)
def test_leaves_never_earn_more_than_the_pool_got(weights: list[int], payments: list[int]) -> None:
    pool = Pool(sum(weights), received=sum(payments))
    earned = [datasets.pools.due(pool, Contribution(ZERO_ADDRESS, weight)) for weight in weights]
    assert 0 <= pool.received - sum(earned) < len(weights)


def test_a_full_pool_takes_no_more(catalogue: Any) -> None:
    chain = catalogue.chain
    dataset = catalogue.dataset(0, LIST)
    row = POOLS.require(chain.state, (dataset, 1))
    POOLS.put(chain.state, (dataset, 1), replace(row, received=INT_MAX - 5))
    assert datasets.can_take(chain.state, dataset, 1, 5)
    assert not datasets.can_take(chain.state, dataset, 1, 6)


def test_a_pot_that_owes_more_than_it_holds_breaks_the_invariant(funded: tuple[Any, bytes]) -> None:
    chain, _ = funded
    bank.move(chain.state, POOL, chain.address(1), 1)
    params, genesis_hash = chain.genesis.params, chain.genesis.hash
    ctx = BlockContext(chain.state, 1, 0, params, genesis_hash, ZERO_ADDRESS, ZERO_HASH)
    with pytest.raises(InvariantBroken, match="pools_are_covered"):
        assert_invariants(ctx, every=True)


def test_the_golden_list() -> None:
    """Leaf, node and root written out with hashlib and msgpack alone."""

    def digest(data: bytes) -> bytes:
        return blake2b(data, digest_size=32, person=b"contributors").digest()

    named = [(bytes([account]) * 20, weight) for account, weight in LIST[:3]]
    leaves = [digest(b"\x00" + msgpack.packb([who, weight])) for who, weight in named]
    root = digest(b"\x01" + digest(b"\x01" + leaves[0] + leaves[1]) + leaves[2])
    assert contributors_root(named) == root
    assert contributor_leaf(*named[0]) == msgpack.packb([named[0][0], 5])
    assert contributor_path(named, 2) == [digest(b"\x01" + leaves[0] + leaves[1])]
    assert root.hex() == "ee4cfc9bc8847be4fde993e436b55096ba97be209e5e3263392edc70b371894e"
