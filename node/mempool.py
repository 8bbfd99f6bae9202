"""The mempool: transactions that may go into a block, best paid first, bounded in every way.

Admission is the executor's own inclusion check plus what only a pool knows: one transaction a
nonce, fees reserved over all pending transactions of an account, and limits in count and bytes.
Signatures have been verified before `add`. Work per block follows what the block touched, not what
the pool holds.
"""

from bisect import insort
from collections.abc import Container, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain as joined
from itertools import count, islice
from typing import ClassVar

from state.block import TRANSACTIONS_MAX
from state.errors import Rejected
from state.execute import check_inclusion
from state.modules import bank, chain
from state.nonces import FRESH, is_usable
from state.params import Params
from state.tables import State
from state.transaction import Transaction
from state.types import Address, Hash

RATE_BITS = 20
"""Fee rates are compared in parts of 2^-20 grain per weight unit."""

REPLACE_PERCENT = 110
"""What a transaction must offer, in percent of the one whose nonce it takes over."""

MISFITS_MAX = 64
"""A block is full once so many transactions in a row did not fit any more."""


RECHECKS_MAX = 5_000
"""Transactions that are checked again after one block, about 30 ms; more wait for the next one."""


class MempoolFull(Rejected):
    """The pool holds as much as it may, and what would have to go is paid as well."""

    code: ClassVar[str] = "mempool.full"


class Evicted(Rejected):
    """The pool was full and somebody else's transaction pays more."""

    code: ClassVar[str] = "mempool.evicted"


class Replaced(Rejected):
    """The account sent another transaction with this nonce, which pays more."""

    code: ClassVar[str] = "mempool.replaced"


class SenderFull(Rejected):
    """The account has as many transactions pending as one may have."""

    code: ClassVar[str] = "mempool.sender_full"


class NonceTaken(Rejected):
    """Another transaction of the account with this nonce is pending."""

    code: ClassVar[str] = "mempool.nonce_taken"


class AlreadyPending(Rejected):
    """This very transaction is pending already."""

    code: ClassVar[str] = "mempool.already_pending"


class FundsReserved(Rejected):
    """The account's pending transactions reserve more fees than it holds."""

    code: ClassVar[str] = "mempool.funds_reserved"


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """How much the pool holds at most, and how much of it one block takes."""

    transactions_max: int
    bytes_max: int
    per_sender_max: int
    block_transactions_max: int = 4_000
    """About a fifth of a second of execution, during which the node answers nobody."""

    def __post_init__(self) -> None:
        """Hold the block to what a body may carry."""
        assert 1 <= self.block_transactions_max <= TRANSACTIONS_MAX, "a body carries no more"


@dataclass(slots=True)
class _Sender:
    """What one account has pending."""

    nonces: dict[int, Transaction]
    reserved: int


Dropped = list[tuple[Transaction, Rejected]]
_Place = tuple[int, int, Transaction]
"""Minus the fee rate, the number of arrival, and the transaction: sorted, the best comes first."""


def fee_rate(transaction: Transaction) -> int:
    """Return what the transaction would pay per weight unit at most, in 2^-RATE_BITS grains."""
    return (transaction.body.fee_max << RATE_BITS) // transaction.weight


class Mempool:
    """Pending transactions by id, by sender, by what they pay, and by when they expire."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._places: dict[Hash, _Place] = {}
        self.wires: dict[bytes, Transaction] = {}
        """What is pending, by its wire bytes; the signatures of all of it hold."""
        self._order: list[_Place] = []
        self._expiries: list[tuple[int, Hash]] = []
        self._senders: dict[Address, _Sender] = {}
        self._arrivals = count()
        self._unfunded: list[Transaction] = []
        self._doubtful: dict[Hash, None] = {}
        """What a block may have made impossible, and is still to be checked again."""
        self.bytes_held = 0

    def __len__(self) -> int:
        """Return how many transactions are pending."""
        return len(self._places)

    def __contains__(self, tx_id: Hash) -> bool:
        """Tell whether a transaction is pending."""
        return tx_id in self._places

    def get(self, tx_id: Hash) -> Transaction | None:
        """Return a pending transaction."""
        place = self._places.get(tx_id)
        return None if place is None else place[2]

    def ids(self) -> Iterable[Hash]:
        """Return the ids of everything pending, in the order of arrival."""
        return self._places.keys()

    # --- admission -------------------------------------------------------------------------------

    def check(
        self,
        transaction: Transaction,
        state: State,
        height: int,
        params: Params,
        *,
        is_includable: bool = False,
    ) -> None:
        """Raise Rejected unless the transaction may wait for the block at `height`.

        With `is_includable` the caller knows that the executor's own check over this state holds.
        """
        if transaction.id in self._places:
            raise AlreadyPending("This transaction is pending already; wait for its outcome.")
        if not is_includable:
            check_inclusion(state, transaction, height, params)
        body = transaction.body
        sender = self._senders.get(body.account)
        taken = None if sender is None else sender.nonces.get(body.nonce)
        if sender is not None:
            if taken is not None:
                _check_replacement(taken, transaction)
            elif len(sender.nonces) >= self._limits.per_sender_max:
                raise SenderFull(
                    f"The account has {len(sender.nonces)} transactions pending, the most there "
                    "may be; wait until some are final."
                )
            reserved = sender.reserved - (0 if taken is None else taken.body.fee_max)
            held = bank.balance_of(state, body.account)
            if reserved + body.fee_max > held:
                raise FundsReserved(
                    f"Pending transactions reserve {reserved} of {held} grains for fees; wait, "
                    "lower fee_max, or fund the account."
                )
        if self._is_full_with(transaction) and not self._may_evict(transaction, taken):
            raise MempoolFull(
                "The mempool is full of transactions that pay at least as much; raise fee_max, or "
                "send the transaction again in a few blocks."
            )

    def add(self, transaction: Transaction) -> Dropped:
        """Let a checked transaction with verified signatures wait; return what had to go for it."""
        body = transaction.body
        dropped: Dropped = []
        sender = self._senders.get(body.account)
        taken = None if sender is None else sender.nonces.get(body.nonce)
        if taken is not None:
            self._drop(taken, Replaced("The account replaced it by one that pays more."), dropped)
        while self._is_full_with(transaction) and (worst := self._pop_worst()) is not None:
            gone = Evicted("The mempool was full; send it again, with a higher fee_max.")
            self._drop(worst[2], gone, dropped)
        place = (-fee_rate(transaction), next(self._arrivals), transaction)
        insort(self._order, place)
        heappush(self._expiries, (body.valid_until_height, transaction.id))
        self._places[transaction.id] = place
        self.wires[transaction.wire] = transaction
        sender = self._senders.setdefault(body.account, _Sender({}, 0))
        sender.nonces[body.nonce] = transaction
        sender.reserved += body.fee_max
        self.bytes_held += len(transaction.wire)
        return dropped

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction, if it is pending."""
        place = self._places.pop(transaction.id, None)
        if place is None:
            return
        body = transaction.body
        del self.wires[place[2].wire]
        sender = self._senders[body.account]
        del sender.nonces[body.nonce]
        sender.reserved -= body.fee_max
        if not sender.nonces:
            del self._senders[body.account]
        self.bytes_held -= len(place[2].wire)

    def _drop(self, transaction: Transaction, why: Rejected, dropped: Dropped) -> None:
        self.remove(transaction)
        dropped.append((transaction, why))

    def _is_there(self, place: _Place) -> bool:
        """Tell whether this entry of the order still stands for a pending transaction."""
        return self._places.get(place[2].id) is place

    def _is_full_with(self, transaction: Transaction) -> bool:
        limits = self._limits
        size = self.bytes_held + len(transaction.wire)
        return len(self._places) >= limits.transactions_max or size > limits.bytes_max

    def _may_evict(self, transaction: Transaction, taken: Transaction | None) -> bool:
        """Tell whether what has to go for the transaction, besides what it replaces, pays less.

        Each has to have a lower rate. One may go for that alone, else long ones that pay little
        would keep out short ones that pay well; any more only while those before, which are shorter
        than the newcomer, pay less than it together. So nobody clears the pool for a little fee.
        """
        limits, body = self._limits, transaction.body
        places = len(self._places) + 1 - limits.transactions_max
        size = self.bytes_held + len(transaction.wire) - limits.bytes_max
        if taken is not None:
            places, size = places - 1, size - len(taken.wire)
        rate, fees, passed = fee_rate(transaction), 0, list[_Place]()
        while places > 0 or size > 0:
            worst = self._pop_worst()
            if worst is None:
                break
            passed.append(worst)
            if worst[2] is taken:
                continue
            if -worst[0] >= rate or fees >= body.fee_max:
                break
            fees += worst[2].body.fee_max
            places, size = places - 1, size - len(worst[2].wire)
        self._order.extend(reversed(passed))
        return places <= 0 and size <= 0

    def _pop_worst(self) -> _Place | None:
        """Take the worst paid off the order, and what is gone already with it."""
        while self._order:
            worst = self._order.pop()
            if self._is_there(worst):
                return worst
        return None

    # --- blocks ----------------------------------------------------------------------------------

    def take(
        self, state: State, height: int, params: Params, taken_before: Container[Hash] = ()
    ) -> list[Transaction]:
        """Return the best paid transactions that fill the block at `height`; they stay pending.

        `state` is that of the block's parent, and `taken_before` what stands in its ancestors that
        are not final yet. Each account pays in this block what it holds and no more, so that few
        are refused.
        """
        fees, base_fee = params.fees, chain.base_fee(state)
        weight_left, bytes_left = fees.block_weight_max, fees.block_bytes_max
        held: dict[Address, int] = {}
        taken: list[Transaction] = []
        misfits = 0
        for place in self._order:
            rate, _, transaction = place
            if -rate < base_fee << RATE_BITS or misfits == MISFITS_MAX:
                break
            if len(taken) == self._limits.block_transactions_max:
                break
            body = transaction.body
            if body.valid_until_height < height or not self._is_there(place):
                continue
            if transaction.id in taken_before:
                continue
            if transaction.weight > weight_left or len(transaction.wire) > bytes_left:
                misfits += 1
                continue
            account = body.account
            if account not in held:
                held[account] = bank.balance_of(state, account)
            if held[account] < body.fee_max:
                self._unfunded.append(transaction)
                continue
            held[account] -= transaction.weight * base_fee
            weight_left -= transaction.weight
            bytes_left -= len(transaction.wire)
            misfits = 0
            taken.append(transaction)
        return taken

    def recheck(
        self, included: Iterable[Transaction], state: State, height: int, params: Params
    ) -> Dropped:
        """After a block drop what it included and what may not follow it; return the latter.

        At most RECHECKS_MAX are checked. Should a leader include one that is left over and that has
        become impossible, execution refuses it.
        """
        accounts: dict[Address, None] = {}
        for transaction in included:
            self.remove(transaction)
            accounts[transaction.body.account] = None
        doubtful = joined(
            self._unusable(accounts, state),
            self._unfunded,
            self._expired(height),
            self._too_cheap(chain.base_fee(state)),
        )
        self._doubtful.update(dict.fromkeys([transaction.id for transaction in doubtful]))
        self._unfunded = []
        dropped: Dropped = []
        for tx_id in list(islice(self._doubtful, RECHECKS_MAX)):
            del self._doubtful[tx_id]
            place = self._places.get(tx_id)
            if place is not None:
                try:
                    check_inclusion(state, place[2], height, params)
                except Rejected as error:
                    self._drop(place[2], error, dropped)
        self._sweep()
        return dropped

    def _sweep(self) -> None:
        """Forget what stands for nothing any more, once it is more than what does."""
        if 2 * len(self._places) < len(self._order):
            self._order = [place for place in self._order if self._is_there(place)]
        if 2 * len(self._places) < len(self._expiries):
            self._expiries = sorted(
                [(tx.body.valid_until_height, tx.id) for _, _, tx in self._places.values()]
            )

    def _expired(self, height: int) -> list[Transaction]:
        found = []
        while self._expiries and self._expiries[0][0] < height:
            place = self._places.get(heappop(self._expiries)[1])
            if place is not None:
                found.append(place[2])
        return found

    def _too_cheap(self, base_fee: int) -> list[Transaction]:
        found = []
        for place in islice(reversed(self._order), RECHECKS_MAX):
            if -place[0] >= base_fee << RATE_BITS:
                break
            found.append(place[2])
        return found

    def _unusable(self, accounts: Iterable[Address], state: State) -> list[Transaction]:
        """Return what accounts can no longer send, now that a block changed them."""
        found = []
        for account in accounts:
            sender = self._senders.get(account)
            if sender is not None:
                window = chain.NONCES.get(state, account) or FRESH
                held = bank.balance_of(state, account)
                found += [
                    transaction
                    for nonce, transaction in sender.nonces.items()
                    if not is_usable(window, nonce) or held < transaction.body.fee_max
                ]
        return found


def _check_replacement(taken: Transaction, transaction: Transaction) -> None:
    """Raise NonceTaken unless the newcomer pays well enough to replace the other."""
    wanted = -(-taken.body.fee_max * REPLACE_PERCENT // 100)
    if transaction.body.fee_max < wanted or fee_rate(transaction) <= fee_rate(taken):
        raise NonceTaken(
            f"Nonce {transaction.body.nonce} is taken by a pending transaction; use another one, "
            f"or replace that one with a fee_max of at least {wanted}."
        )
