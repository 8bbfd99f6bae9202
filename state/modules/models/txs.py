"""What owners of models may do: register, add versions, list, retire, hand over, notarise."""

from typing import Annotated

from msgspec import Meta

from state.codec import replace
from state.context import BlockContext, TxContext
from state.errors import Rejected
from state.modules import assets, bank
from state.modules.assets import Owned, Title
from state.modules.models.lineage import check_lineage, payees_of
from state.modules.models.records import (
    DERIVED,
    FIRST,
    MODELS,
    MODULE,
    NOTARISATIONS,
    OPERATORS,
    OWNED,
    VERSIONS,
    Admission,
    Artefact,
    DatasetUse,
    Derived,
    Kind,
    Label,
    Model,
    ModelOwnerChanged,
    ModelRegistered,
    ModelStatusChanged,
    Notarisation,
    Notarised,
    Operation,
    Parent,
    Split,
    Status,
    Tag,
    Version,
    VersionAdded,
    live_model_of,
)
from state.registry import Message
from state.types import Address, Amount, Bps, Hash, Name

STAKES = bank.pot("models.stakes")
"""Where owners' stakes lie until they retire their models."""


class StakeTooSmall(Rejected):
    """The stake is below assets.model_stake_min."""

    code = "models.stake_too_small"


class BadStatus(Rejected):
    """The model cannot go from its status to that one."""

    code = "models.bad_status"


class AlreadyNotarised(Rejected):
    """The account has notarised this hash before."""

    code = "models.already_notarised"


@MODULE.tx
class RegisterModel(Message, tag=0x0401):
    """Register a model without a version yet; the signer becomes its owner and stakes grains."""

    name: Name
    kind: Kind = Kind.MODEL
    category: Label = ""
    tags: Annotated[tuple[Tag, ...], Meta(max_length=8)] = ()
    operation: Operation = Operation.OPEN
    stake: Amount = 0

    WEIGHT = 200

    def apply(self, ctx: TxContext) -> None:
        """Take the stake and write a draft."""
        least = ctx.params.assets.model_stake_min
        if self.stake < least:
            raise StakeTooSmall(f"The stake is {self.stake} grains; at least {least} are expected.")
        bank.move(ctx.state, ctx.account, STAKES, self.stake)
        model = assets.new_id(ctx)
        row = Model(
            Title(ctx.account),
            self.kind,
            self.name,
            self.category,
            self.tags,
            self.operation,
            Status.DRAFT,
            0,
            self.stake,
            ctx.height,
        )
        MODELS.put(ctx.state, model, row)
        OWNED.put(ctx.state, (ctx.account, model), Owned())
        ctx.emit(ModelRegistered(model, ctx.account, self.kind, self.name))


@MODULE.tx
class AddVersion(Message, tag=0x0402):
    """Add an immutable version to a model of the signer: artefact, lineage and split.

    `derivative_bps` is what every descendant will owe of its net. `split.ancestors_bps` must equal
    what this version's own ancestors demand; the refusal of a wrong one names the right one.
    """

    model: Hash
    artefact: Artefact
    split: Split
    parents: Annotated[tuple[Parent, ...], Meta(max_length=16)] = ()
    datasets: Annotated[tuple[DatasetUse, ...], Meta(max_length=64)] = ()
    derivative_bps: Bps = 500

    def weight(self) -> int:
        """A parent may bring 64 ancestors, and each dataset is looked up."""
        return 300 + 100 * len(self.parents) + 20 * len(self.datasets)

    def check(self) -> None:
        """Refuse lineages and splits that do not add up."""
        check_lineage(self.parents, self.datasets, self.split)

    def apply(self, ctx: TxContext) -> None:
        """Compute the flat split table once, and write the version."""
        state = ctx.state
        row = live_model_of(state, self.model)
        assets.require_owner(ctx, row.title)
        payees = payees_of(state, ctx.params.assets, self.parents, self.datasets, self.split)
        number = row.versions + 1
        version = Version(
            self.artefact,
            self.parents,
            self.datasets,
            self.split,
            self.derivative_bps,
            payees,
            ctx.height,
        )
        VERSIONS.put(state, (self.model, number), version)
        MODELS.put(state, self.model, replace(row, versions=number))
        for parent in self.parents:
            key = (parent.model, parent.version, self.model, number)
            DERIVED.put(state, key, Derived(parent.relation))
        ctx.emit(VersionAdded(self.model, number, self.artefact.content_root))


@MODULE.tx
class SetStatus(Message, tag=0x0403):
    """List a draft of the signer, or retire a model for ever and take its stake back."""

    model: Hash
    status: Status

    def apply(self, ctx: TxContext) -> None:
        """Change the status; versions, prices and payments already agreed stay as they are."""
        row = live_model_of(ctx.state, self.model)
        assets.require_owner(ctx, row.title)
        lists = self.status == Status.LISTED and row.status in (Status.DRAFT, Status.AUDITED)
        retires = self.status == Status.RETIRED and row.status < Status.IN_DISPUTE
        if not (lists or retires):
            raise BadStatus(
                f"A model that is {row.status.name} cannot become {self.status.name}; owners list "
                "drafts and retire what is not in dispute."
            )
        if lists and row.versions == 0:
            raise BadStatus("The model has no version to list; add one first.")
        stake = 0 if retires else row.stake
        bank.move(ctx.state, STAKES, ctx.account, row.stake - stake)
        MODELS.put(ctx.state, self.model, replace(row, status=self.status, stake=stake))
        ctx.emit(ModelStatusChanged(self.model, self.status))


@MODULE.tx
class TransferModel(Message, tag=0x0404):
    """Offer a model of the signer to another account; offered to oneself, withdraw the offer."""

    model: Hash
    recipient: Address

    def apply(self, ctx: TxContext) -> None:
        """Record the offer."""
        row = live_model_of(ctx.state, self.model)
        title = assets.offer(ctx, row.title, self.recipient)
        MODELS.put(ctx.state, self.model, replace(row, title=title))


@MODULE.tx
class AcceptModel(Message, tag=0x0405):
    """Become the owner of a model that was offered to the signer, its stake included."""

    model: Hash

    def apply(self, ctx: TxContext) -> None:
        """Change the owner, whom the developer's part is paid to from now on."""
        row = live_model_of(ctx.state, self.model)
        title = assets.accept(ctx, row.title)
        MODELS.put(ctx.state, self.model, replace(row, title=title))
        OWNED.delete(ctx.state, (row.title.owner, self.model))
        OWNED.put(ctx.state, (ctx.account, self.model), Owned())
        ctx.emit(ModelOwnerChanged(self.model, ctx.account))


@MODULE.tx
class AdmitOperator(Message, tag=0x0406):
    """Admit an account as operator of a model of the signer, or end its admission.

    Only models whose operation is ADMITTED ask for it. Prices already posted stay.
    """

    model: Hash
    operator: Address
    admitted: bool = True

    def apply(self, ctx: TxContext) -> None:
        """Write or delete the admission."""
        row = live_model_of(ctx.state, self.model)
        assets.require_owner(ctx, row.title)
        key = (self.model, self.operator)
        if self.admitted:
            OPERATORS.put(ctx.state, key, Admission(ctx.height))
        else:
            OPERATORS.delete(ctx.state, key)


@MODULE.tx
class Notarise(Message, tag=0x0407):
    """Fix a hash to this height and time under the signer's name, once for ever.

    Whoever sees the transaction first can notarise the same hash: to prove authorship, let the
    hash cover a salt and the signer's address.
    """

    digest: Hash

    def apply(self, ctx: TxContext) -> None:
        """Write the notarisation, provable under the state root from then on."""
        key = (self.digest, ctx.account)
        known = NOTARISATIONS.get(ctx.state, key)
        if known is not None:
            raise AlreadyNotarised(
                f"The account notarised this hash at height {known.height}; that stands."
            )
        row = Notarisation(ctx.account, ctx.height, ctx.time_ms)
        NOTARISATIONS.put(ctx.state, key, row)
        if FIRST.get(ctx.state, self.digest) is None:
            FIRST.put(ctx.state, self.digest, row)
        ctx.emit(Notarised(self.digest, ctx.account))


@MODULE.invariant(always=False)
def stakes_are_covered(ctx: BlockContext) -> str | None:
    """The pot holds exactly the stakes of the models."""
    owed = sum(row.stake for _, row in MODELS.scan(ctx.state))
    held = bank.balance_of(ctx.state, STAKES)
    return None if held == owed else f"The pot holds {held} and the models staked {owed}."
