"""Rows, tables and pots of the futures module, and what each of them holds.

A subaccount is one row: cash, position and open orders of the one market it is in (markets 0a.8).
So a batch of operations, however many, writes one row. Coins lie in two pots: `futures.cash` is
the sum of all subaccounts' cash, `futures.insurance` that of all markets' insurance.
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.keys import ADDRESS_KEY, HASH_KEY, U8_KEY, U32_KEY, U64_KEY, Fixed
from state.maths import floor_div
from state.modules import bank
from state.modules.futures.margin import Terms
from state.modules.futures.orders import Order
from state.queue import Due, DueQueue
from state.registry import Module
from state.tables import State, Table
from state.types import (
    U32,
    Address,
    Amount,
    Count,
    Hash,
    Height,
    Ppm,
    SignedAmount,
    TimestampMs,
)

MODULE = Module("futures", 0x07)

CASH = bank.pot("futures.cash")
INSURANCE = bank.pot("futures.insurance")

NO_MARKET = 0
"""A subaccount without a market; markets are numbered from 1 in the order of their listing."""

MarketId = Annotated[int, Meta(ge=1, le=2**32 - 1)]
FineTicks = Annotated[int, Meta(ge=-(2**63 - 1), le=2**63 - 1)]
"""A moving average in units of 2^-16 tick."""

AccountKey = bytes
"""A subaccount inside the module: the owner's address and the number, 24 bytes."""


class Status(IntEnum):
    """The life of a market, in order; a quarantined one waits for its final settlement."""

    OPENING = 0
    """Orders are taken and nothing trades yet: one auction opens the market."""
    OPEN = 1
    CLOSE_ONLY = 2
    """The index no longer carries the open interest: orders may only reduce."""
    TERMINATED = 3
    """The window is over: no orders, positions wait for the last receipts."""
    SETTLING = 4
    SETTLED = 5
    QUARANTINED = 6
    """A block's step broke an invariant and was taken back; nothing moves until settlement."""
    AUCTION = 7
    """Orders collect and nothing trades or is liquidated until the call period ends."""


TRADING = (Status.OPENING, Status.OPEN, Status.CLOSE_ONLY, Status.AUCTION)


class Contract(Struct):
    """The terms of a market, fixed at its listing (markets 2.2)."""

    market_id: MarketId
    model_id: Hash
    lister: Address
    listed_height: Height
    tick_index: Amount
    tick_value: Amount
    ref_price: Amount
    price_cap: Amount
    win_first_bucket: Height
    win_stop_bucket: Height
    win_start: Height
    win_end: Height
    open_height: Height
    settle_height: Height
    im_ppm: Ppm
    mm_ppm: Ppm
    range_floor_ppm: Ppm
    band_ppm: Ppm
    mark_step_ppm: Ppm
    taker_ppm: Ppm
    maker_rebate_ppm: Ppm
    liquidation_fee_ppm: Ppm

    @property
    def terms(self) -> Terms:
        """What margin needs of the contract."""
        return Terms(
            self.tick_value,
            self.price_cap,
            self.im_ppm,
            self.mm_ppm,
            self.range_floor_ppm,
            self.band_ppm,
            self.taker_ppm,
            self.win_start,
            self.win_end,
        )


class Call(Struct):
    """The call period of a market in AUCTION, and where its orders would trade now."""

    end: Height
    """The block that may clear again."""
    stop: Height
    """The block that clears whatever the price: further breaches extend `end` up to it."""
    widening: Annotated[int, Meta(ge=2, le=10**6)]
    """How many times as wide as in continuous trading the band is."""
    price: Amount = 0
    """The indicative price in ticks; 0 while the orders do not cross."""
    lots: Count = 0
    imbalance: SignedAmount = 0


class Market(Struct):
    """What changes of a market: its status, its mark, its open interest and its insurance."""

    status: Status
    mark: Amount
    floor: Amount = 0
    """Ticks that the index has accrued already: the settlement cannot be lower."""
    anchor: Amount = 0
    """Where the index points: accrued plus run-rate, in ticks."""
    open_interest: Count = 0
    average_price: FineTicks = 0
    average_basis: FineTicks = 0
    traded_height: Height = 0
    """The height of the last clear that fed the averages; 0 before the first."""
    last_price: Amount = 0
    volume_lots: Count = 0
    insurance: Amount = 0
    shares: Amount = 0
    fund_round: U32 = 0
    """Counts how often the fund was emptied: shares of earlier rounds are worth nothing."""
    drawn_epoch: Height = 0
    drawn_in_epoch: Amount = 0
    trading_fees: SignedAmount = 0
    """Taker fees less maker rebates so far."""
    insurance_fees: Amount = 0
    liquidation_fees: Amount = 0
    insurance_drawn: Amount = 0
    dust: Amount = 0
    """Grains that rounding left in the pot at the final settlement; the insurance has them."""
    call: Call | None = None
    """Set exactly while the status is AUCTION."""

    @property
    def widening(self) -> int:
        """How many times as wide as in continuous trading the band is."""
        return self.call.widening if self.call else 1


class Resting(Order, frozen=True, array_like=True, gc=False):
    """An open order as it rests: `lots` are those still open."""

    client_id: Count = 0
    """The client's own number, unique among the open orders of its subaccount; 0 is none."""
    expiry: Height = 0
    """The last height at which it trades; 0 is until cancelled."""
    maker_notional: Amount = 0
    """Grains traded as maker so far, on which the rebate runs."""


class Subaccount(Struct):
    """One margin account of an owner: its cash, and all it has in its market."""

    cash: Amount = 0
    unseasoned: Amount = 0
    """Gain of the last variation settlement, which may leave one epoch later (markets 0a.7)."""
    unseasoned_epoch: Height = 0
    market_id: Annotated[int, Meta(ge=0, le=2**32 - 1)] = NO_MARKET
    lots: SignedAmount = 0
    quote: SignedAmount = 0
    orders: tuple[Resting, ...] = ()
    reserved_buy: Amount = 0
    reserved_sell: Amount = 0
    cancel_at: Height = 0
    """The height at which all orders are cancelled unless this is set anew; 0 is never."""
    liquidating: bool = False
    deposited: Amount = 0
    withdrawn: Amount = 0
    fees: SignedAmount = 0
    """Trading fees paid less rebates received."""
    liquidation_fees: Amount = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing binds it to its market, so that it may join another."""
        return not (self.lots or self.quote or self.orders)


class Member(Struct):
    """A subaccount is in a market; the key says which in which."""


class Live(Struct):
    """A market has orders, positions or unsettled gains, so every block runs its step."""


class Series(Struct):
    """A market is a series on a model's index; the key says which on which."""


class Clock(Struct):
    """The time of the last block, and from which height on a gap in time holds nothing back."""

    time_ms: TimestampMs
    calm_height: Height = 0


class ClearPrice(Struct):
    """The price of a clear, kept while a look-back covers it; the key says where and when."""

    price: Amount


class Insurer(Struct):
    """Shares of an underwriter in a market's insurance."""

    fund_round: U32
    shares: Amount


class Counter(Struct):
    """The number of the market listed last."""

    last: U32


class Settlement(Struct):
    """The proof of a final settlement: what the price was made of, and how far payment has come."""

    price: Amount
    units: Amount
    buckets: tuple[Amount, ...]
    cap_hits: Count
    winsor_hits: Count
    height: Height
    phase: Annotated[int, Meta(ge=1, le=3)] = 1
    """1 collects from losers, 2 pays winners, 3 is done."""
    cursor: bytes = b""
    collected: Amount = 0
    paid: Amount = 0
    gains: Amount = 0
    fund: Amount = 0
    """Grains paid for `gains` grains of gain: less than `gains` is a haircut."""
    drawn: Amount = 0

    @property
    def held(self) -> int:
        """Cash that has left losers and not yet reached winners."""
        return self.collected + self.drawn - self.paid


CONTRACTS: Table[int, Contract] = MODULE.table(1, "contracts", (U32_KEY,), Contract)
MARKETS: Table[int, Market] = MODULE.table(2, "markets", (U32_KEY,), Market)
SUBACCOUNTS: Table[tuple[Address, int], Subaccount] = MODULE.table(
    3, "subaccounts", (ADDRESS_KEY, U32_KEY), Subaccount
)
MEMBERS: Table[tuple[int, Address, int], Member] = MODULE.table(
    4, "members", (U32_KEY, ADDRESS_KEY, U32_KEY), Member
)
LIVE: Table[int, Live] = MODULE.table(5, "live", (U32_KEY,), Live)
SERIES: Table[tuple[Hash, int], Series] = MODULE.table(6, "series", (HASH_KEY, U32_KEY), Series)
INSURERS: Table[tuple[int, Address], Insurer] = MODULE.table(
    7, "insurers", (U32_KEY, ADDRESS_KEY), Insurer
)
SETTLEMENTS: Table[int, Settlement] = MODULE.table(8, "settlements", (U32_KEY,), Settlement)
COUNTER: Table[int, Counter] = MODULE.table(9, "counter", (U8_KEY,), Counter)
CALENDAR = DueQueue(MODULE.table(10, "calendar", (U64_KEY, Fixed(4)), Due))
"""Heights at which a market must be visited though nobody trades in it."""

CLEARS: Table[tuple[int, int], ClearPrice] = MODULE.table(
    11, "clears", (U32_KEY, U64_KEY), ClearPrice
)

CLOCK: Table[int, Clock] = MODULE.table(12, "clock", (U8_KEY,), Clock)

THE_ONE = 0
"""The key of a table that holds one row."""


def account_key(owner: Address, number: int) -> AccountKey:
    """Return the key under which orders name a subaccount."""
    return owner + number.to_bytes(4, "big")


def account_of(key: AccountKey) -> tuple[Address, int]:
    """Return owner and number of an account key."""
    return key[:20], int.from_bytes(key[20:], "big")


def schedule(state: State, height: int, market_id: int) -> None:
    """Let a market's step run at the end of the block of `height`."""
    CALENDAR.push(state, height, market_id.to_bytes(4, "big"))


def unseasoned_at(gain: int, credited_epoch: int, height: int, epoch_blocks: int) -> int:
    """Return the part of the cash that may not leave yet: the gain of this epoch's settlement."""
    return gain if floor_div(height, epoch_blocks) <= credited_epoch else 0
