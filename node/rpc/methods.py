"""The methods of the node itself: transactions, blocks, proofs. Modules' queries join by name."""

from typing import Annotated, Any

from msgspec import Meta, Raw

from node.rpc.backend import (
    Backend,
    Finality,
    Link,
    NodeStatus,
    OutcomeProof,
    PeerView,
    StateProof,
    TxStatus,
)
from node.rpc.errors import InvalidParams
from node.rpc.jsonform import FORMS, FormError
from state.block import Outcome
from state.codec import Struct, encode
from state.errors import NotFound
from state.finality import Finalization, Header, Justify, ValidatorSet
from state.genesis import Genesis
from state.modules.all import MESSAGES, MODULES
from state.registry import Message
from state.tables import Table
from state.transaction import MESSAGES_MAX, Transaction, TransactionDecoder, transaction_id
from state.transaction import Body as TransactionBody
from state.types import Address, Amount, Hash, Height, Nonce, PublicKey, Weight

WIRE_BYTES_MAX = 2**20
Wire = Annotated[bytes, Meta(min_length=1, max_length=WIRE_BYTES_MAX)]

TABLES: dict[str, Table[Any, Any]] = {
    table.name: table for module in MODULES for table in module.tables
}


class BodyForm(Struct):
    """A transaction before it is signed, as JSON names it."""

    account: Address
    nonce: Nonce
    valid_until_height: Height
    fee_max: Amount
    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=MESSAGES_MAX)]


class EncodedBody(Struct):
    """The canonical bytes of a body and the digest to sign, which is the transaction's id."""

    body: bytes
    tx_id: Hash


class TransactionView(Struct):
    """A transaction as it stands in a block, decoded."""

    tx_id: Hash
    weight: Weight
    public_keys: tuple[PublicKey, ...]
    body: BodyForm


class HeaderView(Struct):
    """A finalized header and its id."""

    block_id: Hash
    header: Header


class BlockView(Struct):
    """A finalized block, decoded."""

    block_id: Hash
    header: Header
    finalization: Finalization | None
    transactions: tuple[TransactionView, ...]
    outcomes: tuple[Outcome, ...]
    events: tuple[Raw, ...]


class NodeMethods:
    """What the server answers about transactions, blocks and proofs, given a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._genesis_hash = backend.genesis.hash
        self._decoder = TransactionDecoder(MESSAGES, self._genesis_hash)

    async def submit(self, wire: Wire) -> Hash:
        """Hand in a signed transaction; returns its id once the mempool has admitted it."""
        return await self._backend.submit(wire)

    def transaction_status(self, tx_id: Hash) -> TxStatus:
        """Return how far a transaction has come, with its outcome once it is final."""
        return self._backend.transaction_status(tx_id)

    def simulate(self, wire: Wire) -> Outcome:
        """Execute a signed transaction over the head without keeping anything; the outcome."""
        return self._backend.simulate(wire)

    def encode_body(self, body: BodyForm) -> EncodedBody:
        """Return the canonical bytes of a body and what to sign, for clients without a codec."""
        data = encode(
            TransactionBody(
                body.account, body.nonce, body.valid_until_height, body.fee_max, body.messages
            )
        )
        return EncodedBody(data, transaction_id(self._genesis_hash, data))

    def decode_wire(self, wire: Wire) -> TransactionView:
        """Return what the bytes of a transaction say; nothing is checked against the state."""
        return self._view(self._decoder.decode(wire, bytes_max=WIRE_BYTES_MAX))

    def outcome_proof(self, tx_id: Hash) -> OutcomeProof:
        """Return the proof of a final transaction's outcome under a finalized header."""
        status = self._backend.transaction_status(tx_id)
        if status.height is None or status.index is None:
            raise NotFound("The transaction is in no final block yet; wait until it is final.")
        return self._backend.prove_outcome(status.height, status.index)

    def status(self) -> NodeStatus:
        """Return the node at a glance: network, head, mempool and base fee."""
        return self._backend.status()

    def peers(self) -> tuple[PeerView, ...]:
        """Return the nodes that are connected now, by node id."""
        return self._backend.peers()

    def header(self, height: Height) -> HeaderView:
        """Return a finalized header."""
        header = self._backend.header(height)
        return HeaderView(header.id, header)

    def finalization(self, height: Height) -> Finality:
        """Return the certificate that finalized a block, or a descendant with the path to it."""
        return self._backend.finality(height)

    def justify(self, height: Height) -> Justify:
        """Return the certificates that let a block stand on its parent."""
        return self._backend.justify(height)

    def links(self, epoch: Height, view: Height = 1) -> tuple[Link, ...]:
        """Return certified proposals of an epoch from a view on, with their justifications.

        They come in the order of views, at most 32 at a time: ask again from the view after the
        last one.
        """
        return self._backend.links(epoch, view)

    def validators(self, epoch: Height) -> ValidatorSet:
        """Return the validators of an epoch that has begun, or of the next, by their indices."""
        return self._backend.members(epoch)

    def block(self, height: Height) -> BlockView:
        """Return a finalized block with its transactions, outcomes and events."""
        record = self._backend.block(height)
        decoded = [
            self._decoder.decode(wire, bytes_max=WIRE_BYTES_MAX) for wire in record.transactions
        ]
        return BlockView(
            record.header.id,
            record.header,
            record.finalization,
            tuple([self._view(transaction) for transaction in decoded]),
            record.outcomes,
            record.events,
        )

    def genesis(self) -> Genesis:
        """Return the genesis document of the network."""
        return self._backend.genesis

    def state_proof(
        self, table: str | None = None, key: Any = None, raw_key: bytes | None = None
    ) -> StateProof:
        """Prove a row, or its absence: by table and key parts in order, or by the raw key."""
        if raw_key is None:
            raw_key = state_key(table, key)
        elif table is not None or key is not None:
            raise InvalidParams(
                "raw_key: name a row by table and key or by raw_key, not both.", "raw_key"
            )
        return self._backend.prove_state(raw_key)

    def _view(self, transaction: Transaction) -> TransactionView:
        body = transaction.body
        return TransactionView(
            transaction.id,
            transaction.weight,
            tuple([signature.public_key for signature in transaction.signatures]),
            BodyForm(
                body.account, body.nonce, body.valid_until_height, body.fee_max, body.messages
            ),
        )


NODE_METHODS: dict[str, Any] = {
    "tx.submit": NodeMethods.submit,
    "tx.status": NodeMethods.transaction_status,
    "tx.simulate": NodeMethods.simulate,
    "tx.encode": NodeMethods.encode_body,
    "tx.decode": NodeMethods.decode_wire,
    "tx.proof": NodeMethods.outcome_proof,
    "node.peers": NodeMethods.peers,
    "chain.status": NodeMethods.status,
    "chain.header": NodeMethods.header,
    "chain.block": NodeMethods.block,
    "chain.finalization": NodeMethods.finalization,
    "chain.justify": NodeMethods.justify,
    "chain.links": NodeMethods.links,
    "chain.validators": NodeMethods.validators,
    "chain.genesis": NodeMethods.genesis,
    "chain.state_proof": NodeMethods.state_proof,
}
"""Every method of the node by its name; parameters and results are read off the functions."""


def state_key(table_name: str | None, parts: Any) -> bytes:
    """Return the state key of a row named by table and JSON key parts; raises InvalidParams."""
    table = TABLES.get(table_name or "")
    if table is None:
        raise InvalidParams(
            "table: there is no such table; x-tables of rpc.discover lists all.", "table"
        )
    kinds = [part.kind for part in table.shape.parts]
    given = parts if isinstance(parts, list) else [] if parts is None else [parts]
    if len(given) != len(kinds):
        raise InvalidParams(f"key: {table.name} has {len(kinds)} key parts", "key")
    values = []
    for index, (kind, part) in enumerate(zip(kinds, given, strict=True)):
        try:
            values.append(FORMS.reader(kind)(part))
        except FormError as error:
            raise error.located(f"key[{index}]") from error
    return table.key(values[0] if len(values) == 1 else tuple(values))
