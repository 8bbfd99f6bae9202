"""The members of a market as rows in memory, carried from block to block.

Whoever steps a market needs all of its accounts; reading them from the store in every block would
cost more than the step. So a step leaves its view behind on its layer of the state, and the next
block takes it up and reads only what was written since. It is no state: without it, after a
restart, the same view is made from the rows (tests hold the two equal).
"""

from bisect import insort
from typing import cast

from state.modules.futures.records import (
    MEMBERS,
    SUBACCOUNTS,
    AccountKey,
    Subaccount,
    account_key,
)
from state.tables import State

Swept = tuple[int, int, int]
"""Mark, and lowest and highest price of the maintenance range, in ticks."""


class Members:
    """Rows of all members of one market, and which of them have orders or are in liquidation."""

    __slots__ = ("changed", "flagged", "keys", "quoting", "rows", "swept")

    def __init__(self) -> None:
        self.rows: dict[AccountKey, Subaccount] = {}
        self.keys: list[AccountKey] = []
        self.quoting: dict[AccountKey, None] = {}
        self.flagged: dict[AccountKey, None] = {}
        self.changed: dict[AccountKey, None] = {}
        """Members whose rows were written since the last sweep."""
        self.swept: Swept | None = None
        """The prices at which all others were found healthy; None when nobody looked yet."""

    def put(self, key: AccountKey, row: Subaccount) -> None:
        """Take a member's row, of a new member too."""
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = row
        self.changed[key] = None
        if row.orders:
            self.quoting[key] = None
        else:
            self.quoting.pop(key, None)
        if row.liquidating:
            self.flagged[key] = None
        else:
            self.flagged.pop(key, None)

    def drop(self, key: AccountKey) -> None:
        """Forget a member that has gone to another market."""
        if self.rows.pop(key, None) is not None:
            self.keys.remove(key)
            for group in (self.quoting, self.flagged, self.changed):
                group.pop(key, None)

    def copy(self) -> "Members":
        """Return a view that may change while this one stays."""
        other = Members()
        other.rows, other.keys = dict(self.rows), list(self.keys)
        other.quoting, other.flagged = dict(self.quoting), dict(self.flagged)
        other.changed, other.swept = dict(self.changed), self.swept
        return other


def load(state: State, market_id: int) -> Members:
    """Return the members of a market as the state has them now."""
    below = state.inherited(("futures.members", market_id))
    if below is None:
        members = Members()
        for (_, owner, number), _ in MEMBERS.scan(state, under=(market_id,)):
            row = SUBACCOUNTS.require(state, (owner, number))
            members.put(account_key(owner, number), row)
        return members
    members = cast(Members, below).copy()
    for (market, owner, number), member in MEMBERS.written(state):
        if market == market_id and member is None:
            members.drop(account_key(owner, number))
    for (owner, number), written in SUBACCOUNTS.written(state):
        key = account_key(owner, number)
        if key in members.rows and written is not None:
            members.put(key, written)
    return members


def keep(state: State, market_id: int, members: Members) -> None:
    """Leave the view, which must be that of the rows as stored, for the next block."""
    state.derived["futures.members", market_id] = members


def forget(state: State, market_id: int) -> None:
    """Drop a view that has been overtaken: another market took a member in the same block."""
    state.derived.pop(("futures.members", market_id), None)
