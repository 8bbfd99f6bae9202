"""Prices: what an operator asks for tokens and calls of one version, posted once and for ever.

Amounts are grains per 10^6 tokens and grains per call. A price takes effect some blocks after it
was posted and never changes; a new one gets a new number (assets C.1, settled point 8).
"""

from state.codec import Struct
from state.context import Event, TxContext
from state.errors import NotFound, Rejected
from state.keys import HASH_KEY, U32_KEY
from state.maths import ceil_div
from state.modules.models.records import (
    MODULE,
    Status,
    VersionNo,
    live_model_of,
    may_operate,
    recorded_version,
)
from state.registry import Message
from state.tables import State, Table
from state.types import U32, Address, Amount, Hash, Height

TOKENS_PER_PRICE = 10**6


class UnknownPrice(NotFound):
    """No price of this number was posted for the version."""

    code = "models.unknown_price"


class NotListed(Rejected):
    """The model is not listed, so nobody can offer it."""

    code = "models.not_listed"


class NotAdmitted(Rejected):
    """The owner lets only admitted operators serve the model."""

    code = "models.not_admitted"


class Price(Struct):
    """What one operator asks: grains per 10^6 tokens of three kinds, and per call."""

    operator: Address
    in_: Amount
    cached: Amount
    out: Amount
    call: Amount
    effective_height: Height


class Newest(Struct):
    """The number of the newest price of a version; they count from 1."""

    price_id: U32


class PricePosted(Event, tag="models.price_posted"):
    """An operator posted a price."""

    model: Hash
    version: U32
    price_id: U32
    operator: Address
    effective_height: Height


PRICES: Table[tuple[Hash, int, int], Price] = MODULE.table(
    7, "prices", (HASH_KEY, U32_KEY, U32_KEY), Price
)
NEWEST: Table[tuple[Hash, int], Newest] = MODULE.table(
    8, "newest_prices", (HASH_KEY, U32_KEY), Newest
)


def price_of(state: State, model: Hash, version: int, price_id: int) -> Price:
    """Return a posted price; raises UnknownPrice. Callers compare its effective_height."""
    row = PRICES.get(state, (model, version, price_id))
    if row is None:
        raise UnknownPrice(
            f"There is no price {price_id} for this version; ask models.prices for those posted."
        )
    return row


def cost(price: Price, tokens_in: int, tokens_cached: int, tokens_out: int) -> int:
    """Return what one call costs in grains, its tokens rounded up together (assets C.1).

    ceil((in * p_in + cached * p_cached + out * p_out) / 10^6) + p_call
    """
    asked = tokens_in * price.in_ + tokens_cached * price.cached + tokens_out * price.out
    return ceil_div(asked, TOKENS_PER_PRICE) + price.call


@MODULE.tx
class PostPrice(Message, tag=0x0408):
    """Offer a version of a listed model at a price; the signer is the operator who serves it.

    It takes effect assets.price_delay_blocks later, gets the version's next number, and cannot be
    changed or revoked.
    """

    model: Hash
    version: VersionNo
    in_: Amount
    cached: Amount
    out: Amount
    call: Amount = 0

    def apply(self, ctx: TxContext) -> None:
        """Write the price under the next number."""
        state, key = ctx.state, (self.model, self.version)
        row = live_model_of(state, self.model)
        recorded_version(state, *key)
        if row.status != Status.LISTED:
            raise NotListed("The model is not listed; its owner lists it with SetStatus.")
        if not may_operate(state, self.model, ctx.account):
            raise NotAdmitted(
                "The owner admits operators of this model one by one; ask for AdmitOperator."
            )
        newest = NEWEST.get(state, key)
        price_id = 1 if newest is None else newest.price_id + 1
        effective = ctx.height + ctx.params.assets.price_delay_blocks
        price = Price(ctx.account, self.in_, self.cached, self.out, self.call, effective)
        NEWEST.put(state, key, Newest(price_id))
        PRICES.put(state, (*key, price_id), price)
        ctx.emit(PricePosted(*key, price_id, ctx.account, effective))
