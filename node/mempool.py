"""The mempool: transactions that may go into a block, best paid first, bounded in every way.

Admission is the executor's own inclusion check plus what only a pool knows: one transaction a
nonce, fees reserved over all pending transactions of an account, and limits in count and bytes.
Signatures have been verified before `add`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from state.errors import Rejected
from state.execute import check_inclusion
from state.modules import bank
from state.params import Params
from state.tables import State
from state.transaction import Transaction
from state.types import Address, Hash


class MempoolFull(Rejected):
    """The pool holds as much as it may, all of it better paid."""

    code: ClassVar[str] = "mempool.full"


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
    """How much the pool holds at most."""

    transactions_max: int
    bytes_max: int
    per_sender_max: int


@dataclass(slots=True)
class _Sender:
    """What one account has pending."""

    nonces: dict[int, Transaction]
    reserved: int


def fee_rate(transaction: Transaction) -> int:
    """Return what the transaction would pay per weight unit at most, times 2^20."""
    return (transaction.body.fee_max << 20) // transaction.weight


class Mempool:
    """Pending transactions by id and by sender."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._pending: dict[Hash, Transaction] = {}
        self._senders: dict[Address, _Sender] = {}
        self.bytes_held = 0

    def __len__(self) -> int:
        """Return how many transactions are pending."""
        return len(self._pending)

    def __contains__(self, tx_id: Hash) -> bool:
        """Tell whether a transaction is pending."""
        return tx_id in self._pending

    def check(self, transaction: Transaction, state: State, height: int, params: Params) -> None:
        """Raise Rejected unless the transaction may wait for the block at `height`."""
        body = transaction.body
        if transaction.id in self._pending:
            raise AlreadyPending("This transaction is pending already; wait for its outcome.")
        check_inclusion(state, transaction, height, params)
        sender = self._senders.get(body.account)
        if sender is not None:
            if body.nonce in sender.nonces:
                raise NonceTaken(
                    f"Nonce {body.nonce} is taken by a pending transaction; use another one."
                )
            if len(sender.nonces) >= self._limits.per_sender_max:
                raise SenderFull(
                    f"The account has {len(sender.nonces)} transactions pending, the most there "
                    "may be; wait until some are final."
                )
            held = bank.balance_of(state, body.account)
            if sender.reserved + body.fee_max > held:
                raise FundsReserved(
                    f"Pending transactions reserve {sender.reserved} of {held} grains for fees; "
                    "wait, lower fee_max, or fund the account."
                )
        if (
            len(self._pending) >= self._limits.transactions_max
            or self.bytes_held + len(transaction.wire) > self._limits.bytes_max
        ):
            raise MempoolFull("The mempool is full; send the transaction again in a few blocks.")

    def add(self, transaction: Transaction) -> None:
        """Let a checked transaction with verified signatures wait."""
        body = transaction.body
        self._pending[transaction.id] = transaction
        sender = self._senders.setdefault(body.account, _Sender({}, 0))
        sender.nonces[body.nonce] = transaction
        sender.reserved += body.fee_max
        self.bytes_held += len(transaction.wire)

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction, if it is pending."""
        if self._pending.pop(transaction.id, None) is None:
            return
        body = transaction.body
        sender = self._senders[body.account]
        del sender.nonces[body.nonce]
        sender.reserved -= body.fee_max
        if not sender.nonces:
            del self._senders[body.account]
        self.bytes_held -= len(transaction.wire)

    def take(self, state: State, height: int, params: Params) -> list[Transaction]:
        """Return the best paid transactions that fill the block at `height`; they stay pending."""
        fees = params.fees
        weight = size = 0
        taken = []
        for transaction in sorted(self._pending.values(), key=fee_rate, reverse=True):
            if (
                weight + transaction.weight > fees.block_weight_max
                or size + len(transaction.wire) > fees.block_bytes_max
            ):
                continue
            try:
                check_inclusion(state, transaction, height, params)
            except Rejected:
                continue  # `recheck` tells its sender why once the block is final
            taken.append(transaction)
            weight += transaction.weight
            size += len(transaction.wire)
        return taken

    def recheck(
        self, included: Iterable[Transaction], state: State, height: int, params: Params
    ) -> list[tuple[Transaction, Rejected]]:
        """After a block drop what it included and what may not follow it; return the latter."""
        for transaction in included:
            self.remove(transaction)
        dropped = []
        for transaction in list(self._pending.values()):
            try:
                check_inclusion(state, transaction, height, params)
            except Rejected as error:
                self.remove(transaction)
                dropped.append((transaction, error))
        return dropped
