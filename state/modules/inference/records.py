"""Rows and pots of the inference module, and the totals that tie them together.

Every grain that was deposited is in exactly one of four places: escrow (nobody claimed it),
pending (claimed, still open to dispute), paid (released through the split) or refunded. The first
two lie in one pot; bonds lie in pots of their own (assets C.2).
"""

from enum import IntEnum
from typing import NamedTuple

from state.codec import Struct
from state.keys import ADDRESS_KEY, HASH_KEY, U8_KEY, U16_KEY, U64_KEY, Fixed
from state.modules import bank
from state.modules.inference.receipts import PriceRow, Request, Sums
from state.modules.split import Payout
from state.queue import Due, DueQueue
from state.registry import Module
from state.tables import State, Table
from state.types import (
    U8,
    U16,
    U32,
    U128,
    Address,
    Amount,
    Count,
    Hash,
    Height,
    PublicKey,
    Signature,
)

MODULE = Module("inference", 0x05)

ESCROW = bank.pot("inference.escrow")
DEMANDS_POT = bank.pot("inference.demands")
BONDS_POT = bank.pot("inference.bonds")

THE_ONE = 0
"""The key of a table that holds one row."""

NO_SUMS = Sums(0, 0, 0, 0, 0)


class Channel(Struct):
    """A payer's deposit for one operator.

    Claims are accepted up to close_height, at whose end what is left goes back. A direct call is
    a channel with one lane and one call.
    """

    payer: Address
    operator: Address
    session_key: PublicKey
    price_max: PriceRow
    expiry_height: Height
    close_height: Height
    deposited: Amount
    claimed: Amount
    returned: Amount
    lanes_opened: U16
    lanes_open: U16
    closing: bool
    closed: bool
    direct: bool

    @property
    def escrow(self) -> int:
        """Grains that are neither claimed nor returned."""
        return self.deposited - self.claimed - self.returned


class Lane(Struct):
    """One (model, version, price, licence, workload, hardware) of a channel, and its counters.

    cum_* count what was claimed, released_* what was paid and counted by the index. The price row
    is immutable, so the lane carries a copy. operator_key is zero until the first claim shows it.
    """

    model_id: Hash
    version: U32
    price_id: U32
    licence_id: Hash
    workload: U8
    hw_class: U16
    price: PriceRow
    operator_key: PublicKey
    last_seq: Count
    cum_in: Count
    cum_cached: Count
    cum_out: Count
    cum_amount: Amount
    released_in: Count
    released_cached: Count
    released_out: Count
    released_amount: Amount
    bucket: Count
    pending: U32
    closed: bool


class BatchStatus(IntEnum):
    """Where a batch stands: open to dispute, or paid out."""

    PENDING = 0
    RELEASED = 1


class BatchRow(Struct):
    """A claimed batch: the root that receipts are proved against, kept for ever.

    `removed` is what false leaves took out of it. A co-signed batch is beyond the payer's
    disputes.
    """

    to_seq: Count
    bucket: Count
    sum_root: Hash
    sums: Sums
    removed: Sums
    release_height: Height
    released_height: Height
    status: BatchStatus
    cosigned: bool
    held: bool
    demands_open: U8
    data_ref: Hash


class Demand(Struct):
    """A leaf that somebody wants to see by `due_height`; its bond goes to the operator if shown."""

    account: Address
    bond: Amount
    due_height: Height


class Fault(Struct):
    """What was proved against one seq of a lane; each consequence happens once."""

    refunded: bool
    slashed: bool


class DirectCall(Struct):
    """The one request of a direct channel, as the payer signed it."""

    request: Request
    payer_signature: Signature


class Bond(Struct):
    """What an operator stands for with its own coins; the unbonding part is still at stake."""

    bonded: Amount
    unbonding: Amount
    unbonded_height: Height


class Totals(NamedTuple):
    """Running sums over all channels, in grains: deposits = escrow + pending + paid + refunded."""

    deposits: int
    escrow: int
    pending: int
    paid: int
    refunded: int


class TotalsRow(Struct):
    """Totals at rest. Coins that circulate are deposited again, so three of them outgrow 2^63."""

    deposits: U128
    escrow: Amount
    pending: Amount
    paid: U128
    refunded: U128

    def read(self) -> Totals:
        """Return the five sums as integers."""
        wide = [int.from_bytes(each, "big") for each in (self.deposits, self.paid, self.refunded)]
        return Totals(wide[0], self.escrow, self.pending, wide[1], wide[2])


LaneKey = tuple[Hash, int]
BatchKey = tuple[Hash, int, int]
"""Channel, lane, and the first seq of the batch."""

SeqKey = tuple[Hash, int, int]
DemandKey = tuple[Hash, int, int, int]
"""Channel, lane, first seq of the batch, and the seq demanded."""

_BATCH_PARTS = (HASH_KEY, U16_KEY, U64_KEY)

CHANNELS: Table[Hash, Channel] = MODULE.table(1, "channels", (HASH_KEY,), Channel)
LANES: Table[LaneKey, Lane] = MODULE.table(2, "lanes", (HASH_KEY, U16_KEY), Lane)
BATCHES: Table[BatchKey, BatchRow] = MODULE.table(3, "batches", _BATCH_PARTS, BatchRow)
DEMANDS: Table[DemandKey, Demand] = MODULE.table(4, "demands", (*_BATCH_PARTS, U64_KEY), Demand)
FAULTS: Table[SeqKey, Fault] = MODULE.table(5, "faults", _BATCH_PARTS, Fault)
DIRECT_CALLS: Table[Hash, DirectCall] = MODULE.table(6, "direct_calls", (HASH_KEY,), DirectCall)
BONDS: Table[Address, Bond] = MODULE.table(7, "bonds", (ADDRESS_KEY,), Bond)
TOTALS: Table[int, TotalsRow] = MODULE.table(8, "totals", (U8_KEY,), TotalsRow)

PAYOUTS: Table[BatchKey, Payout] = MODULE.table(13, "payouts", _BATCH_PARTS, Payout)

_RELEASES: Table[tuple[int, bytes], Due] = MODULE.table(9, "releases", (U64_KEY, Fixed(42)), Due)
_ANSWERS: Table[tuple[int, bytes], Due] = MODULE.table(10, "answers", (U64_KEY, Fixed(50)), Due)
_CLOSINGS: Table[tuple[int, bytes], Due] = MODULE.table(11, "closings", (U64_KEY, HASH_KEY), Due)
_UNBONDINGS: Table[tuple[int, bytes], Due] = MODULE.table(
    12, "unbondings", (U64_KEY, ADDRESS_KEY), Due
)

RELEASES = DueQueue(_RELEASES)
ANSWERS = DueQueue(_ANSWERS)
CLOSINGS = DueQueue(_CLOSINGS)
UNBONDINGS = DueQueue(_UNBONDINGS)


def totals_of(state: State) -> Totals:
    """Return the running sums; all zero before the first deposit."""
    row = TOTALS.get(state, THE_ONE)
    return Totals(0, 0, 0, 0, 0) if row is None else row.read()


def shift(
    state: State, *, escrow: int = 0, pending: int = 0, paid: int = 0, refunded: int = 0
) -> None:
    """Book a movement between the four places; what they gain together is a new deposit."""
    now = totals_of(state)
    deposited = escrow + pending + paid + refunded
    assert deposited >= 0, "deposits only grow"
    TOTALS.put(
        state,
        THE_ONE,
        TotalsRow(
            _wide(now.deposits + deposited),
            now.escrow + escrow,
            now.pending + pending,
            _wide(now.paid + paid),
            _wide(now.refunded + refunded),
        ),
    )


def _wide(value: int) -> U128:
    return value.to_bytes(16, "big")


def plus(left: Sums, right: Sums) -> Sums:
    """Return the sum, field by field."""
    return Sums(*[a + b for a, b in zip(left.as_tuple(), right.as_tuple(), strict=True)])


def minus(left: Sums, right: Sums) -> Sums:
    """Return the difference, field by field, never below zero."""
    return Sums(*[max(0, a - b) for a, b in zip(left.as_tuple(), right.as_tuple(), strict=True)])


def batch_entry(key: BatchKey) -> bytes:
    """Return a batch's key as a queue holds it."""
    return BATCHES.shape.pack(key)


def demand_entry(key: DemandKey) -> bytes:
    """Return a demand's key as a queue holds it."""
    return DEMANDS.shape.pack(key)
