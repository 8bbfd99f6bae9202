"""Rows, events and errors of datasets: the chain holds roots and facts, never rows of data."""

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
from state.types import INT_MAX, U32, ZERO_HASH, Address, Amount, Count, Hash, Height, Weight

MODULE = Module("datasets", 0x03)

LISTED_MAX = 100

PositiveWeight = Annotated[int, Meta(ge=1, le=INT_MAX)]
PositiveCount = Annotated[int, Meta(ge=1, le=2**32 - 1)]
VersionNo = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Limit = Annotated[int, Meta(ge=1, le=LISTED_MAX)]
Language = Annotated[str, Meta(min_length=2, max_length=16, pattern=r"^[A-Za-z0-9-]+(?!\n)$")]


class UnknownDataset(NotFound):
    """No dataset, or no such version of it, is registered."""

    code = "datasets.unknown"


class DuplicateRoot(Rejected):
    """The same rows are registered already."""

    code = "datasets.duplicate_root"


class BadProof(Rejected):
    """The leaf is not in the contributors' list of that version."""

    code = "datasets.bad_proof"


class WeightsExceedTotal(Rejected):
    """The leaves of a list weigh more than the version declared."""

    code = "datasets.weights_exceed_total"


class NothingDue(Rejected):
    """The contributor has taken out all that was earned."""

    code = "datasets.nothing_due"


class NotForSale(Rejected):
    """The owner offers no subscription, or not at this price."""

    code = "datasets.not_for_sale"


class Modality(IntEnum):
    """What the rows are."""

    TEXT = 0
    CODE = 1
    IMAGE = 2
    AUDIO = 3
    VIDEO = 4
    TABULAR = 5
    MULTIMODAL = 6
    OTHER = 7


class PersonalData(IntEnum):
    """How much the rows say about persons."""

    NONE = 0
    PSEUDONYMOUS = 1
    PERSONAL = 2
    SENSITIVE = 3


class ConsentBasis(IntEnum):
    """Why the owner may use the rows."""

    NOT_NEEDED = 0
    LICENCE = 1
    CONTRACT = 2
    CONSENT = 3
    LEGITIMATE_INTEREST = 4


class Source(Struct):
    """Where rows came from, and under which licence."""

    source_hash: Hash
    licence_hash: Hash


class Content(Struct):
    """Everything a version says about its rows; hashes of absent documents are zero.

    `total_weight` is the sum of the weights in the contributors' list, whose tree has exactly
    `contributors_count` leaves (see `contributor_leaf`); an owner who collected the rows alone
    registers a list of one.
    """

    root: Hash
    rows: Count
    size_bytes: Count
    schema_hash: Hash
    datasheet_hash: Hash
    modality: Modality
    licence_terms_id: Hash
    contributors_root: Hash
    contributors_count: PositiveCount
    total_weight: PositiveWeight
    consent_basis: ConsentBasis
    personal_data: PersonalData = PersonalData.NONE
    languages: Annotated[tuple[Language, ...], Meta(max_length=16)] = ()
    provenance: Annotated[tuple[Source, ...], Meta(max_length=16)] = ()
    opt_out_root: Hash = ZERO_HASH


class Dataset(Struct):
    """A dataset: who owns it, how many versions it has, and what a subscription costs.

    The fee is in grains per period of `subscription_blocks`; 0 blocks means none is offered.
    """

    title: Title
    versions: U32
    created_height: Height
    subscription_fee: Amount = 0
    subscription_blocks: Count = 0


class Version(Struct):
    """One immutable version of a dataset."""

    content: Content
    created_height: Height


class Ref(Struct):
    """A version of a dataset by name."""

    dataset: Hash
    version: U32


class Pool(Struct):
    """What a version's contributors were paid in all, and took out in all, in grains.

    Weights never change, so a leaf has earned floor(received * weight / total_weight): no running
    sum per weight is needed, and nothing is lost to rounding between payments. `claimed_weight`
    is the weight of the leaves that were proven so far.
    """

    total_weight: PositiveWeight
    received: Amount = 0
    claimed: Amount = 0
    claimed_weight: Weight = 0


class Contribution(Struct):
    """A proven leaf of a contributors' list, and the grains that were paid on it."""

    contributor: Address
    weight: PositiveWeight
    paid: Amount = 0


class Subscription(Struct):
    """A right to use a dataset until a height; it cannot be transferred."""

    until_height: Height


class DatasetRegistered(Event, tag="datasets.registered"):
    """A dataset or a further version of one was registered."""

    dataset: Hash
    version: U32
    root: Hash
    owner: Address


class DatasetOwnerChanged(Event, tag="datasets.owner_changed"):
    """The recipient of an offer accepted a dataset."""

    dataset: Hash
    owner: Address


class ContributionClaimed(Event, tag="datasets.claimed"):
    """A contributor took out what a leaf had earned."""

    dataset: Hash
    version: U32
    index: U32
    contributor: Address
    amount: Amount


class DatasetSubscribed(Event, tag="datasets.subscribed"):
    """A subscription was paid, all of it to the contributors of the newest version."""

    dataset: Hash
    version: U32
    subscriber: Address
    amount: Amount
    until_height: Height


DATASETS: Table[Hash, Dataset] = MODULE.table(1, "datasets", (HASH_KEY,), Dataset)
VERSIONS: Table[tuple[Hash, int], Version] = MODULE.table(
    2, "versions", (HASH_KEY, U32_KEY), Version
)
ROOTS: Table[Hash, Ref] = MODULE.table(3, "roots", (HASH_KEY,), Ref)
POOLS: Table[tuple[Hash, int], Pool] = MODULE.table(4, "pools", (HASH_KEY, U32_KEY), Pool)
CONTRIBUTIONS: Table[tuple[Hash, int, int], Contribution] = MODULE.table(
    5, "contributions", (HASH_KEY, U32_KEY, U32_KEY), Contribution
)
SUBSCRIPTIONS: Table[tuple[Hash, Address], Subscription] = MODULE.table(
    6, "subscriptions", (HASH_KEY, ADDRESS_KEY), Subscription
)
OWNED: Table[tuple[Address, Hash], Owned] = MODULE.table(7, "owned", (ADDRESS_KEY, HASH_KEY), Owned)


def dataset_of(state: State, dataset: Hash) -> Dataset:
    """Return a dataset; raises UnknownDataset."""
    row = DATASETS.get(state, dataset)
    if row is None:
        raise UnknownDataset("There is no dataset of this id; check the id and the network.")
    return row


def version_of(state: State, dataset: Hash, version: int) -> Version:
    """Return a version of a dataset; raises UnknownDataset."""
    row = VERSIONS.get(state, (dataset, version))
    if row is None:
        raise UnknownDataset(
            f"There is no version {version} of this dataset; ask datasets.dataset for its number."
        )
    return row
