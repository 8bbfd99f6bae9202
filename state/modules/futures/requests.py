"""Orders as clients send them: batches of operations that wait for the end of their block.

A transaction only queues: what becomes of each operation is decided in one place for all
transactions of the block, in an order that does not depend on theirs (markets 2.7, 0a.10). The
transaction's outcome says so by the event `futures.queued`; `futures.operations` has the results.
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from state.codec import Struct, encode
from state.context import Event, TxContext
from state.crypto import Tag, hash_bytes
from state.modules.futures.errors import BadOperation, MarketNotTrading, OtherMarket
from state.modules.futures.orders import FOK, GTC, POST_ONLY, REDUCE_ONLY
from state.modules.futures.records import (
    MARKETS,
    MODULE,
    SUBACCOUNTS,
    TRADING,
    MarketId,
)
from state.registry import Message
from state.types import U32, Address, Count, Hash, Height

OPERATIONS_MAX = 64
INDEX_BITS = 6
"""An operation's index inside its transaction: message index, then position in the message."""

assert OPERATIONS_MAX == 1 << INDEX_BITS

Lots = Annotated[int, Meta(ge=1, le=10**9)]
Price = Annotated[int, Meta(ge=1, le=2**46)]


class Side(IntEnum):
    """Which way an order adds lots."""

    BUY = 0
    SELL = 1


class TimeInForce(IntEnum):
    """How long an order stays: until cancelled, one auction, or one auction in full."""

    GTC = 0
    IOC = 1
    FOK = 2


class SelfTrade(IntEnum):
    """What gives way when an order would meet another of the same owner."""

    CANCEL_RESTING = 0
    CANCEL_NEW = 1


class Place(Struct, tag=1):
    """Add an order. It lapses after the block of `expiry_height`; 0 is until cancelled."""

    side: Side
    lots: Lots
    limit: Price
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    client_id: Count = 0
    expiry_height: Height = 0
    self_trade: SelfTrade = SelfTrade.CANCEL_RESTING

    @property
    def flags(self) -> int:
        """The order's flags as the auction knows them."""
        return self.post_only * POST_ONLY | self.reduce_only * REDUCE_ONLY


class Cancel(Struct, tag=2):
    """Take back an open order by its id."""

    order_id: Hash


class CancelClient(Struct, tag=3):
    """Take back the open order with the client's own number."""

    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class CancelAll(Struct, tag=4):
    """Take back all open orders of the subaccount."""


class Replace(Struct, tag=5):
    """Change an open order, or leave it as it is: less at the same limit keeps its priority."""

    order_id: Hash
    lots: Lots
    limit: Price


class ScheduleCancel(Struct, tag=6):
    """Cancel all orders at `height` unless told otherwise before; 0 switches that off."""

    height: Height


Operation = Place | Cancel | CancelClient | CancelAll | Replace | ScheduleCancel


class Queued(Event, tag="futures.queued"):
    """A batch of operations waits for the end of its block."""

    market_id: MarketId
    operations: Count


class Batch(Struct):
    """Queued operations of one message, with what orders them and names their results."""

    market_id: int
    owner: Address
    number: int
    nonce: int
    message_index: int
    tx_id: Hash
    operations: tuple[Operation, ...]


def order_id(owner: Address, nonce: int, message_index: int, position: int) -> Hash:
    """Return the id of the order that an operation places; clients compute it beforehand."""
    return hash_bytes(Tag.ORDER_ID, encode((owner, nonce, message_index << INDEX_BITS | position)))


@MODULE.tx
class PlaceOrders(Message, tag=0x0705):
    """Queue up to 64 order operations of one subaccount in one market."""

    market_id: MarketId
    number: U32
    operations: Annotated[tuple[Operation, ...], Meta(min_length=1, max_length=OPERATIONS_MAX)]

    WEIGHT = 40

    def weight(self) -> int:
        """Return the cost of the batch: a part for each operation."""
        return self.WEIGHT + 10 * len(self.operations)

    def check(self) -> None:
        """Refuse orders that contradict themselves."""
        for operation in self.operations:
            if isinstance(operation, Place) and operation.post_only and operation.tif != GTC:
                raise BadOperation(
                    "A post-only order rests, and IOC and FOK orders never do; drop one of the two."
                )
            if isinstance(operation, Place) and operation.reduce_only and operation.tif == FOK:
                raise BadOperation(
                    "A reduce-only order may be trimmed, a FOK order may not; use IOC instead."
                )

    def apply(self, ctx: TxContext) -> None:
        """Queue the operations, if the market trades and the subaccount is free for it."""
        market = MARKETS.require(ctx.state, self.market_id)
        account = SUBACCOUNTS.require(ctx.state, (ctx.account, self.number))
        if market.status not in TRADING:
            raise MarketNotTrading(
                f"Market {self.market_id} is {market.status.name}; orders are taken while it is "
                "OPENING, OPEN, AUCTION or CLOSE_ONLY."
            )
        if account.market_id not in (0, self.market_id) and not account.is_idle:
            raise OtherMarket(
                f"The subaccount is in market {account.market_id}; close what it has there or "
                "use another subaccount."
            )
        ctx.defer(
            Batch(
                self.market_id,
                ctx.account,
                self.number,
                ctx.nonce,
                ctx.message_index,
                ctx.tx_id,
                self.operations,
            )
        )
        ctx.emit(Queued(self.market_id, len(self.operations)))
