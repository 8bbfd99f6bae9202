"""Why the futures module refuses: one leaf a reason, each with a stable code.

Rejected
├── contracts   WindowRefused HistoryTooShort TooManyMarkets (TermsRefused BudgetTooSmall beside
│               their rules)
├── accounts    SubaccountLimit NotWithdrawable SettlementUnderWay
├── requests    MarketNotTrading OtherMarket BadOperation
└── insurance   InsuranceUnderWay NothingInsured
"""

from state.errors import Malformed, Rejected


class WindowRefused(Rejected):
    """The settlement window is empty, too long, or not in the future."""

    code = "futures.window_refused"


class HistoryTooShort(Rejected):
    """The index has not existed long enough to list on it."""

    code = "futures.history_too_short"


class TooManyMarkets(Rejected):
    """The chain carries as many markets as its parameters allow."""

    code = "futures.too_many_markets"


class SubaccountLimit(Rejected):
    """The subaccount's number is not below the limit."""

    code = "futures.subaccount_limit"


class NotWithdrawable(Rejected):
    """More is asked for than settled, seasoned cash beyond initial margin."""

    code = "futures.not_withdrawable"


class SettlementUnderWay(Rejected):
    """The subaccount's market is paying out, or is quarantined until it does."""

    code = "futures.settlement_under_way"


class MarketNotTrading(Rejected):
    """The market takes no orders in this part of its life."""

    code = "futures.not_trading"


class OtherMarket(Rejected):
    """The subaccount still has orders, a position or unsettled gains in another market."""

    code = "futures.other_market"


class BadOperation(Malformed):
    """An operation contradicts itself."""

    code = "futures.bad_operation"


class NotSettled(Rejected):
    """Underwriters take their part of a fund once its market has paid out."""

    code = "futures.not_settled"


class InsuranceClosed(Rejected):
    """The market takes no more insurance: it is paying out or has paid out."""

    code = "futures.insurance_closed"
