"""The desk: one market during the end of one block.

It holds the rows of all members as they were when the step began, and a working copy of each
account that the step has touched. Only touched accounts are written back.
"""

from collections.abc import Iterator
from operator import attrgetter

from state.codec import replace
from state.context import BlockContext
from state.maths import mul_div_floor
from state.modules import bank, chain
from state.modules.futures import events, members
from state.modules.futures.events import Reason
from state.modules.futures.margin import NO_LOAD, Load, Position, load, order_fee, order_loss
from state.modules.futures.orders import BUY, REDUCE_ONLY, SELL
from state.modules.futures.prices import outlook, ranges_of
from state.modules.futures.records import (
    CASH,
    CONTRACTS,
    INSURANCE,
    LIVE,
    MARKETS,
    MEMBERS,
    SUBACCOUNTS,
    AccountKey,
    Live,
    Member,
    Resting,
    Status,
    Subaccount,
    account_of,
)
from state.types import PPM, Height

BY_ID = attrgetter("order_id")


class Account:
    """A working copy of a subaccount; field for field as in `records.Subaccount`."""

    __slots__ = (
        "best",
        "book",
        "cancel_at",
        "cash",
        "deposited",
        "fees",
        "gross",
        "key",
        "liquidating",
        "liquidation_fees",
        "lots",
        "market_id",
        "number",
        "owner",
        "quote",
        "reducers",
        "reserved",
        "unseasoned",
        "unseasoned_epoch",
        "withdrawn",
    )

    def __init__(self, key: AccountKey, row: Subaccount) -> None:
        self.key = key
        self.owner, self.number = account_of(key)
        self.cash = row.cash
        self.unseasoned = row.unseasoned
        self.unseasoned_epoch = row.unseasoned_epoch
        self.market_id = row.market_id
        self.lots = row.lots
        self.quote = row.quote
        self.book = {order.order_id: order for order in row.orders}
        self.reserved = [row.reserved_buy, row.reserved_sell]
        self.cancel_at = row.cancel_at
        self.liquidating = row.liquidating
        self.deposited = row.deposited
        self.withdrawn = row.withdrawn
        self.fees = row.fees
        self.liquidation_fees = row.liquidation_fees
        self.reducers = sum(order.flags & REDUCE_ONLY != 0 for order in row.orders)
        self.best: list[int | None] = [None, None]
        self.gross: list[Load | None] = [None, None]

    @property
    def orders(self) -> tuple[Resting, ...]:
        """The open orders, as the row has them."""
        return tuple(self.book.values())

    @property
    def position(self) -> Position:
        """Lots and quote."""
        return Position(self.lots, self.quote)

    def room(self, side: int) -> int:
        """Return the lots that orders of this side can still take off the position."""
        return max(0, self.lots if side == SELL else -self.lots)

    def side(self, side: int) -> list[Resting]:
        """Return the open orders of one side."""
        return [order for order in self.book.values() if order.side == side]

    def add(self, order: Resting, gross: Load | None = None) -> None:
        """Let an order rest; `gross` is what all orders of its side then need, if that is known."""
        side, best = order.side, self.best[order.side]
        self.book[order.order_id] = order
        self.reserved[side] += order.lots
        self.gross[side] = gross
        if best is not None:
            self.best[side] = max(best, order.limit) if side == BUY else min(best, order.limit)
        if order.flags & REDUCE_ONLY:
            self.reducers += 1

    def remove(self, order_id: bytes) -> Resting:
        """Take an order off the book."""
        order = self.book.pop(order_id)
        side = order.side
        self.reserved[side] -= order.lots
        self.gross[side] = None
        if order.limit == self.best[side]:
            self.best[side] = None
        if order.flags & REDUCE_ONLY:
            self.reducers -= 1
        return order

    def best_of(self, side: int) -> int | None:
        """Return the best limit of the account's orders of one side, None without any."""
        if self.best[side] is None and self.reserved[side]:
            limits = [order.limit for order in self.book.values() if order.side == side]
            self.best[side] = max(limits) if side == BUY else min(limits)
        return self.best[side]

    def row(self) -> Subaccount:
        """Return the account as a row."""
        return Subaccount(
            self.cash,
            self.unseasoned,
            self.unseasoned_epoch,
            self.market_id,
            self.lots,
            self.quote,
            self.orders,
            self.reserved[BUY],
            self.reserved[SELL],
            self.cancel_at,
            self.liquidating,
            self.deposited,
            self.withdrawn,
            self.fees,
            self.liquidation_fees,
        )


class Desk:
    """One market at work: its contract, its row as it stands now, ranges, and accounts."""

    __slots__ = (
        "contract",
        "ctx",
        "drift",
        "initial",
        "is_live",
        "market",
        "members",
        "outlook",
        "prices",
        "rows",
        "terms",
        "touched",
    )

    def __init__(self, ctx: BlockContext, market_id: int) -> None:
        self.ctx = ctx
        self.contract = CONTRACTS.require(ctx.state, market_id)
        self.terms = self.contract.terms
        self.market = self.initial = MARKETS.require(ctx.state, market_id)
        self.is_live = LIVE.get(ctx.state, market_id) is not None
        self.outlook = outlook(ctx, self.contract)
        self.members = members.load(ctx.state, market_id)
        self.rows = self.members.rows
        self.drift = [0, 0, 0]
        """What this step added to the sums of lots, of quotes and of longs, once stored."""
        self.touched: dict[AccountKey, Account] = {}
        self.prices = ranges_of(self.contract, self.market, self.outlook, ctx.height)

    @property
    def market_id(self) -> int:
        """The number of the market."""
        return self.contract.market_id

    @property
    def height(self) -> Height:
        """The height of the block."""
        return self.ctx.height

    @property
    def tick_value(self) -> int:
        """Grains per tick and lot."""
        return self.contract.tick_value

    def reprice(self) -> None:
        """Take the ranges anew: the mark or the open interest has moved."""
        self.prices = ranges_of(self.contract, self.market, self.outlook, self.ctx.height)
        for account in self.touched.values():
            account.gross = [None, None]

    def at(self, key: AccountKey) -> Account:
        """Return the working copy of a member."""
        account = self.touched.get(key)
        if account is None:
            account = self.touched[key] = Account(key, self.rows[key])
        return account

    def views(self) -> Iterator[tuple[AccountKey, Account | Subaccount]]:
        """Yield every member by ascending key, as it stands now."""
        touched, rows = self.touched, self.rows
        for key in self.members.keys:
            yield key, touched.get(key) or rows[key]

    def quoting(self) -> Iterator[tuple[AccountKey, Account | Subaccount]]:
        """Yield every member that has open orders by ascending key, as it stands now."""
        touched, rows = self.touched, self.rows
        for key in sorted({**self.members.quoting, **touched}):
            view = touched.get(key) or rows[key]
            if view.orders:
                yield key, view

    def unsettled(self) -> Iterator[tuple[AccountKey, Account | Subaccount]]:
        """Yield the members whose health is not known to be what it was at the last sweep."""
        swept = (self.prices.mark, self.prices.maintenance_low, self.prices.maintenance_high)
        if self.members.swept != swept:
            yield from self.views()
            return
        touched, rows = self.touched, self.rows
        for key in sorted({**self.members.changed, **touched}):
            yield key, touched.get(key) or rows[key]

    def standing(self, key: AccountKey) -> Account | Subaccount:
        """Return a member as it stands now, to look at."""
        return self.touched.get(key) or self.rows[key]

    def recount(self) -> None:
        """Take the open interest anew: positions were closed outside an auction."""
        self.change(open_interest=sum(max(0, view.lots) for _, view in self.views()))

    def take_fees(self, trading: int, penalties: int) -> None:
        """Share out fees that were taken from accounts: insurance first, the rest to the chain."""
        if not trading and not penalties:
            return
        params, state = self.ctx.params.futures, self.ctx.state
        insured = mul_div_floor(trading, params.insurance_fee_share_ppm, PPM)
        bank.move(state, CASH, INSURANCE, insured + penalties)
        bank.move(state, CASH, chain.FEES, trading - insured)
        market = self.market
        self.change(
            insurance=market.insurance + insured + penalties,
            trading_fees=market.trading_fees + trading,
            insurance_fees=market.insurance_fees + insured,
            liquidation_fees=market.liquidation_fees + penalties,
        )

    def admit(self, key: AccountKey) -> Account | None:
        """Return the working copy of a subaccount that wants to trade here, None if it may not.

        A subaccount has positions and orders in one market at a time (markets 0a.8). It becomes a
        member with its first order and stays one until another market takes it.
        """
        if key in self.rows:
            return self.at(key)
        owner, number = account_of(key)
        row = SUBACCOUNTS.get(self.ctx.state, (owner, number))
        if row is None or not row.is_idle:
            return None
        if row.market_id:
            MEMBERS.delete(self.ctx.state, (row.market_id, owner, number))
            members.forget(self.ctx.state, row.market_id)
        MEMBERS.put(self.ctx.state, (self.market_id, owner, number), Member())
        self.members.put(key, row)
        account = self.at(key)
        account.market_id = self.market_id
        account.liquidating = False
        return account

    def gross(self, account: Account, side: int) -> Load:
        """Return what all orders of one side would need if each of them opened."""
        found = account.gross[side]
        if found is None:
            orders = account.side(side) if account.reserved[side] else []
            found = account.gross[side] = Load(
                account.reserved[side],
                sum(order_loss(order, self.prices.mark, self.tick_value) for order in orders),
                sum(order_fee(order, self.prices, self.terms) for order in orders),
            )
        return found

    def load(self, account: Account, side: int) -> Load:
        """Return the load of an account's orders of one side; see `margin.load`.

        Without reduce-only orders one of them opens exactly when together they are more than the
        position they face, and then all of them count.
        """
        if account.reducers:
            return load(account.lots, account.side(side), self.prices, self.terms)
        if account.reserved[side] <= account.room(side):
            return NO_LOAD
        return self.gross(account, side)

    def cancel(self, account: Account, order_ids: list[bytes], reason: Reason) -> None:
        """Take orders of one account off the book and say why."""
        if not order_ids:
            return
        for order_id in order_ids:
            account.remove(order_id)
        self.ctx.emit(
            events.OrdersCancelled(
                self.market_id, account.owner, account.number, reason, tuple(order_ids)
            )
        )

    def cancel_all(self, account: Account, reason: Reason) -> int:
        """Take all orders of an account off the book; return how many there were."""
        order_ids = list(account.book)
        self.cancel(account, order_ids, reason)
        return len(order_ids)

    def drop_inert(self, account: Account) -> None:
        """Cancel reduce-only orders that face no position any more."""
        for side in (BUY, SELL):
            if account.reserved[side] and not account.room(side):
                inert = [o.order_id for o in account.side(side) if o.flags & REDUCE_ONLY]
                self.cancel(account, inert, Reason.REDUCE_ONLY)

    def set_status(self, status: Status) -> None:
        """Let the market enter another part of its life."""
        if status != self.market.status:
            self.change(status=status)
            self.ctx.emit(events.StatusChanged(self.market_id, status))

    def change(self, **fields: object) -> None:
        """Change fields of the market's row."""
        self.market = replace(self.market, **fields)

    def store(self) -> None:
        """Write back what changed, and whether the market needs the next block's step."""
        state = self.ctx.state
        for key, account in sorted(self.touched.items()):
            row = account.row()
            before = self.rows[key]
            if row != before:
                self.drift[0] += row.lots - before.lots
                self.drift[1] += row.quote - before.quote
                self.drift[2] += max(0, row.lots) - max(0, before.lots)
                SUBACCOUNTS.put(state, (account.owner, account.number), row)
                self.members.put(key, row)
        if self.market != self.initial:
            MARKETS.put(state, self.market_id, self.market)
        live = bool(self.members.quoting) or self.market.open_interest > 0
        live = live or any(row.quote for row in self.rows.values())
        if live != self.is_live:
            if live:
                LIVE.put(state, self.market_id, Live())
            else:
                LIVE.delete(state, self.market_id)
