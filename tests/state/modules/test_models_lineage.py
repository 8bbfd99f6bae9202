"""Lineage: the stack of absolute percentages against paths walked one by one, and its limits."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.modules.models import queries
from state.modules.models.lineage import BadLineage, BadSplit, check_lineage
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
from state.modules.models.txs import SetStatus
from state.params import AssetParams, Params
from state.types import ZERO_HASH


def parent(model: bytes, version: int = 1) -> Parent:
    return Parent(model, version, ParentRelation.FINETUNED_FROM)


def use(dataset: bytes, weight_bps: int, version: int = 1) -> DatasetUse:
    return DatasetUse(dataset, version, DatasetRelation.TRAINED_ON, weight_bps)


def test_a_base_model_pays_operator_and_developer(catalogue: Any) -> None:
    model = catalogue.model(1, Split(5_500, 4_500))
    lineage = catalogue.chain.query(queries.lineage, model, 1)
    assert lineage.payees == (
        Payee(PayeeKind.OPERATOR, ZERO_HASH, 0, 55_000_000),
        Payee(PayeeKind.DEVELOPER, ZERO_HASH, 0, 45_000_000),
    )
    assert lineage.stack_bps == 0


def test_the_default_split_of_the_design(catalogue: Any) -> None:
    """Operator 5500, developer 2500, data 1500, parents 500: one parent, two datasets."""
    base = catalogue.model(1)
    data = [catalogue.dataset(2), catalogue.dataset(3)]
    child = catalogue.model(
        4,
        Split(5_500, 2_500, 1_500, 500),
        parents=[parent(base)],
        datasets=[use(data[0], 7_000), use(data[1], 3_000)],
    )
    payees = catalogue.chain.query(queries.lineage, child, 1).payees
    assert [(payee.kind, payee.asset, payee.weight) for payee in payees] == [
        (PayeeKind.OPERATOR, ZERO_HASH, 55_000_000),
        (PayeeKind.DEVELOPER, ZERO_HASH, 25_000_000),
        (PayeeKind.DATASET, data[0], 10_500_000),
        (PayeeKind.DATASET, data[1], 4_500_000),
        (PayeeKind.ANCESTOR, base, 5_000_000),
    ]
    derived = catalogue.chain.query(queries.derived, base, 1)
    assert [(view.model, view.version) for view in derived] == [(child, 1)]


def test_a_grandchild_owes_along_every_path(catalogue: Any) -> None:
    """A diamond: A under B and C, both under D; A is owed once by each path."""
    a = catalogue.model(1, derivative_bps=100)
    b = catalogue.model(1, Split(6_000, 3_900, 0, 100), parents=[parent(a)], derivative_bps=30)
    c = catalogue.model(1, Split(6_000, 3_900, 0, 100), parents=[parent(a)], derivative_bps=7)
    d = catalogue.model(1, Split(6_000, 3_763, 0, 237), parents=[parent(b), parent(c)])
    view = catalogue.chain.query(queries.lineage, d, 1)
    ancestors = [(p.asset, p.weight) for p in view.payees if p.kind == PayeeKind.ANCESTOR]
    assert ancestors == [(b, 300_000), (a, 2_000_000), (c, 70_000)]
    assert view.stack_bps == 237


def test_a_split_must_give_ancestors_exactly_what_they_demand(
    catalogue: Any, version_message: Any
) -> None:
    chain, base, model = catalogue.chain, catalogue.model(1), catalogue.draft(2)
    for split in (Split(6_000, 4_000), Split(6_000, 3_501, 0, 499), Split(5_000, 4_499, 0, 501)):
        sentence = chain.refuse(
            "models.bad_split", version_message(model, split, [parent(base)]), by=2
        )
        assert "exactly 500" in sentence
    chain.refuse("models.bad_split", version_message(model, Split(6_000, 3_500, 0, 500)), by=2)


def test_a_stack_beyond_the_limit_is_refused(catalogue: Any, version_message: Any) -> None:
    chain = catalogue.chain
    half = catalogue.model(1, derivative_bps=5_000)
    one = catalogue.model(1, derivative_bps=1)
    model = catalogue.draft(2)
    over = version_message(model, Split(4_999, 0, 0, 5_001), [parent(half), parent(one)])
    assert "5001" in chain.refuse("models.stack_too_high", over, by=2)
    chain.accept(version_message(model, Split(5_000, 0, 0, 5_000), [parent(half)]), by=2)


def test_the_sixty_fifth_ancestor_is_refused(catalogue: Any, version_message: Any) -> None:
    """A chain of 65 models, each derived from the last and demanding nothing."""
    chain, last = catalogue.chain, catalogue.model(1, derivative_bps=0)
    for _ in range(64):
        last = catalogue.model(1, parents=[parent(last)], derivative_bps=0)
    assert len(chain.query(queries.lineage, last, 1).payees) == 2 + 64
    child = version_message(catalogue.draft(1), parents=[parent(last)])
    assert "65 ancestors" in chain.refuse("models.bad_lineage", child, by=1)


def test_parents_and_datasets_must_exist_and_live(catalogue: Any, version_message: Any) -> None:
    chain, base, model = catalogue.chain, catalogue.model(1), catalogue.draft(2)
    dataset = catalogue.dataset(1)
    split = Split(6_000, 3_500, 0, 500)
    for missing in (parent(base, 2), parent(bytes(32)), parent(model)):
        chain.refuse("models.unknown", version_message(model, split, [missing]), by=2)
    with_data = Split(6_000, 3_000, 1_000)
    for absent in (use(dataset, 10_000, 2), use(bytes(32), 10_000)):
        message = version_message(model, with_data, datasets=[absent])
        chain.refuse("datasets.unknown", message, by=2)
    chain.accept(SetStatus(base, Status.RETIRED), by=1)
    chain.refuse("models.retired", version_message(model, split, [parent(base)]), by=2)


def test_a_version_may_derive_from_an_earlier_one(catalogue: Any, version_message: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1)
    chain.accept(version_message(model, Split(6_000, 3_500, 0, 500), [parent(model)]), by=1)
    assert chain.query(queries.lineage, model, 2).payees[-1].asset == model


def test_parameters_bound_how_many_are_named(make_chain: Any, make_catalogue: Any) -> None:
    chain = make_chain(Params(assets=AssetParams(parents_max=1, datasets_max=1)))
    catalogue = make_catalogue(chain)
    bases = [parent(catalogue.model(1, derivative_bps=0)) for _ in range(2)]
    data = [use(catalogue.dataset(1), 5_000) for _ in range(2)]
    with pytest.raises(AssertionError, match="At most 1 parents"):
        catalogue.model(1, parents=bases)
    with pytest.raises(AssertionError, match="At most 1 parents and 1 datasets"):
        catalogue.model(1, Split(6_000, 3_000, 1_000), datasets=data)


@pytest.mark.parametrize(
    ("parents", "uses", "split", "error"),
    [
        ((), (), Split(6_000, 3_999), BadSplit),
        ((), (), Split(6_000, 4_001), BadSplit),
        ((), (), Split(6_000, 3_000, 1_000), BadSplit),
        ((), (use(ZERO_HASH, 0),), Split(6_000, 3_000, 1_000), BadSplit),
        ((), (use(ZERO_HASH, 9_999),), Split(6_000, 3_000, 1_000), BadLineage),
        ((), (use(ZERO_HASH, 5_000),) * 2, Split(6_000, 3_000, 1_000), BadLineage),
        ((parent(ZERO_HASH),) * 2, (), Split(6_000, 4_000), BadLineage),
    ],
)
def test_what_does_not_add_up_is_refused_before_any_state(
    parents: tuple[Parent, ...],
    uses: tuple[DatasetUse, ...],
    split: Split,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        check_lineage(parents, uses, split)


def test_evaluation_data_may_be_named_without_pay(catalogue: Any) -> None:
    dataset = catalogue.dataset(1)
    evaluated = DatasetUse(dataset, 1, DatasetRelation.EVALUATED_ON, 0)
    model = catalogue.model(1, datasets=[evaluated])
    assert catalogue.chain.query(queries.lineage, model, 1).payees[-1].weight == 0


@settings(max_examples=25)
@given(
    graph=st.lists(
        st.tuples(st.integers(0, 150), st.lists(st.integers(0, 6), max_size=3, unique=True)),
        min_size=1,
        max_size=7,
    )
)
def test_the_stack_equals_all_paths_walked_one_by_one(
    graph: list[tuple[int, list[int]]], make_chain: Any, make_catalogue: Any
) -> None:
    """Each node names earlier ones; the reference walks every path from the child upwards."""
    catalogue = make_catalogue(make_chain())
    nodes = [(bps, [up for up in parents if up < at]) for at, (bps, parents) in enumerate(graph)]

    def walk(at: int) -> list[int]:
        return [one for up in nodes[at][1] for one in [up, *walk(up)]]

    ids: list[bytes] = []
    for at, (bps, parents) in enumerate(nodes):
        paths = walk(at)
        stack = sum(nodes[up][0] for up in paths)
        split = Split(10_000 - stack, 0, 0, stack)
        ids.append(
            catalogue.model(
                1, split, parents=[parent(ids[up]) for up in parents], derivative_bps=bps
            )
        )
        payees = catalogue.chain.query(queries.lineage, ids[at], 1).payees
        assert sum(payee.weight for payee in payees) == WHOLE
        assert {ids.index(payee.asset): payee.weight for payee in payees[2:]} == {
            up: paths.count(up) * nodes[up][0] * 10_000 for up in paths
        }
