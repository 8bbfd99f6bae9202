"""What owners and users of datasets may do: register, append, hand over, offer and subscribe."""

from typing import Annotated

from msgspec import Meta

from state.codec import replace
from state.context import TxContext
from state.modules import assets
from state.modules.assets import Owned, Title
from state.modules.datasets.pools import fund
from state.modules.datasets.records import (
    DATASETS,
    MODULE,
    OWNED,
    POOLS,
    ROOTS,
    SUBSCRIPTIONS,
    VERSIONS,
    Content,
    Dataset,
    DatasetOwnerChanged,
    DatasetRegistered,
    DatasetSubscribed,
    DuplicateRoot,
    NotForSale,
    Pool,
    Ref,
    Subscription,
    Version,
    dataset_of,
)
from state.registry import Message
from state.types import INT_MAX, Address, Amount, Count, Hash

PERIODS_MAX = 1_000


def _add_version(ctx: TxContext, dataset: Hash, version: int, content: Content) -> None:
    known = ROOTS.get(ctx.state, content.root)
    if known is not None:
        raise DuplicateRoot(
            f"These rows are version {known.version} of dataset {known.dataset.hex()}; refer to "
            "that one instead."
        )
    ROOTS.put(ctx.state, content.root, Ref(dataset, version))
    VERSIONS.put(ctx.state, (dataset, version), Version(content, ctx.height))
    POOLS.put(ctx.state, (dataset, version), Pool(content.total_weight))
    ctx.emit(DatasetRegistered(dataset, version, content.root, ctx.account))


@MODULE.tx
class RegisterDataset(Message, tag=0x0301):
    """Register a dataset with its first version; the signer becomes its owner."""

    content: Content

    WEIGHT = 250

    def apply(self, ctx: TxContext) -> None:
        """Write dataset, version and an empty pool."""
        dataset = assets.new_id(ctx)
        _add_version(ctx, dataset, 1, self.content)
        DATASETS.put(ctx.state, dataset, Dataset(Title(ctx.account), 1, ctx.height))
        OWNED.put(ctx.state, (ctx.account, dataset), Owned())


@MODULE.tx
class AppendDataset(Message, tag=0x0302):
    """Add a version with rows, facts and contributors of its own to a dataset of the signer."""

    dataset: Hash
    content: Content

    WEIGHT = 250

    def apply(self, ctx: TxContext) -> None:
        """Write the version; earlier ones and their pools stay as they are."""
        row = dataset_of(ctx.state, self.dataset)
        assets.require_owner(ctx, row.title)
        _add_version(ctx, self.dataset, row.versions + 1, self.content)
        DATASETS.put(ctx.state, self.dataset, replace(row, versions=row.versions + 1))


@MODULE.tx
class TransferDataset(Message, tag=0x0303):
    """Offer a dataset of the signer to another account; offered to oneself, withdraw the offer."""

    dataset: Hash
    recipient: Address

    def apply(self, ctx: TxContext) -> None:
        """Record the offer."""
        row = dataset_of(ctx.state, self.dataset)
        title = assets.offer(ctx, row.title, self.recipient)
        DATASETS.put(ctx.state, self.dataset, replace(row, title=title))


@MODULE.tx
class AcceptDataset(Message, tag=0x0304):
    """Become the owner of a dataset that was offered to the signer."""

    dataset: Hash

    def apply(self, ctx: TxContext) -> None:
        """Change the owner; pools, contributions and subscriptions stay as they are."""
        row = dataset_of(ctx.state, self.dataset)
        title = assets.accept(ctx, row.title)
        DATASETS.put(ctx.state, self.dataset, replace(row, title=title))
        OWNED.delete(ctx.state, (row.title.owner, self.dataset))
        OWNED.put(ctx.state, (ctx.account, self.dataset), Owned())
        ctx.emit(DatasetOwnerChanged(self.dataset, ctx.account))


@MODULE.tx
class OfferSubscription(Message, tag=0x0306):
    """Set what a subscription to the signer's dataset costs per period; 0 blocks ends the offer."""

    dataset: Hash
    fee: Amount
    period_blocks: Count

    def apply(self, ctx: TxContext) -> None:
        """Set the terms of subscriptions to come; those that were paid run on."""
        row = dataset_of(ctx.state, self.dataset)
        assets.require_owner(ctx, row.title)
        terms = replace(row, subscription_fee=self.fee, subscription_blocks=self.period_blocks)
        DATASETS.put(ctx.state, self.dataset, terms)


@MODULE.tx
class SubscribeDataset(Message, tag=0x0307):
    """Pay for periods of use of a dataset; the fee goes to its contributors by weight.

    `fee_max` bounds the fee per period and `period_blocks_min` its length, in case the owner
    changes them meanwhile.
    """

    dataset: Hash
    periods: Annotated[int, Meta(ge=1, le=PERIODS_MAX)]
    fee_max: Amount
    period_blocks_min: Annotated[int, Meta(ge=1, le=INT_MAX)]

    WEIGHT = 120

    def apply(self, ctx: TxContext) -> None:
        """Move the fee into the newest version's pool and extend the subscription."""
        row = dataset_of(ctx.state, self.dataset)
        offered = row.subscription_blocks >= self.period_blocks_min
        if not offered or row.subscription_fee > self.fee_max:
            raise NotForSale(
                f"A period of {row.subscription_blocks} blocks costs {row.subscription_fee} "
                f"grains; at least {self.period_blocks_min} blocks for at most {self.fee_max} were "
                "asked for. Ask for less, or the owner for another offer."
            )
        key = (self.dataset, ctx.account)
        held = SUBSCRIPTIONS.get(ctx.state, key)
        start = ctx.height if held is None else max(ctx.height, held.until_height)
        until = start + self.periods * row.subscription_blocks
        amount = self.periods * row.subscription_fee
        fund(ctx.state, ctx.account, self.dataset, row.versions, amount)
        SUBSCRIPTIONS.put(ctx.state, key, Subscription(until))
        ctx.emit(DatasetSubscribed(self.dataset, row.versions, ctx.account, amount, until))
