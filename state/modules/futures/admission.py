"""Admission: what becomes of each queued operation before the auction (markets 2.6, 2.7).

Cancellations of resting orders come first, for everybody, so a cancel in the block of a match
always wins. Then accounts take turns by H(previous block, account), each with its operations in
the order of its own nonces: where a transaction stands in the block makes no difference. An
operation on an order that its owner places in the same block waits for that owner's turn.
"""

from collections.abc import Iterable, Sequence

from state.codec import replace
from state.crypto import Tag, hash_bytes
from state.modules.futures.desk import Account, Desk
from state.modules.futures.events import OperationResult, OperationsDone, Reason
from state.modules.futures.margin import Load, order_fee, order_loss, reducing_allowed, scan_initial
from state.modules.futures.orders import (
    BUY,
    LIQUIDATION,
    POST_ONLY,
    REDUCE_ONLY,
    sort_out,
)
from state.modules.futures.records import Resting, Status, account_key
from state.modules.futures.requests import (
    Batch,
    Cancel,
    CancelAll,
    CancelClient,
    Operation,
    Place,
    Replace,
    ScheduleCancel,
    SelfTrade,
    order_id,
)
from state.types import Address, Hash

QUOTE_MAX = 2**62
"""No account may be able to owe or own more in one market (markets 0a.16)."""

NO_ORDER = b""

STAGES: dict[type[Operation], int] = {
    Cancel: 0,
    CancelClient: 0,
    CancelAll: 0,
    ScheduleCancel: 0,
    Replace: 1,
    Place: 2,
}
"""Inside a batch: cancel, then amend, then create."""


def by_turn(batches: Iterable[Batch], randomness: Hash) -> list[Batch]:
    """Return the batches in the order of their owners' turns, then of nonces and messages."""
    turns: dict[Address, Hash] = {}
    for batch in batches:
        if batch.owner not in turns:
            turns[batch.owner] = hash_bytes(Tag.ORDER_TURN, randomness + batch.owner)
    return sorted(batches, key=lambda b: (turns[b.owner], b.owner, b.nonce, b.message_index))


class Admission:
    """The operations of one market and block on their way into its book."""

    def __init__(self, desk: Desk, batches: Iterable[Batch]) -> None:
        self.desk = desk
        self.batches = by_turn(batches, desk.ctx.randomness)
        self.results: list[list[OperationResult | None]] = [
            [None] * len(batch.operations) for batch in self.batches
        ]
        self.counts = [[0] * len(batch.operations) for batch in self.batches]
        self.best: tuple[int, int] = (0, desk.contract.price_cap + 1)
        self.owners: dict[Address, list[Account]] = {}

    def cancel_resting(self) -> None:
        """Carry out, for all accounts, the cancellations that name orders resting already."""
        for number, batch in enumerate(self.batches):
            key = account_key(batch.owner, batch.number)
            if key not in self.desk.rows:
                continue
            account = self.desk.at(key)
            for position, operation in enumerate(batch.operations):
                if isinstance(operation, CancelAll):
                    self.counts[number][position] = self._cancel_all(account)
                elif isinstance(operation, Cancel | CancelClient):
                    self.results[number][position] = self._cancel(account, operation)

    def admit(self) -> None:
        """Carry out everything else, account by account in turn."""
        self._look_at_book()
        for number, batch in enumerate(self.batches):
            results = self.results[number]
            account = self.desk.admit(account_key(batch.owner, batch.number))
            order = sorted(
                range(len(batch.operations)), key=lambda n: STAGES[type(batch.operations[n])]
            )
            for position in order:
                if results[position] is None:
                    if account is None:
                        results[position] = _refused(Reason.OTHER_MARKET)
                    elif isinstance(batch.operations[position], CancelAll):
                        count = self.counts[number][position] + self._cancel_all(account)
                        results[position] = OperationResult(Reason.OK, NO_ORDER, count)
                    else:
                        results[position] = self._execute(account, batch, position)
            self.desk.ctx.emit(
                OperationsDone(
                    batch.tx_id,
                    batch.message_index,
                    batch.market_id,
                    tuple([result for result in results if result is not None]),
                )
            )

    def _look_at_book(self) -> None:
        """Note the best prices of the resting book, and whose orders are in it."""
        best_bid, best_ask = self.best
        here = {batch.owner: True for batch in self.batches}
        for key, view in self.desk.quoting():
            if key[:20] in here:
                self.owners.setdefault(key[:20], []).append(self.desk.at(key))
            for order in view.orders:
                if order.side == BUY:
                    best_bid = max(best_bid, order.limit)
                else:
                    best_ask = min(best_ask, order.limit)
        self.best = (best_bid, best_ask)

    def _execute(self, account: Account, batch: Batch, position: int) -> OperationResult:
        operation = batch.operations[position]
        if isinstance(operation, Cancel | CancelClient):
            return self._cancel(account, operation) or _refused(Reason.UNKNOWN_ORDER)
        if isinstance(operation, ScheduleCancel):
            account.cancel_at = operation.height
            return OperationResult(Reason.OK, NO_ORDER, 0)
        assert not isinstance(operation, CancelAll), "it has its own result"
        new_id = order_id(batch.owner, batch.nonce, batch.message_index, position)
        if isinstance(operation, Replace):
            return self._replace(account, operation, new_id)
        order = Resting(
            new_id,
            account.key,
            int(operation.side),
            operation.lots,
            operation.limit,
            self.desk.height,
            int(operation.tif),
            operation.flags,
            operation.client_id,
            operation.expiry_height,
        )
        return self._place(account, order, operation.self_trade)

    def _cancel(self, account: Account, operation: Cancel | CancelClient) -> OperationResult | None:
        """Cancel one open order; None when the account has none like that."""
        if isinstance(operation, Cancel):
            found = account.book.get(operation.order_id)
        else:
            found = _by_client_id(account, operation.client_id)
        if found is None or found.flags & LIQUIDATION:
            return None
        account.remove(found.order_id)
        return OperationResult(Reason.OK, found.order_id, 1)

    def _cancel_all(self, account: Account) -> int:
        gone = [o.order_id for o in account.book.values() if not o.flags & LIQUIDATION]
        for identifier in gone:
            account.remove(identifier)
        return len(gone)

    def _replace(self, account: Account, operation: Replace, new_id: Hash) -> OperationResult:
        old = account.book.get(operation.order_id)
        if old is None or old.flags & LIQUIDATION:
            return _refused(Reason.UNKNOWN_ORDER)
        if operation.limit == old.limit and operation.lots <= old.lots:
            account.remove(old.order_id)
            account.add(replace(old, lots=operation.lots))
            return OperationResult(Reason.OK, old.order_id, 0)
        new = Resting(
            new_id,
            account.key,
            old.side,
            operation.lots,
            operation.limit,
            self.desk.height,
            old.tif,
            old.flags,
            old.client_id,
            old.expiry,
        )
        account.remove(old.order_id)
        result = self._place(account, new, SelfTrade.CANCEL_NEW)
        if result.reason is not Reason.OK:
            account.add(old)
        return result

    def _place(self, account: Account, order: Resting, self_trade: SelfTrade) -> OperationResult:
        """Check an order against everything, then let it rest; nothing changes on a refusal."""
        refusal = self._refusal(account, order)
        if refusal is not None:
            return _refused(refusal)
        if order.flags & REDUCE_ONLY:
            room = account.room(order.side) - account.reserved[order.side]
            if room <= 0:
                return _refused(Reason.REDUCE_ONLY)
            if order.lots > room:
                order = replace(order, lots=room)
        crossed = self._own_crossed(account.owner, order)
        if crossed and (
            self_trade is SelfTrade.CANCEL_NEW
            or any(other.flags & LIQUIDATION for _, other in crossed)
        ):
            return _refused(Reason.STP)
        for other_account, other in crossed:
            other_account.remove(other.order_id)
        reason = self._margin(account, order)
        for other_account, other in crossed:
            other_account.add(other)
            if reason is None:
                self.desk.cancel(other_account, [other.order_id], Reason.STP)
        if reason is not None:
            return _refused(reason)
        accounts = self.owners.setdefault(account.owner, [])
        if account not in accounts:
            accounts.append(account)
        return OperationResult(Reason.OK, order.order_id, len(crossed))

    def _refusal(self, account: Account, order: Resting) -> Reason | None:
        """Return why the order cannot rest whatever the margin, or None."""
        desk, params = self.desk, self.desk.ctx.params.futures
        if account.liquidating:
            return Reason.LIQUIDATION
        if desk.market.status is Status.CLOSE_ONLY and not order.flags & REDUCE_ONLY:
            return Reason.CLOSE_ONLY
        if not desk.prices.band_low <= order.limit <= desk.prices.band_high:
            return Reason.BAND
        if order.lots > params.order_lots_max or len(account.book) >= params.orders_open_max:
            return Reason.TOO_MANY
        if order.expiry and order.expiry < desk.height:
            return Reason.EXPIRED
        if order.client_id and _by_client_id(account, order.client_id) is not None:
            return Reason.CLIENT_ID
        if order.flags & POST_ONLY and self._crosses_book(order):
            return Reason.POST_ONLY
        return None

    def _crosses_book(self, order: Resting) -> bool:
        """Tell whether the order would meet one that rested before this block."""
        return _crosses(order, self.best[1 - order.side])

    def _own_crossed(self, owner: Address, order: Resting) -> list[tuple[Account, Resting]]:
        """Return the owner's open orders of the other side that the order would meet.

        As long as an owner's best buy is below its best sell it cannot trade with itself at any
        one price, so nothing has to be checked in the auction (markets 2.6).
        """
        found: list[tuple[Account, Resting]] = []
        for account in self.owners.get(owner, ()):
            best = account.best_of(1 - order.side)
            if best is None or not _crosses(order, best):
                continue
            found += [
                (account, other)
                for other in account.book.values()
                if other.side != order.side and _crosses(order, other.limit)
            ]
        return found

    def _margin(self, account: Account, order: Resting) -> Reason | None:
        """Return why margin does not carry the order with all others, or let it rest."""
        desk, side = self.desk, order.side
        account.add(order, self._heavier(desk.gross(account, side), order))
        reason = self._uncovered(account, side)
        if reason is not None:
            account.remove(order.order_id)
        return reason

    def _heavier(self, known: Load, order: Resting) -> Load:
        """Return what a side needs with one more order in it."""
        desk = self.desk
        return Load(
            known.lots + order.lots,
            known.loss + order_loss(order, desk.prices.mark, desk.tick_value),
            known.fee + order_fee(order, desk.prices, desk.terms),
        )

    def _uncovered(self, account: Account, side: int) -> Reason | None:
        """Return why the account's orders, the last of this side, may not all rest, or None."""
        desk = self.desk
        bounds, value, position = desk.prices, desk.tick_value, account.position
        new = desk.load(account, side)
        if not new.lots:
            reducing = sort_out(account.lots, account.side(side)).reducing
            if not reducing_allowed(account.cash, position, reducing, bounds, value):
                return Reason.BANKRUPTCY
            return None
        other = desk.load(account, 1 - side)
        buys, sells = (new, other) if side == BUY else (other, new)
        if scan_initial(account.cash, position, buys, sells, bounds, value) < 0:
            return Reason.MARGIN
        reach = (abs(account.lots) + new.lots) * desk.contract.price_cap * value
        return Reason.QUOTE_LIMIT if abs(account.quote) + reach > QUOTE_MAX else None


def _crosses(order: Resting, limit: int) -> bool:
    """Tell whether the order would meet one of the other side with this limit."""
    return limit <= order.limit if order.side == BUY else limit >= order.limit


def _by_client_id(account: Account, client_id: int) -> Resting | None:
    for order in account.book.values():
        if order.client_id == client_id:
            return order
    return None


def _refused(reason: Reason) -> OperationResult:
    return OperationResult(reason, NO_ORDER, 0)


def refuse_all(desk: Desk, batches: Sequence[Batch], reason: Reason) -> None:
    """Answer operations of a market that takes none."""
    for batch in by_turn(batches, desk.ctx.randomness):
        results = tuple([_refused(reason) for _ in batch.operations])
        desk.ctx.emit(OperationsDone(batch.tx_id, batch.message_index, batch.market_id, results))
