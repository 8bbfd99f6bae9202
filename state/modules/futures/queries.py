"""What clients ask of markets: terms and state, accounts, the book, risk, and settlement proofs."""

from state.codec import Struct
from state.context import QueryContext
from state.errors import Malformed
from state.maths import floor_div, mul_div_floor
from state.modules.futures import budget
from state.modules.futures.accounts import find, health
from state.modules.futures.margin import (
    order_fee,
    order_loss,
)
from state.modules.futures.orders import BUY, SELL
from state.modules.futures.prices import Outlook, outlook, ranges_of
from state.modules.futures.records import (
    CONTRACTS,
    INSURERS,
    LIVE,
    MARKETS,
    MEMBERS,
    MODULE,
    SETTLEMENTS,
    SUBACCOUNTS,
    TRADING,
    Call,
    Contract,
    Insurer,
    Market,
    MarketId,
    Resting,
    Settlement,
    Status,
    Subaccount,
)
from state.modules.futures.requests import Lots, Price, Side
from state.types import (
    PPM,
    U32,
    Address,
    Amount,
    Count,
    Hash,
    Height,
    Ppm,
    SignedAmount,
)

PAGE_MAX = 500
"""The most markets, positions or levels that one query returns."""


class MarketView(Struct):
    """A market: its terms, its state, and what the index says of it now."""

    market_id: MarketId
    model_id: Hash
    status: Status
    mark: Amount
    anchor: Amount
    """Index accrued plus its run-rate over what remains, in ticks."""
    floor: Amount
    band_low: Amount
    band_high: Amount
    best_bid: Amount | None
    best_ask: Amount | None
    auction: Call | None
    """The call period and its indicative price while the market is in AUCTION."""
    open_interest: Count
    budget_lots: Count
    """Most open interest in lots that the index leaves to this market."""
    last_price: Amount
    volume_lots: Count
    insurance: Amount
    trading_fees: SignedAmount
    insurance_fees: Amount
    liquidation_fees: Amount
    insurance_drawn: Amount
    dust: Amount
    first_trading_height: Height
    last_trading_height: Height
    settle_height: Height
    initial_margin_ppm: Ppm
    contract: Contract


class OrderView(Struct):
    """An open order."""

    order_id: Hash
    side: Side
    lots: Amount
    limit: SignedAmount
    height: Height
    flags: Count
    client_id: Count
    expiry_height: Height


class SubaccountView(Struct):
    """A subaccount: what it has, what it is worth, and what of it may leave."""

    owner: Address
    number: U32
    market_id: U32
    cash: Amount
    lots: SignedAmount
    quote: SignedAmount
    equity: SignedAmount
    scan_initial: SignedAmount
    scan_maintenance: SignedAmount
    withdrawable: Amount
    liquidating: bool
    cancel_at: Height
    deposited: Amount
    withdrawn: Amount
    fees: SignedAmount
    liquidation_fees: Amount
    orders: tuple[OrderView, ...]


class Level(Struct):
    """All open lots of one side at one price."""

    price: SignedAmount
    lots: Amount
    orders: Count


class BookView(Struct):
    """The resting book, best prices first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class RiskView(Struct):
    """How full the index's budget is, and in how few hands the market lies."""

    capacity: Amount
    """Grains per tick that open interest times tick value may sum to over all series."""
    used: Amount
    open_interest: Count
    budget_lots: Count
    initial_margin_ppm: Ppm
    longs: Count
    shorts: Count
    long_share_max_ppm: Ppm
    short_share_max_ppm: Ppm
    liquidating: Count
    insurance: Amount
    insurance_left_in_epoch: Amount


class PositionView(Struct):
    """A position of a market, to be paged through."""

    owner: Address
    number: U32
    lots: SignedAmount
    quote: SignedAmount
    cash: Amount


class SettlementView(Struct):
    """The proof of a settlement: the price follows from the buckets, the buckets from receipts."""

    market_id: MarketId
    model_id: Hash
    tick_index: Amount
    price_cap: Amount
    win_first_bucket: Height
    win_stop_bucket: Height
    settlement: Settlement


class Preview(Struct):
    """What an order would need and cost at this height."""

    initial_margin: Amount
    """Grains of margin that the order adds at most, its fee included."""
    fee_max: Amount
    admissible: bool


@MODULE.query
def market(ctx: QueryContext, market_id: MarketId) -> MarketView:
    """Return a market with its terms, its mark and where the index points."""
    contract = CONTRACTS.require(ctx.state, market_id)
    row = MARKETS.require(ctx.state, market_id)
    return _market_view(ctx, contract, row)


@MODULE.query
def markets(ctx: QueryContext, model_id: Hash | None = None, after: U32 = 0) -> list[MarketView]:
    """Return markets by number, at most 500 behind `after`, all of them or those of one model."""
    found = []
    for market_id, contract in CONTRACTS.scan(ctx.state, after=after or None):
        if model_id is None or contract.model_id == model_id:
            row = MARKETS.require(ctx.state, market_id)
            found.append(_market_view(ctx, contract, row))
            if len(found) == PAGE_MAX:
                break
    return found


@MODULE.query
def subaccount(ctx: QueryContext, owner: Address, number: U32 = 0) -> SubaccountView:
    """Return a subaccount with its orders, its equity and what may be withdrawn."""
    row = find(ctx, owner, number)
    found = health(ctx, row)
    return SubaccountView(
        owner,
        number,
        row.market_id,
        row.cash,
        row.lots,
        row.quote,
        found.equity,
        found.scan_initial,
        found.scan_maintenance,
        found.withdrawable,
        row.liquidating,
        row.cancel_at,
        row.deposited,
        row.withdrawn,
        row.fees,
        row.liquidation_fees,
        tuple([_order_view(order) for order in row.orders]),
    )


@MODULE.query
def orders(ctx: QueryContext, owner: Address, number: U32 = 0) -> list[OrderView]:
    """Return the open orders of a subaccount."""
    return [_order_view(order) for order in find(ctx, owner, number).orders]


@MODULE.query
def book(ctx: QueryContext, market_id: MarketId, levels: Count = 20) -> BookView:
    """Return the best levels of both sides of the resting book."""
    if not 1 <= levels <= PAGE_MAX:
        raise Malformed(f"A query returns 1 to {PAGE_MAX} levels; ask for fewer.")
    CONTRACTS.require(ctx.state, market_id)
    bids, asks = _levels(ctx, market_id)
    return BookView(tuple(bids[:levels]), tuple(asks[:levels]))


@MODULE.query
def positions(
    ctx: QueryContext, market_id: MarketId, after: Address | None = None
) -> list[PositionView]:
    """Return the members of a market by owner, at most 500 behind the owner `after`."""
    found: list[PositionView] = []
    start = None if after is None else (market_id, after, 2**32 - 1)
    for (_, owner, number), _ in MEMBERS.scan(
        ctx.state, under=(market_id,), after=start, limit=PAGE_MAX
    ):
        row = find(ctx, owner, number)
        found.append(PositionView(owner, number, row.lots, row.quote, row.cash))
    return found


@MODULE.query
def risk(ctx: QueryContext, market_id: MarketId) -> RiskView:
    """Return how much open interest the index still carries, and who holds the market."""
    contract = CONTRACTS.require(ctx.state, market_id)
    row = MARKETS.require(ctx.state, market_id)
    seen = outlook(ctx, contract)
    used = seen.used_by_others + row.open_interest * contract.tick_value
    longs, shorts, liquidating = [], [], 0
    for _, account in _members(ctx, market_id):
        if account.lots > 0:
            longs.append(account.lots)
        elif account.lots < 0:
            shorts.append(-account.lots)
        liquidating += account.liquidating
    params = ctx.params.futures
    epoch = floor_div(ctx.height, params.epoch_blocks)
    drawn = row.drawn_in_epoch if row.drawn_epoch == epoch else 0
    return RiskView(
        seen.capacity,
        used,
        row.open_interest,
        seen.lots_max(contract),
        budget.scaled_initial_ppm(contract.im_ppm, used, seen.capacity),
        len(longs),
        len(shorts),
        _share_ppm(longs, row.open_interest),
        _share_ppm(shorts, row.open_interest),
        liquidating,
        row.insurance,
        min(row.insurance, max(0, params.insurance_draw_epoch_max - drawn)),
    )


@MODULE.query
def settlement(ctx: QueryContext, market_id: MarketId) -> SettlementView:
    """Return what a market settles or settled on, bucket by bucket."""
    contract = CONTRACTS.require(ctx.state, market_id)
    return SettlementView(
        market_id,
        contract.model_id,
        contract.tick_index,
        contract.price_cap,
        contract.win_first_bucket,
        contract.win_stop_bucket,
        SETTLEMENTS.require(ctx.state, market_id),
    )


@MODULE.query
def insurer(ctx: QueryContext, market_id: MarketId, owner: Address) -> Insurer:
    """Return an underwriter's shares in a market's insurance."""
    return INSURERS.require(ctx.state, (market_id, owner))


@MODULE.query
def preview(
    ctx: QueryContext,
    owner: Address,
    number: U32,
    market_id: MarketId,
    side: Side,
    lots: Lots,
    limit: Price,
) -> Preview:
    """Return what margin and fee an order would take, and whether it would be admitted alone."""
    contract = CONTRACTS.require(ctx.state, market_id)
    row = MARKETS.require(ctx.state, market_id)
    bounds = ranges_of(contract, row, outlook(ctx, contract), ctx.height)
    order = Resting(bytes(32), bytes(24), int(side), lots, limit, ctx.height)
    fee = order_fee(order, bounds, contract.terms)
    low, high = bounds.mark - bounds.initial_low, bounds.initial_high - bounds.mark
    stress = lots * (low if side == BUY else high) * contract.tick_value
    margin = stress + order_loss(order, bounds.mark, contract.tick_value) + fee
    account = SUBACCOUNTS.get(ctx.state, (owner, number))
    free = 0 if account is None else health(ctx, account).scan_initial
    fits = bounds.band_low <= limit <= bounds.band_high and row.status in TRADING
    return Preview(margin, fee, fits and margin <= free)


def _market_view(ctx: QueryContext, contract: Contract, row: Market) -> MarketView:
    market_id = contract.market_id
    seen = outlook(ctx, contract)
    if row.status is Status.SETTLED or row.status is Status.SETTLING:
        seen = Outlook(row.floor, row.anchor, seen.capacity, seen.used_by_others)
    elif LIVE.get(ctx.state, market_id) is None and row.status in TRADING:
        row = _idle(row, seen)
    bounds = ranges_of(contract, row, seen, ctx.height)
    bids, asks = _levels(ctx, market_id)
    return MarketView(
        market_id,
        contract.model_id,
        row.status,
        bounds.mark,
        seen.anchor,
        seen.floor,
        bounds.band_low,
        bounds.band_high,
        bids[0].price if bids else None,
        asks[0].price if asks else None,
        row.call,
        row.open_interest,
        seen.lots_max(contract),
        row.last_price,
        row.volume_lots,
        row.insurance,
        row.trading_fees,
        row.insurance_fees,
        row.liquidation_fees,
        row.insurance_drawn,
        row.dust,
        contract.open_height,
        contract.win_end - 1,
        contract.settle_height,
        mul_div_floor(bounds.initial_high - bounds.mark, PPM, max(1, bounds.mark)),
        contract,
    )


def _idle(row: Market, seen: Outlook) -> Market:
    """A market without positions has its mark where the index points."""
    return Market(
        row.status,
        seen.anchor,
        last_price=row.last_price,
        volume_lots=row.volume_lots,
        insurance=row.insurance,
        trading_fees=row.trading_fees,
        insurance_fees=row.insurance_fees,
        liquidation_fees=row.liquidation_fees,
        insurance_drawn=row.insurance_drawn,
    )


def _members(ctx: QueryContext, market_id: int) -> list[tuple[tuple[Address, int], Subaccount]]:
    return [
        ((owner, number), SUBACCOUNTS.require(ctx.state, (owner, number)))
        for (_, owner, number), _ in MEMBERS.scan(ctx.state, under=(market_id,))
    ]


def _levels(ctx: QueryContext, market_id: int) -> tuple[list[Level], list[Level]]:
    sides: tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]] = ({}, {})
    for _, account in _members(ctx, market_id):
        for order in account.orders:
            lots, count = sides[order.side].get(order.limit, (0, 0))
            sides[order.side][order.limit] = (lots + order.lots, count + 1)
    bids = [Level(price, *sides[BUY][price]) for price in sorted(sides[BUY], reverse=True)]
    asks = [Level(price, *sides[SELL][price]) for price in sorted(sides[SELL])]
    return bids, asks


def _order_view(order: Resting) -> OrderView:
    return OrderView(
        order.order_id,
        Side(order.side),
        order.lots,
        order.limit,
        order.height,
        order.flags,
        order.client_id,
        order.expiry,
    )


def _share_ppm(parts: list[int], total: int) -> int:
    return mul_div_floor(max(parts), PPM, total) if parts and total else 0
