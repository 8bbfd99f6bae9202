"""What always holds of futures: per market after each of its steps, and over the whole state.

A market that breaks one of its own is quarantined; the statements about the pots are the chain's,
and breaking one stops it (markets 3).
"""

from state.context import BlockContext
from state.modules import bank
from state.modules.futures.desk import Desk
from state.modules.futures.orders import BUY, SELL
from state.modules.futures.records import (
    CASH,
    CONTRACTS,
    INSURANCE,
    MARKETS,
    MEMBERS,
    MODULE,
    SETTLEMENTS,
    SUBACCOUNTS,
    Status,
    Subaccount,
)


def assert_sound(desk: Desk) -> None:
    """Assert I1, I2, I4, I5, I7, I12 and I16 of a market whose step has just been stored.

    The sums were right before the step, so it is enough to look at what the step added to them.
    """
    market, contract = desk.market, desk.contract
    lots, quote, longs = desk.drift
    assert lots == 0, "I1: the lots of the market do not sum to zero"
    assert quote == 0, "I2: the quotes of the market do not sum to zero"
    expected = desk.initial.open_interest + longs
    assert expected == market.open_interest, "I4: open interest is not the sum of longs"
    for key in desk.touched:
        _assert_account(desk.rows[key])
    assert market.floor <= market.mark <= contract.price_cap, "I12: the mark leaves its bounds"
    epoch_max = desk.ctx.params.futures.insurance_draw_epoch_max
    assert market.drawn_in_epoch <= epoch_max, "I16: insurance paid more than an epoch may draw"


def _assert_account(row: Subaccount) -> None:
    assert row.cash >= 0, "I5: the cash of a subaccount is negative"
    sums = [0, 0]
    for order in row.orders:
        sums[order.side] += order.lots
    assert sums == [row.reserved_buy, row.reserved_sell], "I7: reserved lots are not the orders'"


@MODULE.invariant(always=False)
def cash_is_in_the_pot(ctx: BlockContext) -> str | None:
    """I3: the pot holds the cash of all subaccounts and what settlements have yet to pay."""
    held = sum(row.cash for _, row in SUBACCOUNTS.scan(ctx.state))
    held += sum(row.held for _, row in SETTLEMENTS.scan(ctx.state))
    found = bank.balance_of(ctx.state, CASH)
    return None if held == found else f"The cash pot holds {found} and subaccounts {held}."


@MODULE.invariant(always=False)
def insurance_is_in_the_pot(ctx: BlockContext) -> str | None:
    """I3: the pot holds the insurance of all markets."""
    held = sum(row.insurance for _, row in MARKETS.scan(ctx.state))
    found = bank.balance_of(ctx.state, INSURANCE)
    return None if held == found else f"The insurance pot holds {found} and markets {held}."


@MODULE.invariant(always=False)
def markets_add_up(ctx: BlockContext) -> str | None:
    """I1, I2, I4 and I14: lots and quotes sum to zero; a settled market holds nothing."""
    for market_id, market in MARKETS.scan(ctx.state):
        members = [
            SUBACCOUNTS.require(ctx.state, (owner, number))
            for (_, owner, number), _ in MEMBERS.scan(ctx.state, under=(market_id,))
        ]
        if market.status is Status.SETTLED and (members or market.open_interest):
            return f"Market {market_id} is settled and still has positions."
        if market.status in (Status.SETTLING, Status.SETTLED):
            continue
        if any(row.market_id != market_id for row in members):
            return f"A member of market {market_id} is in another market."
        if sum(row.lots for row in members) or sum(row.quote for row in members):
            return f"Lots or quotes of market {market_id} do not sum to zero."
        if sum(max(0, row.lots) for row in members) != market.open_interest:
            return f"The open interest of market {market_id} is not the sum of its longs."
    return None


@MODULE.invariant(always=False)
def books_are_uncrossed(ctx: BlockContext) -> str | None:
    """I6 and I8: nobody could trade with himself, and every order has lots left."""
    for (owner, _), row in SUBACCOUNTS.scan(ctx.state):
        buys = [order.limit for order in row.orders if order.side == BUY]
        sells = [order.limit for order in row.orders if order.side == SELL]
        if buys and sells and max(buys) >= min(sells):
            return f"The orders of {owner.hex()} cross each other."
        if row.orders and (row.market_id == 0 or row.liquidating):
            return f"A subaccount of {owner.hex()} has orders that it may not have."
    return None


@MODULE.invariant(always=False)
def open_interest_is_within_budget(ctx: BlockContext) -> str | None:
    """I13 as far as one state shows it: every listed series has terms, and a sound mark."""
    for market_id, market in MARKETS.scan(ctx.state):
        cap = CONTRACTS.require(ctx.state, market_id).price_cap
        if not market.floor <= market.mark <= cap:
            return f"The mark of market {market_id} is not between its floor and its cap."
    return None
