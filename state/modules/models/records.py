"""Rows, events and errors of models: facts and hashes of artefacts, never the artefacts."""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.context import Event
from state.errors import NotFound, Rejected
from state.keys import ADDRESS_KEY, HASH_KEY, U32_KEY
from state.modules.assets import Owned, Title
from state.registry import Module
from state.tables import State, Table
from state.types import (
    BPS,
    U8,
    U16,
    U32,
    ZERO_HASH,
    Address,
    Amount,
    Bps,
    Count,
    Hash,
    Height,
    Name,
    Ppm,
    TimestampMs,
)

MODULE = Module("models", 0x04)

WHOLE = BPS * BPS
"""The sum of a split table's weights: a weight is a share of the net in basis points of a bp."""

PAYEES_MAX = 130
VersionNo = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Label = Annotated[str, Meta(max_length=32)]
Tag = Annotated[str, Meta(min_length=1, max_length=32)]


class UnknownModel(NotFound):
    """No model, or no such version of it, is registered."""

    code = "models.unknown"


class ModelRetired(Rejected):
    """The owner has withdrawn the model for ever."""

    code = "models.retired"


class Kind(IntEnum):
    """What kind of asset a model row stands for."""

    MODEL = 0
    ALGORITHM = 1
    AGENT = 2
    PIPELINE = 3


class Status(IntEnum):
    """Where a model stands; owners list and retire, audits and disputes do the rest."""

    DRAFT = 0
    AUDITED = 1
    LISTED = 2
    IN_DISPUTE = 3
    TAGGED = 4
    RETIRED = 5


class Operation(IntEnum):
    """Who may post prices for a model: anyone, or the owner and whom the owner admits."""

    OPEN = 0
    ADMITTED = 1


class ParentRelation(IntEnum):
    """How a version derives from another."""

    FINETUNED_FROM = 0
    DISTILLED_FROM = 1
    MERGED_FROM = 2
    QUANTISED_FROM = 3


class DatasetRelation(IntEnum):
    """What a version used a dataset for."""

    TRAINED_ON = 0
    EVALUATED_ON = 1


class PayeeKind(IntEnum):
    """Whom a row of a split table pays: an account, an owner, contributors, an ancestor's owner."""

    OPERATOR = 0
    DEVELOPER = 1
    DATASET = 2
    ANCESTOR = 3


class Determinism(Struct):
    """What an auditor may expect of a repeated call; tolerance in parts per million."""

    seeded: bool = False
    temperature_ppm_max: Annotated[int, Meta(ge=0, le=10**7)] = 10**6
    tolerance_ppm: Ppm = 0


class Artefact(Struct):
    """Everything a version says about itself; hashes of absent files are zero.

    `content_root` is the Merkle root over the files, `card_hash` the hash of the model card.
    """

    content_root: Hash
    weights_bytes: Count
    framework: Label = ""
    file_format: Label = ""
    architecture: Label = ""
    parameters: Count = 0
    quantisation: Label = ""
    context_tokens: U32 = 0
    tokenizer_id: U16 = 0
    tokenizer_hash: Hash = ZERO_HASH
    card_hash: Hash = ZERO_HASH
    licence_terms_id: Hash = ZERO_HASH
    code_hash: Hash = ZERO_HASH
    container_hash: Hash = ZERO_HASH
    determinism: Determinism = Determinism()
    hardware_classes: Annotated[tuple[U16, ...], Meta(max_length=16)] = ()
    workload: U8 = 0


class Parent(Struct):
    """A version that this one derives from."""

    model: Hash
    version: VersionNo
    relation: ParentRelation


class DatasetUse(Struct):
    """A dataset version that this one used, and its part of what datasets are paid.

    The weights of a version's datasets sum to 10,000, or all are 0.
    """

    dataset: Hash
    version: VersionNo
    relation: DatasetRelation
    weight_bps: Bps


class Split(Struct):
    """Who shares the net of a payment, in basis points that sum to 10,000 (assets C.3).

    `ancestors_bps` equals what the parents and their own ancestors demand; see `lineage`.
    """

    operator_bps: Bps
    developer_bps: Bps
    datasets_bps: Bps = 0
    ancestors_bps: Bps = 0


class Payee(Struct):
    """A row of a split table: `weight` of WHOLE goes to one recipient.

    `asset` and `version` name a dataset or an ancestor; they are zero for operator and developer.
    """

    kind: PayeeKind
    asset: Hash
    version: U32
    weight: Annotated[int, Meta(ge=0, le=WHOLE)]


class Model(Struct):
    """A model: its owner, status, how many versions it has, and the stake in grains."""

    title: Title
    kind: Kind
    name: Name
    category: Label
    tags: Annotated[tuple[Tag, ...], Meta(max_length=8)]
    operation: Operation
    status: Status
    versions: U32
    stake: Amount
    created_height: Height


class Version(Struct):
    """One immutable version: artefact, lineage, and the flat table by which its net is split.

    `derivative_bps` is what each descendant owes of its net to this model's owner.
    """

    artefact: Artefact
    parents: Annotated[tuple[Parent, ...], Meta(max_length=16)]
    datasets: Annotated[tuple[DatasetUse, ...], Meta(max_length=64)]
    split: Split
    derivative_bps: Bps
    payees: Annotated[tuple[Payee, ...], Meta(max_length=PAYEES_MAX)]
    created_height: Height


class Ref(Struct):
    """A version of a model by name."""

    model: Hash
    version: U32


class Derived(Struct):
    """An entry of the index from a version to those that derive from it."""

    relation: ParentRelation


class Admission(Struct):
    """An account that the owner admitted as operator."""

    since_height: Height


class Notarisation(Struct):
    """When an account first showed that it knew a hash."""

    account: Address
    height: Height
    time_ms: TimestampMs


class ModelRegistered(Event, tag="models.registered"):
    """A model was registered; it has no version yet."""

    model: Hash
    owner: Address
    kind: Kind
    name: Name


class VersionAdded(Event, tag="models.version_added"):
    """A model got a further version."""

    model: Hash
    version: U32
    content_root: Hash


class ModelStatusChanged(Event, tag="models.status_changed"):
    """A model was listed or retired."""

    model: Hash
    status: Status


class ModelOwnerChanged(Event, tag="models.owner_changed"):
    """The recipient of an offer accepted a model."""

    model: Hash
    owner: Address


class Notarised(Event, tag="models.notarised"):
    """A hash was fixed to a height and a time."""

    digest: Hash
    account: Address


MODELS: Table[Hash, Model] = MODULE.table(1, "models", (HASH_KEY,), Model)
VERSIONS: Table[tuple[Hash, int], Version] = MODULE.table(
    2, "versions", (HASH_KEY, U32_KEY), Version
)
OWNED: Table[tuple[Address, Hash], Owned] = MODULE.table(3, "owned", (ADDRESS_KEY, HASH_KEY), Owned)
DERIVED: Table[tuple[Hash, int, Hash, int], Derived] = MODULE.table(
    4, "derived", (HASH_KEY, U32_KEY, HASH_KEY, U32_KEY), Derived
)
OPERATORS: Table[tuple[Hash, Address], Admission] = MODULE.table(
    5, "operators", (HASH_KEY, ADDRESS_KEY), Admission
)
NOTARISATIONS: Table[tuple[Hash, Address], Notarisation] = MODULE.table(
    6, "notarisations", (HASH_KEY, ADDRESS_KEY), Notarisation
)
FIRST: Table[Hash, Notarisation] = MODULE.table(9, "first_notarisations", (HASH_KEY,), Notarisation)


def model_of(state: State, model: Hash) -> Model:
    """Return a model; raises UnknownModel."""
    row = MODELS.get(state, model)
    if row is None:
        raise UnknownModel("There is no model of this id; check the id and the network.")
    return row


def live_model_of(state: State, model: Hash) -> Model:
    """Return a model that may still change; raises UnknownModel or ModelRetired."""
    row = model_of(state, model)
    if row.status == Status.RETIRED:
        raise ModelRetired("The owner has retired this model for ever; choose another one.")
    return row


def recorded_version(state: State, model: Hash, version: int) -> Version:
    """Return a version whatever the model's status, as settled payments need it."""
    row = VERSIONS.get(state, (model, version))
    if row is None:
        raise UnknownModel(
            f"There is no version {version} of this model; ask models.model for its number."
        )
    return row


def version_of(state: State, model: Hash, version: int) -> Version:
    """Return a version that may be used; raises UnknownModel or ModelRetired."""
    live_model_of(state, model)
    return recorded_version(state, model, version)


def may_operate(state: State, model: Hash, operator: Address) -> bool:
    """Tell whether an account may serve the model and post prices for it."""
    row = model_of(state, model)
    return (
        row.operation == Operation.OPEN
        or row.title.owner == operator
        or OPERATORS.get(state, (model, operator)) is not None
    )
