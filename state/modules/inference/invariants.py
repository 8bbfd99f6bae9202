"""What must hold of channels, batches and bonds after every block.

The running totals are compared with the pot always; all rows are added up where every invariant
is asked for (assets C.2).
"""

from state.context import BlockContext
from state.modules import bank
from state.modules.inference.records import (
    BATCHES,
    BONDS,
    BONDS_POT,
    CHANNELS,
    DEMANDS,
    DEMANDS_POT,
    ESCROW,
    LANES,
    MODULE,
    NO_SUMS,
    BatchStatus,
    minus,
    plus,
    totals_of,
)


@MODULE.invariant(always=True)
def deposits_are_accounted_for(ctx: BlockContext) -> str | None:
    """Deposits are in escrow, pending, paid or refunded, and the pot holds the first two."""
    totals = totals_of(ctx.state)
    if totals.deposits != totals.escrow + totals.pending + totals.paid + totals.refunded:
        return f"The totals {totals} do not add up."
    held = bank.balance_of(ctx.state, ESCROW)
    if held != totals.escrow + totals.pending:
        return f"The escrow pot holds {held}, and {totals.escrow} + {totals.pending} are owed."
    return None


@MODULE.invariant(always=False)
def totals_are_the_rows(ctx: BlockContext) -> str | None:
    """The running totals are what channels and batches add up to."""
    totals = totals_of(ctx.state)
    deposits = escrow = refunded = 0
    for _, channel in CHANNELS.scan(ctx.state):
        deposits += channel.deposited
        escrow += channel.escrow
        refunded += channel.returned
        if channel.closed and channel.escrow:
            return "A closed channel still holds an escrow."
    pending = paid = 0
    for _, row in BATCHES.scan(ctx.state):
        left = minus(row.sums, row.removed)
        refunded += row.removed.amount
        if row.status == BatchStatus.PENDING:
            pending += left.amount
        else:
            paid += left.amount
    found = (deposits, escrow, pending, paid, refunded)
    kept = (totals.deposits, totals.escrow, totals.pending, totals.paid, totals.refunded)
    return None if found == kept else f"The rows add up to {found} and the totals are {kept}."


@MODULE.invariant(always=False)
def lanes_are_their_batches(ctx: BlockContext) -> str | None:
    """A lane's counters are the sums of its batches, and a channel's claims those of its lanes."""
    claimed: dict[bytes, int] = {}
    for (channel_id, lane_no), lane in LANES.scan(ctx.state):
        sums = released = NO_SUMS
        pending = 0
        for _, row in BATCHES.scan(ctx.state, under=(channel_id, lane_no)):
            sums = plus(sums, row.sums)
            if row.status == BatchStatus.PENDING:
                pending += 1
            else:
                released = plus(released, minus(row.sums, row.removed))
        cumulative = (lane.last_seq, lane.cum_in, lane.cum_cached, lane.cum_out, lane.cum_amount)
        paid = (
            lane.released_in,
            lane.released_cached,
            lane.released_out,
            lane.released_amount,
        )
        if cumulative != sums.as_tuple() or paid != released.as_tuple()[1:]:
            return f"Lane {lane_no} of {channel_id.hex()} is not the sum of its batches."
        if lane.pending != pending:
            return f"Lane {lane_no} of {channel_id.hex()} miscounts its pending batches."
        claimed[channel_id] = claimed.get(channel_id, 0) + lane.cum_amount
    for channel_id, channel in CHANNELS.scan(ctx.state):
        if channel.claimed != claimed.get(channel_id, 0):
            return f"Channel {channel_id.hex()} has not claimed what its lanes have."
    return None


@MODULE.invariant(always=False)
def bonds_are_the_rows(ctx: BlockContext) -> str | None:
    """The two pots of bonds hold what demands and operators put there, and batches count theirs."""
    bonds = sum(row.bonded + row.unbonding for _, row in BONDS.scan(ctx.state))
    if bank.balance_of(ctx.state, BONDS_POT) != bonds:
        return "The pot of operators' bonds is not the sum of its rows."
    demands = 0
    open_demands: dict[tuple[bytes, int, int], int] = {}
    for (channel_id, lane_no, from_seq, _), demand in DEMANDS.scan(ctx.state):
        demands += demand.bond
        key = (channel_id, lane_no, from_seq)
        open_demands[key] = open_demands.get(key, 0) + 1
    if bank.balance_of(ctx.state, DEMANDS_POT) != demands:
        return "The pot of demands' bonds is not the sum of its rows."
    for key, row in BATCHES.scan(ctx.state):
        if row.demands_open != open_demands.get(key, 0):
            return f"The batch at seq {key[2]} of {key[0].hex()} miscounts its demands."
    return None
