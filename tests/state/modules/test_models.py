"""Models: register, version, list, retire, hand over, notarise."""

from typing import Any

from state.modules.assets import asset_id
from state.modules.models import queries, version_of
from state.modules.models.records import Artefact, Split, Status
from state.modules.models.txs import AddVersion, RegisterModel, SetStatus


def test_a_model_is_registered_versioned_and_listed(chain: Any) -> None:
    chain.accept(RegisterModel("llama", stake=5), by=1)
    model = asset_id(chain.address(1), 1, 0)
    artefact = Artefact(bytes([7]) * 32, 10**9)
    chain.accept(
        AddVersion(model, artefact, Split(7_000, 3_000)), SetStatus(model, Status.LISTED), by=1
    )
    row = chain.query(queries.model, model)
    assert (row.title.owner, row.versions, row.status) == (chain.address(1), 1, Status.LISTED)
    assert version_of(chain.state, model, 1).artefact == artefact
