"""Bodies of blocks, decoded and judged by static rules once, and whose signatures are known.

The same transaction comes by itself and inside blocks; its signatures are verified once here,
whichever way it comes first (state/execute.py says why wire bytes name it, and ids do not).
"""

from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from consensus.messages import BODY_BYTES_MAX
from consensus.settings import Judgement
from state.block import TRANSACTIONS_MAX, Body, bodies, check_body
from state.errors import InvalidBlock, Malformed
from state.execute import check_block
from state.finality import Header
from state.params import BLOCK_BYTES_MAX, FeeParams
from state.transaction import Transaction, TransactionDecoder
from state.types import Hash

BODIES_KEPT_MAX = 16
"""Decoded bodies that wait for their execution; one that is missing is decoded again."""
WIRES_KEPT_MAX = 100_000
WIRES_BYTES_MAX = 2**25
VOTES_BYTES_MAX = 2**17
"""Late votes and evidence of a body, and more than that."""

assert BLOCK_BYTES_MAX + 5 * TRANSACTIONS_MAX + VOTES_BYTES_MAX < BODY_BYTES_MAX, (
    "the longest block can be sent: each transaction has its length before it, in 5 bytes at most"
)


@dataclass(frozen=True, slots=True)
class CheckedBody:
    """A body that passed every static rule, as bytes and decoded."""

    data: bytes
    body: Body
    transactions: Sequence[Transaction]


class VerifiedWires:
    """Wire bytes of transactions whose signatures hold, the newest of them."""

    def __init__(self, pending: Mapping[bytes, Transaction]) -> None:
        self._pending = pending
        self._kept: OrderedDict[bytes, None] = OrderedDict()
        self._bytes = 0

    def __contains__(self, wire: object) -> bool:
        """Tell whether the signatures of this transaction were verified here."""
        return wire in self._kept or wire in self._pending

    def pending(self, wire: bytes) -> Transaction | None:
        """Return a pending transaction, which was decoded already."""
        return self._pending.get(wire)

    def add(self, wire: bytes) -> None:
        """Remember that the signatures of this transaction hold."""
        if wire not in self._kept:
            self._kept[wire] = None
            self._bytes += len(wire)
            while len(self._kept) > WIRES_KEPT_MAX or self._bytes > WIRES_BYTES_MAX:
                self._bytes -= len(self._kept.popitem(last=False)[0])

    def forget(self, wire: bytes) -> None:
        """Forget a transaction that is final: nobody verifies it again, its nonce is used."""
        if wire in self._kept:
            del self._kept[wire]
            self._bytes -= len(wire)


class _Reader:
    """Decodes what was not decoded before."""

    def __init__(self, decoder: TransactionDecoder, known: VerifiedWires) -> None:
        self._decoder = decoder
        self._known = known

    def decode(self, wire: bytes, *, bytes_max: int) -> Transaction:
        """Return the transaction; raises Malformed for what is not, or too long."""
        found = self._known.pending(wire) if len(wire) <= bytes_max else None
        return self._decoder.decode(wire, bytes_max=bytes_max) if found is None else found


class Bodies:
    """Judges bodies, and keeps what it decoded until it is executed."""

    def __init__(self, decoder: TransactionDecoder, fees: FeeParams, known: VerifiedWires) -> None:
        self._decoder = _Reader(decoder, known)
        self._fees = fees
        self._known = known
        self._kept: OrderedDict[tuple[Hash, Hash], CheckedBody] = OrderedDict()

    def keep(self, header_roots: tuple[Hash, Hash], body: CheckedBody) -> None:
        """Keep a body under the roots by which headers commit to it."""
        self._kept[header_roots] = body
        if len(self._kept) > BODIES_KEPT_MAX:
            self._kept.popitem(last=False)

    def id_of(self, wire: bytes) -> Hash:
        """Return the id of a transaction; raises Malformed for bytes that are none."""
        return self._decoder.decode(wire, bytes_max=self._fees.transaction_bytes_max).id

    def forget(self, transactions: Sequence[Transaction]) -> None:
        """Forget the transactions of a final block, so that memory follows what is not final."""
        for transaction in transactions:
            self._known.forget(transaction.wire)

    def judge(self, header: Header, data: bytes) -> Judgement:
        """Hold a body against its header and the static rules."""
        try:
            self.checked(header, data)
        except Malformed:
            return Judgement.FOREIGN
        except ForeignBody:
            return Judgement.FOREIGN
        except InvalidBlock:
            return Judgement.INVALID
        return Judgement.VALID

    def checked(self, header: Header, data: bytes) -> CheckedBody:
        """Return a body decoded; raises Malformed, ForeignBody or InvalidBlock."""
        roots = (header.tx_root, header.evidence_root)
        kept = self._kept.get(roots)
        if kept is not None and kept.data == data:
            return kept
        found = self.examine(header, data, self._known)
        for transaction in found.transactions:
            self._known.add(transaction.wire)
        self.keep(roots, found)
        return found

    def examine(self, header: Header, data: bytes, known: Container[bytes] = ()) -> CheckedBody:
        """Return a body decoded, as `checked` does; nothing is kept, so it may run in a thread."""
        body = bodies.decode(data)
        try:
            check_body(body, header)
        except InvalidBlock as error:
            raise ForeignBody(error.sentence) from error
        transactions = check_block(body.transactions, self._decoder, self._fees, known)
        return CheckedBody(data, body, transactions)


class ForeignBody(InvalidBlock):
    """The body is not the one that the header commits to: whoever sent it changed it."""

    code = "block.foreign_body"
