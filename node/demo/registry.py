"""Registration: the dataset, the models with their versions, prices and indices.

Everything is in place before the first call: nobody can choose terms after seeing demand.
"""

from dataclasses import dataclass

from node.client import SaharaClient
from node.demo.cast import Cast, contributors_of
from node.demo.profile import (
    CONTRIBUTOR_WEIGHTS,
    PRICE_MIN,
    PRICES,
    SPLIT,
    WEIGHTS,
    WINSOR_FLOOR_UNITS,
    DemoPlan,
)
from node.demo.seeds import digest_of
from node.demo.steps import Sending, events_of, perform, require_ok
from state.modules.datasets.pools import contributors_root
from state.modules.datasets.records import ConsentBasis, Content, DatasetRegistered, Modality
from state.modules.datasets.txs import RegisterDataset
from state.modules.index import CreateIndex
from state.modules.models.prices import PostPrice, PricePosted
from state.modules.models.records import (
    Artefact,
    DatasetRelation,
    DatasetUse,
    Kind,
    ModelRegistered,
    Status,
)
from state.modules.models.txs import AddVersion, RegisterModel, SetStatus
from state.types import BPS, ZERO_HASH, Hash

VERSION = 1


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model as the chain knows it, and its one price."""

    name: str
    model_id: Hash
    price_id: int
    price_height: int
    """The first height at which the price is in force."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What registration has put on the chain."""

    dataset_id: Hash
    models: dict[str, RegisteredModel]


async def register(client: SaharaClient, cast: Cast, plan: DemoPlan) -> Registered:
    """Register dataset, models, versions and indices as the developer, prices as the operators."""
    statuses = await perform(
        client,
        "registering the dataset and the models",
        [
            (cast.developer, (RegisterDataset(content_of(cast, plan.seed)),)),
            (cast.developer, tuple(RegisterModel(name, Kind.MODEL) for name in plan.names)),
        ],
    )
    dataset, models = (require_ok("registering", status) for status in statuses)
    dataset_id = events_of(dataset, DatasetRegistered)[0].dataset
    ids = {event.name: event.model for event in events_of(models, ModelRegistered)}
    await perform(
        client,
        "adding versions and creating indices",
        [developed(cast, plan.seed, name, ids[name], dataset_id) for name in plan.names],
    )
    posted = await perform(
        client,
        "posting prices",
        [(cast.operators[name], (price_of(ids[name]),)) for name in plan.names],
    )
    found = {}
    for name, status in zip(plan.names, posted, strict=True):
        event = events_of(require_ok("posting prices", status), PricePosted)[0]
        found[name] = RegisteredModel(name, ids[name], event.price_id, event.effective_height)
    return Registered(dataset_id, found)


def content_of(cast: Cast, seed: int) -> Content:
    """A dataset that several people contributed to, by weight."""
    contributors = contributors_of(cast)
    return Content(
        root=digest_of(seed, "dataset rows"),
        rows=1_000_000,
        size_bytes=4_000_000_000,
        schema_hash=digest_of(seed, "dataset schema"),
        datasheet_hash=digest_of(seed, "dataset sheet"),
        modality=Modality.TEXT,
        licence_terms_id=ZERO_HASH,
        contributors_root=contributors_root(contributors),
        contributors_count=len(contributors),
        total_weight=sum(CONTRIBUTOR_WEIGHTS),
        consent_basis=ConsentBasis.CONTRACT,
        languages=("en",),
    )


def developed(cast: Cast, seed: int, name: str, model_id: Hash, dataset_id: Hash) -> Sending:
    """The developer's transaction that makes a model ready to be offered and counted."""
    artefact = Artefact(
        content_root=digest_of(seed, f"weights of {name}"),
        weights_bytes=14_000_000_000,
        framework="pytorch",
        file_format="safetensors",
        architecture="transformer",
        parameters=7_000_000_000,
        context_tokens=131_072,
    )
    use = DatasetUse(dataset_id, VERSION, DatasetRelation.TRAINED_ON, BPS)
    index = CreateIndex(
        model_id,
        WEIGHTS.units_in,
        WEIGHTS.units_cached,
        WEIGHTS.units_out,
        PRICE_MIN,
        WEIGHTS.tick_index,
        WINSOR_FLOOR_UNITS,
    )
    messages = (
        AddVersion(model_id, artefact, SPLIT, datasets=(use,)),
        SetStatus(model_id, Status.LISTED),
        index,
    )
    return cast.developer, messages


def price_of(model_id: Hash) -> PostPrice:
    """The operator's offer of a model."""
    return PostPrice(
        model_id,
        VERSION,
        PRICES.grains_in,
        PRICES.grains_cached,
        PRICES.grains_out,
        PRICES.grains_call,
    )
