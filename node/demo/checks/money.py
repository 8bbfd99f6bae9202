"""Profits and losses: every trader's, and that all of them together are zero to the grain.

    pnl = cash at the end + withdrawals - deposits + trading fees paid
    sum of pnl + liquidation fees + change of insurance and vault = 0

The change of insurance leaves out what fees brought in, since fees are no profit or loss.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraderBook:
    """One subaccount at the end, in grains: what the chain says, and what its fills say."""

    account: str
    cash: int
    deposited: int
    withdrawn: int
    fees: int
    liquidation_fees: int
    fees_of_fills: int
    """Trading fees added up from every fill's event, rebates taken off."""
    open_lots: int

    @property
    def pnl(self) -> int:
        """Profit or loss before trading fees."""
        return self.cash + self.withdrawn - self.deposited + self.fees


@dataclass(frozen=True, slots=True)
class InsuranceBook:
    """The insurance of all markets in grains: coins before and after, and what fees brought."""

    before: int
    after: int
    fees: int
    """Trading and liquidation fees that went into it."""

    @property
    def change(self) -> int:
        """What losses took out (negative), or a surplus left in."""
        return self.after - self.before - self.fees


def pnl_by_account(books: Iterable[TraderBook]) -> dict[str, int]:
    """Profit or loss of each account over all its subaccounts."""
    found: dict[str, int] = {}
    for book in books:
        found[book.account] = found.get(book.account, 0) + book.pnl
    return found


def fees_by_account(books: Iterable[TraderBook]) -> dict[str, int]:
    """Trading fees paid less rebates, of each account over all its subaccounts."""
    found: dict[str, int] = {}
    for book in books:
        found[book.account] = found.get(book.account, 0) + book.fees
    return found


def pnl_sum(books: Iterable[TraderBook], insurance: InsuranceBook) -> int:
    """What must be zero."""
    return sum(book.pnl + book.liquidation_fees for book in books) + insurance.change


def money_faults(books: Iterable[TraderBook], insurance: InsuranceBook) -> Iterator[str]:
    """Yield where profits and losses do not add up, or a position is left."""
    books = list(books)
    total = pnl_sum(books, insurance)
    if total:
        yield f"profits, losses and insurance add up to {total} grains; expected 0"
    for book in books:
        if book.open_lots:
            yield f"{book.account} still holds {book.open_lots} lots after settlement"
        if book.fees != book.fees_of_fills:
            yield f"{book.account} paid {book.fees} in fees and its fills say {book.fees_of_fills}"
