"""Margin accounts: cash in, cash out, and between an owner's subaccounts (markets 2.4, 0a.7)."""

from msgspec import Struct

from state.codec import replace
from state.context import QueryContext, TxContext
from state.modules import bank
from state.modules.futures.errors import NotWithdrawable, SettlementUnderWay, SubaccountLimit
from state.modules.futures.events import MarginMoved
from state.modules.futures.margin import (
    Load,
    Position,
    Ranges,
    equity,
    load,
    scan_initial,
    scan_maintenance,
    withdrawable,
)
from state.modules.futures.orders import BUY, SELL
from state.modules.futures.prices import outlook, ranges_of
from state.modules.futures.records import (
    CASH,
    CONTRACTS,
    MARKETS,
    MODULE,
    SUBACCOUNTS,
    Contract,
    Status,
    Subaccount,
    unseasoned_at,
)
from state.registry import Message
from state.types import U32, Address, PositiveAmount

FROZEN = (Status.SETTLING, Status.QUARANTINED)


class Health(Struct, frozen=True):
    """What a subaccount is worth and what of it is free, in grains."""

    equity: int
    scan_initial: int
    scan_maintenance: int
    withdrawable: int


def health(ctx: QueryContext, account: Subaccount) -> Health:
    """Return what an account is worth at its market's mark and this height."""
    free = unseasoned_at(
        account.unseasoned,
        account.unseasoned_epoch,
        ctx.height,
        ctx.params.futures.epoch_blocks,
    )
    if account.is_idle:
        cash = account.cash
        return Health(cash, cash, cash, withdrawable(cash, free, cash))
    contract = CONTRACTS.require(ctx.state, account.market_id)
    market = MARKETS.require(ctx.state, account.market_id)
    bounds = ranges_of(contract, market, outlook(ctx, contract), ctx.height)
    position = Position(account.lots, account.quote)
    buys, sells = loads(account, bounds, contract)
    initial = scan_initial(account.cash, position, buys, sells, bounds, contract.tick_value)
    frozen = market.status in FROZEN
    return Health(
        equity(account.cash, position, bounds.mark, contract.tick_value),
        initial,
        scan_maintenance(account.cash, position, bounds, contract.tick_value),
        0 if frozen else withdrawable(account.cash, free, initial),
    )


def loads(account: Subaccount, bounds: Ranges, contract: Contract) -> tuple[Load, Load]:
    """Return what the open buys and sells of an account need of margin."""
    buys = [order for order in account.orders if order.side == BUY]
    sells = [order for order in account.orders if order.side == SELL]
    terms = contract.terms
    return load(account.lots, buys, bounds, terms), load(account.lots, sells, bounds, terms)


def _put_in(ctx: TxContext, number: int, amount: int) -> None:
    limit = ctx.params.futures.subaccounts_max
    if number >= limit:
        raise SubaccountLimit(f"Subaccounts are numbered 0 to {limit - 1}; {number} is none.")
    account = SUBACCOUNTS.get(ctx.state, (ctx.account, number)) or Subaccount()
    cash = account.cash + amount
    SUBACCOUNTS.put(
        ctx.state,
        (ctx.account, number),
        replace(account, cash=cash, deposited=account.deposited + amount),
    )
    ctx.emit(MarginMoved(ctx.account, number, amount, cash))


def _take_out(ctx: TxContext, number: int, amount: int) -> None:
    account = SUBACCOUNTS.require(ctx.state, (ctx.account, number))
    if not account.is_idle and MARKETS.require(ctx.state, account.market_id).status in FROZEN:
        raise SettlementUnderWay(
            f"Market {account.market_id} is paying out or quarantined; withdraw when it has "
            "settled."
        )
    free = health(ctx, account).withdrawable
    if amount > free:
        raise NotWithdrawable(
            f"{amount} grains are asked for and {free} may leave: settled, seasoned cash beyond "
            "initial margin. Ask for less, or cancel orders or reduce the position."
        )
    cash = account.cash - amount
    SUBACCOUNTS.put(
        ctx.state,
        (ctx.account, number),
        replace(account, cash=cash, withdrawn=account.withdrawn + amount),
    )
    ctx.emit(MarginMoved(ctx.account, number, -amount, cash))


@MODULE.tx
class DepositMargin(Message, tag=0x0702):
    """Move coins of the signer into one of its subaccounts, which the first deposit opens."""

    number: U32
    amount: PositiveAmount

    WEIGHT = 80

    def apply(self, ctx: TxContext) -> None:
        """Move the coins into the pot and credit the subaccount."""
        bank.move(ctx.state, ctx.account, CASH, self.amount)
        _put_in(ctx, self.number, self.amount)


@MODULE.tx
class WithdrawMargin(Message, tag=0x0703):
    """Move free cash of a subaccount back to the signer."""

    number: U32
    amount: PositiveAmount

    WEIGHT = 120

    def apply(self, ctx: TxContext) -> None:
        """Debit the subaccount by at most what is withdrawable, and pay."""
        _take_out(ctx, self.number, self.amount)
        bank.move(ctx.state, CASH, ctx.account, self.amount)


@MODULE.tx
class TransferMargin(Message, tag=0x0704):
    """Move free cash between two subaccounts of the signer."""

    from_number: U32
    to_number: U32
    amount: PositiveAmount

    WEIGHT = 140

    def apply(self, ctx: TxContext) -> None:
        """Debit one subaccount by at most what is withdrawable, and credit the other."""
        _take_out(ctx, self.from_number, self.amount)
        _put_in(ctx, self.to_number, self.amount)


def find(ctx: QueryContext, owner: Address, number: int) -> Subaccount:
    """Return a subaccount; raises NotFound when nothing was ever deposited into it."""
    return SUBACCOUNTS.require(ctx.state, (owner, number))
