"""Split: one payment becomes the protocol's cut and the parts of a version's table, exactly.

First largest remainder over burn, validators, audit, treasury and net; then over the rows of the
version's table, ties to the lower row. Both sum to what went in, always (assets settled point 11).
"""

from collections.abc import Sequence

from state.codec import Struct
from state.context import BlockContext
from state.maths import largest_remainder
from state.modules import bank, chain, datasets, models
from state.modules.models.records import WHOLE, Payee, PayeeKind
from state.params import SplitParams
from state.tables import State
from state.types import BPS, Address, Amount, Hash

AUDIT = bank.pot("protocol.audit")
"""What pays for sampling audits."""

TREASURY = bank.pot("protocol.treasury")
"""What governance decides about, and where money without a recipient goes."""


class Shares(Struct):
    """The exact parts of a payment in grains; `parts` stand in the order of the table's rows."""

    gross: Amount
    burn: Amount
    validators: Amount
    audit: Amount
    treasury: Amount
    parts: tuple[Amount, ...]


class Credit(Struct):
    """What one row of a table was paid, and the balance that it went to."""

    kind: PayeeKind
    recipient: Address
    amount: Amount


class Payout(Struct):
    """What `pay` has moved in grains: it all sums to gross; `credits` in the order of the table."""

    gross: Amount
    burn: Amount
    validators: Amount
    audit: Amount
    treasury: Amount
    credits: tuple[Credit, ...]


def shares(gross: int, params: SplitParams, table: Sequence[Payee]) -> Shares:
    """Return the parts of `gross` grains; what the table leaves over goes to the treasury.

    Pure: whoever knows the parameters and the table can check every payment.
    """
    cuts = [params.burn_bps, params.validators_bps, params.audit_bps, params.treasury_bps]
    *kept, net = largest_remainder(gross, [*cuts, BPS - sum(cuts)])
    weights = [payee.weight for payee in table]
    *parts, orphaned = largest_remainder(net, [*weights, WHOLE - sum(weights)])
    burn, validators, audit, treasury = kept
    return Shares(gross, burn, validators, audit, treasury + orphaned, tuple(parts))


def pay(
    ctx: BlockContext, source: Address, gross: int, model: Hash, version: int, operator: Address
) -> Payout:
    """Move exactly `gross` grains out of the pot `source` to everyone who shares in them.

    The developer is the model's owner now, an ancestor's part goes to its owner now, and a
    dataset's part into the pool of the version that was used. The caller holds `gross` in `source`.
    """
    state = ctx.state
    table = models.recorded_version(state, model, version).payees
    share = shares(gross, ctx.params.split, table)
    treasury, credits = share.treasury, []
    due: dict[Address, int] = {}
    for payee, amount in zip(table, share.parts, strict=True):
        recipient = _recipient(state, payee, amount, model, operator)
        if recipient is None:
            treasury += amount
            recipient, amount = TREASURY, 0
        due[recipient] = due.get(recipient, 0) + amount
        credits.append(Credit(payee.kind, recipient, amount))
    bank.burn(state, source, share.burn)
    bank.move(state, source, chain.FEES, share.validators)
    bank.move(state, source, AUDIT, share.audit)
    bank.move(state, source, TREASURY, treasury)
    for recipient, amount in due.items():
        bank.move(state, source, recipient, amount)
    return Payout(gross, share.burn, share.validators, share.audit, treasury, tuple(credits))


def _recipient(
    state: State, payee: Payee, amount: int, model: Hash, operator: Address
) -> Address | None:
    """Return the balance that a row's part goes to, or None when nobody can take it.

    A dataset's part is entered in its pool at once.
    """
    match payee.kind:
        case PayeeKind.OPERATOR:
            return operator
        case PayeeKind.DEVELOPER:
            return models.model_of(state, model).title.owner
        case PayeeKind.ANCESTOR:
            return models.model_of(state, payee.asset).title.owner
        case PayeeKind.DATASET:
            if not datasets.can_take(state, payee.asset, payee.version, amount):
                return None
            datasets.accrue(state, payee.asset, payee.version, amount)
            return datasets.POOL
