"""What the futures module tells subscribers; every automatic cancellation carries its reason."""

from enum import StrEnum

from state.codec import Struct
from state.context import Event
from state.modules.futures.records import MarketId, Status
from state.types import U32, Address, Amount, Count, Hash, Height, SignedAmount


class Reason(StrEnum):
    """Why an operation was refused or an order cancelled; `OK` is that it was done."""

    OK = "OK"
    IOC = "IOC"
    FOK = "FOK"
    BUDGET = "BUDGET"
    MARGIN = "MARGIN"
    BANKRUPTCY = "BANKRUPTCY"
    BAND = "BAND"
    STP = "STP"
    POST_ONLY = "POST_ONLY"
    REDUCE_ONLY = "REDUCE_ONLY"
    EXPIRED = "EXPIRED"
    DEAD_MAN = "DEAD_MAN"
    LIQUIDATION = "LIQUIDATION"
    CLIENT_ID = "CLIENT_ID"
    TOO_MANY = "TOO_MANY"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    OTHER_MARKET = "OTHER_MARKET"
    NOT_TRADING = "NOT_TRADING"
    CLOSE_ONLY = "CLOSE_ONLY"
    QUOTE_LIMIT = "QUOTE_LIMIT"
    CANCELLED = "CANCELLED"


class Listed(Event, tag="futures.listed"):
    """A market was listed."""

    market_id: MarketId
    model_id: Hash
    lister: Address
    tick_value: Amount
    win_start: Height
    win_end: Height


class StatusChanged(Event, tag="futures.status"):
    """A market entered another part of its life."""

    market_id: MarketId
    status: Status


class Quarantined(Event, tag="futures.quarantined"):
    """A market's step broke one of its invariants and was taken back."""

    market_id: MarketId
    breach: str


class MarginMoved(Event, tag="futures.margin_moved"):
    """Cash came into a subaccount or left it."""

    owner: Address
    number: U32
    amount: SignedAmount
    cash: Amount


class OperationResult(Struct):
    """What became of one operation: the order it concerns and how many orders it cancelled."""

    reason: Reason
    order_id: bytes
    cancelled: Count


class OperationsDone(Event, tag="futures.operations"):
    """The results of a batch of operations, in the order in which the transaction lists them."""

    tx_id: Hash
    message_index: Count
    market_id: MarketId
    results: tuple[OperationResult, ...]


class OrdersCancelled(Event, tag="futures.cancelled"):
    """Orders of one subaccount left the book without an operation of its own."""

    market_id: MarketId
    owner: Address
    number: U32
    reason: Reason
    order_ids: tuple[bytes, ...]


class Cleared(Event, tag="futures.cleared"):
    """An auction traded: its price in ticks, lots, and what it left unmatched."""

    market_id: MarketId
    price: Amount
    lots: Count
    imbalance: SignedAmount
    open_interest: Count


class GapFound(Event, tag="futures.gap"):
    """Blocks were further apart than markets trade over: all of them go into AUCTION.

    No account is liquidated before the block of height `calm_height`.
    """

    gap_ms: Count
    auction_blocks: Count
    calm_height: Height


class Indicated(Event, tag="futures.indicated"):
    """A market in AUCTION tells where its orders would trade; price 0 is that they do not cross.

    It may trade again in the block of height `end`.
    """

    market_id: MarketId
    price: Amount
    lots: Count
    imbalance: SignedAmount
    end: Height


class Filled(Event, tag="futures.filled"):
    """An order traded at the price of its auction; a negative fee is a rebate."""

    market_id: MarketId
    owner: Address
    number: U32
    order_id: bytes
    side: Count
    price: Amount
    lots: Count
    lots_left: Count
    fee: SignedAmount


class Marked(Event, tag="futures.marked"):
    """The mark moved."""

    market_id: MarketId
    mark: Amount
    floor: Amount
    anchor: Amount
    open_interest: Count


class Flagged(Event, tag="futures.flagged"):
    """A subaccount fell below maintenance margin, or is above it again."""

    market_id: MarketId
    owner: Address
    number: U32
    liquidating: bool


class ClosedOut(Event, tag="futures.closed_out"):
    """A subaccount without equity lost its position at the mark (markets 2.10, stages C and D)."""

    market_id: MarketId
    owner: Address
    number: U32
    lots: SignedAmount
    insurance_paid: Amount
    deficit: Amount


class Deleveraged(Event, tag="futures.deleveraged"):
    """A subaccount took over or lost something for another's insolvency."""

    market_id: MarketId
    owner: Address
    number: U32
    lots: SignedAmount
    share: Amount


class VariationSettled(Event, tag="futures.variation"):
    """Unsettled gains and losses of a market became cash."""

    market_id: MarketId
    mark: Amount
    accounts: Count
    moved: Amount


class Settled(Event, tag="futures.settled"):
    """A market paid out: the proof is the settlement row of this market."""

    market_id: MarketId
    price: Amount
    units: Amount
    gains: Amount
    paid: Amount
