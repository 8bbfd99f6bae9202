"""What can be asked about models, their lineage, their prices and notarised hashes."""

from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.context import QueryContext
from state.modules.models import prices as posted
from state.modules.models.records import (
    DERIVED,
    FIRST,
    MODULE,
    NOTARISATIONS,
    OWNED,
    DatasetUse,
    Model,
    Notarisation,
    Parent,
    ParentRelation,
    Payee,
    Ref,
    Version,
    VersionNo,
    model_of,
    recorded_version,
)
from state.types import U32, ZERO_HASH, Address, Amount, Bps, Hash

LISTED_MAX = 100
Limit = Annotated[int, Meta(ge=1, le=LISTED_MAX)]


class LineageView(Struct):
    """Where a version comes from, and whom that pays."""

    parents: tuple[Parent, ...]
    datasets: tuple[DatasetUse, ...]
    payees: tuple[Payee, ...]
    stack_bps: Bps


class DerivedView(Struct):
    """A version that derives from another, and how."""

    model: Hash
    version: U32
    relation: ParentRelation


class PriceView(Struct):
    """A posted price and its number."""

    price_id: U32
    price: posted.Price


class CostView(Struct):
    """What a call costs in grains."""

    grains: Amount


@MODULE.query
def model(ctx: QueryContext, model: Hash) -> Model:
    """Return a model: its owner, status, stake, and how many versions it has."""
    return model_of(ctx.state, model)


@MODULE.query
def version(ctx: QueryContext, model: Hash, version: VersionNo) -> Version:
    """Return everything a version says about itself, and its split table."""
    return recorded_version(ctx.state, model, version)


@MODULE.query
def owned(
    ctx: QueryContext, owner: Address, after: Hash = ZERO_HASH, limit: Limit = LISTED_MAX
) -> list[Ref]:
    """Return the models of an owner, each with its newest version, from behind `after`."""
    page = OWNED.scan(ctx.state, under=(owner,), after=(owner, after), limit=limit)
    return [Ref(found, model_of(ctx.state, found).versions) for (_, found), _ in page]


@MODULE.query
def lineage(ctx: QueryContext, model: Hash, version: VersionNo) -> LineageView:
    """Return parents, datasets, all ancestors, and what the ancestors demand together."""
    row = recorded_version(ctx.state, model, version)
    return LineageView(row.parents, row.datasets, row.payees, row.split.ancestors_bps)


@MODULE.query
def derived(
    ctx: QueryContext,
    model: Hash,
    version: VersionNo,
    after_model: Hash = ZERO_HASH,
    after_version: U32 = 0,
    limit: Limit = LISTED_MAX,
) -> list[DerivedView]:
    """Return the versions that name this one as a parent, from behind the one given."""
    after = (model, version, after_model, after_version)
    page = DERIVED.scan(ctx.state, under=(model, version), after=after, limit=limit)
    return [DerivedView(child, number, row.relation) for (_, _, child, number), row in page]


@MODULE.query
def price(ctx: QueryContext, model: Hash, version: VersionNo, price_id: U32) -> posted.Price:
    """Return one posted price."""
    return posted.price_of(ctx.state, model, version, price_id)


@MODULE.query
def prices(
    ctx: QueryContext, model: Hash, version: VersionNo, after: U32 = 0, limit: Limit = LISTED_MAX
) -> list[PriceView]:
    """Return the prices posted for a version in order of their numbers, from behind `after`."""
    key = (model, version)
    page = posted.PRICES.scan(ctx.state, under=key, after=(*key, after), limit=limit)
    return [PriceView(price_id, row) for (_, _, price_id), row in page]


@MODULE.query
def cost(
    ctx: QueryContext,
    model: Hash,
    version: VersionNo,
    price_id: U32,
    tokens_in: U32,
    tokens_cached: U32,
    tokens_out: U32,
) -> CostView:
    """Return what one call of these tokens costs at a posted price."""
    row = posted.price_of(ctx.state, model, version, price_id)
    return CostView(posted.cost(row, tokens_in, tokens_cached, tokens_out))


@MODULE.query
def notarisation(ctx: QueryContext, digest: Hash) -> Notarisation:
    """Return who notarised a hash first, at which height and time."""
    return FIRST.require(ctx.state, digest)


@MODULE.query
def notarisation_by(ctx: QueryContext, digest: Hash, account: Address) -> Notarisation:
    """Return when an account notarised a hash, even if others did so before."""
    return NOTARISATIONS.require(ctx.state, (digest, account))
