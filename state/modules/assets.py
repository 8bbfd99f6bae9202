"""What models and datasets share: their ids, their owner, and how they change hands.

Ownership, usage and revenue are separate rights. The owner row moves in two steps; a subscription
to a dataset stays with its subscriber, and a contributor's weight with the contributor, whoever
owns the asset (feature A29).
"""

from state import crypto
from state.codec import Struct, encode, replace
from state.context import TxContext
from state.crypto import Tag
from state.errors import Rejected
from state.types import ZERO_ADDRESS, Address, Hash, Height


class NotOwner(Rejected):
    """Somebody else owns the asset."""

    code = "assets.not_owner"


class NotOffered(Rejected):
    """The asset was not offered to this account, or the offer has run out."""

    code = "assets.not_offered"


class Title(Struct):
    """Who owns an asset, and to whom it is offered until when; nobody while the height is 0."""

    owner: Address
    offered_to: Address = ZERO_ADDRESS
    offered_until: Height = 0


class Owned(Struct):
    """An entry of the index from owner to assets; its key says everything."""


def new_id(ctx: TxContext) -> Hash:
    """Return the id of an asset that the running message registers: H(owner, nonce, index)."""
    return asset_id(ctx.account, ctx.nonce, ctx.message_index)


def asset_id(owner: Address, nonce: int, message_index: int) -> Hash:
    """Return the id that a message of a transaction gives to the asset it registers.

    Clients know it before they send: the owner's address, the transaction's nonce, and the place
    of the message among its messages, from 0.
    """
    return crypto.hash_bytes(Tag.ASSET_ID, encode((owner, nonce, message_index)))


def require_owner(ctx: TxContext, title: Title) -> None:
    """Raise NotOwner unless the signer owns the asset."""
    if title.owner != ctx.account:
        raise NotOwner("Only the owner of the asset may do this; sign with the owner's key.")


def offer(ctx: TxContext, title: Title, recipient: Address) -> Title:
    """Return the title offered to `recipient`, in place of any earlier offer.

    The offer stands for assets.transfer_blocks; an offer to the owner withdraws the earlier one.
    """
    require_owner(ctx, title)
    if recipient == title.owner:
        return Title(title.owner)
    until = ctx.height + ctx.params.assets.transfer_blocks
    return replace(title, offered_to=recipient, offered_until=until)


def accept(ctx: TxContext, title: Title) -> Title:
    """Return the title of the new owner, the signer; raises NotOffered without a live offer."""
    if title.offered_to != ctx.account or ctx.height > title.offered_until:
        raise NotOffered(
            "The asset is not offered to this account, or the offer has run out; ask its owner "
            "to offer it again."
        )
    return Title(ctx.account)
