"""Models: register, version, list, retire, hand over, admit, notarise."""

from typing import Any

import pytest
from msgspec import ValidationError, convert

from state.codec import replace
from state.errors import NotFound, Rejected
from state.modules import bank, models
from state.modules.assets import asset_id
from state.modules.models import queries
from state.modules.models.records import MODELS, Kind, Operation, Split, Status
from state.modules.models.txs import (
    STAKES,
    AcceptModel,
    AdmitOperator,
    Notarise,
    RegisterModel,
    SetStatus,
    TransferModel,
)
from state.params import AssetParams, Params
from state.types import ZERO_ADDRESS, Name


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_an_asset(chain: Any, kind: Kind) -> None:
    events = chain.accept(RegisterModel("llama", kind, "chat", ("open", "8b")), by=1)
    model = asset_id(chain.address(1), 1, 0)
    assert events == [["models.registered", model, chain.address(1), kind, "llama"]]
    row = chain.query(queries.model, model)
    assert (row.title.owner, row.kind, row.versions) == (chain.address(1), kind, 0)
    assert (row.category, row.tags, row.status) == ("chat", ("open", "8b"), Status.DRAFT)
    assert row.created_height == chain.height


def test_ids_of_one_transaction_differ(chain: Any) -> None:
    events = chain.accept(RegisterModel("a"), RegisterModel("a"), by=1)
    assert [event[1] for event in events] == [
        asset_id(chain.address(1), 1, 0),
        asset_id(chain.address(1), 1, 1),
    ]
    assert [ref.model for ref in chain.query(queries.owned, chain.address(1))] == sorted(
        event[1] for event in events
    )


def test_the_golden_id() -> None:
    found = asset_id(bytes(range(20)), 7, 3).hex()
    assert found == "b3331ce2f24cee98feb074accf544f291d8089df3a40400de746cc9cf858779b"


def test_owned_is_paged(chain: Any) -> None:
    chain.accept(*[RegisterModel("a") for _ in range(5)], by=1)
    every = [ref.model for ref in chain.query(queries.owned, chain.address(1))]
    first = chain.query(queries.owned, chain.address(1), bytes(32), 2)
    rest = chain.query(queries.owned, chain.address(1), first[-1].model, 100)
    assert [ref.model for ref in [*first, *rest]] == every
    assert chain.query(queries.owned, chain.address(2)) == []


def test_a_version_is_fixed_and_the_next_one_is_new(catalogue: Any, version_message: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1)
    first = chain.query(queries.version, model, 1)
    chain.accept(version_message(model, Split(5_000, 5_000)), by=1)
    assert chain.query(queries.version, model, 1) == first
    assert chain.query(queries.version, model, 2).split == Split(5_000, 5_000)
    assert chain.query(queries.model, model).versions == 2
    chain.refuse("assets.not_owner", version_message(model), by=2)
    for missing in ((model, 0), (model, 3), (bytes(32), 1)):
        with pytest.raises(NotFound) as refusal:
            models.version_of(chain.state, *missing)
        assert refusal.value.code == "models.unknown"


def test_the_stake_lies_in_the_pot_until_the_model_is_retired(
    make_chain: Any, make_catalogue: Any
) -> None:
    chain = make_chain(Params(assets=AssetParams(model_stake_min=100)))
    chain.refuse("models.stake_too_small", RegisterModel("a", stake=99), by=1)
    model = make_catalogue(chain).draft(1, stake=150)
    assert bank.balance_of(chain.state, STAKES) == 150
    before = bank.balance_of(chain.state, chain.address(1))
    outcome = chain.submit(SetStatus(model, Status.RETIRED), by=1)
    assert bank.balance_of(chain.state, chain.address(1)) == before - outcome.fee + 150
    assert bank.balance_of(chain.state, STAKES) == 0
    assert chain.query(queries.model, model).stake == 0


def test_owners_list_and_retire_and_nothing_else(catalogue: Any, version_message: Any) -> None:
    chain, model = catalogue.chain, catalogue.draft(1)
    chain.refuse("models.bad_status", SetStatus(model, Status.LISTED), by=1)
    chain.accept(version_message(model), by=1)
    chain.refuse("assets.not_owner", SetStatus(model, Status.LISTED), by=2)
    for status in (Status.DRAFT, Status.AUDITED, Status.IN_DISPUTE, Status.TAGGED):
        chain.refuse("models.bad_status", SetStatus(model, status), by=1)
    chain.accept(SetStatus(model, Status.LISTED), by=1)
    chain.refuse("models.bad_status", SetStatus(model, Status.LISTED), by=1)
    chain.accept(SetStatus(model, Status.RETIRED), by=1)
    for message in (
        SetStatus(model, Status.LISTED),
        SetStatus(model, Status.RETIRED),
        TransferModel(model, chain.address(2)),
        AcceptModel(model),
        AdmitOperator(model, chain.address(2)),
        version_message(model),
    ):
        chain.refuse("models.retired", message, by=1)
    with pytest.raises(models.records.ModelRetired):
        models.version_of(chain.state, model, 1)
    assert models.recorded_version(chain.state, model, 1).split == Split(6_000, 4_000)


@pytest.mark.parametrize("status", [Status.IN_DISPUTE, Status.TAGGED])
def test_a_model_in_dispute_cannot_flee_into_retirement(catalogue: Any, status: Status) -> None:
    chain, model = catalogue.chain, catalogue.model(1, stake=100)
    MODELS.put(chain.state, model, replace(MODELS.require(chain.state, model), status=status))
    chain.refuse("models.bad_status", SetStatus(model, Status.RETIRED), by=1)
    assert bank.balance_of(chain.state, STAKES) == 100


def test_a_model_changes_hands_in_two_steps(catalogue: Any) -> None:
    chain, model = catalogue.chain, catalogue.model(1)
    chain.refuse("assets.not_owner", TransferModel(model, chain.address(2)), by=2)
    chain.refuse("assets.not_offered", AcceptModel(model), by=2)
    chain.accept(TransferModel(model, chain.address(2)), by=1)
    assert chain.query(queries.model, model).title.owner == chain.address(1)
    chain.refuse("assets.not_offered", AcceptModel(model), by=3)
    events = chain.accept(AcceptModel(model), by=2)
    assert events == [["models.owner_changed", model, chain.address(2)]]
    title = chain.query(queries.model, model).title
    assert (title.owner, title.offered_to) == (chain.address(2), ZERO_ADDRESS)
    assert chain.query(queries.owned, chain.address(1)) == []
    assert [ref.model for ref in chain.query(queries.owned, chain.address(2))] == [model]
    chain.refuse("assets.not_offered", AcceptModel(model), by=2)
    chain.refuse("assets.not_owner", TransferModel(model, chain.address(3)), by=1)


def test_an_offer_is_replaced_withdrawn_and_runs_out(make_chain: Any, make_catalogue: Any) -> None:
    chain = make_chain(Params(assets=AssetParams(transfer_blocks=3)))
    model = make_catalogue(chain).draft(1)
    chain.accept(TransferModel(model, chain.address(2)), by=1)
    chain.accept(TransferModel(model, chain.address(3)), by=1)
    chain.refuse("assets.not_offered", AcceptModel(model), by=2)
    chain.accept(TransferModel(model, chain.address(1)), by=1)
    chain.refuse("assets.not_offered", AcceptModel(model), by=3)
    chain.accept(TransferModel(model, chain.address(2)), by=1)
    chain.end_block(3)
    chain.refuse("assets.not_offered", AcceptModel(model), by=2)
    chain.accept(TransferModel(model, chain.address(2)), by=1)
    chain.end_block(2)
    chain.accept(AcceptModel(model), by=2)


def test_nobody_accepts_an_asset_that_was_never_offered(catalogue: Any) -> None:
    """The zero address stands for no offer; no signer has it, and no id is free for the taking."""
    chain = catalogue.chain
    catalogue.model(1)
    chain.refuse("models.unknown", AcceptModel(bytes(32)), by=2)


def test_admitted_operators_come_and_go(catalogue: Any) -> None:
    chain = catalogue.chain
    closed = catalogue.model(1, operation=Operation.ADMITTED)
    unlocked = catalogue.model(1)
    assert models.may_operate(chain.state, unlocked, chain.address(5))
    assert models.may_operate(chain.state, closed, chain.address(1))
    assert not models.may_operate(chain.state, closed, chain.address(5))
    chain.refuse("assets.not_owner", AdmitOperator(closed, chain.address(5)), by=5)
    chain.accept(AdmitOperator(closed, chain.address(5)), by=1)
    assert models.may_operate(chain.state, closed, chain.address(5))
    chain.accept(AdmitOperator(closed, chain.address(5), False), by=1)
    assert not models.may_operate(chain.state, closed, chain.address(5))


def test_a_notarised_hash_keeps_its_height_and_time(chain: Any) -> None:
    digest = bytes([4]) * 32
    with pytest.raises(NotFound):
        chain.query(queries.notarisation, digest)
    chain.end_block(3)
    chain.accept(Notarise(digest), by=1)
    height = chain.height
    sentence = chain.refuse("models.already_notarised", Notarise(digest), by=1)
    assert str(height) in sentence
    chain.accept(Notarise(digest), by=2)
    first = chain.query(queries.notarisation, digest)
    assert (first.account, first.height, first.time_ms) == (
        chain.address(1),
        height,
        height * 1_000,
    )
    second = chain.query(queries.notarisation_by, digest, chain.address(2))
    assert second.height == height + 2


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_is_neither_empty_nor_long(name: str) -> None:
    with pytest.raises(ValidationError):
        convert(name, Name)


def test_refusals_say_what_to_do() -> None:
    codes = [
        error.code
        for error in Rejected.__subclasses__()
        if error.__module__.startswith(("state.modules.models", "state.modules.assets"))
    ]
    assert len({*codes}) == len(codes)
    assert all(code.split(".")[0] in ("models", "assets") for code in codes)
