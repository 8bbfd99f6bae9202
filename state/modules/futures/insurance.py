"""Insurance: a fund for each market that anyone may underwrite (markets 2.10).

Underwriters hold shares: their part of the fund grows with the fees it earns and shrinks with what
it pays. They take it when the market has settled; until then it stays where it is needed. A fund
that was emptied starts a new round, in which old shares are worth nothing.
"""

from state.codec import replace
from state.context import Event, TxContext
from state.maths import mul_div_floor
from state.modules import bank
from state.modules.futures.errors import InsuranceClosed, NotSettled
from state.modules.futures.records import (
    INSURANCE,
    INSURERS,
    MARKETS,
    MODULE,
    Insurer,
    MarketId,
    Status,
)
from state.registry import Message
from state.types import Address, Amount, PositiveAmount


class Underwritten(Event, tag="futures.underwritten"):
    """Somebody added to the insurance of a market."""

    market_id: MarketId
    owner: Address
    amount: Amount
    shares: Amount


class InsuranceReturned(Event, tag="futures.insurance_returned"):
    """An underwriter took a part of a settled market's insurance."""

    market_id: MarketId
    owner: Address
    amount: Amount


def underwrite(ctx: TxContext, market_id: int, amount: int) -> None:
    """Move `amount` from the signer into a market's insurance, and give shares for it.

    What the fund earned before its first underwriter stays nobody's: it counts as shares that
    no one holds, so the first to come cannot take it.
    """
    market = MARKETS.require(ctx.state, market_id)
    bank.move(ctx.state, ctx.account, INSURANCE, amount)
    fund_round, total = market.fund_round, market.shares
    if market.insurance == 0 and total:
        fund_round, total = fund_round + 1, 0
    if total == 0:
        total = market.insurance
    shares = mul_div_floor(amount, total, market.insurance) if total else amount
    held = INSURERS.get(ctx.state, (market_id, ctx.account))
    own = held.shares if held is not None and held.fund_round == fund_round else 0
    INSURERS.put(ctx.state, (market_id, ctx.account), Insurer(fund_round, own + shares))
    MARKETS.put(
        ctx.state,
        market_id,
        replace(
            market,
            insurance=market.insurance + amount,
            shares=total + shares,
            fund_round=fund_round,
        ),
    )
    ctx.emit(Underwritten(market_id, ctx.account, amount, shares))


@MODULE.tx
class DepositInsurance(Message, tag=0x0706):
    """Underwrite a market: the coins stand for its defaults and earn a part of its fees."""

    market_id: MarketId
    amount: PositiveAmount

    def apply(self, ctx: TxContext) -> None:
        """Move the coins into the fund against shares."""
        market = MARKETS.require(ctx.state, self.market_id)
        if market.status >= Status.SETTLING:
            raise InsuranceClosed(
                f"Market {self.market_id} is {market.status.name} and takes no more insurance; "
                "underwrite one that trades."
            )
        underwrite(ctx, self.market_id, self.amount)


@MODULE.tx
class ClaimInsurance(Message, tag=0x0707):
    """Take back the signer's part of a settled market's insurance."""

    market_id: MarketId

    def apply(self, ctx: TxContext) -> None:
        """Pay the part of the fund that the shares stand for, rounded down."""
        market = MARKETS.require(ctx.state, self.market_id)
        if market.status is not Status.SETTLED:
            raise NotSettled(
                f"Market {self.market_id} is {market.status.name}; its insurance is returned "
                "once it is SETTLED."
            )
        held = INSURERS.require(ctx.state, (self.market_id, ctx.account))
        INSURERS.delete(ctx.state, (self.market_id, ctx.account))
        if held.fund_round != market.fund_round:
            return
        amount = mul_div_floor(market.insurance, held.shares, market.shares)
        MARKETS.put(
            ctx.state,
            self.market_id,
            replace(
                market,
                insurance=market.insurance - amount,
                shares=market.shares - held.shares,
            ),
        )
        bank.move(ctx.state, INSURANCE, ctx.account, amount)
        ctx.emit(InsuranceReturned(self.market_id, ctx.account, amount))
