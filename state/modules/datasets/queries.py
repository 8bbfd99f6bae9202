"""What can be asked about datasets."""

from state.codec import Struct
from state.context import QueryContext
from state.modules.datasets.pools import due
from state.modules.datasets.records import (
    CONTRIBUTIONS,
    LISTED_MAX,
    MODULE,
    OWNED,
    POOLS,
    ROOTS,
    SUBSCRIPTIONS,
    Dataset,
    Limit,
    Pool,
    Ref,
    Subscription,
    Version,
    VersionNo,
    dataset_of,
    version_of,
)
from state.types import U32, ZERO_HASH, Address, Amount, Hash, Weight


class ContributionView(Struct):
    """What a proven leaf was paid, and what it may claim now, in grains."""

    contributor: Address
    weight: Weight
    paid: Amount
    due: Amount


@MODULE.query
def dataset(ctx: QueryContext, dataset: Hash) -> Dataset:
    """Return a dataset: its owner, how many versions it has, its subscription."""
    return dataset_of(ctx.state, dataset)


@MODULE.query
def version(ctx: QueryContext, dataset: Hash, version: VersionNo) -> Version:
    """Return what one version says about its rows."""
    return version_of(ctx.state, dataset, version)


@MODULE.query
def by_root(ctx: QueryContext, root: Hash) -> Ref:
    """Return the dataset version that committed to these rows."""
    return ROOTS.require(ctx.state, root)


@MODULE.query
def owned(
    ctx: QueryContext, owner: Address, after: Hash = ZERO_HASH, limit: Limit = LISTED_MAX
) -> list[Ref]:
    """Return the datasets of an owner, each with its newest version, from behind `after`."""
    page = OWNED.scan(ctx.state, under=(owner,), after=(owner, after), limit=limit)
    return [Ref(found, dataset_of(ctx.state, found).versions) for (_, found), _ in page]


@MODULE.query
def pool(ctx: QueryContext, dataset: Hash, version: VersionNo) -> Pool:
    """Return what the contributors of a version were paid and have taken out."""
    version_of(ctx.state, dataset, version)
    return POOLS.require(ctx.state, (dataset, version))


@MODULE.query
def contribution(
    ctx: QueryContext, dataset: Hash, version: VersionNo, index: U32
) -> ContributionView:
    """Return what a leaf that was proven once was paid, and what is due to it now."""
    row = CONTRIBUTIONS.require(ctx.state, (dataset, version, index))
    pool_row = POOLS.require(ctx.state, (dataset, version))
    return ContributionView(row.contributor, row.weight, row.paid, due(pool_row, row))


@MODULE.query
def subscription(ctx: QueryContext, dataset: Hash, subscriber: Address) -> Subscription:
    """Return until which height an account may use a dataset; height 0 when it never could."""
    return SUBSCRIPTIONS.get(ctx.state, (dataset, subscriber)) or Subscription(0)
