"""Payment: variation at the end of an epoch, and the final settlement of a market.

Variation turns unsettled gains and losses into cash; after close-outs it finds no shortfall. The
final settlement runs in chunks over as many blocks as it takes: the price is fixed first, then all
losers pay, then all winners are paid at a rate fixed once (markets 2.9, 2.11, 0a.9).
"""

from state.codec import replace
from state.context import BlockContext
from state.maths import floor_div
from state.modules import bank, index
from state.modules.futures.desk import Desk
from state.modules.futures.events import Reason, Settled, VariationSettled
from state.modules.futures.margin import Position, value_at
from state.modules.futures.records import (
    CASH,
    INSURANCE,
    MARKETS,
    MEMBERS,
    NO_MARKET,
    SETTLEMENTS,
    SUBACCOUNTS,
    Contract,
    Market,
    Settlement,
    Status,
    account_key,
    account_of,
    schedule,
)
from state.modules.futures.settlement import (
    PayRate,
    Standing,
    loser_pays,
    pay_rate,
    settlement_price,
    variation,
    winner_gets,
)


def settle_variation(desk: Desk) -> None:
    """Turn the unsettled gains and losses of all members into cash, to the grain."""
    held = [key for key, view in desk.views() if view.lots or view.quote]
    if not held:
        return
    accounts = [desk.at(key) for key in held]
    standings = [Standing(account.position, account.cash) for account in accounts]
    result = variation(standings, desk.prices.mark, desk.tick_value)
    assert result.shortfall == 0, "an account without equity reached the variation settlement"
    epoch = floor_div(desk.height, desk.ctx.params.futures.epoch_blocks)
    for account, moved, position in zip(accounts, result.moved, result.positions, strict=True):
        account.cash += moved
        account.quote = position.quote
        account.unseasoned, account.unseasoned_epoch = max(0, moved), epoch
    gains = sum(moved for moved in result.moved if moved > 0)
    desk.ctx.emit(VariationSettled(desk.market_id, desk.prices.mark, len(accounts), gains))


def begin_settlement(ctx: BlockContext, contract: Contract, market: Market) -> None:
    """Fix the price from the index, once and for all; losers pay from the next chunk on."""
    terms = index.INDICES.require(ctx.state, contract.model_id)
    found = index.window(
        ctx.state,
        ctx.params.index,
        terms,
        contract.win_first_bucket,
        contract.win_stop_bucket,
    )
    price = settlement_price(found.units, contract.tick_index, 0, contract.price_cap)
    SETTLEMENTS.put(
        ctx.state,
        contract.market_id,
        Settlement(
            price, found.units, found.buckets, found.cap_hits, found.winsor_hits, ctx.height
        ),
    )
    MARKETS.put(
        ctx.state,
        contract.market_id,
        replace(market, status=Status.SETTLING, mark=price, floor=price, anchor=price),
    )


def continue_settlement(ctx: BlockContext, contract: Contract) -> None:
    """Serve as many positions as a block may; come back in the next block for the rest."""
    settlement = SETTLEMENTS.require(ctx.state, contract.market_id)
    left = ctx.params.futures.settle_positions_max
    while left > 0 and settlement.phase < 3:
        settlement, served = _chunk(ctx, contract, settlement, left)
        left -= served
        if served < 1 or not settlement.cursor:
            settlement = _turn(ctx, contract, settlement)
    SETTLEMENTS.put(ctx.state, contract.market_id, settlement)
    if settlement.phase < 3:
        schedule(ctx.state, ctx.height + 1, contract.market_id)


def _chunk(
    ctx: BlockContext, contract: Contract, settlement: Settlement, limit: int
) -> tuple[Settlement, int]:
    """Serve up to `limit` members behind the cursor; an empty cursor afterwards is the end."""
    market_id = contract.market_id
    after = (market_id, *account_of(settlement.cursor)) if settlement.cursor else None
    found = [
        key for key, _ in MEMBERS.scan(ctx.state, under=(market_id,), after=after, limit=limit)
    ]
    collected, paid, gains = settlement.collected, settlement.paid, settlement.gains
    rate = PayRate(settlement.fund, settlement.gains)
    for _, owner, number in found:
        account = SUBACCOUNTS.require(ctx.state, (owner, number))
        position = Position(account.lots, account.quote)
        value = value_at(position, settlement.price, contract.tick_value)
        cash = account.cash
        if settlement.phase == 1:
            collected += loser_pays(value, cash)
            cash -= loser_pays(value, cash)
            gains += max(0, value)
            if value > 0:
                continue
        else:
            cash += winner_gets(value, rate)
            paid += winner_gets(value, rate)
        MEMBERS.delete(ctx.state, (market_id, owner, number))
        SUBACCOUNTS.put(
            ctx.state,
            (owner, number),
            replace(
                account,
                cash=cash,
                unseasoned=0,
                market_id=NO_MARKET,
                lots=0,
                quote=0,
                orders=(),
                reserved_buy=0,
                reserved_sell=0,
                liquidating=False,
                cancel_at=0,
            ),
        )
    cursor = account_key(*found[-1][1:]) if len(found) == limit else b""
    done = replace(settlement, collected=collected, paid=paid, gains=gains, cursor=cursor)
    return done, len(found)


def _turn(ctx: BlockContext, contract: Contract, settlement: Settlement) -> Settlement:
    """Go from one phase to the next: fix the winners' rate, or close the books."""
    market = MARKETS.require(ctx.state, contract.market_id)
    if settlement.phase == 1:
        rate, drawn = pay_rate(settlement.collected, market.insurance, settlement.gains)
        bank.move(ctx.state, INSURANCE, CASH, drawn)
        MARKETS.put(
            ctx.state,
            contract.market_id,
            replace(
                market,
                insurance=market.insurance - drawn,
                insurance_drawn=market.insurance_drawn + drawn,
            ),
        )
        return replace(settlement, phase=2, fund=rate.fund, drawn=drawn, cursor=b"")
    dust = settlement.held
    bank.move(ctx.state, CASH, INSURANCE, dust)
    MARKETS.put(
        ctx.state,
        contract.market_id,
        replace(
            market,
            status=Status.SETTLED,
            open_interest=0,
            insurance=market.insurance + dust,
            dust=market.dust + dust,
        ),
    )
    ctx.emit(
        Settled(
            contract.market_id,
            settlement.price,
            settlement.units,
            settlement.gains,
            settlement.paid,
        )
    )
    return replace(settlement, phase=3, cursor=b"", paid=settlement.paid + dust)


def cancel_everything(desk: Desk, reason: Reason) -> None:
    """Cancel all orders of the market."""
    for key, _ in desk.quoting():
        desk.cancel_all(desk.at(key), reason)
