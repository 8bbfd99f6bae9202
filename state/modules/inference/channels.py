"""Channels: deposits, top-ups, and the three ways in which a channel ends.

A channel closes at the end of close_height: claim_window after its expiry, or after one side's
UniClose, whichever is first. CoopClose ends it at once, with totals that both sides signed
(assets settled point 9).
"""

from typing import Annotated

from msgspec import Meta

from state import crypto
from state.codec import Struct, encode, replace
from state.context import BlockContext, TxContext
from state.crypto import SignatureClaim, Tag
from state.modules import bank
from state.modules.inference import events
from state.modules.inference.errors import (
    ChannelIsClosed,
    ExpiryOutOfRange,
    NotAParty,
    NotDirect,
    TotalsDiffer,
    WrongSigner,
)
from state.modules.inference.receipts import LaneNo, PriceRow
from state.modules.inference.records import (
    CHANNELS,
    CLOSINGS,
    ESCROW,
    LANES,
    MODULE,
    Channel,
    shift,
)
from state.registry import Message
from state.tables import State
from state.types import (
    Address,
    Amount,
    Count,
    Hash,
    Height,
    PositiveAmount,
    PublicKey,
    Signature,
)

FINALS_MAX = 32
"""Open lanes that a cooperative close can list; inference.lanes_max is never above it."""


class LaneTotals(Struct):
    """A lane's totals as they stand when a channel closes."""

    lane_no: LaneNo
    last_seq: Count
    cum_amount: Amount
    cum_in: Count
    cum_cached: Count
    cum_out: Count


class FinalTotals(Struct):
    """What both sides sign to close a channel at once: every open lane, in order."""

    channel_id: Hash
    lanes: Annotated[tuple[LaneTotals, ...], Meta(max_length=FINALS_MAX)]

    def digest(self, genesis_hash: Hash) -> Hash:
        """Return what the party signs that does not send the transaction."""
        return crypto.sign_hash(Tag.CLOSE, genesis_hash, encode(self))


class _Opener(Struct):
    payer: Address
    nonce: Count
    message_index: Count
    genesis_hash: Hash


def channel_id_of(payer: Address, nonce: int, message_index: int, genesis_hash: Hash) -> Hash:
    """Return the id of the channel that this message of the payer's transaction opens."""
    opener = _Opener(payer, nonce, message_index, genesis_hash)
    return crypto.hash_bytes(Tag.CHANNEL_ID, encode(opener))


def live_channel(state: State, channel_id: Hash, *, direct: bool = False) -> Channel:
    """Return an open channel of the expected kind; raises Rejected otherwise."""
    channel = CHANNELS.require(state, channel_id)
    if channel.direct != direct:
        raise NotDirect(
            "The id names a direct call where a channel is expected, or the other way round; "
            "use the transactions of its kind."
        )
    if channel.closed:
        raise ChannelIsClosed("The channel is closed; open another one.")
    return channel


def require_growing(ctx: TxContext, channel: Channel) -> None:
    """Raise ChannelIsClosed when the channel takes no deposits and lanes any more."""
    if channel.closing or ctx.height > channel.expiry_height:
        raise ChannelIsClosed(
            f"The channel expired at height {channel.expiry_height} or is closing; "
            "open another one."
        )


def party_key(channel: Channel, account: Address, public_key: PublicKey) -> None:
    """Raise unless `account` is one side and `public_key` signs for the other.

    For the payer its session key counts as well as its account's own key.
    """
    signer = crypto.address_of(public_key)
    if account == channel.operator:
        if signer == channel.payer or public_key == channel.session_key:
            return
    elif account == channel.payer:
        if signer == channel.operator:
            return
    else:
        raise NotAParty("Only payer and operator of the channel may do this; sign as one of them.")
    raise WrongSigner(
        "The second signature is not of the channel's other side; let that side sign."
    )


def open_channel(ctx: TxContext, channel_id: Hash, channel: Channel) -> None:
    """Write a new channel and take its deposit into escrow."""
    assert CHANNELS.get(ctx.state, channel_id) is None, "a nonce opens a channel once"
    bank.move(ctx.state, ctx.account, ESCROW, channel.deposited)
    shift(ctx.state, escrow=channel.deposited)
    CHANNELS.put(ctx.state, channel_id, channel)
    CLOSINGS.push(ctx.state, channel.close_height, channel_id)
    ctx.emit(
        events.ChannelOpened(
            channel_id,
            channel.payer,
            channel.operator,
            channel.deposited,
            channel.expiry_height,
            channel.direct,
        )
    )


def close_channel(ctx: BlockContext, channel_id: Hash, channel: Channel) -> None:
    """Return to the payer what nobody claimed; pending batches are released all the same."""
    assert not channel.closed, "a channel closes once, and leaves its queue when it does"
    rest = channel.escrow
    bank.move(ctx.state, ESCROW, channel.payer, rest)
    shift(ctx.state, escrow=-rest, refunded=rest)
    CHANNELS.put(
        ctx.state,
        channel_id,
        replace(channel, returned=channel.returned + rest, closing=True, closed=True),
    )
    ctx.emit(events.ChannelClosed(channel_id, channel.payer, rest))


def close_due(ctx: BlockContext) -> None:
    """Close the channels whose last height for claims ends with this block."""
    limit = ctx.params.inference.due_entries_max
    for channel_id in CLOSINGS.take(ctx.state, ctx.height, limit=limit):
        close_channel(ctx, channel_id, CHANNELS.require(ctx.state, channel_id))


@MODULE.tx
class OpenChannel(Message, tag=0x0501):
    """Deposit coins for an operator; vouchers of `session_key` spend them, lane by lane.

    No lane of the channel may cost more than `price_max` in any component.
    """

    operator: Address
    session_key: PublicKey
    deposit: PositiveAmount
    price_max: PriceRow
    expiry_height: Height

    WEIGHT = 120

    def apply(self, ctx: TxContext) -> None:
        """Open the channel."""
        params = ctx.params.inference
        if not ctx.height < self.expiry_height <= ctx.height + params.expiry_blocks:
            raise ExpiryOutOfRange(
                f"The channel would expire at {self.expiry_height}; name a height above "
                f"{ctx.height} and at most {params.expiry_blocks} ahead."
            )
        channel = Channel(
            payer=ctx.account,
            operator=self.operator,
            session_key=self.session_key,
            price_max=self.price_max,
            expiry_height=self.expiry_height,
            close_height=self.expiry_height + params.claim_window_blocks,
            deposited=self.deposit,
            claimed=0,
            returned=0,
            lanes_opened=0,
            lanes_open=0,
            closing=False,
            closed=False,
            direct=False,
        )
        channel_id = channel_id_of(ctx.account, ctx.nonce, ctx.message_index, ctx.genesis_hash)
        open_channel(ctx, channel_id, channel)


@MODULE.tx
class TopUp(Message, tag=0x0502):
    """Add to a channel's deposit; anyone may, what is left goes to the payer."""

    channel_id: Hash
    amount: PositiveAmount

    WEIGHT = 80

    def apply(self, ctx: TxContext) -> None:
        """Take the coins into escrow."""
        channel = live_channel(ctx.state, self.channel_id)
        require_growing(ctx, channel)
        bank.move(ctx.state, ctx.account, ESCROW, self.amount)
        shift(ctx.state, escrow=self.amount)
        deposited = channel.deposited + self.amount
        CHANNELS.put(ctx.state, self.channel_id, replace(channel, deposited=deposited))
        ctx.emit(events.ChannelToppedUp(self.channel_id, self.amount))


@MODULE.tx
class UniClose(Message, tag=0x0503):
    """Close a channel alone: it takes no more deposits and lanes, and ends after claim_window."""

    channel_id: Hash

    WEIGHT = 80

    def apply(self, ctx: TxContext) -> None:
        """Set the height up to which claims are accepted."""
        channel = live_channel(ctx.state, self.channel_id)
        if ctx.account not in (channel.payer, channel.operator):
            raise NotAParty("Only payer and operator of the channel may close it.")
        if channel.closing:
            raise ChannelIsClosed(
                f"The channel is closing already; it ends at height {channel.close_height}."
            )
        height = ctx.height + ctx.params.inference.claim_window_blocks
        close_height = min(height, channel.close_height)
        CLOSINGS.drop(ctx.state, channel.close_height, self.channel_id)
        CLOSINGS.push(ctx.state, close_height, self.channel_id)
        CHANNELS.put(
            ctx.state,
            self.channel_id,
            replace(channel, close_height=close_height, closing=True),
        )
        ctx.emit(events.ChannelClosing(self.channel_id, close_height))


@MODULE.tx
class CoopClose(Message, tag=0x0504):
    """Close a channel at once, both sides agreeing that nothing is left to claim.

    The totals must be those of the open lanes as claimed; a last ClaimBatch may stand before this
    message in the same transaction. Vouchers beyond them are void from then on. The weight covers
    listing every lane that a channel can ever have opened.
    """

    totals: FinalTotals
    key: PublicKey
    signature: Signature

    WEIGHT = 600

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The signature of the side that does not send the transaction."""
        return [(self.key, self.totals.digest(genesis_hash), self.signature)]

    def apply(self, ctx: TxContext) -> None:
        """Return the rest to the payer."""
        channel_id = self.totals.channel_id
        channel = live_channel(ctx.state, channel_id)
        party_key(channel, ctx.account, self.key)
        if self.totals.lanes != lane_totals(ctx.state, channel_id):
            raise TotalsDiffer(
                "The signed totals are not those of the open lanes; claim what is left, then sign "
                "the totals that the chain shows."
            )
        CLOSINGS.drop(ctx.state, channel.close_height, channel_id)
        close_channel(ctx, channel_id, channel)


def lane_totals(state: State, channel_id: Hash) -> tuple[LaneTotals, ...]:
    """Return the totals of a channel's open lanes, in order: what both sides sign to close."""
    return tuple(
        [
            LaneTotals(
                lane_no,
                lane.last_seq,
                lane.cum_amount,
                lane.cum_in,
                lane.cum_cached,
                lane.cum_out,
            )
            for (_, lane_no), lane in LANES.scan(state, under=(channel_id,))
            if not lane.closed
        ]
    )
